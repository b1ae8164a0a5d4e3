"""The parts of the process that reactions use."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import NamedTuple

from dualbus.telemetry.tracing import Tracer
from dualbus.worker.interrupt import Interrupt

from .running_event import RunningEvent

MICROSECONDS = 1_000_000


def utc_now() -> datetime:
    """Return the time of the machine."""
    return datetime.now(UTC)


def microseconds(time: datetime) -> int:
    """Return a time as microseconds since 1970."""
    return int(time.timestamp() * MICROSECONDS)


class Environment(NamedTuple):
    """The parts of the process that reactions use."""

    interrupt: Interrupt  # of a function past the deadline
    handling: Callable[[], AbstractContextManager[None]]  # surrounds a running function
    wake: Callable[[], None]  # wakes up the loop of the process
    running_event: RunningEvent
    clock: Callable[[], datetime] = utc_now
    tracer: Tracer | None = None
