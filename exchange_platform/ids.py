"""Identifiers that sort by time: UUIDv7 (RFC 9562). Tables are partitioned and lists are ordered by them."""

import os
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_lock = threading.Lock()
_last_ms = 0
_counter = 0
_RANDOM_BYTES = 8 * 512
_random = memoryview(b"")  # fetched ahead: a system call gives up the interpreter, and in a busy process getting it back takes milliseconds


def _forget_random() -> None:
    """Parent and child must not use the same random numbers."""
    global _random
    _random = memoryview(b"")


os.register_at_fork(after_in_child=_forget_random)


def uuid7(*, ms: int | None = None) -> uuid.UUID:
    """A new UUIDv7 of this millisecond (default: now), rising within the process.

    Layout: 48 bits milliseconds, version, 12 bits that count up within a millisecond, variant, 62 random bits. When more than
    4,096 are made in one millisecond the time runs ahead by one.
    """
    global _last_ms, _counter, _random
    if ms is None:
        ms = time.time_ns() // 1_000_000
    with _lock:
        if ms > _last_ms:
            _last_ms, _counter = ms, 0
        else:
            _counter += 1
            if _counter > 0xFFF:
                _last_ms, _counter = _last_ms + 1, 0
        stamp, count = _last_ms, _counter
        if not _random:
            _random = memoryview(os.urandom(_RANDOM_BYTES))
        tail = int.from_bytes(_random[:8], "big") & 0x3FFF_FFFF_FFFF_FFFF
        _random = _random[8:]
    return uuid.UUID(int=stamp << 80 | 0x7 << 76 | count << 64 | 0x2 << 62 | tail)


def uuid_ms(value: uuid.UUID) -> int:
    """Milliseconds since 1970 of a UUIDv7."""
    return value.int >> 80


def moment_of(ms: int) -> datetime:
    """The moment so many milliseconds after 1970 began, UTC. Whole numbers only, as in `uuid_floor`."""
    return _EPOCH + timedelta(milliseconds=ms)


def ms_of(moment: datetime) -> int:
    """Whole milliseconds from 1970 to a moment."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def uuid_floor(moment: datetime) -> uuid.UUID:
    """The smallest UUIDv7 of this moment's millisecond: a bound for ranges by time. Whole numbers only: a float loses the last one."""
    ms = max(0, min(ms_of(moment), 2**48 - 1))
    return uuid.UUID(int=ms << 80)
