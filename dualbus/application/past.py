"""The context of a decision: histories, new ids and the time.

Commandbus and the test kit share the rules for tags and events in this module.
"""

from collections.abc import Collection, Iterable
from itertools import islice
from typing import Protocol, Self, TypeVar

from dualbus.application.messages import Event
from dualbus.protocol.codes import WireError

EVENTS_MAX = 1000  # of one command: an endless generator must not exhaust the memory


class State(Protocol):
    """The state that `past.fold` builds: created without arguments, then `apply` for each event in order.

    `apply` must return a new value, such as of a frozen dataclass, because later decisions share the cached state.
    For an event without relevance, return `self`.
    """

    def apply(self, event: Event) -> Self: ...


S = TypeVar("S", bound=State)


class Past(Protocol):
    """The history that a decision reads, and the only source of ids and time.

    Each read adds its tag to the append condition: the events of the decision are appended only if no later event
    carries one of these tags; on a conflict, the decision runs again. This is the "dynamic consistency boundary"
    of dcb.events: no aggregate, no lock, no reservation table.
    """

    def events(self, **tag: str | int) -> list[Event]:
        """Return the events with a tag, oldest first: `past.events(user="u-1")`."""
        ...

    def fold(self, state: type[S], **tag: str | int) -> S:
        """Return `state()` after `apply` of each event with a tag. Cached: a repeated fold is cheap."""
        ...

    def new_id(self) -> str:
        """Return a new id (UUIDv7: later ids sort after earlier ids)."""
        ...

    def now(self) -> str:
        """Return the time of this decision in UTC: "2026-01-31T12:00:00.000000Z"."""
        ...


def one_tag(tag: dict[str, str | int], names: Collection[str]) -> tuple[str, str]:
    """Return name and value of a tag; raise TypeError for an unknown tag, which would protect nothing."""
    if len(tag) != 1:
        raise TypeError("Read one tag at a time: past.events(user=id).")
    [(name, value)] = tag.items()
    if name not in names:
        raise TypeError(f"Unknown tag {name!r}. Known tags: {', '.join(sorted(names)) or 'none'}.")
    return name, str(value)


def limited(events: Iterable[Event] | None) -> list[Event]:
    """Return the events of a decision; raise WireError if there are too many."""
    found = list(islice(events or (), EVENTS_MAX + 1))
    if len(found) > EVENTS_MAX:
        raise WireError(f"A command may produce at most {EVENTS_MAX} events.")
    return found
