"""Writes: assets and symbols are listed, trading rules changed.

What the database would refuse is refused here first, with a field and a sentence."""

from collections.abc import Mapping, Sequence
from datetime import time
from decimal import Decimal
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import IntegrityError

from exchange_platform.db import EXACT, own, plain_text, require_transaction
from exchange_platform.errors import ExchangeError
from institutions import audit
from institutions.models import AccountKind
from institutions.services import ensure_house_account
from markets.models import Asset, Route, Symbol
from markets.units import OffGrid, decimals_of, whole_steps

ORDER_TYPES: Final = ("MARKET", "LIMIT", "STOP", "STOP_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT")
_CODE_LETTERS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")


class InvalidRule(ExchangeError):
    """A trading rule or an asset that cannot be; `field` names it."""

    code = "INVALID_FIELD"


class UnknownAsset(ExchangeError):
    code = "NOT_FOUND"


class UnknownSymbol(ExchangeError):
    code = "UNKNOWN_SYMBOL"


def create_asset(*, code: str, scale: int, actor: str, name: str = "") -> Asset:
    """A new asset; its scale (number of decimals, 0 to 18) never changes. Owns its transaction. Raises: InvalidRule."""
    if not code or set(code) - _CODE_LETTERS:
        raise InvalidRule(f"An asset's code is capital letters and digits, not {code!r}.", field="code")
    with own():
        asset = Asset(code=code, scale=scale, name=name)
        _insert(asset)
        audit.record(actor=actor, action="asset.create", subject=f"asset:{code}", after={"scale": scale})
    return asset


def create_symbol(
    *,
    base: str,
    quote: str,
    tick_size: Decimal,
    lot_size: Decimal,
    actor: str,
    min_quantity: Decimal | None = None,
    max_quantity: Decimal | None = None,
    min_price: Decimal | None = None,
    max_price: Decimal | None = None,
    min_notional: Decimal = Decimal(0),
    max_open_orders: int | None = None,
    static_band: Decimal | None = Decimal("0.10"),
    dynamic_band: Decimal | None = Decimal("0.05"),
    market_protection: Decimal = Decimal("0.05"),
    reference_price: Decimal | None = None,
    maker_fee: Decimal = Decimal("0.001"),
    taker_fee: Decimal = Decimal("0.001"),
    halt_s: int = 60,
    auction_s: int = 60,
    order_types: Sequence[str] = ORDER_TYPES,
    route: str = Route.INTERNAL,
) -> Symbol:
    """List `base`/`quote` (asset codes) for trading, with a house account of its own that collects its fees.

    Units: prices and `min_notional` in quote, quantities in base; fees and bands are fractions (0.001 is 0.1 %), a null band is
    off. `min_quantity` null: one lot. Assets, tick and lot never change afterwards.
    Owns its transaction. Raises: UnknownAsset, InvalidRule, institutions.services.NotFound (no house institution yet).
    """
    name = f"{base}/{quote}"
    with own():
        assets = {asset.code: asset for asset in Asset.objects.filter(code__in=[base, quote])}
        for field, code in (("base", base), ("quote", quote)):
            if code not in assets:
                raise UnknownAsset(f"There is no asset {code}: create it first.", field=field)
        symbol = Symbol(
            name=name,
            base=assets[base],
            quote=assets[quote],
            route=route,
            tick_size=tick_size,
            lot_size=lot_size,
            min_quantity=lot_size if min_quantity is None else min_quantity,
            max_quantity=max_quantity,
            min_price=min_price,
            max_price=max_price,
            min_notional=min_notional,
            max_open_orders=max_open_orders,
            static_band=static_band,
            dynamic_band=dynamic_band,
            market_protection=market_protection,
            halt_s=halt_s,
            auction_s=auction_s,
            reference_price=reference_price,
            maker_fee=maker_fee,
            taker_fee=taker_fee,
            order_types=list(order_types),
            fee_account_id=0,
        )
        _check(symbol)
        symbol.fee_account_id = ensure_house_account(kind=AccountKind.FEES, name=f"fees-{base}-{quote}".lower())
        _insert(symbol)
        rules = {"tick_size": f"{tick_size:f}", "lot_size": f"{lot_size:f}", "maker_fee": f"{maker_fee:f}", "taker_fee": f"{taker_fee:f}"}
        audit.record(actor=actor, action="symbol.create", subject=f"symbol:{name}", after=rules)
    return symbol


CHANGEABLE: Final = frozenset(
    """is_listed route min_quantity max_quantity min_price max_price min_notional max_open_orders static_band dynamic_band market_protection
    halt_s auction_s resumes_by_auction opens_at reference_price order_types""".split()
)
FEES: Final = ("maker_fee", "taker_fee")


def change_symbol(*, symbol_id: int, changes: Mapping[str, Any], actor: str, reason: str) -> bool:
    """Change trading rules (`CHANGEABLE`); False: nothing was different. Orders that were taken keep the fees they were taken at.

    Assets, tick and lot never change; the status is set by `orders.controls.set_symbol_status`, in the worker's sequence; fees take a
    second person (`markets.fee_changes`).
    Owns its transaction; locks the symbol's row. Raises: UnknownSymbol, InvalidRule (also: no reason).
    """
    unknown = sorted(changes.keys() - CHANGEABLE)
    if unknown:
        raise InvalidRule(f"{', '.join(unknown)} of a listed symbol cannot be changed.", field=unknown[0])
    with own():
        return put_rules(symbol_id=symbol_id, changes=changes, actor=actor, reason=reason)


def put_rules(*, symbol_id: int, changes: Mapping[str, Any], actor: str, reason: str) -> bool:
    """As `change_symbol`, and fees when the transaction has approved them (the database asks).

    Joins the caller's transaction; locks the symbol's row. Raises: UnknownSymbol, InvalidRule (also: no reason), RuntimeError outside a
    transaction.
    """
    require_transaction()
    if not reason.strip():
        raise InvalidRule("Say why: the reason is kept in the audit trail.", field="reason")
    symbol = Symbol.objects.select_related("base", "quote").select_for_update(of=("self",), no_key=True).filter(pk=symbol_id).first()
    if symbol is None:
        raise UnknownSymbol("There is no such symbol.", field="symbol")
    before = {name: getattr(symbol, name) for name in changes if getattr(symbol, name) != changes[name]}
    if not before:
        return False
    for name in before:
        setattr(symbol, name, changes[name])
    _check(symbol)
    try:
        symbol.full_clean()
        symbol.save(update_fields=list(before))
    except ValidationError as problem:
        raise _refused(problem) from None
    except IntegrityError as problem:
        raise InvalidRule(str(problem).splitlines()[0]) from None
    told = [{name: plain_value(values[name]) for name in before} for values in (before, dict(changes))]
    audit.record(actor=actor, action="symbol.change", subject=f"symbol:{symbol.name}", reason=reason, before=told[0], after=told[1])
    return True


def plain_value(value: Any) -> Any:
    """A decimal as plain text without trailing zeros, a time of day as HH:MM:SS, anything else as it is."""
    if isinstance(value, time):
        return value.isoformat(timespec="seconds")
    return plain_text(value) if isinstance(value, Decimal) else value


def _check(symbol: Symbol) -> None:
    """The rules of the trigger `symbol_grid` and those that span columns, told in a sentence. Raises: InvalidRule."""
    tick, lot = symbol.tick_size, symbol.lot_size
    for field in ("tick_size", "lot_size", "min_quantity", "max_quantity", "min_price", "max_price", "reference_price"):
        value = getattr(symbol, field)
        if value is not None and not (value.is_finite() and value > 0):
            raise InvalidRule(f"{symbol.name}: {field} must be a positive number, not {value}.", field=field)
    if symbol.base_id == symbol.quote_id:
        raise InvalidRule(f"{symbol.name}: an asset is not traded against itself.", field="quote")
    if decimals_of(lot) > symbol.base.scale:
        raise InvalidRule(
            f"{symbol.name}: a lot of {lot:f} needs more decimals than {symbol.base.code} has ({symbol.base.scale}).", field="lot_size"
        )
    smallest = EXACT.multiply(tick, lot)
    if decimals_of(smallest) > symbol.quote.scale:
        raise InvalidRule(
            f"{symbol.name}: tick × lot = {smallest:f} needs more decimals than {symbol.quote.code} has ({symbol.quote.scale}).",
            field="tick_size",
        )
    for field, unit, step in (
        ("min_quantity", "lots", lot),
        ("max_quantity", "lots", lot),
        ("min_price", "ticks", tick),
        ("max_price", "ticks", tick),
    ):
        value = getattr(symbol, field)
        try:
            if value is not None:
                whole_steps(value, step)
        except OffGrid:
            raise InvalidRule(f"{symbol.name}: {field} {value:f} is not a whole number of {unit} of {step:f}.", field=field) from None
    for least, most in (("min_quantity", "max_quantity"), ("min_price", "max_price")):
        low, high = getattr(symbol, least), getattr(symbol, most)
        if low is not None and high is not None and low > high:
            raise InvalidRule(f"{symbol.name}: {most} is below {least}.", field=most)
    unknown = [kind for kind in symbol.order_types if kind not in ORDER_TYPES]
    if unknown or not symbol.order_types:
        raise InvalidRule(f"{symbol.name}: order types are some of {', '.join(ORDER_TYPES)}, not {unknown or 'none'}.", field="order_types")


def _insert(row: Asset | Symbol) -> None:
    try:
        row.full_clean()
        row.save(force_insert=True)
    except ValidationError as problem:
        raise _refused(problem) from None
    except IntegrityError as problem:  # somebody else was faster, or a rule that only the database knows
        raise InvalidRule(str(problem).splitlines()[0]) from None


def _refused(problem: ValidationError) -> InvalidRule:
    field, messages = next(iter(problem.message_dict.items()))
    return InvalidRule(" ".join(messages), field=None if field == "__all__" else field)
