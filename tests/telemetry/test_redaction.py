"""No secret gets into the log, whatever key it comes under, in whatever shape, and what is no secret stays readable."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import structlog

from exchange_platform.settings.logs import logging_settings
from exchange_platform.telemetry import redaction
from exchange_platform.telemetry.redaction import REDACTED, redact, redact_text

HMAC = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
ED25519 = "A" * 43 + "b/" + "c+" * 20 + "d" + "=="
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VyIjoiYSJ9.c2lnbmF0dXJlLXRlc3Q"
OWN = "own-Secret/with+signs"


@pytest.fixture(autouse=True)
def own_secrets() -> Iterator[None]:
    before = list(redaction._own_values)
    redaction.know_secrets([OWN, "redis://:redis-pass-word@127.0.0.1:6379/0", "postgresql://u:p%40ss-word@h/db", "", "abc"])
    yield
    redaction._own_values[:] = before


def told(**event: Any) -> str:
    return json.dumps(redact(None, "info", event), default=str)


SECRET_KEYS = """password PASSWORD new_password secret api_secret x-signature signature Authorization access_token refreshToken cookie
    Set-Cookie otp totp_secret private_key field_encryption_key SECRET_KEY api_key credentials dsn""".split()


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_a_value_under_a_secret_key_is_not_written(key: str) -> None:
    assert "hunter-two" not in told(**{key: "hunter-two"})
    assert "hunter-two" not in told(outer={"list": [{key: ["hunter-two"]}]})
    assert "123456" not in told(**{key: 123456})


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"signed with {HMAC}", HMAC),
        (f"signed with {HMAC.upper()}.", HMAC.upper()),
        (f"signed with {ED25519}", ED25519[:40]),
        (f"Authorization: Bearer {JWT}", JWT[-12:]),
        (f"token {JWT} is old", JWT[-12:]),
        ("Authorization: Basic dXNlcjpwYXNzd29yZA==", "dXNlcjpwYXNzd29yZA"),
        ("connect postgresql://exchange:hunter-two@127.0.0.1:5432/exchange failed", "hunter-two"),
        ("redis://:hunter-two@127.0.0.1/0", "hunter-two"),
        ("postgresql://u:hunter@two@host/db", "hunter@two"),
        ("host=x user=y password=hunter-two dbname=z", "hunter-two"),
        ("""{'secret': 'hunter-two, and more'}""", "and more"),
        ('{"api_secret":"hunter-two"}', "hunter-two"),
        ("""b'{"password": "hunter-two"}'""", "hunter-two"),
        ("X-Signature: hunter-two", "hunter-two"),
        ("?signature=hunter-two&recv_window=5000", "hunter-two"),
        (f"the key is {OWN} today", OWN),
        ("AUTH redis-pass-word", "redis-pass-word"),
        ("fe_sendauth: p@ss-word", "p@ss-word"),
    ],
)
def test_a_secret_in_a_text_is_not_written(text: str, secret: str) -> None:
    assert secret not in told(anything=text)
    assert secret not in told(nested=[{"deep": (text, {"x": text.encode()})}])
    assert REDACTED in redact_text(text)


def test_headers_as_a_server_has_them() -> None:
    headers = [(b"x-signature", b"hunter-two"), (b"authorization", b"hunter-two"), (b"content-type", b"application/json")]
    line = told(scope={"headers": headers, b"cookie": b"hunter-two"})
    assert "hunter-two" not in line
    assert "application/json" in line


def test_what_is_no_secret_stays() -> None:
    event = {
        "request_id": "a" * 32, "order_id": "0198f3a2-5b1c-7000-8000-1234567890ab", "api_key_id": 7, "token_count": 3, "price": "100.00",
        "path": "/api/v1/orders?symbol=BTC-USDT", "event": "intake_failed", "ok": True, "address": "http://127.0.0.1:8000/x@y", "no": None,
        "key": "ak_abcdefgh", "sentence": "The signature does not fit. Pass the words on.",
    }  # fmt: skip
    assert redact(None, "info", dict(event)) == event


class Leaky:
    def __repr__(self) -> str:
        return f"Leaky(secret='{HMAC}')"


def test_objects_and_what_is_too_deep() -> None:
    deep: Any = {"password": "hunter-two"}
    for _ in range(30):
        deep = [deep]
    line = told(thing=Leaky(), deep=deep)
    assert HMAC not in line
    assert "hunter-two" not in line


@contextmanager
def log_lines() -> Iterator[io.StringIO]:
    """What the platform's own handler writes."""
    settings = logging_settings("INFO")
    formatter = settings["formatters"]["json"]
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(**{k: v for k, v in formatter.items() if k != "()"}))
    logger = logging.getLogger("exchange_platform.redaction_test")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield stream
    finally:
        logger.removeHandler(handler)


def test_an_exceptions_text_its_cause_and_the_source_lines_of_its_trace() -> None:
    with log_lines() as written:
        try:
            try:
                raise ValueError(f"cannot reach postgresql://u:hunter-two@host/db with {HMAC}")
            except ValueError as cause:
                raise RuntimeError(f"password=hunter-two {OWN}") from cause
        except RuntimeError:
            structlog.get_logger("exchange_platform.redaction_test").exception("failed", detail={"secret": "hunter-two"})
            logging.getLogger("exchange_platform.redaction_test").exception("plain %s", "Authorization: Bearer hunter-two-three")
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [line["event"].split()[0] for line in lines] == ["failed", "plain"]
    assert "RuntimeError" in lines[0]["exception"]
    assert "ValueError" in lines[1]["exception"]
    for secret in ("hunter-two@", "password=hunter-two", HMAC, OWN, "hunter-two-three"):
        assert secret not in written.getvalue()


def test_a_long_hostile_text_costs_no_more_than_its_length() -> None:
    import time

    began = time.perf_counter()
    for piece in ("a.", "secret=", "://", "token ", "x" * 40 + " ", "password: '", "a" * 85 + "-"):
        redact_text(piece * (60_000 // len(piece)))
    assert time.perf_counter() - began < 3
