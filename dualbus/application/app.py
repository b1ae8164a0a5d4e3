"""App, the table of an application's functions, validated before any process starts."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any, TypeAlias

from pydantic import ValidationError

from dualbus.application.causes import Unreadable, cause
from dualbus.application.classes import private_tags
from dualbus.application.event_json import from_text
from dualbus.application.messages import Command, Event, Query, tag_fields
from dualbus.application.past import Past
from dualbus.application.reactions import Reaction
from dualbus.application.reactors import Reactors
from dualbus.application.recorded import Recorded
from dualbus.application.registry import Decider, Registry, Subscriber
from dualbus.application.signatures import read_types, with_subclasses
from dualbus.application.tables import ReadOnlyTables, Tables
from dualbus.application.upcasts import Upcast, final_type, upcast
from dualbus.log.contract import RecordedEvent
from dualbus.runtime.errors import ConfigError, application_errors

Decide: TypeAlias = Callable[[Any, Past], Iterable[Event] | None]
Project: TypeAlias = Callable[[Any, Tables], None] | Callable[[Any, Tables, Recorded], None]
Answer: TypeAlias = Callable[[Any, ReadOnlyTables], Any]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Projection:
    """A part of the read model: tables, and the functions that change these tables.

    The first parameter of a function names its events: a class, a union, or a base class such as Event for all.
    Increase `version` when tables or functions change; the read model is then built again from the log.
    """

    name: str
    version: int
    tables: str  # SQL: CREATE TABLE …; CREATE INDEX …
    on: Sequence[Project]

    def event_names(self) -> list[str]:
        """Return the types of the events that the functions name, in the order of the alphabet."""
        named = {kind for function in self.on for kind in read_types(function)}
        return sorted(kind.__name__ for kind in (named if Event in named else with_subclasses(named)))


@dataclass(frozen=True)
class App:
    """The functions of an application, its projections, its reactions, and its first events.

    The signature of a function is its registration: the first parameter names its command, event or query, and the
    return annotation of a decision names its events. `events` are those that only the log holds by now.
    """

    commands: Sequence[Decide] = ()
    projections: Sequence[Projection] = ()
    queries: Sequence[Answer] = ()
    reactions: Sequence[Reaction] = ()
    genesis: Sequence[Event] = ()
    events: Sequence[type[Event]] = ()
    upcasts: Mapping[str, Upcast] = field(default_factory=dict)  # by old type

    def __post_init__(self) -> None:
        if errors := self._registry.mistakes:
            raise ConfigError(*errors)

    @cached_property
    def _registry(self) -> Registry:
        return Registry(self)

    @property
    def decisions(self) -> Mapping[type[Command], Decider]:
        """The function and the events of each command."""
        return self._registry.decisions

    @property
    def answers(self) -> Mapping[type[Query[Any]], Callable[..., Any]]:
        """The function of each query."""
        return self._registry.answers

    @property
    def subscribers(self) -> Mapping[type[Event], Sequence[Subscriber]]:
        """The functions of all projections for each event."""
        return self._registry.subscribers

    @property
    def reactors(self) -> Mapping[str, Reactors]:
        """The functions of each reaction, by its name."""
        return self._registry.reactors

    @cached_property
    def command_types(self) -> dict[str, type[Command]]:
        """The commands by type."""
        return {kind.__name__: kind for kind in self.decisions}

    @cached_property
    def query_types(self) -> dict[str, type[Query[Any]]]:
        """The queries by type."""
        return {kind.__name__: kind for kind in self.answers}

    @cached_property
    def event_types(self) -> dict[str, type[Event]]:
        """The events by type."""
        return {kind.__name__: kind for kind in self._registry.events}

    @cached_property
    def stored_types(self) -> dict[str, type[Event]]:
        """The events by each type that their records may have in the log."""
        old_types = {name: self.event_types[final_type(self.upcasts, name)] for name in self.upcasts}
        return self.event_types | old_types

    def stored_names(self, kinds: frozenset[type[Event]]) -> frozenset[str]:
        """Return the types of the records of these events in the log; no types for any event."""
        names = self._stored_names.get(kinds)
        if names is None:
            found = (name for name, kind in self.stored_types.items() if kind in kinds)
            names = self._stored_names[kinds] = frozenset(found)
        return names

    @cached_property
    def _stored_names(self) -> dict[frozenset[type[Event]], frozenset[str]]:
        return {}

    @cached_property
    def tags(self) -> frozenset[str]:
        """The names of all tags."""
        return frozenset(tag for kind in self.event_types.values() for _, tag in tag_fields(kind))

    @cached_property
    def private_tags(self) -> frozenset[str]:
        """The names of the tags on private fields."""
        return frozenset(tag for kind in self.event_types.values() for tag in private_tags(kind))

    def decode(self, type_: str, data: str) -> Event:
        """Return the event of a record with this type and JSON.

        Raises Unreadable for every exception of an upcast or a validator.
        """
        kind = self.stored_types.get(type_)
        if kind is None:
            raise Unreadable(type_, "the application has no such event any more")
        try:
            return from_text(kind, upcast(self.upcasts, type_, data) if type_ in self.upcasts else data)
        except ValidationError as error:
            raise Unreadable(type_, cause(error, kind.model_fields)) from None
        except application_errors() as error:
            raise Unreadable(type_, cause(error)) from error

    def check_stored(self, types: Mapping[str, Sequence[RecordedEvent]]) -> None:
        """Check some events of each type in the log: raise ConfigError for types without a class.

        Log an error for events that their class cannot read. Nothing reads these events, but everything else works.
        """
        if unknown := sorted(types.keys() - self.stored_types.keys()):
            raise ConfigError(
                f"The log holds events that the application does not have: {', '.join(unknown)}. Add the classes, "
                f'App(events=[{unknown[0]}]), or an upcast: App(upcasts={{"{unknown[0]}": Upcast("…", change)}}). '
                "If the log belongs to another application, set DUALBUS_DATA to another folder."
            )
        for event in sorted({*chain(*types.values())}):
            try:
                self.decode(event.type, event.data)
            except Unreadable as problem:
                text = "%s, at position %d. Give the changed class a new name, and add an upcast."
                logger.error(text, problem, event.position)
