"""App, the table of an application's messages and functions, validated before any process starts."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from dualbus.application.causes import Unreadable, cause
from dualbus.application.messages import Command, Event, Query
from dualbus.application.upcasts import Upcast, final_type, upcast
from dualbus.application.validation import event_types_of, mistakes, private_tags
from dualbus.runtime.errors import RAISED_UNDER_CTRL_C, ConfigError

Decide = Callable[..., Iterable[Event] | None]
Project = Callable[..., None]
Answer = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Projection:
    """A part of the read model: tables, and a function for each event that changes these tables.

    Increase `version` when tables or functions change; the read model is then built again from the log.
    """

    name: str
    version: int
    tables: str  # SQL: CREATE TABLE …; CREATE INDEX …
    on: Mapping[type[Event], Project]


@dataclass(frozen=True)
class App:
    """The messages of an application with their functions, its projections, and its first events."""

    commands: Mapping[type[Command], Decide]
    projections: Sequence[Projection]
    queries: Mapping[type[Query], Answer]
    genesis: Sequence[Event] = ()
    upcasts: Mapping[str, Upcast] = field(default_factory=dict)  # by old type

    def __post_init__(self) -> None:
        if errors := list(mistakes(self)):
            raise ConfigError(*errors)

    @cached_property
    def events(self) -> frozenset[type[Event]]:
        """The events of the projections and of `genesis`, and all events in the modules of the messages."""
        return frozenset(event_types_of(self))

    @cached_property
    def command_types(self) -> dict[str, type[Command]]:
        """The commands by type."""
        return {kind.__name__: kind for kind in self.commands}

    @cached_property
    def query_types(self) -> dict[str, type[Query]]:
        """The queries by type."""
        return {kind.__name__: kind for kind in self.queries}

    @cached_property
    def event_types(self) -> dict[str, type[Event]]:
        """The events by type."""
        return {kind.__name__: kind for kind in self.events}

    @cached_property
    def stored_types(self) -> dict[str, type[Event]]:
        """The events by each type that their records may have in the log."""
        old_types = {name: self.event_types[final_type(self.upcasts, name)] for name in self.upcasts}
        return self.event_types | old_types

    @cached_property
    def tags(self) -> frozenset[str]:
        """The names of all tags."""
        return frozenset(tag for kind in self.events for _, tag in kind.tag_fields)

    @cached_property
    def private_tags(self) -> frozenset[str]:
        """The names of the tags on private fields."""
        return frozenset(tag for kind in self.events for tag in private_tags(kind))

    def decode(self, type_: str, data: str) -> Event:
        """Return the event of a record with this type and JSON.

        Raises Unreadable for every exception of an upcast or a validator.
        """
        kind = self.stored_types.get(type_)
        if kind is None:
            raise Unreadable(type_, "the application has no such event any more")
        try:
            current = upcast(self.upcasts, type_, data) if type_ in self.upcasts else data
            event: Event = kind.__pydantic_validator__.validate_json(current)
        except ValidationError as error:
            raise Unreadable(type_, cause(error, kind.model_fields)) from None
        except RAISED_UNDER_CTRL_C as error:
            raise Unreadable(type_, cause(error)) from error
        return event

    def check_stored(self, types: Collection[str]) -> None:
        """Raise ConfigError if the log contains a type that the application cannot read."""
        if unknown := sorted(set(types) - self.stored_types.keys()):
            raise ConfigError(
                f"The log holds events that the application does not have: {', '.join(unknown)}. Bring the classes "
                f'back, or declare an upcast: App(upcasts={{"{unknown[0]}": Upcast("…", change)}}). If the log '
                "belongs to another application, set DUALBUS_DATA to another folder."
            )
