"""The table of an application: which function answers which message. Checked whole before anything starts."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
    """One part of the read model: its tables, and the function for each event that changes them.

    Raise `version` when the tables or the functions change: the read model is then built anew.
    """

    name: str
    version: int
    tables: str  # SQL: CREATE TABLE …; CREATE INDEX …
    on: Mapping[type[Event], Project]


@dataclass(frozen=True)
class App:
    """The table of contents of an application."""

    commands: Mapping[type[Command], Decide]
    projections: Sequence[Projection]
    queries: Mapping[type[Query], Answer]
    genesis: Sequence[Event] = ()
    upcasts: Mapping[str, Upcast] = field(default_factory=dict)  # by the type that old records have in the log
    command_types: Mapping[str, type[Command]] = field(init=False)
    query_types: Mapping[str, type[Query]] = field(init=False)
    event_types: Mapping[str, type[Event]] = field(init=False)
    stored_types: Mapping[str, type[Event]] = field(init=False)  # by what the log may call them
    tags: frozenset[str] = field(init=False)
    private_tags: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        if errors := list(mistakes(self)):
            raise ConfigError(*errors)
        events = event_types_of(self)
        event_types = {kind.__name__: kind for kind in events}
        old_types = {name: event_types[final_type(self.upcasts, name)] for name in self.upcasts}
        derived = {
            "command_types": {kind.__name__: kind for kind in self.commands},
            "query_types": {kind.__name__: kind for kind in self.queries},
            "event_types": event_types,
            "stored_types": event_types | old_types,
            "tags": frozenset(tag for kind in events for _, tag in kind.tag_fields),
            "private_tags": frozenset(tag for kind in events for tag in private_tags(kind)),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def decode(self, type_: str, data: str) -> Event:
        """Return the event that the log holds under this type as this JSON: the one place where records are read.

        Raises Unreadable, whatever an upcast or a validator raised.
        """
        kind = self.stored_types.get(type_)
        if kind is None:
            raise Unreadable(type_, "the application has no such event any more")
        try:
            today = upcast(self.upcasts, type_, data) if type_ in self.upcasts else data
            event: Event = kind.__pydantic_validator__.validate_json(today)
        except ValidationError as error:
            raise Unreadable(type_, cause(error, kind.model_fields)) from None
        except RAISED_UNDER_CTRL_C as error:
            raise Unreadable(type_, cause(error)) from error
        return event

    def check_stored(self, types: Collection[str]) -> None:
        """Raise ConfigError if the log holds a type that the application can no longer read."""
        if gone := sorted(set(types) - self.stored_types.keys()):
            raise ConfigError(
                f"The log holds events that the application does not have: {', '.join(gone)}. Bring the classes "
                f'back, or say what they are today: App(upcasts={{"{gone[0]}": Upcast("…", change)}}). If the log '
                "is another application's, point DUALBUS_DATA to another folder."
            )
