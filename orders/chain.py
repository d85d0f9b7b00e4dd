"""The hash that ties every entry of a command log to all entries before it, and the kinds of anchors on it. Pure."""

from hashlib import sha256
from typing import Final

# An anchor is written every so many commands, or where what is left of a log begins.
VERIFIED: Final = "VERIFIED"
DETACHED: Final = "DETACHED"


def chain_after(
    previous: bytes,
    *,
    symbol_id: int,
    first_sequence: int,
    last_sequence: int,
    epoch: int,
    stamp_ms: int,
    state_hash: int,
    payload: bytes,
) -> bytes:
    """The chain (32 bytes) after an entry: SHA-256 over the chain before it and everything that the engine wrote into the entry.

    `orders.command_log` and `orders.invariants` reckon the same in SQL.
    """
    words = f"{symbol_id}|{first_sequence}|{last_sequence}|{epoch}|{stamp_ms}|{state_hash}|"
    return sha256(previous + words.encode() + payload).digest()
