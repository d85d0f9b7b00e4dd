"""AUTH: who is at the other end of a connection, and whether they still may be."""

from typing import Any, Final

from api import auth
from api.auth import Caller, SignedText
from api.errors import BadInput, ExchangeError, Unauthenticated
from api.rest.parsing import ACCOUNT_LENGTH, missing, text

TOKEN_LENGTH: Final = 4096
SIGNED: Final = ("api_key", "timestamp", "recv_window", "signature")
SIGNED_TEXT: Final = b"GET/stream"
RECHECK_S: Final = 3.0  # a key that was disabled is noticed within this and the time between two looks

# How the errors of a signature name the headers of REST, and what they are called here.
_FIELD_OF_HEADER: Final = {"X-Timestamp": "timestamp", "X-Recv-Window": "recv_window"}


async def identify(fields: dict[str, Any], *, address: str) -> Caller:
    """Who sent this AUTH: a person by `token`, or the holder of the key that signed `timestamp + recv_window + "GET" + "/stream"`.

    Raises: BadInput for a message of a wrong form; Unauthenticated, Forbidden for wrong credentials.
    """
    if "token" in fields:
        if also := next((name for name in SIGNED if name in fields), None):
            raise BadInput("Give a token or a signature, not both.", code="CONFLICTING_FIELDS", field=also)
        return await auth.check_token(text("token", fields["token"], longest=TOKEN_LENGTH))
    key, stamp, window, signature = (_signed_part(fields, name) for name in SIGNED)
    try:
        caller, _ = await auth.check_signature(SignedText(key, stamp, window, signature), SIGNED_TEXT, address=address)
    except Unauthenticated as error:
        error.field = _FIELD_OF_HEADER.get(error.field or "", error.field)
        raise
    return caller


def _signed_part(fields: dict[str, Any], name: str) -> bytes:
    if name not in fields:
        raise missing(name)
    value = fields[name]
    if type(value) is int and name in ("timestamp", "recv_window"):
        return str(value).encode()
    if type(value) is not str or not value.isascii() or not value.isprintable() or len(value) > TOKEN_LENGTH:
        raise BadInput(f"{name} has a wrong form.", field=name)
    return value.encode()


async def account_of(caller: Caller, name: object) -> tuple[int, str] | None:
    """Id and name of the account that the caller named, or of a key's own account (None); null when there is no single one.

    Raises: BadInput, NotHere.
    """
    named = None if name is None else text("account", name, longest=ACCOUNT_LENGTH)
    account_id = await auth.account_id_for(caller, named)
    found = named or caller.account_name
    return None if account_id is None or found is None else (account_id, found)


async def still(caller: Caller, *, address: str) -> Caller | None:
    """The caller as the database knows them now; null for a key or person that was disabled, or a key that may not be used from this
    address any more. Raises what the database raises."""
    if caller.key_id is None:
        return await auth.people.get(int(caller.identity), max_age_s=RECHECK_S)
    holder = await auth.keys.get(caller.principal.actor.removeprefix("key:"), max_age_s=RECHECK_S)
    if holder is None or not auth.may_come_from(holder, address):
        return None
    return holder.caller


def is_wrong(error: ExchangeError) -> bool:
    """Whether this ends the connection: credentials that do not hold, not a message of a wrong form."""
    return error.code in _WRONG


_WRONG: Final = frozenset(
    {"UNAUTHENTICATED", "INVALID_SIGNATURE", "STALE_TIMESTAMP", "TOKEN_EXPIRED", "REPLAYED_SIGNATURE", "FORBIDDEN", "IP_NOT_ALLOWED"}
)
