"""The record of an event in the log, for projections."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from dualbus.log.contract import RecordedEvent


def time_of(text: str) -> datetime:
    """Return the time of a record."""
    return datetime.fromisoformat(text)


@dataclass(frozen=True, slots=True)
class Recorded:
    """The record of an event: the third parameter of a projection's function."""

    position: int
    time: datetime  # of the decision, in UTC
    command_id: str  # the idempotency key of the command

    @classmethod
    def of(cls, event: RecordedEvent) -> Self:
        """Return the record of an event of the log."""
        return cls(event.position, time_of(event.time), event.command_id)
