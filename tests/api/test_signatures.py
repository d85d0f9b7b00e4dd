"""Signed requests: what is taken, and under which code everything else is refused."""

import base64
import hashlib
import time
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from institutions import queries as institutions
from tests.api.conftest import KEYS, Client, FakeDesk, key_record

PATH = "/api/v1/orders"
BODY = orjson.dumps(
    {"symbol": "TEST/USDT", "side": "BUY", "order_type": "LIMIT", "quantity": "1", "price": "100", "client_order_id": "c-1"}
)


async def post(client: Client, headers: dict[str, str | None], body: bytes = BODY) -> tuple[int, str | None]:
    sent = {name: value for name, value in headers.items() if value is not None}
    reply = await client.http.post(PATH, content=body, headers=sent | {"Content-Type": "application/json"})
    return reply.status_code, reply.json().get("code")


def now_ms(ahead: int = 0) -> int:
    return int(time.time() * 1000) + ahead


def test_missing_headers_are_no_log_in(desk: FakeDesk, run_api: Any) -> None:
    async def act(client: Client) -> None:
        good = client.signed("POST", PATH, BODY)
        assert await post(client, {}) == (401, "UNAUTHENTICATED")
        for name in good:
            assert await post(client, good | {name: None}) == (401, "UNAUTHENTICATED"), name
        assert await post(client, good | {"X-API-Key": "nobody"}) == (401, "UNAUTHENTICATED")
        assert await post(client, good | {"X-API-Key": "x" * 500}) == (401, "UNAUTHENTICATED")
        assert await post(client, good) == (201, None)

    run_api(act)


def wrong_forms(good: str) -> dict[str, str]:
    return {
        "zeros": "0" * 64,
        "upper case": good.upper(),
        "no hex": "zz",
        "short": good[:-1],
        "long": good + "0",
        "0x": "0x" + good,
        "base64": base64.b64encode(bytes.fromhex(good)).decode(),
        "very long": "a" * 1000,
        "a sign": "-" + "0" * 63,
        "empty": "",
    }


def test_a_signature_of_any_wrong_form_is_an_invalid_signature(desk: FakeDesk, run_api: Any) -> None:
    async def act(client: Client) -> None:
        good = client.signed("POST", PATH, BODY)
        for name, form in wrong_forms(good["X-Signature"]).items():
            assert await post(client, good | {"X-Signature": form}) == (401, "INVALID_SIGNATURE"), name
        raw = [(name.encode(), value.encode()) for name, value in (good | {"X-Signature": "é" * 32}).items()]
        assert (await client.http.post(PATH, content=BODY, headers=raw)).json()["code"] == "INVALID_SIGNATURE"

    run_api(act)
    assert desk.asked == []


def test_whatever_is_signed_cannot_be_changed(desk: FakeDesk, run_api: Any) -> None:
    async def act(client: Client) -> None:
        invalid = (401, "INVALID_SIGNATURE")
        good = client.signed("POST", PATH, BODY)
        assert await post(client, good, BODY.replace(b"BUY", b"SELL")) == invalid
        assert await post(client, good | {"X-Timestamp": str(int(good["X-Timestamp"]) + 1)}) == invalid
        assert await post(client, good | {"X-Recv-Window": "60000"}) == invalid
        assert await post(client, client.signed("POST", PATH + "/batch", BODY)) == invalid
        assert await post(client, client.signed("PUT", PATH, BODY)) == invalid
        query = await client.http.get(PATH + "?limit=5", headers=client.signed("GET", PATH + "?limit=6"))
        assert query.json()["code"] == "INVALID_SIGNATURE"

    run_api(act)


def test_the_path_is_signed_as_it_was_sent(run_api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from orders import market_data

    monkeypatch.setattr(market_data, "book", lambda **asked: asked)

    async def act(client: Client) -> None:
        for path in ("/orderbook/TEST%2FUSDT?depth=5", "/orderbook/TEST/USDT", "/orderbook/TEST-USDT?depth=0005"):
            assert (await client.call("GET", path)).status_code == 200

    run_api(act)


@pytest.mark.parametrize(
    ("ahead", "window", "taken"),
    [
        (-4000, 5000, True),
        (-30_000, 60_000, True),
        (500, 5000, True),
        (-61_000, 60_000, False),
        (-3000, 1000, False),
        (60_000, 5000, False),
        (1500, 60_000, False),
        (-(10**13), 60_000, False),
    ],
)
def test_a_request_is_taken_within_its_window(desk: FakeDesk, run_api: Any, ahead: int, window: int, taken: bool) -> None:
    async def act(client: Client) -> tuple[int, str | None]:
        return await post(client, client.signed("POST", PATH, BODY, at=max(0, now_ms(ahead)), window=window))

    assert run_api(act) == ((201, None) if taken else (401, "STALE_TIMESTAMP"))


@pytest.mark.parametrize(
    "headers", [{"at": t} for t in ("now", 10**30, "-1", "1.5", "１", "")] + [{"window": w} for w in (60001, 0, -1, "wide", "5e3", "", " ")]
)
def test_an_unreadable_timestamp_or_window_is_refused(desk: FakeDesk, run_api: Any, headers: dict[str, Any]) -> None:
    async def act(client: Client) -> tuple[int, str | None]:
        signed = client.signed("POST", PATH, BODY, **headers)
        raw = [(name.encode(), value.encode()) for name, value in signed.items()]
        reply = await client.http.post(PATH, content=BODY, headers=raw)
        return reply.status_code, reply.json()["code"]

    assert run_api(act) == (401, "STALE_TIMESTAMP")


def test_a_change_brings_its_nonce_and_a_read_does_not(desk: FakeDesk, run_api: Any) -> None:
    signed: dict[str, str] = {}

    async def act(client: Client) -> None:
        signed.update(client.signed("POST", PATH, BODY))
        await post(client, dict(signed))
        await post(client, dict(signed))
        await post(client, dict(client.signed("POST", PATH, BODY, at=now_ms(-1))))

    run_api(act)
    nonces = [submission.nonce for submission, _ in desk.asked]
    text = f"{signed['X-Timestamp']}5000POST{PATH}".encode() + BODY
    assert nonces[0] is not None
    assert (nonces[0].api_key_id, nonces[0].digest) == (KEYS["own"].id, hashlib.sha256(text).digest())
    assert nonces[0] == nonces[1] != nonces[2]


def test_an_ed25519_key_signs_the_same_text_in_base64(desk: FakeDesk, run_api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    private = Ed25519PrivateKey.generate()
    record = key_record("ed", kind="ed25519", secret=None, public_key=private.public_key().public_bytes_raw())
    monkeypatch.setattr(institutions, "find_api_key", {"ed": record}.get)

    async def act(client: Client) -> None:
        stamp = now_ms()
        signature = private.sign(f"{stamp}5000POST{PATH}".encode() + BODY)
        headers = {"X-API-Key": "ed", "X-Timestamp": str(stamp), "X-Recv-Window": "5000"}
        assert await post(client, headers | {"X-Signature": base64.b64encode(signature).decode()}) == (201, None)
        for wrong in (signature.hex(), base64.b64encode(signature[:-1]).decode(), base64.b64encode(bytes(64)).decode(), "", "="):
            assert await post(client, headers | {"X-Signature": wrong}) == (401, "INVALID_SIGNATURE")

    run_api(act)


def test_a_key_may_be_bound_to_addresses(desk: FakeDesk, run_api: Any) -> None:
    async def act(client: Client) -> None:
        assert await post(client, client.signed("POST", PATH, BODY, key="elsewhere")) == (403, "IP_NOT_ALLOWED")
        assert await post(client, client.signed("POST", PATH, BODY, key="here")) == (201, None)

    run_api(act)


def test_a_key_is_looked_up_once_in_five_seconds(desk: FakeDesk, run_api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    asked: list[str] = []

    def find(key: str) -> Any:
        asked.append(key)
        return KEYS.get(key)

    monkeypatch.setattr(institutions, "find_api_key", find)

    async def act(client: Client) -> None:
        await asyncio.gather(*(post(client, dict(client.signed("POST", PATH, BODY, at=now_ms(-n)))) for n in range(20)))
        for _ in range(3):
            await post(client, client.signed("POST", PATH, BODY, key="nobody"))

    run_api(act)
    assert asked == ["own", "nobody"]
