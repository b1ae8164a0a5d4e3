"""The reaction to an event, from the event to the last command."""

from dataclasses import dataclass, field
from typing import Any

from dualbus.application.messages import Event
from dualbus.log.contract import RecordedEvent
from dualbus.reactions.store import Removed, Timer

from .commands import Cause

PAUSE_SECONDS_MAX = 3600.0


@dataclass(slots=True, eq=False)
class Job:
    """An event, waiting or under way."""

    record: RecordedEvent
    event: Event
    tags: frozenset[str]
    cause: Cause
    finished: bool = False  # or parked
    was_parked: bool = False  # in the store
    tries: int = 0  # failed
    timers: list[Timer | Removed] = field(default_factory=list)  # set and removed, in order

    @property
    def position(self) -> int:
        """The position of the event."""
        return self.record.position

    def pause(self, first: float) -> float:
        """Return the seconds before the next try: twice as long after each try."""
        return min(first * 2.0 ** max(0, self.tries - 1), PAUSE_SECONDS_MAX)


@dataclass(slots=True)
class Running:
    """A running function of a reaction, for the attendant."""

    id: int
    what: str
    deadline: float
    body: dict[str, Any] = field(default_factory=dict)


class Failure(Exception):
    """The reaction of an event has failed; the text is a sentence without values of records."""

    def __init__(self, text: str, *, final: bool = False) -> None:
        super().__init__(text)
        self.final = final  # another try would fail, too
