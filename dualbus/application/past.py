"""What a decision may read: the history of a tag, a new id, the time. Nothing else is its to know.

The rules of reading and giving stand here too, for commandbus and for the tests of applications.
"""

from collections.abc import Collection, Iterable
from itertools import islice
from typing import Protocol, Self, TypeVar

from dualbus.application.messages import Event
from dualbus.protocol.codes import WireError

EVENTS_MAX = 1000  # of one command: a decision that never ends must not take the process with it


class State(Protocol):
    """What `past.fold` folds into: made with no argument, and moved on by each event in turn.

    Return a new value from `apply` (a frozen dataclass does well); the folded one is shared with later
    decisions. An event that means nothing to the state returns it unchanged.
    """

    def apply(self, event: Event) -> Self: ...


S = TypeVar("S", bound=State)


class Past(Protocol):
    """Reading is what protects a decision.

    Each tag that is read is remembered with the position it was read at, and the events of the decision
    are appended only if no later event carries one of those tags; else the decision is taken again. This
    is the "dynamic consistency boundary" of dcb.events: no aggregate, no lock, no reservation table.
    """

    def events(self, **tag: str | int) -> list[Event]:
        """Return the events tagged so, oldest first: `past.events(user="u-1")`."""
        ...

    def fold(self, state: type[S], **tag: str | int) -> S:
        """Return `state()` moved on by the events tagged so; cached, so the second time costs little."""
        ...

    def new_id(self) -> str:
        """Return a new id (UUIDv7: later ids sort after earlier ones)."""
        ...

    def now(self) -> str:
        """Return the time of this decision, in UTC: "2026-01-31T12:00:00.000000Z"."""
        ...


def one_tag(tag: dict[str, str | int], names: Collection[str]) -> tuple[str, str]:
    """Return name and value of the tag that is read, or raise TypeError: one that no event has protects nothing."""
    if len(tag) != 1:
        raise TypeError("Read one tag at a time: past.events(user=id).")
    [(name, value)] = tag.items()
    if name not in names:
        raise TypeError(f"No event has the tag {name!r}; there are {', '.join(sorted(names)) or 'none'}.")
    return name, str(value)


def limited(events: Iterable[Event] | None) -> list[Event]:
    """Return the events that a decision gives, or raise WireError if they are too many."""
    found = list(islice(events or (), EVENTS_MAX + 1))
    if len(found) > EVENTS_MAX:
        raise WireError(f"It gave more than {EVENTS_MAX} events.")
    return found
