"""An engine of the log under test, and the values of its tests (see `dualbus.testing.log_contract`)."""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from dualbus.log import contract
from dualbus.log.contract import AppendCondition, Decision, Log, NewEvent, Origin, ReadableLog

TIME = "2026-01-31T12:00:00.000000Z"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
DO = Origin("Do")
GENESIS = Decision(contract.GENESIS, TIME, [NewEvent("Begun", "{}", ())])


class Engine(Protocol):
    """A single log; the context managers close the log at their end."""

    def writer(self) -> AbstractContextManager[Log]:
        """Open the log for writing; create the log with the decision GENESIS if missing."""
        ...

    def reader(self) -> AbstractContextManager[ReadableLog]:
        """Open the log read-only."""
        ...

    def full(self, log: Log) -> AbstractContextManager[None]:
        """Simulate a full disk: until the context ends, `append` raises LogUnavailable."""
        ...


def event(*tags: str, data: str = "{}", type_: str = "Done") -> NewEvent:
    """Return an event with these tags."""
    return NewEvent(type_, data, tags)


def decided(
    id_: str,
    *events: NewEvent,
    conditions: Sequence[AppendCondition] = (),
    errors: Sequence[str] = (),
    origin: Origin = DO,
) -> Decision:
    """Return the decision of a command."""
    return Decision(id_, TIME, events, errors, conditions, None, origin)


def none_after(position: int, *tags: str, types: Collection[str] = ()) -> AppendCondition:
    """Return the condition that no event after a position has one of the types and all tags."""
    return AppendCondition(tags, frozenset(types), position)


def positions(log: ReadableLog, *tags: str, types: Collection[str] = (), after: int = 0) -> list[int]:
    """Return the positions of the events with these types and tags."""
    return [one.position for one in log.history(tags, types, after)]
