"""The record of an event in the log, for projections."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from dualbus.log.contract import Origin, ReadableLog, RecordedEvent

UNKNOWN = Origin("")


def time_of(text: str) -> datetime:
    """Return the time of a record."""
    return datetime.fromisoformat(text)


@dataclass(frozen=True, slots=True)
class Recorded:
    """The record of an event, and the origin of its command: the third parameter of a projection's function."""

    position: int
    time: datetime  # of the decision, in UTC
    command_id: str  # the idempotency key of the command
    command: str  # the type of the command; empty for genesis
    actor: str | None  # the authenticated name of the client
    cause: int | None  # the position of the event that the command reacts to
    correlation: str  # the key of the first command of the chain
    trace: str | None  # W3C traceparent
    metadata: Mapping[str, str]  # of the client

    @classmethod
    def of(cls, event: RecordedEvent, origin: Origin) -> Self:
        """Return the record of an event of the log."""
        time = time_of(event.time)
        correlation = origin.correlation or event.command_id
        return cls(event.position, time, event.command_id, origin.type, *origin[1:3], correlation, *origin[4:])


class Origins:
    """Reads the origins of commands; without a log, all are unknown."""

    def __init__(self, log: ReadableLog | None = None) -> None:
        self._log = log
        self._read: dict[str, Origin] = {}

    def read(self, events: Iterable[RecordedEvent]) -> None:
        """Read the origins of a chunk of events at once."""
        if self._log:
            outcomes = self._log.outcomes({event.command_id for event in events})
            self._read = {key: outcome.origin for key, outcome in outcomes.items()}

    def of(self, event: RecordedEvent) -> Origin:
        """Return the origin of the command of an event."""
        if event.command_id not in self._read:
            self.read([event])
        return self._read.get(event.command_id, UNKNOWN)
