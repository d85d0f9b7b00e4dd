"""The checksum that tells a client whether its book is ours."""

import zlib
from collections.abc import Sequence
from typing import Final

CHECKSUM_LEVELS: Final = 10


def checksum(bids: Sequence[Sequence[str]], asks: Sequence[Sequence[str]]) -> int:
    """Unsigned CRC-32 of `price:quantity` of up to ten bids, then up to ten asks (best first), joined by `|`; 0 for an empty book."""
    best = [*bids[:CHECKSUM_LEVELS], *asks[:CHECKSUM_LEVELS]]
    return zlib.crc32("|".join([f"{price}:{quantity}" for price, quantity in best]).encode()) if best else 0
