"""Keeps secrets out of the log: by the key they come under, by what they look like, and this process's own by their value.

It sees a line last, as it will be written: exceptions are text by then, and what is no plain value is turned into text here.
"""

import re
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

REDACTED: Final = "[redacted]"
DEEPEST: Final = 10
SHORTEST_SECRET: Final = 6  # anything shorter would be found in ordinary words

_words = r"pass(?:word|wd|phrase)|secret|signature|authorization|credential|cookie|otp|private[-_]?key|encryption[-_]?key"
_secret_key = re.compile(rf"(?:token|api[-_]?key|session(?:id)?|dsn)s?$|{_words}", re.IGNORECASE)
_harmless_key = re.compile(r"_(?:id|at|count|kind|name|s|ms)$", re.IGNORECASE)
_assigned = rf"((?:{_words}|api[-_]?key|token)[\w-]{{0,40}}['\"]?\]?\s{{0,4}}[=:]\s{{0,4}})"

_patterns: Final = (
    # scheme://user:password@host, the password up to the last @ before the path
    (re.compile(r"\b([a-z][a-z0-9+.-]{0,20}://[^\s:/@'\"]{0,200}):[^\s/'\"]{1,500}@", re.IGNORECASE), rf"\1:{REDACTED}@"),
    (re.compile(r"\b(bearer|basic|token)\s{1,4}[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), rf"\1 {REDACTED}"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), REDACTED),
    # HMAC signatures and API secrets are 64 hex digits, Ed25519 signatures 86 characters of base64 and its padding
    (re.compile(r"(?<![0-9A-Za-z])[0-9a-fA-F]{64}(?![0-9A-Za-z])"), REDACTED),
    (re.compile(r"(?<![0-9A-Za-z+/_-])[0-9A-Za-z+/_-]{86}(?:==)?(?![0-9A-Za-z+/=_-])"), REDACTED),
    # "secret": "…", then password=… and x-signature: …
    (re.compile(rf"{_assigned}(b?['\"])(?:\\.|(?!\2).)*\2", re.IGNORECASE), rf"\1\2{REDACTED}\2"),
    (re.compile(rf"{_assigned}(?!b?['\"\[])[^\s,;&)}}\]'\"]+", re.IGNORECASE), rf"\1{REDACTED}"),
)
_own_values: list[re.Pattern[str]] = []


def know_secrets(values: Iterable[str]) -> None:
    """Secrets of this process that are never to be written, whatever they stand in; an address stands for its password."""
    found: set[str] = set()
    for value in values:
        secret = urlsplit(value).password if "://" in value else value
        if secret and len(secret) >= SHORTEST_SECRET:
            found |= {secret, unquote(secret)}
    _own_values[:] = [re.compile("|".join(re.escape(secret) for secret in sorted(found, key=len, reverse=True)))] if found else []


def redact(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor; the last before the renderer."""
    return {key: _value(key, value, DEEPEST) for key, value in event.items()}


def redact_text(text: str) -> str:
    """`text` without what looks like a secret."""
    for own in _own_values:
        text = own.sub(REDACTED, text)
    for pattern, replacement in _patterns:
        text = pattern.sub(replacement, text)
    return text


def _is_secret(key: str) -> bool:
    return _secret_key.search(key) is not None and _harmless_key.search(key) is None


def _value(key: object, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return REDACTED if isinstance(key, str) and isinstance(value, int) and not isinstance(value, bool) and _is_secret(key) else value
    if isinstance(key, str) and _is_secret(key):
        return REDACTED
    if isinstance(value, str):
        return redact_text(value)
    if depth == 0:
        return redact_text(repr(value))
    if isinstance(value, Mapping):
        return {redact_text(str(k)): _value(k.decode("latin-1") if isinstance(k, bytes) else k, v, depth - 1) for k, v in value.items()}
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], bytes | str):  # a header
        name = value[0].decode("latin-1") if isinstance(value[0], bytes) else value[0]
        return [redact_text(name), _value(name, value[1], depth - 1)]
    if isinstance(value, list | tuple | set | frozenset):
        return [_value("", item, depth - 1) for item in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return redact_text(bytes(value).decode("latin-1"))
    return redact_text(str(value))
