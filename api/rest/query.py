"""The query of a call, read strictly: an unknown or repeated name is refused, for a mistyped filter would show or cancel too much."""

import base64
import binascii
import re
from collections.abc import Collection
from datetime import datetime
from typing import Final
from urllib.parse import parse_qsl
from uuid import UUID

from api.errors import BadInput
from api.handler import ApiRequest
from api.lookups import listed_symbols
from api.rest import parsing

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 500

_whole = re.compile(r"[0-9]{1,9}").fullmatch


class Query:
    """Raises: BadInput UNKNOWN_FIELD, INVALID_FIELD or MALFORMED when made; INVALID_FIELD when asked for what has a wrong form."""

    def __init__(self, request: ApiRequest, *, known: Collection[str], repeatable: Collection[str] = ()) -> None:
        raw = request.scope.get("query_string") or b""
        self._values: dict[str, list[str]] = {}
        if not raw:
            return
        try:
            pairs = parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=50, errors="strict")
        except ValueError:
            raise BadInput("The query cannot be read.", code="MALFORMED") from None
        for name, value in pairs:
            if name not in known and name not in repeatable:
                raise parsing.unknown_field(name)
            self._values.setdefault(name, []).append(value)
        for name, values in self._values.items():
            if len(values) > 1 and name not in repeatable:
                raise BadInput(f"{name} may be given once.", field=name)

    def one(self, name: str) -> str | None:
        values = self._values.get(name)
        return values[0] if values else None

    def whole(self, name: str, *, default: int, most: int) -> int:
        """A whole number from 1 to `most`."""
        value = self.one(name)
        if value is None:
            return default
        number = int(value) if _whole(value) else 0
        if not 1 <= number <= most:
            raise BadInput(f"{name} must be a whole number from 1 to {most}.", field=name)
        return number

    def limit(self) -> int:
        return self.whole("limit", default=LIMIT_DEFAULT, most=LIMIT_MAX)

    def moment(self, name: str) -> datetime | None:
        value = self.one(name)
        return None if value is None else parsing.moment(name, value)

    def choice(self, name: str, allowed: frozenset[str]) -> str | None:
        value = self.one(name)
        return None if value is None else parsing.choice(name, value, allowed)

    def choices(self, name: str, allowed: frozenset[str]) -> set[str]:
        return {parsing.choice(name, value, allowed) for value in self._values.get(name, ())}

    def account(self) -> str | None:
        value = self.one("account")
        return None if value is None else parsing.text("account", value, longest=parsing.ACCOUNT_LENGTH)

    async def symbol(self) -> str | None:
        """The canonical name. Raises: UnknownSymbol."""
        value = self.one("symbol")
        return None if value is None else await symbol_named(value)

    def cursor(self) -> UUID | None:
        """Where the page begins: what `cursor_after` gave."""
        value = self.one("cursor")
        if value is None:
            return None
        try:
            return UUID(bytes=base64.b64decode(value.encode("ascii") + b"==", altchars=b"-_", validate=True))
        except (UnicodeEncodeError, binascii.Error, ValueError):
            raise BadInput("cursor must be a next_cursor of this list.", field="cursor") from None


def cursor_text(identity: UUID) -> str:
    """An opaque, URL-safe cursor."""
    return base64.urlsafe_b64encode(identity.bytes).decode().rstrip("=")


async def symbol_named(value: str) -> str:
    """The canonical name of a symbol in a path or query (BTC-USDT is BTC/USDT). Raises: UnknownSymbol."""
    name = value if "/" in value else value.replace("-", "/", 1)
    if name not in await listed_symbols(name):
        raise parsing.unknown_symbol()
    return name
