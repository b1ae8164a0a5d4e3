"""Times and ids for decisions. Both are monotonic, even if the machine's clock is set back."""

import logging
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import uuid_utils

MILLISECOND = 1000  # microseconds
BEHIND = 1_000_000  # microseconds; report a clock further behind
RANDOM_BITS = 74  # of a UUIDv7, after its 48 bits of milliseconds
STEP_BYTES = 4096  # of randomness per read; four for each further id of the same time

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

logger = logging.getLogger(__name__)


class Clock:
    """A monotonic clock: the time of the machine, or the last returned time if later.

    `wall` returns microseconds since 1970. `after` is the time of the last event in the log. Ids contain the time of
    their decision, as its events do: a clock starting a millisecond later creates only ids greater than those in the
    log.
    """

    def __init__(self, wall: Callable[[], int], after: str | None = None) -> None:
        self._wall = wall
        self._last = _next_millisecond(after) if after else 0
        self._reported = False
        self._id = 0
        self._steps = _steps()

    def now(self) -> str:
        """Return the time, "2026-01-31T12:00:00.000000Z". Ids contain this time until the next call."""
        wall = self._wall()
        if wall < self._last - BEHIND:
            self._report((self._last - wall) / 1e6)
        else:
            self._reported = False
        self._last = max(self._last, wall)
        return (_EPOCH + timedelta(microseconds=self._last)).isoformat(timespec="microseconds")[:26] + "Z"

    def new_id(self) -> str:
        """Return a UUIDv7 greater than all earlier ids."""
        milliseconds = self._last // MILLISECOND
        if self._id >> RANDOM_BITS < milliseconds:
            # The highest random bit is 0, so that later ids of this millisecond do not overflow.
            self._id = milliseconds << RANDOM_BITS | secrets.randbits(RANDOM_BITS - 1)
        else:
            self._id += 1 + next(self._steps)
        return _uuid7(self._id)

    def _report(self, seconds: float) -> None:
        if not self._reported:
            logger.warning(
                "The clock of this machine is %.0f s behind the last event: until it has caught up, new events have "
                "the time of the last event. Check the clock.",
                seconds,
            )
        self._reported = True


def _steps() -> Iterator[int]:
    """Yield random distances between ids of the same time, too large to guess."""
    while True:
        yield from memoryview(secrets.token_bytes(STEP_BYTES)).cast("I")


def _next_millisecond(time: str) -> int:
    """Return the first microsecond of the next millisecond; 0 for an invalid time, as in an imported log."""
    try:
        since = datetime.fromisoformat(time) - _EPOCH
    except (ValueError, TypeError):
        return 0
    return max(0, (since // timedelta(microseconds=MILLISECOND) + 1) * MILLISECOND)


def _uuid7(number: int) -> str:
    """Return 48 bits of milliseconds and 74 random bits as a UUID: RFC 9562, section 5.7."""
    time, high, low = number >> RANDOM_BITS, number >> 62 & 0xFFF, number & (1 << 62) - 1
    return str(uuid_utils.UUID(int=time << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low))
