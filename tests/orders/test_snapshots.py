"""Where live channels begin: what a snapshot holds and its sequence are of one moment, and nobody sees another's."""

from collections.abc import Iterator
from typing import Any

import pytest

from orders import market_data, queries, snapshots
from orders.refusals import UnknownSymbol
from tests.matching_worker.exchange import Exchange, open_exchange
from wallet import queries as wallet


@pytest.fixture
def exchange(fresh_database: str) -> Iterator[Exchange]:
    with open_exchange() as made:
        yield made


def reach(trader: Any) -> dict[str, Any]:
    return {"institution_id": trader.account.institution_id, "account_id": trader.id}


def feed(exchange: Exchange, trader: Any) -> tuple[int, int, int]:
    return exchange.row("SELECT orders, trades, balances FROM notifications_feed WHERE account_id = %s", trader.id)  # type: ignore[return-value]


def test_snapshots_hold_what_rest_answers_with_the_sequence_of_the_channel(exchange: Exchange) -> None:
    symbol = exchange.symbol()
    seller, buyer = exchange.trader((symbol.base, 10)), exchange.trader((symbol.quote, 1000))
    for price in ("100", "101", "102"):
        exchange.placed(seller, symbol, "SELL", "1", price)
    exchange.placed(buyer, symbol, "BUY", "1.5", "101")
    exchange.settle()
    exchange.placed(buyer, symbol, "BUY", "1", "90")  # waits: PENDING is open too
    for trader, own_open in ((seller, 2), (buyer, 1)):
        orders, trades, balances = feed(exchange, trader)
        within = {"institution_id": trader.account.institution_id, "account_ids": [trader.id]}
        found = snapshots.user_orders(**reach(trader))
        assert (found.sequence, found.data) == (orders, queries.orders(**within, statuses=["open"]).results)
        assert len(found.data) == own_open
        found = snapshots.user_trades(**reach(trader))
        assert (found.sequence, found.data) == (trades, queries.my_trades(**within).results)
        assert len(found.data) == 2
        found = snapshots.user_balances(**reach(trader))
        assert (found.sequence, found.data) == (balances, wallet.balances(**within))
        assert min(orders, trades, balances) > 0
        sequences, data = snapshots.user(**reach(trader))
        assert sequences == {"user.orders": orders, "user.balances": balances}
        assert data == {"orders": snapshots.user_orders(**reach(trader)).data, "balances": snapshots.user_balances(**reach(trader)).data}
    book = snapshots.orderbook(symbol=symbol.name)
    rest = market_data.book(symbol=symbol.name)
    assert (book.sequence, book.data | {"timestamp": ""}) == (rest["sequence"], rest | {"timestamp": ""})
    trades_of_symbol = snapshots.trades(symbol=symbol.name)
    assert (trades_of_symbol.sequence, trades_of_symbol.data) == (2, market_data.trades(symbol=symbol.name).results)


def test_the_last_fifty_trades_are_shown_and_the_sequence_counts_all(exchange: Exchange) -> None:
    symbol = exchange.symbol()
    seller, buyer = exchange.trader((symbol.base, 100)), exchange.trader((symbol.quote, 10_000))
    for _ in range(60):
        exchange.placed(seller, symbol, "SELL", "1", "100")
        exchange.placed(buyer, symbol, "BUY", "1", "100")
    exchange.settle()
    found = snapshots.trades(symbol=symbol.name)
    assert (found.sequence, len(found.data)) == (60, 50)
    assert found.data == market_data.trades(symbol=symbol.name, limit=50).results
    mine = snapshots.user_trades(**reach(buyer))
    assert (mine.sequence, len(mine.data)) == (60, 50)


def test_what_has_never_moved_begins_at_zero(exchange: Exchange) -> None:
    symbol, trader = exchange.symbol(), exchange.trader()
    assert snapshots.orderbook(symbol=symbol.name).sequence == 0
    assert snapshots.trades(symbol=symbol.name) == (0, [])
    for read in (snapshots.user_orders, snapshots.user_trades, snapshots.user_balances):
        assert read(**reach(trader)) == (0, [])
    found = snapshots.persisted(symbol_ids=[symbol.pk, 32_000], account_ids=[trader.id, 999_999])
    assert found.symbols[symbol.pk]["orderbook"] == found.symbols[symbol.pk]["trades"] == found.symbols[32_000]["ticker"] == 0
    assert found.accounts == {}


def test_what_commits_between_the_two_reads_of_a_snapshot_is_in_neither(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    symbol = exchange.symbol()
    trader = exchange.trader((symbol.base, 10))
    exchange.placed(trader, symbol, "SELL", "1", "100")
    exchange.settle()
    before = feed(exchange, trader)
    real = queries.orders

    def orders_after_another(**wanted: Any) -> queries.Page:
        exchange.placed(trader, symbol, "SELL", "1", "101")
        exchange.settle()
        return real(**wanted)

    monkeypatch.setattr(queries, "orders", orders_after_another)
    found = snapshots.user_orders(**reach(trader))
    assert feed(exchange, trader)[0] > before[0]
    assert (found.sequence, len(found.data)) == (before[0], 1)
    before = feed(exchange, trader)
    sequences, data = snapshots.user(**reach(trader))
    assert (len(data["orders"]), sequences) == (2, {"user.orders": before[0], "user.balances": before[2]})
    held = {row["asset"]: row["held"] for row in data["balances"]}
    assert held[symbol.base.code] == "2.00000000", "balances of the same moment as the orders"


def test_another_institution_sees_nothing_of_an_account(exchange: Exchange) -> None:
    symbol = exchange.symbol()
    mine, other = exchange.trader((symbol.base, 10)), exchange.trader((symbol.base, 10))
    exchange.placed(mine, symbol, "SELL", "1", "100")
    exchange.settle()
    wrong = {"institution_id": other.account.institution_id, "account_id": mine.id}
    for read in (snapshots.user_orders, snapshots.user_trades, snapshots.user_balances):
        assert read(**wrong) == (0, [])
    staff = snapshots.user_orders(institution_id=None, account_id=mine.id)
    assert len(staff.data) == 1
    assert staff.sequence > 0


def test_persisted_is_what_the_snapshots_say(exchange: Exchange) -> None:
    symbol = exchange.symbol()
    seller, buyer = exchange.trader((symbol.base, 10)), exchange.trader((symbol.quote, 1000))
    exchange.placed(seller, symbol, "SELL", "1", "100")
    exchange.placed(buyer, symbol, "BUY", "1", "100")
    exchange.settle()
    found = snapshots.persisted(symbol_ids=[symbol.pk], account_ids=[seller.id, buyer.id])
    assert found.symbols[symbol.pk]["orderbook"] == snapshots.orderbook(symbol=symbol.name).sequence
    assert found.symbols[symbol.pk]["trades"] == 1
    assert found.accounts[buyer.id] == {
        "orders": snapshots.user_orders(**reach(buyer)).sequence,
        "trades": snapshots.user_trades(**reach(buyer)).sequence,
        "balances": snapshots.user_balances(**reach(buyer)).sequence,
    }


def test_an_unknown_symbol_is_refused(exchange: Exchange) -> None:
    for read in (snapshots.orderbook, snapshots.trades):
        with pytest.raises(UnknownSymbol):
            read(symbol="NO/SUCH")
