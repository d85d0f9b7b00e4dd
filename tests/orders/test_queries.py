"""What each institution sees of orders, trades and the ledger, as the tenants' role."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest

from markets import units
from orders import market_data, queries
from orders.refusals import UnknownSymbol
from tests.factories import AccountFactory, AssetFactory, InstitutionFactory, SymbolFactory, fund, order_row, trade_row
from wallet import queries as wallet

NOW_MS = int(datetime.now(UTC).timestamp() * 1000) - 100_000


def forget() -> None:
    for cache in (units, wallet, market_data):
        cache.forget()


@pytest.fixture(scope="module")
def world(module_database: str) -> Iterator[SimpleNamespace]:
    """North with n-1 and n-2, South with s-1; two symbols.

    n-1 has orders 0 … 11, one a second: 0 and 6 OPEN, 1 and 7 FILLED, 2 and 8 CANCELLED, 3 and 9 PARTIALLY_FILLED, 4 and 10 REJECTED,
    5 and 11 PENDING; even ones BUY; from 8 on of the second symbol. n-2 and s-1 have one OPEN each.
    Trades: 0 n-1 (maker) sells to s-1, 1 s-1 (maker) sells to n-1, 2 n-1 (maker) sells to n-2, 3 s-1 (maker) sells to n-2.
    """
    forget()
    north, south = InstitutionFactory(code="north"), InstitutionFactory(code="south")
    usd, coin, gem = AssetFactory(code="USD", scale=5), AssetFactory(code="COIN", scale=6), AssetFactory(code="GEM", scale=0)
    first = SymbolFactory(base=coin, quote=usd)
    second = SymbolFactory(base=gem, quote=usd, lot_size=Decimal(1), tick_size=Decimal("0.5"))
    one, two, foreign = (AccountFactory(name=name, institution=i) for name, i in (("n-1", north), ("n-2", north), ("s-1", south)))
    statuses = ("OPEN", "FILLED", "CANCELLED", "PARTIALLY_FILLED", "REJECTED", "PENDING")
    mine = [
        order_row(
            one,
            first if n < 8 else second,
            at_ms=NOW_MS + n * 1000,
            status=statuses[n % 6],
            side="SELL" if n % 2 else "BUY",
            client_order_id=f"mine-{n}",
        )
        for n in range(12)
    ]
    second_account = order_row(two, first, at_ms=NOW_MS + 20_000, client_order_id="mine-0")
    theirs = order_row(foreign, first, at_ms=NOW_MS + 30_000, client_order_id="theirs")
    trades = [
        trade_row(one, foreign, first, at_ms=NOW_MS + 40_000, maker_order_id=mine[1], taker_order_id=theirs),
        trade_row(foreign, one, first, at_ms=NOW_MS + 41_000, price="101.5", quantity="2.5", maker_order_id=theirs, taker_order_id=mine[1]),
        trade_row(one, two, first, at_ms=NOW_MS + 42_000),
        trade_row(foreign, two, second, at_ms=NOW_MS + 43_000, price="99.5", quantity="3"),
    ]
    fund(one, usd, 1000)
    yield SimpleNamespace(**{name: value for name, value in locals().items() if name != "statuses"})
    forget()


def ids(page: queries.Page) -> list[str]:
    return [row["order_id"] for row in page.results]


def texts(*identities: UUID) -> list[str]:
    return [str(identity) for identity in identities]


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp((NOW_MS + int(seconds * 1000)) / 1000, UTC)


class TestOneOrder:
    def test_it_is_found_with_its_fills_oldest_first(self, world):
        order = queries.order_by_id(institution_id=world.north.pk, account_ids=[world.one.pk], order_id=world.mine[1])

        assert (order["client_order_id"], order["account"], order["symbol"], order["status"]) == ("mine-1", "n-1", "COIN/USD", "FILLED")
        assert [(f["trade_id"], f["is_maker"], f["price"], f["quantity"], f["fee"], f["fee_asset"]) for f in order["fills"]] == [
            (str(world.trades[0]), True, "100.00", "1.000", "0.10000", "USD"),
            (str(world.trades[1]), False, "101.50", "2.500", "0.002500", "COIN"),
        ]

    def test_by_client_id_it_is_the_same(self, world):
        scope = {"institution_id": world.north.pk, "account_ids": [world.one.pk]}
        assert queries.order_by_client_id(client_order_id="mine-1", **scope) == queries.order_by_id(order_id=world.mine[1], **scope)

    def test_of_two_accounts_with_one_client_id_each_key_finds_its_own_and_the_institution_the_newest(self, world):
        def found(account_ids):
            return queries.order_by_client_id(institution_id=world.north.pk, account_ids=account_ids, client_order_id="mine-0")["order_id"]

        assert found([world.one.pk]) == str(world.mine[0])
        assert found([world.two.pk]) == str(world.second_account)
        assert found(None) == str(world.second_account)

    @pytest.mark.parametrize("account", [None, "one", "two"])
    def test_what_belongs_to_others_is_not_there(self, world, account):
        account_ids = None if account is None else [getattr(world, account).pk]
        scope = {"institution_id": world.north.pk, "account_ids": account_ids}
        assert queries.order_by_id(order_id=world.theirs, **scope) is None
        assert queries.order_by_client_id(client_order_id="theirs", **scope) is None

    def test_not_even_when_the_foreign_account_is_asked_for_by_id(self, world):
        scope = {"institution_id": world.north.pk, "account_ids": [world.foreign.pk]}
        assert queries.order_by_id(order_id=world.theirs, **scope) is None
        assert queries.order_by_client_id(client_order_id="theirs", **scope) is None
        assert queries.orders(**scope) == ([], None)
        assert queries.orders(statuses=["open"], **scope) == ([], None)
        assert queries.my_trades(**scope) == ([], None)
        assert queries.ledger(**scope) == ([], None)

    def test_an_accounts_key_does_not_see_its_neighbour(self, world):
        assert queries.order_by_id(institution_id=world.north.pk, account_ids=[world.two.pk], order_id=world.mine[1]) is None

    def test_staff_see_everybodys(self, world):
        assert queries.order_by_id(institution_id=None, account_ids=None, order_id=world.theirs)["account"] == "s-1"

    def test_an_order_that_never_was_is_not_there(self, world):
        assert queries.order_by_id(institution_id=None, account_ids=None, order_id=uuid4()) is None


class TestLists:
    def listed(self, world, **filters) -> list[str]:
        return ids(queries.orders(**{"institution_id": world.north.pk, "account_ids": [world.one.pk], **filters}))

    def test_newest_first(self, world):
        assert self.listed(world) == texts(*reversed(world.mine))

    def test_an_institution_sees_all_its_accounts_in_one_order(self, world):
        assert self.listed(world, account_ids=None) == texts(world.second_account, *reversed(world.mine))

    def test_staff_see_all(self, world):
        everything = texts(world.theirs, world.second_account, *reversed(world.mine))
        assert self.listed(world, institution_id=None, account_ids=None) == everything

    def test_pages_follow_each_other_without_a_gap_or_a_repeat(self, world):
        for scope in ({"account_ids": [world.one.pk]}, {"account_ids": None}, {"institution_id": None, "account_ids": None}):
            for statuses in ((), ("open",)):
                whole, paged, before = self.listed(world, statuses=statuses, **scope), [], None
                for _ in range(20):
                    filters = {"institution_id": world.north.pk, **scope}
                    page = queries.orders(limit=3, before=before, statuses=statuses, **filters)
                    paged += ids(page)
                    before = page.next_before
                    if before is None:
                        break
                assert paged == whole

    @pytest.mark.parametrize(
        ("filters", "numbers"),
        [
            ({"statuses": ["open"]}, [11, 9, 6, 5, 3, 0]),
            ({"statuses": ["OPEN"]}, [6, 0]),
            ({"statuses": ["PENDING", "PARTIALLY_FILLED"]}, [11, 9, 5, 3]),
            ({"statuses": ["FILLED"]}, [7, 1]),
            ({"statuses": ["open", "FILLED"]}, [11, 9, 7, 6, 5, 3, 1, 0]),
            ({"statuses": ["EXPIRED"]}, []),
            ({"side": "SELL"}, [11, 9, 7, 5, 3, 1]),
            ({"side": "BUY", "statuses": ["open"]}, [6, 0]),
            ({"symbol": "GEM/USD"}, [11, 10, 9, 8]),
            ({"symbol": "GEM/USD", "statuses": ["open"]}, [11, 9]),
            ({"symbol": "GEM/USD", "statuses": ["REJECTED"], "side": "BUY"}, [10]),
            ({"start_time": at(8)}, [11, 10, 9, 8]),
            ({"end_time": at(2)}, [2, 1, 0]),
            ({"start_time": at(2), "end_time": at(4), "statuses": ["open"]}, [3]),
            ({"start_time": at(2), "end_time": at(2)}, [2]),
            ({"start_time": at(2.001), "end_time": at(2.999)}, []),
            ({"start_time": at(4), "end_time": at(2)}, []),
            ({"end_time": datetime(1960, 1, 1, tzinfo=UTC)}, []),
            (
                {
                    "start_time": datetime(1960, 1, 1, tzinfo=UTC),
                    "end_time": datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC),
                    "statuses": ["REJECTED"],
                },
                [10, 4],
            ),
        ],
    )
    def test_filters_narrow_what_is_listed(self, world, filters, numbers):
        for scope in ({}, {"account_ids": None}, {"institution_id": None, "account_ids": None}):
            found = self.listed(world, **filters, **scope)
            assert [i for i in found if i in texts(*world.mine)] == texts(*[world.mine[n] for n in numbers])

    def test_an_unknown_symbol_is_told(self, world):
        with pytest.raises(UnknownSymbol):
            self.listed(world, symbol="NO/SUCH")

    def test_a_list_shows_no_fills(self, world):
        page = queries.orders(institution_id=world.north.pk, account_ids=[world.one.pk], statuses=["FILLED"])
        assert [row["fills"] for row in page.results] == [[], []]


class TestOwnTrades:
    def test_each_side_sees_its_own_order_fee_and_role(self, world):
        rows = queries.my_trades(institution_id=world.south.pk, account_ids=[world.foreign.pk]).results

        assert [row["trade_id"] for row in rows] == texts(world.trades[3], world.trades[1], world.trades[0])
        assert rows[1] == {
            "trade_id": str(world.trades[1]),
            "symbol": "COIN/USD",
            "price": "101.50",
            "quantity": "2.500",
            "side": "BUY",
            "is_buyer_maker": False,
            "timestamp": at(41).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at(41).microsecond // 1000:03d}Z",
            "account": "s-1",
            "order_id": str(world.theirs),
            "fee": "0.25375",
            "fee_asset": "USD",
            "is_maker": True,
        }
        assert (rows[2]["is_maker"], rows[2]["fee"], rows[2]["fee_asset"]) == (False, "0.001000", "COIN")

    def test_a_trade_between_two_own_accounts_is_there_for_both(self, world):
        rows = queries.my_trades(institution_id=world.north.pk, account_ids=None).results
        both = [(row["account"], row["is_maker"]) for row in rows if row["trade_id"] == str(world.trades[2])]
        assert both == [("n-1", True), ("n-2", False)]

    def test_and_is_never_split_over_two_pages(self, world):
        for limit in (1, 2, 3, 4, 5):
            seen, before = [], None
            for _ in range(10):
                page = queries.my_trades(institution_id=world.north.pk, account_ids=None, limit=limit, before=before)
                assert len(page.results) <= max(limit, 2)
                seen += [(row["trade_id"], row["account"]) for row in page.results]
                before = page.next_before
                if before is None:
                    break
            whole = queries.my_trades(institution_id=world.north.pk, account_ids=None).results
            assert seen == [(row["trade_id"], row["account"]) for row in whole]
            assert len(seen) == 5

    @pytest.mark.parametrize(
        ("filters", "numbers"),
        [({"symbol": "GEM/USD"}, [3]), ({"start_time": at(41), "end_time": at(42)}, [1]), ({"end_time": at(40)}, [0]), ({"limit": 1}, [3])],
    )
    def test_filters_narrow_them(self, world, filters, numbers):
        rows = queries.my_trades(institution_id=world.south.pk, account_ids=None, **filters).results
        assert [row["trade_id"] for row in rows] == texts(*[world.trades[n] for n in numbers])

    def test_an_unknown_symbol_is_told(self, world):
        with pytest.raises(UnknownSymbol):
            queries.my_trades(institution_id=None, account_ids=None, symbol="NO/SUCH")


class TestLedger:
    def rows(self, world, **scope) -> list[tuple[str, str, str, str]]:
        page = queries.ledger(**{"institution_id": world.north.pk, "account_ids": [world.one.pk], **scope})
        return [(row["account"], row["kind"], row["asset"], row["amount"]) for row in page.results]

    def test_transfers_are_seen_from_the_account_newest_first(self, world):
        assert self.rows(world) == [
            ("n-1", "DEPOSIT", "USD", "1000.00000"),
            ("n-1", "TRADE", "COIN", "-1.000000"),
            ("n-1", "TRADE", "USD", "100.00000"),
            ("n-1", "MAKER_FEE", "USD", "-0.10000"),
            ("n-1", "TRADE", "COIN", "2.500000"),
            ("n-1", "TRADE", "USD", "-253.75000"),
            ("n-1", "TAKER_FEE", "COIN", "-0.002500"),
            ("n-1", "TRADE", "COIN", "-1.000000"),
            ("n-1", "TRADE", "USD", "100.00000"),
            ("n-1", "MAKER_FEE", "USD", "-0.10000"),
        ]

    def test_they_add_up_to_what_each_asset_should_be(self, world):
        page = queries.ledger(institution_id=world.north.pk, account_ids=[world.one.pk])
        total = sum(Decimal(row["amount"]) for row in page.results if row["asset"] == "COIN")
        assert total == Decimal("0.4975")
        assert all(row["counterpart"] is None for row in page.results)

    def test_an_institution_sees_both_sides_of_what_its_accounts_did_together(self, world):
        both = [row for row in self.rows(world, account_ids=None) if row[1] == "TRADE" and row[3] in ("1.000000", "-1.000000")]
        assert [row[0] for row in both] == ["n-1", "n-2", "n-1"]

    def test_nothing_of_the_other_party_is_told(self, world):
        page = queries.ledger(institution_id=world.north.pk, account_ids=None)
        assert {row["account"] for row in page.results} == {"n-1", "n-2"}
        assert "s-1" not in str(page.results)

    def test_pages_follow_each_other_and_split_no_trade(self, world):
        for account_ids in ([world.one.pk], None):
            whole = queries.ledger(institution_id=world.north.pk, account_ids=account_ids, limit=500).results
            for limit in (1, 2, 3, 4, 5, 7):
                seen, before = [], None
                for _ in range(20):
                    page = queries.ledger(institution_id=world.north.pk, account_ids=account_ids, limit=limit, before=before)
                    seen += page.results
                    before = page.next_before
                    if before is None:
                        break
                assert seen == whole


def test_everybody_pays_the_symbols_fees(world):
    assert queries.fees(institution_id=world.north.pk, account_ids=None) == [
        {"symbol": "COIN/USD", "maker_fee": "0.001", "taker_fee": "0.001"},
        {"symbol": "GEM/USD", "maker_fee": "0.001", "taker_fee": "0.001"},
    ]


class TestPublicTrades:
    PUBLIC = {"trade_id", "symbol", "price", "quantity", "side", "is_buyer_maker", "timestamp"}

    def test_a_symbols_trades_are_newest_first_and_name_nobody(self, world):
        page = market_data.trades(symbol="COIN/USD", limit=2)

        assert [row["trade_id"] for row in page.results] == texts(world.trades[2], world.trades[1])
        assert all(set(row) == self.PUBLIC for row in page.results)
        rest = market_data.trades(symbol="COIN/USD", limit=2, before=page.next_before)
        assert ([row["trade_id"] for row in rest.results], rest.next_before) == (texts(world.trades[0]), None)

    def test_one_trade_shows_strangers_its_public_fields_alone(self, world):
        for scope in ({}, {"institution_id": world.north.pk, "account_ids": [world.two.pk]}, {"institution_id": None, "account_ids": None}):
            assert set(market_data.trade(trade_id=world.trades[0], **scope)) == self.PUBLIC

    def test_a_party_sees_its_own_side(self, world):
        maker = market_data.trade(trade_id=world.trades[0], institution_id=world.north.pk, account_ids=[world.one.pk])
        taker = market_data.trade(trade_id=world.trades[0], institution_id=world.south.pk, account_ids=None)

        assert (maker["account"], maker["is_maker"], maker["order_id"]) == ("n-1", True, str(world.mine[1]))
        assert (taker["account"], taker["is_maker"], taker["order_id"]) == ("s-1", False, str(world.theirs))

    def test_a_foreign_account_does_not_open_it(self, world):
        scope = {"institution_id": world.north.pk, "account_ids": [world.foreign.pk]}
        assert set(market_data.trade(trade_id=world.trades[0], **scope)) == self.PUBLIC

    def test_both_sides_in_reach_show_the_takers(self, world):
        assert market_data.trade(trade_id=world.trades[2], institution_id=world.north.pk, account_ids=None)["account"] == "n-2"

    def test_a_trade_that_never_was_is_not_there(self, world):
        assert market_data.trade(trade_id=uuid4()) is None

    def test_an_unknown_symbol_is_told(self, world):
        for read in (market_data.trades, market_data.book, market_data.ticker, market_data.cumulative_depth):
            with pytest.raises(UnknownSymbol):
                read(symbol="NO/SUCH")


def test_the_time_of_a_trade_bounds_the_list_as_its_id_does(world):
    rows = queries.my_trades(institution_id=None, account_ids=None, start_time=at(43), end_time=at(43) + timedelta(seconds=1)).results
    assert {row["trade_id"] for row in rows} == {str(world.trades[3])}
