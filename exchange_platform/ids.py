"""Identities that sort by time: UUIDv7 (RFC 9562), whose first 48 bits are milliseconds since 1970, so partitions prune by them."""

import os
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

_VERSION: Final = 7 << 76
_VARIANT: Final = 0b10 << 62
_RANDOM_62: Final = (1 << 62) - 1
_COUNTER_END: Final = 1 << 12
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class _Sequence:
    """Milliseconds and a 12-bit counter that only grow; a counter that is full borrows the next millisecond."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ms = -1
        self._counter = 0

    def next(self, ms: int, *, exact: bool) -> int:
        """The upper 64 bits' time and counter as one number, larger than the last one.

        `exact`: an earlier `ms` than the last one is taken as it is (and starts a new sequence) instead of being raised.
        """
        with self._lock:
            if ms > self._ms or (exact and ms < self._ms):
                self._ms, self._counter = ms, 0
            else:
                self._counter += 1
                if self._counter == _COUNTER_END:
                    self._ms, self._counter = self._ms + 1, 0
            return self._ms << 80 | self._counter << 64


_by_clock = _Sequence()
_by_caller = _Sequence()


def _number(ms: int | None) -> int:
    moment = _by_clock.next(time.time_ns() // 1_000_000, exact=False) if ms is None else _by_caller.next(ms, exact=True)
    return moment | _VERSION | _VARIANT | int.from_bytes(os.urandom(8), "big") & _RANDOM_62


def uuid7(*, ms: int | None = None) -> UUID:
    """A new UUIDv7: 48 bits of milliseconds, a 12-bit counter, 62 random bits. Safe to call from any thread.

    Without `ms` it carries this machine's clock and is larger than every earlier one of this process, even when the clock is
    set back. With `ms` (milliseconds since 1970) it carries that moment, and ids grow as long as the moments given do.
    """
    return UUID(int=_number(ms))


def uuid7_hex(*, ms: int | None = None) -> str:
    """As `uuid7`, as 32 hexadecimal digits, which PostgreSQL takes as a uuid; spares the object where ids are made in bulk."""
    return f"{_number(ms):032x}"


def uuid_floor(moment: datetime) -> UUID:
    """The bound below every UUIDv7 of this millisecond or later and above every earlier one; `exchange_uuid_from` of the database.

    `moment` is aware; what is finer than a millisecond is cut off. A moment before 1970 is 1970's.
    """
    return UUID(int=max(0, (moment - _EPOCH) // _MILLISECOND) << 80)


def uuid_ms(identity: UUID) -> int:
    """The milliseconds since 1970 that a UUIDv7 carries."""
    return identity.int >> 80
