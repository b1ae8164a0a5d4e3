"""The context of a decision: histories, new ids and the time.

Commandbus and the test kit share the rules for tags and events in this module.
"""

import typing
from collections.abc import Collection, Iterable
from datetime import datetime
from functools import cache
from itertools import islice
from types import GeneratorType
from typing import Any, Protocol, Self, TypeVar

from dualbus.application.messages import Event
from dualbus.application.signatures import SignatureMistake, name_of, read_types, with_subclasses
from dualbus.application.tags import TagValue
from dualbus.protocol.codes import WireError

EVENTS_MAX = 1000  # of one command: an endless generator must not exhaust the memory

E = TypeVar("E", bound=Event)


class State(Protocol):
    """The state that `past.fold` builds: `apply` for each event in order.

    The annotation of `apply` names the events that the state reads: a class, a union, or Event for all. It must
    return a new value, such as of a frozen dataclass, because later decisions share the cached state.
    """

    def apply(self, event: Any, /) -> Self: ...


S = TypeVar("S", bound=State)


class Past(Protocol):
    """The history that a decision reads, and the only source of ids and time.

    Each read adds its tags and types to the append condition: the events of the decision are appended only if no
    later event of these types carries these tags; on a conflict, the decision runs again. This is the "dynamic
    consistency boundary" of dcb.events: no aggregate, no lock, no reservation table.
    """

    @property
    def actor(self) -> str | None:
        """The authenticated name of the client, or None for a client with the keys of the cluster."""
        ...

    @typing.overload
    def events(self, *tags: TagValue) -> list[Event]: ...
    @typing.overload
    def events(self, *tags: TagValue, of: type[E] | tuple[type[E], ...]) -> list[E]: ...
    def events(self, *tags: TagValue, of: Any = Event) -> Any:
        """Return the events that carry all tags, oldest first: `past.events(USER(id), of=UserRenamed)`."""
        ...

    def fold(self, state: type[S] | S, *tags: TagValue) -> S:
        """Return the state after `apply` of each event that carries all tags: `past.fold(Member, USER(id))`.

        `state` is the initial state or its class. Cached: a repeated fold is cheap, also after a restart.
        """
        ...

    def new_id(self) -> str:
        """Return a new id (UUIDv7: later ids sort after earlier ids)."""
        ...

    def now(self) -> datetime:
        """Return the time of this decision in UTC."""
        ...


class Read(typing.NamedTuple):
    """A read of a decision: the events of these types that carry all these tags."""

    tags: tuple[TagValue, ...]
    types: frozenset[type[Event]]  # empty: of any type


def read_of(tags: tuple[TagValue, ...], of: Any, names: Collection[str], events: Collection[type[Event]]) -> Read:
    """Return a checked read; raise TypeError for a read that would protect nothing or find nothing."""
    if not tags:
        raise TypeError("Read the events of a tag: past.events(USER(id)).")
    for tag in tags:
        if not isinstance(tag, TagValue):
            raise TypeError(
                f"A {type(tag).__name__} is not a tag with its value, such as USER(id) of USER = Tag('user')."
            )
        if tag.name not in names:
            raise TypeError(f"Unknown tag {tag.name!r}. Known tags: {', '.join(sorted(names)) or 'none'}.")
    kinds = of if isinstance(of, tuple) else (of,)
    if Event in kinds:
        return Read(tuple(sorted(set(tags))), frozenset())
    types = frozenset(with_subclasses(kinds))
    if unknown := sorted(kind.__name__ for kind in kinds if kind not in events and not _is_base(kind, events)):
        raise TypeError(f"The application has no event {', '.join(unknown)}: add it to App(events=[…]).")
    return Read(tuple(sorted(set(tags))), types)


def _is_base(kind: type[Event], events: Collection[type[Event]]) -> bool:
    """Return whether a class is the base of an event of the application, and need not be an event itself."""
    return any(issubclass(event, kind) for event in events)


def matches(read: Read, event: Event, tags: Collection[tuple[str, str]]) -> bool:
    """Return whether a read returns an event that carries these tags."""
    return (not read.types or type(event) in read.types) and set(read.tags).issubset(tags)


@cache
def folded_types(state: type[Any]) -> tuple[type[Event], ...]:
    """Return the events that the annotation of `apply` names; Event without an annotation."""
    try:
        kinds = read_types(state.apply, 1)
    except SignatureMistake as mistake:
        raise TypeError(str(mistake)) from None
    for kind in kinds:
        if not issubclass(kind, Event):
            raise TypeError(f"{state.__name__}.apply accepts {kind.__name__}, which is not an event.")
    return tuple(kinds) or (Event,)


def initial(state: type[S] | S) -> S:
    """Return the initial state of a fold."""
    return state() if isinstance(state, type) else state


def applied(state: S, events: Iterable[Event]) -> S:
    """Return the state after some events; raise TypeError for an `apply` that returns nothing."""
    kind = type(state)
    for event in events:
        state = state.apply(event)
        if state is None:
            raise TypeError(f"{kind.__name__}.apply returned None for {type(event).__name__}: return the new state.")
    return state


def limited(events: Any, function: object, kinds: Collection[type[Event]]) -> list[Event]:
    """Return the events of a decision; raise WireError for too many, or for another value than these events."""
    is_generator = type(events) is GeneratorType  # of most decisions; pydantic's isinstance is slow
    if not is_generator and (isinstance(events, Event) or not (events is None or hasattr(events, "__iter__"))):
        raise WireError(f"{name_of(function)} returned {type(events).__name__}: yield the events.")
    found = list(islice(events or (), EVENTS_MAX + 1))
    if len(found) > EVENTS_MAX:
        raise WireError(f"{name_of(function)} returned more than {EVENTS_MAX} events, the limit of one command.")
    for event in found:
        if type(event) not in kinds:
            kind = type(event).__name__
            raise WireError(
                f"{name_of(function)} returned {kind}, which its return annotation does not name: add the event."
            )
    return found
