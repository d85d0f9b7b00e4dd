"""The outbox: what a transaction has to tell is written by that transaction, and published after it has committed.

News of one account or symbol travel in one row per transaction, packed, so that a busy exchange writes a handful of rows per
batch and not several per order. What a payload means is known to whoever wrote it and to the renderer of its topic
(`exchange_platform.subscriptions`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgspec

from exchange_platform.db import array

ACCOUNT: Final = "account"  # topics
MARKET: Final = "market"
MARKET_DATA: Final = "market_data"
ALERT: Final = "alert"

AGAIN: Final = "again."  # before the stream of a dead letter that is sent again: its lane

INSERT_SQL: Final = """
    INSERT INTO notifications_outbox (topic, stream, events, payload)
    SELECT * FROM unnest(%s::text[], %s::text[], %s::int[], %s::bytea[])"""

RAISE_FEEDS_SQL: Final = """
    INSERT INTO notifications_feed AS f (account_id, orders, trades, balances)
    SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
    ON CONFLICT (account_id) DO UPDATE SET orders = excluded.orders, trades = excluded.trades, balances = excluded.balances"""

READ_FEEDS_SQL: Final = "SELECT account_id, orders, trades, balances FROM notifications_feed WHERE account_id = ANY(%s::bigint[])"

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder()


class Run(Protocol):
    """Executes a statement in the transaction that has the news."""

    def __call__(self, sql: str, parameters: list[Any], /) -> Any: ...


@dataclass(slots=True)
class FeedPosition:
    """The sequences an account's private channels have come to. Read and raised under the account's lock."""

    orders: int = 0
    trades: int = 0
    balances: int = 0


@dataclass(slots=True)
class AccountNews:
    """What one transaction changes of one account; every item becomes one message of its channel."""

    orders: list[Any] = field(default_factory=list)
    trades: list[Any] = field(default_factory=list)
    balances: list[Any] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.orders or self.trades or self.balances)


@dataclass(slots=True)
class Letter:
    """A row of the outbox about to be written."""

    topic: str
    stream: str
    events: int
    payload: Any


def unpack(payload: bytes) -> Any:
    """What a letter's payload was; tuples have become lists. Raises: msgspec.DecodeError."""
    return _decoder.decode(payload)


def account_letters(news: dict[int, AccountNews], positions: dict[int, FeedPosition], *, at_ms: int) -> list[Letter]:
    """News by account as letters, sequences assigned; `positions` moves on. The caller holds the accounts' locks, read the positions
    under them, and writes both letters and positions in this transaction.

    The payload: `[at_ms, first order sequence, orders, first trade sequence, trades, first balance sequence, balances, account id]`.
    """
    letters = []
    for account_id, told in sorted(news.items()):
        if not told:
            continue
        position = positions.setdefault(account_id, FeedPosition())
        payload = [
            at_ms, position.orders + 1, told.orders, position.trades + 1, told.trades, position.balances + 1, told.balances, account_id,
        ]  # fmt: skip
        position.orders += len(told.orders)
        position.trades += len(told.trades)
        position.balances += len(told.balances)
        events = len(told.orders) + len(told.trades) + len(told.balances)
        letters.append(Letter(ACCOUNT, f"{ACCOUNT}.{account_id}", events, payload))
    return letters


def write(run: Run, letters: list[Letter]) -> None:
    """Into the transaction's outbox, in order."""
    if letters:
        run(
            INSERT_SQL,
            [
                [letter.topic for letter in letters],
                [letter.stream for letter in letters],
                array(letter.events for letter in letters),
                [_encoder.encode(letter.payload) for letter in letters],
            ],
        )


def raise_feeds(run: Run, accounts: Iterable[int], positions: dict[int, FeedPosition]) -> None:
    """The accounts' positions become what `account_letters` made of them."""
    rows = [(account_id, positions[account_id]) for account_id in sorted(accounts)]
    if rows:
        run(
            RAISE_FEEDS_SQL,
            [
                array(account_id for account_id, _ in rows),
                array(position.orders for _, position in rows),
                array(position.trades for _, position in rows),
                array(position.balances for _, position in rows),
            ],
        )
