"""Who calls, and what they may do: signed API keys for programs, JWT for people.

Builds the `Principal` that intake acts for, and the `Nonce` that makes a signature for a change work once (intake's
transaction spends it, so a request that fails uses up nothing).
"""

import base64
import binascii
import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from rest_framework_simplejwt.exceptions import ExpiredTokenError, TokenError
from rest_framework_simplejwt.tokens import AccessToken

from api.errors import Forbidden, NotHere, Unauthenticated
from api.lookups import Lookup
from api.rest.parsing import missing
from institutions import queries as institutions
from institutions.queries import AccountRecord, KeyRecord, UserRecord
from orders.requests import Nonce, Principal

READ: Final = "read"
TRADE: Final = "trade"
WITHDRAW: Final = "withdraw"  # of keys alone: a log-in has no list of allowed addresses

# What each role of a person may do through the API. Staff without an institution act on the whole platform, others on their own.
RIGHTS: Final[dict[str, frozenset[str]]] = {
    "trader": frozenset({READ, TRADE}),
    "institution_admin": frozenset({READ}),
    "compliance": frozenset({READ}),
    "operator": frozenset({READ}),
    "quant": frozenset({READ}),
    "superuser": frozenset({READ}),
}

CLOCK_AHEAD_MS: Final = 1000
WINDOW_MAX_MS: Final = 60_000
TRADING_KIND: Final = "CUSTOMER"

_milliseconds = re.compile(rb"[0-9]{1,16}").fullmatch
_window = re.compile(rb"[0-9]{1,5}").fullmatch
_key_form = re.compile(rb"[A-Za-z0-9_-]{1,40}").fullmatch


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated key (`key_id`) or person. `identity`: whose request limits it uses up."""

    principal: Principal
    rights: frozenset[str]
    identity: str
    key_id: int | None = None
    account_name: str | None = None


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """A key ready for checking."""

    record: KeyRecord
    caller: Caller
    networks: tuple[IPv4Network | IPv6Network, ...]
    verifier: Ed25519PublicKey | None


@dataclass(frozen=True, slots=True)
class SignedText:
    """The headers of a signed request, as sent (None: absent)."""

    key: bytes | None
    timestamp: bytes | None
    recv_window: bytes | None
    signature: bytes | None


def _load_key(key: str) -> KeyHolder | None:
    record = institutions.find_api_key(key)
    if record is None:
        return None
    principal = Principal(
        actor=f"key:{record.key}", institution_id=record.institution_id, account_id=record.account_id, unlimited=record.is_unlimited
    )
    return KeyHolder(
        record=record,
        caller=Caller(principal, record.scopes, str(record.id), record.id, record.account_name),
        networks=tuple(ip_network(entry, strict=False) for entry in record.ip_allow_list),
        verifier=None if record.public_key is None else Ed25519PublicKey.from_public_bytes(record.public_key),
    )


def _load_user(user_id: int) -> Caller | None:
    user = institutions.find_user(user_id)
    return None if user is None else caller_for(user)


keys: Lookup[str, KeyHolder] = Lookup(lambda key: _load_key(key))
people: Lookup[int, Caller] = Lookup(lambda user_id: _load_user(user_id))
accounts: Lookup[str, AccountRecord] = Lookup(lambda name: institutions.find_account(name))


def caller_for(user: UserRecord) -> Caller:
    """A person as a caller."""
    principal = Principal(actor=f"user:{user.id}:{user.username}"[:80], institution_id=user.institution_id, account_id=None)
    return Caller(principal, RIGHTS.get(user.role, frozenset()), str(user.id))


# -- signed requests


async def check_signature(signed: SignedText, content: bytes, *, address: str, now_ms: int | None = None) -> tuple[Caller, bytes]:
    """The holder of the key that signed `timestamp + recv_window + content`, and the SHA-256 of that text.

    Args: content: method + path_with_query + body (other doors: what api.md says). address: where the request came from.
    Raises: Unauthenticated (UNAUTHENTICATED, STALE_TIMESTAMP, INVALID_SIGNATURE), Forbidden IP_NOT_ALLOWED, and what the
    database raises when the key is not in memory.
    """
    key, timestamp, recv_window, signature = signed.key, signed.timestamp, signed.recv_window, signed.signature
    if key is None or timestamp is None or recv_window is None or signature is None:
        raise Unauthenticated("A signed request needs the headers X-API-Key, X-Timestamp, X-Recv-Window and X-Signature.")
    if not _milliseconds(timestamp):
        raise Unauthenticated("X-Timestamp must be milliseconds since 1970.", code="STALE_TIMESTAMP", field="X-Timestamp")
    window_ms = int(recv_window) if _window(recv_window) else 0
    if not 1 <= window_ms <= WINDOW_MAX_MS:
        raise Unauthenticated("X-Recv-Window must be 1 to 60000 milliseconds.", code="STALE_TIMESTAMP", field="X-Recv-Window")
    age_ms = (time.time_ns() // 1_000_000 if now_ms is None else now_ms) - int(timestamp)
    if not -CLOCK_AHEAD_MS <= age_ms <= window_ms:
        raise Unauthenticated(
            f"The timestamp is {abs(age_ms)} ms {'old' if age_ms > 0 else 'ahead'}; the window is {window_ms} ms. Set the clock right.",
            code="STALE_TIMESTAMP",
            field="X-Timestamp",
        )
    holder = await keys.get(key.decode()) if _key_form(key) else None
    if holder is None:
        raise Unauthenticated("This API key is unknown or was revoked.")
    text = timestamp + recv_window + content
    if not _signature_fits(holder, signature, text):
        raise Unauthenticated(
            "The signature does not fit: sign timestamp + recv_window + method + path with query + body, exactly as sent.",
            code="INVALID_SIGNATURE",
        )
    if not may_come_from(holder, address):
        raise Forbidden("This key may not be used from this address.", code="IP_NOT_ALLOWED")
    return holder.caller, hashlib.sha256(text).digest()


def _signature_fits(holder: KeyHolder, signature: bytes, text: bytes) -> bool:
    if holder.record.secret is not None:
        due = hmac.digest(holder.record.secret, text, "sha256").hex().encode()
        return hmac.compare_digest(due, signature)
    assert holder.verifier is not None  # the database lets a key have one or the other
    try:
        holder.verifier.verify(base64.b64decode(signature, validate=True), text)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def may_come_from(holder: KeyHolder, address: str) -> bool:
    """Whether the key may be used from this address."""
    return not holder.networks or _is_within(address, holder.networks)


def _is_within(address: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in networks)


# -- people


async def check_token(token: str) -> Caller:
    """The active person an access token stands for. Raises: Unauthenticated (TOKEN_EXPIRED, UNAUTHENTICATED)."""
    try:
        claims: Any = AccessToken(token)  # type: ignore[arg-type]
        user_id = int(claims["user_id"])
    except ExpiredTokenError:
        raise token_expired() from None
    except (TokenError, KeyError, TypeError, ValueError):
        raise Unauthenticated("This token is not valid.") from None
    caller = await people.get(user_id)
    if caller is None:
        raise Unauthenticated("This token is not valid any more.")
    return caller


def token_expired() -> Unauthenticated:
    return Unauthenticated("The token has expired. Refresh it, or log in again.", code="TOKEN_EXPIRED")


# -- any request


def has_credentials(headers: Mapping[bytes, bytes]) -> bool:
    return b"x-api-key" in headers or b"authorization" in headers


async def identify(headers: Mapping[bytes, bytes], *, method: str, target: bytes, body: bytes, address: str) -> tuple[Caller, Nonce | None]:
    """Who sent this HTTP request. A key's request that changes something comes with the nonce that its commit spends.

    Args: headers: by lower-case name. target: path with query exactly as sent.
    Raises: as `check_signature` and `check_token`.
    """
    authorization = headers.get(b"authorization")
    if authorization is not None and b"x-api-key" not in headers:
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer":
            raise Unauthenticated("Authorization must be Bearer and an access token.")
        return await check_token(token.strip().decode("latin-1")), None
    signed = SignedText(headers.get(b"x-api-key"), headers.get(b"x-timestamp"), headers.get(b"x-recv-window"), headers.get(b"x-signature"))
    caller, digest = await check_signature(signed, method.encode() + target + body, address=address)
    if method in ("GET", "HEAD") or caller.key_id is None:
        return caller, None
    return caller, Nonce(caller.key_id, digest)


def require(caller: Caller, right: str) -> None:
    """Raises: Forbidden (SCOPE_MISSING for keys, FORBIDDEN for people)."""
    if right in caller.rights:
        return
    if caller.key_id is not None:
        raise Forbidden(f"This key does not have the scope {right}.", code="SCOPE_MISSING")
    raise Forbidden(f"Your role does not have the right to {right}.")


# -- accounts


def _is_in_reach(principal: Principal, account: AccountRecord) -> bool:
    if account.kind != TRADING_KIND:
        return False
    if principal.account_id is not None:
        return account.id == principal.account_id
    return principal.institution_id is None or account.institution_id == principal.institution_id


def _no_such_account() -> NotHere:
    return NotHere("There is no such account.", field="account")


async def account_id_for(caller: Caller, name: str | None) -> int | None:
    """The id of the account named, if it is in the caller's reach; without a name the key's own, or None for all in reach.

    Raises: NotHere for an account that is unknown or somebody else's.
    """
    own_id = caller.principal.account_id
    if name is None or (own_id is not None and name == caller.account_name):
        return own_id
    if own_id is not None:
        raise _no_such_account()
    account = await accounts.get(name)
    if account is None or not _is_in_reach(caller.principal, account):
        raise _no_such_account()
    return account.id


async def account_ids_for(caller: Caller, names: set[str]) -> dict[str, int]:
    """The ids of those of the accounts named that are in the caller's reach; the others are left out."""
    found: dict[str, int] = {}
    for name in names:
        try:
            account_id = await account_id_for(caller, name)
        except NotHere:
            continue
        if account_id is not None:
            found[name] = account_id
    return found


def one_account(caller: Caller, ids: Mapping[str, int], name: str | None) -> int:
    """The one account that an order is for. `ids`: from `account_ids_for`. Raises: BadInput MISSING_FIELD, NotHere."""
    if name is not None:
        found = ids.get(name)
    else:
        found = caller.principal.account_id
        if found is None:
            raise missing("account", ": this log-in is not bound to one account")
    if found is None:
        raise _no_such_account()
    return found


def account_chooser(caller: Caller, ids: Mapping[str, int]) -> "partial[int]":
    """`one_account` with only the name left to give."""
    return partial(one_account, caller, ids)
