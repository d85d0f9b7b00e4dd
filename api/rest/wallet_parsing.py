"""From JSON to a movement, strictly: every field for its form first, in the order sent, then what is missing."""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from api.auth import Caller
from api.errors import BadInput
from api.handler import ApiRequest
from api.rest import parsing
from wallet.addresses import ADDRESS_LENGTH
from wallet.asking import Asked

ASSET_LENGTH: Final = 12
LABEL_LENGTH: Final = 80

_asset_code = re.compile(r"[A-Za-z0-9]{1,12}").fullmatch
_address = re.compile(r"[!-~]{1,120}").fullmatch
_key = re.compile(r"[A-Za-z0-9._:/-]{1,100}").fullmatch

Reader = Callable[[str, object], Any]


class AskedWithdrawal(NamedTuple):
    asset: str
    amount: Decimal
    address: str
    account: str | None


class AskedTransfer(NamedTuple):
    from_account: str
    to_account: str
    asset: str
    amount: Decimal


class AskedAddress(NamedTuple):
    asset: str
    address: str
    label: str
    account: str | None


def asset(name: str, value: object) -> str:
    """Raises: BadInput INVALID_FIELD."""
    if type(value) is not str or _asset_code(value) is None:
        raise BadInput(f"{name} must be the code of an asset, like USDT.", field=name)
    return value


def address(name: str, value: object) -> str:
    """Raises: BadInput INVALID_FIELD."""
    if type(value) is not str or _address(value) is None:
        raise BadInput(f"{name} must be 1 to {ADDRESS_LENGTH} visible ASCII characters.", field=name)
    return value


def account(name: str, value: object) -> str:
    """Raises: BadInput INVALID_FIELD."""
    return parsing.text(name, value, longest=parsing.ACCOUNT_LENGTH)


def _label(name: str, value: object) -> str:
    return parsing.text(name, value, longest=LABEL_LENGTH)


_WITHDRAWAL: Final[dict[str, Reader]] = {"asset": asset, "amount": parsing.decimal, "address": address, "account": account}
_TRANSFER: Final[dict[str, Reader]] = {"from_account": account, "to_account": account, "asset": asset, "amount": parsing.decimal}
_ADDRESS: Final[dict[str, Reader]] = {"asset": asset, "address": address, "label": _label, "account": account}


def _fields(data: Mapping[str, Any], readers: Mapping[str, Reader], *, optional: frozenset[str]) -> dict[str, Any]:
    parsing.only_known(data, readers)
    found = {name: readers[name](name, value) for name, value in data.items()}
    for name in readers:
        if name not in found and name not in optional:
            raise parsing.missing(name)
    return found


def parse_withdrawal(data: Mapping[str, Any]) -> AskedWithdrawal:
    """Raises: BadInput."""
    found = _fields(data, _WITHDRAWAL, optional=frozenset({"account"}))
    return AskedWithdrawal(found["asset"], found["amount"], found["address"], found.get("account"))


def parse_transfer(data: Mapping[str, Any]) -> AskedTransfer:
    """Raises: BadInput."""
    return AskedTransfer(**_fields(data, _TRANSFER, optional=frozenset()))


def parse_address(data: Mapping[str, Any]) -> AskedAddress:
    """Raises: BadInput."""
    found = _fields(data, _ADDRESS, optional=frozenset({"account", "label"}))
    return AskedAddress(found["asset"], found["address"], found.get("label", ""), found.get("account"))


def asked_by(request: ApiRequest, caller: Caller, *, path: str, needs_key: bool = True) -> Asked:
    """Who asks, with the Idempotency-Key of the request. Raises: BadInput when it is missing or malformed."""
    sent = request.headers.get(b"idempotency-key")
    if sent is None and needs_key:
        raise BadInput(
            "Send an Idempotency-Key: with it a request that is sent again happens once.", code="MISSING_FIELD", field="Idempotency-Key"
        )
    key = "" if sent is None else sent.decode("latin-1")
    if sent is not None and _key(key) is None:
        raise BadInput("Idempotency-Key must be 1 to 100 characters of A-Z a-z 0-9 . _ : / -", field="Idempotency-Key")
    nonce = request.nonce
    return Asked(
        actor=caller.principal.actor,
        holder=caller.principal.actor,
        path=path,
        key=key,
        signature=None if nonce is None else (nonce.api_key_id, nonce.digest),
        request_id=request.request_id,
    )
