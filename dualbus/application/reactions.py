"""Reactions: functions that run because of an event, with their timers, schedules and attempts."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeAlias
from zoneinfo import ZoneInfo

from cronsim import CronSim

from dualbus.application.errors import Rejected
from dualbus.application.messages import Command
from dualbus.application.past import Past

NAME_CHARS_MAX = 200  # of a timer
REPEATED_MAX = timedelta(hours=3)  # more than a clock is put back


@dataclass(frozen=True, slots=True)
class Later:
    """A timer: execute a command after a delay, or at a time. A later timer of the same name replaces it.

    The delay starts at the recorded time of the event. The command is executed once, also if the cluster was down at
    this time; `Cancel(name)` removes the timer before that.
    """

    command: Command
    after: timedelta | None = None
    at: datetime | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.command, Command):
            raise TypeError(f"Later needs a command, not {self.command!r}.")
        if (self.after is None) == (self.at is None):
            raise TypeError("Later needs either `after` or `at`.")
        if self.at is not None and self.at.tzinfo is None:
            raise TypeError("Later needs a time with a time zone: at=datetime(…, tzinfo=UTC).")
        if self.name is not None:
            _check_name(self.name)

    def due(self, recorded: datetime) -> datetime:
        """Return the time in UTC; `recorded` is the time of the event."""
        return self.at.astimezone(UTC) if self.at is not None else recorded + (self.after or timedelta())


@dataclass(frozen=True, slots=True)
class Cancel:
    """Remove the timer of a name in the same reaction, if the timer is still pending."""

    name: str

    def __post_init__(self) -> None:
        _check_name(self.name)


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARS_MAX:
        raise TypeError(f"The name of a timer is text of 1 to {NAME_CHARS_MAX} characters, not {name!r}.")


@dataclass(frozen=True, slots=True)
class Every:
    """A command by the calendar: `Every("0 3 * * *", CloseDay(), zone="Europe/Berlin")`, in cron's five fields.

    After a pause of the cluster, only the last missed time is executed. In the hour that a clock skips, a daily
    command is executed at the end of the hour; in the hour that a clock repeats, once.
    """

    schedule: str
    command: Command
    zone: str = "UTC"

    def next(self, after: datetime) -> datetime:
        """Return the first time after a time, in UTC."""
        return next(time for time in self._times(after) if time > after)

    def latest(self, before: datetime) -> datetime:
        """Return the last time before a time, in UTC."""
        return next(time for time in self._times(before + REPEATED_MAX, reverse=True) if time < before)

    def _times(self, start: datetime, *, reverse: bool = False) -> Iterator[datetime]:
        """Yield times from about a time on, in UTC.

        CronSim counts by the wall clock: in the second pass of a repeated hour, it returns times of the first pass.
        """
        for time in CronSim(self.schedule, start.astimezone(ZoneInfo(self.zone)), reverse=reverse):
            yield time.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt of an effect.

    `key` is the same in every attempt for an event, in every process, and differs between logs: send it to the other
    system, which can then recognize a repetition.
    """

    key: str
    number: int  # 1 for the first
    position: int  # of the event
    deadline: datetime
    log: "logging.LoggerAdapter[logging.Logger]"


Manage: TypeAlias = Callable[[Any, Past], Iterable[Command | Later | Cancel]]
Effect: TypeAlias = Callable[..., Awaitable[None] | AsyncIterator[Command]]
Refuse: TypeAlias = Callable[[Any, Rejected, Past], Iterable[Command | Later | Cancel]]


@dataclass(frozen=True, slots=True)
class Reaction:
    """Functions that run for each event of their types after a position, in order for each tag.

    `on` has either process managers (plain generator functions of an event and its past) and schedules, or effects
    (async functions of an event and an attempt). `since` is the position at the first start on a log: "beginning",
    "now" for the head of the log, or a number. A reaction with another name starts anew.
    """

    name: str
    on: Sequence[Manage | Effect | Every]
    since: Literal["beginning", "now"] | int
    on_refused: Sequence[Refuse] = ()  # for the commands that the log refuses
    lifespan: Callable[[], AbstractAsyncContextManager[Any]] | None = None  # of the third argument of the effects
    tries: int = 10  # before an event is parked
    pause: float = 1.0  # seconds after the first failure, doubled after each further failure, at most an hour
    timeout: float = 30.0  # seconds of an attempt
    concurrency: int = 10  # attempts at the same time
