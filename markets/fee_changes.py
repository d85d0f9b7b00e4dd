"""Other fees for a symbol: two people. Orders that were taken keep the fees they were taken at."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from institutions.requests import Change, Effect
from institutions.rights import Right
from markets.models import Symbol
from markets.services import FEES, InvalidRule, UnknownSymbol, plain_value, put_rules


class ChangeFees(Change):
    """`payload`: {"symbol": "BTC/USDT", "maker_fee": "0.001", "taker_fee": "0.002"}; a fee that stays may be left out."""

    kind, title, make = "symbol.fees", "Change a symbol's fees", Right.EDIT_MARKETS

    def effect(self, payload: Mapping[str, Any]) -> Effect:
        symbol, wanted = _read(payload)
        before = {name: plain_value(getattr(symbol, name)) for name in wanted}
        after = {name: plain_value(value) for name, value in wanted.items()}
        if before == after:
            raise InvalidRule(f"{symbol.name} has just these fees.", field=FEES[0])
        return Effect(
            subject=f"symbol:{symbol.name}",
            summary=f"Orders of {symbol.name} to come pay "
            + " and ".join(f"{Decimal(value) * 100:f} % as {name[:5]}" for name, value in after.items())
            + ".",
            before=before,
            after=after,
        )

    def apply(self, payload: Mapping[str, Any], *, request_id: int, actor: str, reason: str) -> dict[str, Any]:
        symbol, wanted = _read(payload)
        put_rules(symbol_id=symbol.pk, changes=wanted, actor=actor, reason=reason)
        return {name: plain_value(value) for name, value in wanted.items()}


def _read(payload: Mapping[str, Any]) -> tuple[Symbol, dict[str, Decimal]]:
    symbol = Symbol.objects.filter(name=payload["symbol"]).first()
    if symbol is None:
        raise UnknownSymbol(f"There is no symbol {payload['symbol']}.", field="symbol")
    try:
        wanted = {name: Decimal(payload[name]) for name in FEES if name in payload}
    except InvalidOperation:
        raise InvalidRule("A fee is a fraction, such as 0.001.", field=FEES[0]) from None
    return symbol, wanted
