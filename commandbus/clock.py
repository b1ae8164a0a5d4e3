"""The times and ids of decisions. Both only rise, even when the machine's clock is set back."""

import logging
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import uuid_utils

MILLISECOND = 1000  # microseconds
BEHIND = 1_000_000  # microseconds; from here on a warning reports a clock set back
RANDOM_BITS = 74  # of a UUIDv7, after its 48 bits of milliseconds
STEP_BYTES = 4096  # drawn at once, four for each id after another of the same time

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

logger = logging.getLogger(__name__)


class Clock:
    """The later of the machine's time and the previous result.

    `wall` returns microseconds since 1970. `after` is the time of the log's last event: an id contains the time of
    its decision, which is also the time of its events: ids of a later millisecond sort after all ids in the log.
    """

    def __init__(self, wall: Callable[[], int], after: str | None = None) -> None:
        self._wall = wall
        self._last = _next_millisecond(after) if after else 0
        self._reported = False
        self._id = 0
        self._steps = _steps()

    def now(self) -> str:
        """Return the time, "2026-01-31T12:00:00.000000Z"; until the next call, ids are of this time."""
        wall = self._wall()
        if wall < self._last - BEHIND:
            self._report((self._last - wall) / 1e6)
        else:
            self._reported = False
        self._last = max(self._last, wall)
        return (_EPOCH + timedelta(microseconds=self._last)).isoformat(timespec="microseconds")[:26] + "Z"

    def new_id(self) -> str:
        """Return a UUIDv7 greater than every earlier one."""
        milliseconds = self._last // MILLISECOND
        if self._id >> RANDOM_BITS < milliseconds:
            # The highest random bit stays 0, which leaves room for the following ids.
            self._id = milliseconds << RANDOM_BITS | secrets.randbits(RANDOM_BITS - 1)
        else:
            self._id += 1 + next(self._steps)
        return _uuid7(self._id)

    def _report(self, seconds: float) -> None:
        if not self._reported:
            logger.warning(
                "The clock of this machine is %.0f s behind the last event: until it has caught up, events have the "
                "time of that one. See whether the clock is right.",
                seconds,
            )
        self._reported = True


def _steps() -> Iterator[int]:
    """Yield random differences between ids of the same time, large enough to make ids unguessable."""
    while True:
        yield from memoryview(secrets.token_bytes(STEP_BYTES)).cast("I")


def _next_millisecond(time: str) -> int:
    """Return the first microsecond of the millisecond after a time; 0 for an invalid (imported) time."""
    try:
        since = datetime.fromisoformat(time) - _EPOCH
    except (ValueError, TypeError):
        return 0
    return max(0, (since // timedelta(microseconds=MILLISECOND) + 1) * MILLISECOND)


def _uuid7(number: int) -> str:
    """Return 48 bits of milliseconds and 74 others as a UUID: RFC 9562, section 5.7."""
    time, high, low = number >> RANDOM_BITS, number >> 62 & 0xFFF, number & (1 << 62) - 1
    return str(uuid_utils.UUID(int=time << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low))
