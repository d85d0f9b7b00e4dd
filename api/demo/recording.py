"""The recorded prices that the simulated market follows, without an end."""

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Final

RECORDING: Final = Path(__file__).with_name("btcusdt-2024-08-08.csv.gz")
ROWS_PER_S: Final = 4

# On 2024-08-08 an ETH cost about 4.34 % of a BTC. The wandering around it returns by itself and stays within a few tenths of a percent.
ETH_PER_BTC: Final = Decimal("0.0434")
WANDER: Final = 0.00004
RETURN: Final = 0.004


@dataclass(frozen=True, slots=True)
class Moment:
    """The middle price, and what takers bought and sold since the moment before (in the base asset)."""

    price: Decimal
    bought: Decimal
    sold: Decimal


def bitcoin(*, every_rows: int) -> Iterator[Moment]:
    """BTC: the recording forwards, then backwards, and so on, so that no price jumps where it begins anew."""
    moments = _read(every_rows)
    backwards = [Moment(moment.price, bought=moment.sold, sold=moment.bought) for moment in reversed(moments)]
    while True:
        yield from moments
        yield from backwards


def ether(chance: Random, *, every_rows: int) -> Iterator[Moment]:
    """ETH, derived: BTC's price at the day's ratio with a wandering of its own; BTC's flow at twenty times the quantity."""
    apart = 0.0
    for moment in bitcoin(every_rows=every_rows):
        apart += chance.gauss(0, WANDER) - RETURN * apart
        price = moment.price * ETH_PER_BTC * Decimal(1 + apart).quantize(Decimal("0.0000001"))
        yield Moment(price, bought=moment.bought * 20, sold=moment.sold * 20)


def _read(every_rows: int) -> list[Moment]:
    with gzip.open(RECORDING, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        Moment(
            price=(Decimal(part[-1]["bid"]) + Decimal(part[-1]["ask"])) / 2,
            bought=sum((Decimal(row["bought"]) for row in part), Decimal(0)),
            sold=sum((Decimal(row["sold"]) for row in part), Decimal(0)),
        )
        for part in (rows[at : at + every_rows] for at in range(0, len(rows), every_rows))
    ]
