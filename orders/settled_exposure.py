"""What a settlement does to positions and to exposure (`risk.models`): how much, and the rows of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from exchange_platform.ids import moment_of

if TYPE_CHECKING:  # it calls this module
    from orders.settlement import SymbolBatch

# The first trade of a day leaves behind what the position was before it.
POSITIONS_SQL: Final = """
    INSERT INTO risk_position AS p (account_id, symbol_id, quantity, cost, realised, day)
    SELECT * FROM unnest(%s::bigint[], %s::int[], %s::numeric[], %s::numeric[], %s::numeric[], %s::date[])
    ON CONFLICT (account_id, symbol_id) DO UPDATE SET quantity = excluded.quantity, cost = excluded.cost, realised = excluded.realised,
        day = excluded.day,
        opening_quantity = CASE WHEN p.day = excluded.day THEN p.opening_quantity ELSE p.quantity END,
        opening_cost = CASE WHEN p.day = excluded.day THEN p.opening_cost ELSE p.cost END,
        opening_realised = CASE WHEN p.day = excluded.day THEN p.opening_realised ELSE p.realised END"""

EXPOSURES_SQL: Final = """
    UPDATE risk_exposure e SET buying = e.buying + u.buying, spending = e.spending + u.spending, open_value = e.open_value + u.open_value,
        traded = CASE WHEN u.traded = 0 OR e.day = u.day THEN e.traded ELSE 0 END + u.traded,
        day = CASE WHEN u.traded = 0 THEN e.day ELSE u.day END
    FROM unnest(%s::bigint[], %s::int[], %s::numeric[], %s::numeric[], %s::numeric[], %s::numeric[], %s::date[])
        AS u(account_id, symbol_id, buying, spending, open_value, traded, day)
    WHERE e.account_id = u.account_id AND e.symbol_id = u.symbol_id"""


@dataclass(slots=True)
class ExposureChange:
    """How an account's exposure on a symbol changes: lots still to buy, and in units of quote what buys by amount may spend, what is open
    at its own price, and what was traded."""

    lots: int = 0
    spending: int = 0
    value: int = 0
    traded: int = 0


class AmendExtras(NamedTuple):
    """What a pending amend reserves beside its order: units of an asset held, and lots to buy and ticks × lots counted."""

    amend_id: str
    asset_id: int
    extra: int
    lots: int
    steps: int


def position_rows(batches: "Sequence[SymbolBatch]") -> list[tuple[Any, ...]]:
    """For POSITIONS_SQL, by account and symbol."""
    rows = []
    for batch in batches:
        market, day = batch.progress.market, moment_of(batch.stamp_ms).date().isoformat()
        for account_id in batch.moved:
            position = batch.progress.positions[account_id]
            rows.append((
                account_id, market.id, market.quantity_text(position.lots), market.quote_text(position.cost),
                market.quote_text(position.realised), day,
            ))  # fmt: skip
    rows.sort()
    return rows


def exposure_rows(batches: "Sequence[SymbolBatch]") -> list[tuple[Any, ...]]:
    """For EXPOSURES_SQL, by account and symbol."""
    rows = []
    for batch in batches:
        market, day = batch.progress.market, moment_of(batch.stamp_ms).date().isoformat()
        for account_id, change in batch.exposed.items():
            rows.append((
                account_id, market.id, market.quantity_text(change.lots), market.quote_text(change.spending),
                market.quote_text(change.value), market.quote_text(change.traded), day,
            ))  # fmt: skip
    rows.sort()
    return rows
