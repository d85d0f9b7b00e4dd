"""Commands on their way from intake to the matching worker, packed one row per intake batch and symbol.

The same bytes go into the command log, so this format is what replay reads: additive changes only. A command is a list whose
first item is its letter; ids are 32 hex digits, prices ticks, quantities lots, fee rates parts of 10^8. Money is units of the asset as
text, since it can be more than 64 bits hold.

    P order account side ticks lots time_in_force prevention maker_rate taker_rate request   place
    W … of P, then expire_ms reduce_only stop rising source priced                           place with terms (0: without this one)
    B order account ticks held prevention maker_rate taker_rate request                      market buy by quote amount (`held` units)
    C order reason actor request                                                             cancel
    A order amend account side ticks total extra actor request [lots steps]                  amend; ticks or total 0: that one stays;
                                                                                             lots and ticks × lots (text) counted for it
    S status actor request                                                                   the symbol's status
    F low high price actor request                                                           reference price (text) and its ticks
    R rules                                                                                  what `matching.core.conditions.Rules` holds
    T                                                                                        time has come: what is due ends

R and T are the worker's own: nobody else sends them, and they are in the log because replay needs them.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from matching.core import messages

PLACE: Final = "P"
PLACE_WITH_TERMS: Final = "W"
PLACE_BY_BUDGET: Final = "B"
CANCEL: Final = "C"
AMEND: Final = "A"
SET_STATUS: Final = "S"
REFERENCE: Final = "F"
RULES: Final = "R"
TIME: Final = "T"

SIDES: Final = {"BUY": messages.BUY, "SELL": messages.SELL}
SIDE_NAMES: Final = ("BUY", "SELL")
TIMES_IN_FORCE: Final = {
    "GTC": messages.GTC,
    "GTD": messages.GTC,  # its end is a term of its own
    "IOC": messages.IOC,
    "FOK": messages.FOK,
    "GTX": messages.GTX,
}
TRIGGER_SOURCES: Final = {"LAST": messages.LAST, "REFERENCE": messages.REFERENCE}
STOP_TYPES: Final = frozenset({"STOP", "STOP_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"})
MARKET_TYPES: Final = frozenset({"MARKET", "STOP", "TAKE_PROFIT"})
PREVENTIONS: Final = {
    "CANCEL_NEWEST": messages.CANCEL_NEWEST,
    "CANCEL_OLDEST": messages.CANCEL_OLDEST,
    "CANCEL_BOTH": messages.CANCEL_BOTH,
    "DECREMENT": messages.DECREMENT,
}

Command = list[Any]


def book_time_in_force(order_type: str, time_in_force: str) -> int:
    """What an order's time in force is to the book: whatever trades at market and is not FOK is MARKET there."""
    if order_type in MARKET_TYPES and time_in_force != "FOK":
        return messages.MARKET
    return TIMES_IN_FORCE[time_in_force]


def is_rising(order_type: str, side: str) -> bool:
    """Whether a stop waits for the price to rise: STOP buys and TAKE_PROFIT sells do (specification 5)."""
    return (side == "BUY") == order_type.startswith("STOP")


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[list[Any]])


def pack(commands: Sequence[Command]) -> bytes:
    """Commands in order as bytes."""
    return _encoder.encode(commands)


def unpack(payload: bytes) -> list[Command]:
    """Raises msgspec.DecodeError."""
    return _decoder.decode(payload)
