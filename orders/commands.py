"""Commands on their way from intake to the matching worker, packed one row per intake batch and symbol.

The same bytes go into the command log, so this format is what replay reads: additive changes only. A command is a list whose
first item is its letter; ids are 32 hex digits, prices ticks, quantities lots, fee rates parts of 10^8. Money is units of the asset as
text, since it can be more than 64 bits hold.

    P order account side ticks lots time_in_force prevention maker_rate taker_rate request   place
    B order account ticks held prevention maker_rate taker_rate request                      market buy by quote amount (`held` units)
    C order reason actor request                                                             cancel
    A order amend account side ticks total extra actor request                               amend; ticks or total 0: that one stays
    S status actor request                                                                   the symbol's status
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from matching.core import messages

PLACE: Final = "P"
PLACE_BY_BUDGET: Final = "B"
CANCEL: Final = "C"
AMEND: Final = "A"
SET_STATUS: Final = "S"

SIDES: Final = {"BUY": messages.BUY, "SELL": messages.SELL}
SIDE_NAMES: Final = ("BUY", "SELL")
TIMES_IN_FORCE: Final = {"GTC": messages.GTC, "IOC": messages.IOC, "FOK": messages.FOK, "GTX": messages.GTX}
PREVENTIONS: Final = {
    "CANCEL_NEWEST": messages.CANCEL_NEWEST,
    "CANCEL_OLDEST": messages.CANCEL_OLDEST,
    "CANCEL_BOTH": messages.CANCEL_BOTH,
    "DECREMENT": messages.DECREMENT,
}

Command = list[Any]

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[list[Any]])


def pack(commands: Sequence[Command]) -> bytes:
    """Commands in order as bytes."""
    return _encoder.encode(commands)


def unpack(payload: bytes) -> list[Command]:
    """Raises msgspec.DecodeError."""
    return _decoder.decode(payload)
