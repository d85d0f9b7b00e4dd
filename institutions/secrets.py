"""Secrets at rest: AES-256-GCM under settings.FIELD_ENCRYPTION_KEY, bound to what they belong to.

Stored: one version byte (1), 12 bytes of nonce, the sealed text with its 16-byte tag. The context (an API key's public id) is
authenticated with it, so a secret copied to another row does not open.
"""

import base64
import os
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

from exchange_platform.errors import ExchangeError

_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12


class SecretUnreadable(ExchangeError):
    """A stored secret does not open: another FIELD_ENCRYPTION_KEY, another owner, or a damaged row."""

    code = "SECRET_UNREADABLE"


def seal(plain: bytes, *, context: str) -> bytes:
    """The secret encrypted, with a new nonce each time; only `unseal` with the same context opens it."""
    nonce = os.urandom(_NONCE_BYTES)
    return _VERSION + nonce + _cipher(settings.FIELD_ENCRYPTION_KEY).encrypt(nonce, plain, context.encode())


def unseal(sealed: bytes, *, context: str) -> bytes:
    """Raises: SecretUnreadable."""
    if sealed[:1] != _VERSION:
        raise SecretUnreadable(f"The secret of {context} has an unknown version: it was written by a newer release.")
    nonce, body = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
    try:
        return _cipher(settings.FIELD_ENCRYPTION_KEY).decrypt(nonce, body, context.encode())
    except (InvalidTag, ValueError):
        raise SecretUnreadable(f"The secret of {context} does not open: is FIELD_ENCRYPTION_KEY the one it was stored under?") from None


@lru_cache(maxsize=4)
def _cipher(key: str) -> AESGCM:
    return AESGCM(base64.urlsafe_b64decode(key))
