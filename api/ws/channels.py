"""The channels of the contract: their names, whom they are for, where they begin and which group of the channel layer carries them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from api.errors import BadInput
from api.lookups import listed_symbols
from api.rest.parsing import missing, unknown_symbol
from api.threads import run_in_thread
from markets.units import known_market, market_by_name
from notifications.channels import account_group, symbol_group
from orders import candles, snapshots
from orders.snapshots import Persisted, Snapshot

PUBLIC: Final[dict[str, Callable[..., Any]]] = {
    "orderbook": snapshots.orderbook,
    "trades": snapshots.trades,
    "ticker": candles.ticker_snapshot,
}
PRIVATE: Final[dict[str, Callable[..., Snapshot]]] = {
    "user.orders": snapshots.user_orders,
    "user.trades": snapshots.user_trades,
    "user.balances": snapshots.user_balances,
}
MOST_PER_MESSAGE: Final = 200
NAME_LENGTH: Final = 80


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel of one symbol or one account. `name` is the client's, `key` tells accounts apart as well.

    `load` reads what it begins with, in a thread; `reached` finds its sequence among those that the database has.
    """

    name: str
    key: str
    group: str
    load: Callable[[], tuple[int, Any]]
    symbol_id: int | None = None
    account_id: int | None = None

    def reached(self, found: Persisted) -> int:
        if self.symbol_id is not None:
            kind, _, rest = self.name.partition(".")
            name = kind if kind != "candles" else f"candles.{rest.rpartition('.')[2]}"
            return found.symbols.get(self.symbol_id, {}).get(name, 0)
        assert self.account_id is not None
        return found.accounts.get(self.account_id, {}).get(self.name.removeprefix("user."), 0)


def names_of(value: object) -> list[str]:
    """The channel names of a message, each once, in their order. Raises: BadInput."""
    if value is None:
        raise missing("channels")
    if type(value) is not list or not 0 < len(value) <= MOST_PER_MESSAGE:
        raise BadInput(f"channels must be a list of 1 to {MOST_PER_MESSAGE} names.", field="channels")
    return list(dict.fromkeys(name_of(name, field="channels") for name in value))


def name_of(value: object, *, field: str) -> str:
    """Raises: BadInput."""
    if type(value) is not str or len(value) > NAME_LENGTH or not (value in PRIVATE or _is_public(value)):
        raise BadInput(
            "A channel is orderbook.SYMBOL, trades.SYMBOL, ticker.SYMBOL, candles.SYMBOL.INTERVAL "
            f"({', '.join(candles.INTERVALS)}), {', '.join(PRIVATE)}.",
            field=field,
        )
    return value


def _is_public(name: str) -> bool:
    kind, _, rest = name.partition(".")
    if kind == "candles":
        rest, _, interval = rest.rpartition(".")
        return bool(rest) and interval in candles.INTERVALS
    return bool(rest) and kind in PUBLIC


async def public(names: Sequence[str]) -> list[Channel]:
    """The channels of symbols. Raises: UnknownSymbol, and what the database raises for symbols not seen before."""
    symbols = {name: _symbol_in(name) for name in names}
    listed = await listed_symbols(*symbols.values())
    if not listed.issuperset(symbols.values()):
        error = unknown_symbol()
        error.field = "channels"
        raise error
    return [await _public(name, symbol) for name, symbol in symbols.items()]


def _symbol_in(name: str) -> str:
    kind, _, rest = name.partition(".")
    return rest.rpartition(".")[0] if kind == "candles" else rest


async def _public(name: str, symbol: str) -> Channel:
    market = known_market(symbol) or await run_in_thread(market_by_name, symbol)
    assert market is not None  # listed symbols exist, and for ever
    kind = name.partition(".")[0]
    if kind == "candles":
        load = partial(candles.candle_snapshot, symbol=symbol, interval=name.rpartition(".")[2])
    else:
        load = partial(PUBLIC[kind], symbol=symbol)
    return Channel(name, name, symbol_group(market.id), load, symbol_id=market.id)


def private(name: str, *, institution_id: int | None, account_id: int) -> Channel:
    """A channel of an account that the caller has been allowed."""
    load = partial(PRIVATE[name], institution_id=institution_id, account_id=account_id)
    return Channel(name, f"{account_id}/{name}", account_group(account_id), load, account_id=account_id)
