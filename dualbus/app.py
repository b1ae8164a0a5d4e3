"""The table of an application: which function answers which message. Checked whole before anything starts."""

import importlib
import inspect
import re
import sys
import traceback
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from dualbus.causes import Unreadable, cause, own_text
from dualbus.fault import RAISED_UNDER_CTRL_C, ConfigFault
from dualbus.messages import Command, Event, Message, Query
from dualbus.upcasts import Upcast, final_type, upcast, upcast_mistakes

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
        if errors := list(_mistakes(self)):
            raise ConfigFault(*errors)
        events = _events(self)
        event_types = {kind.__name__: kind for kind in events}
        old_types = {name: event_types[final_type(self.upcasts, name)] for name in self.upcasts}
        derived = {
            "command_types": {kind.__name__: kind for kind in self.commands},
            "query_types": {kind.__name__: kind for kind in self.queries},
            "event_types": event_types,
            "stored_types": event_types | old_types,
            "tags": frozenset(tag for kind in events for _, tag in kind.tag_fields),
            "private_tags": frozenset(tag for kind in events for tag in _private_tags(kind)),
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
        """Raise ConfigFault if the log holds a type that the application can no longer read."""
        if gone := sorted(set(types) - self.stored_types.keys()):
            raise ConfigFault(
                f"The log holds events that the application does not have: {', '.join(gone)}. Bring the classes "
                f'back, or say what they are today: App(upcasts={{"{gone[0]}": Upcast("…", change)}}). If the log '
                "is another application's, point DUALBUS_DATA to another folder."
            )


def load(name: str) -> App:
    """Load an application by its name, "users:app"; raise ConfigFault that says which half was wrong."""
    module_name, _, attribute = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ConfigFault:
        raise
    except RAISED_UNDER_CTRL_C as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and (module_name + ".").startswith(missing + "."):
            raise ConfigFault(f"There is no module {missing!r}: DUALBUS_APP is {name!r}.") from None
        raise ConfigFault(_import_failure(module_name, error)) from error
    app = getattr(module, attribute, None)
    if not isinstance(app, App):
        what = "has no attribute" if app is None else "has something other than an App as"
        raise ConfigFault(f"Module {module_name!r} {what} {attribute!r}: DUALBUS_APP is {name!r}.")
    return app


def _import_failure(module_name: str, error: BaseException) -> str:
    """Say what keeps a module from being imported, and where; the machinery of importing is not the place."""
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if f.filename[:1] != "<" and f.filename != __file__
    ]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"Module {module_name!r} cannot be imported: {type(error).__name__}: {own_text(error)}{place}."


def _events(app: App) -> set[type[Event]]:
    """Return the events of the table, and those declared beside its messages."""
    named = {kind for projection in app.projections for kind in projection.on} | set(map(type, app.genesis))
    messages: set[type[Message]] = {*app.commands, *app.queries, *named}
    modules = {sys.modules[kind.__module__] for kind in messages if kind.__module__ in sys.modules}
    beside = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Event) and value is not Event
    }
    return named | beside


def _private_tags(kind: type[Event]) -> set[str]:
    return {tag for field_name, tag in kind.tag_fields if field_name in kind.private_fields}


def _mistakes(app: App) -> Iterator[str]:
    kinds_right = True
    tables: list[tuple[Mapping[Any, Any], type[Message]]] = [(app.commands, Command), (app.queries, Query)]
    for table, base in tables:
        for kind, function in table.items():
            if not (isinstance(kind, type) and issubclass(kind, base)):
                yield f"{_name(kind)} stands among the {base.__name__.lower()} types and is not one."
                kinds_right = False
            else:
                yield from _handler_mistakes(function, kind)
    for projection in app.projections:
        if not re.fullmatch(r"\w+", projection.name) or type(projection.version) is not int:
            yield f"Projection {projection.name!r} needs a name of letters and a whole number as its version."
        for kind, function in projection.on.items():
            if not (isinstance(kind, type) and issubclass(kind, Event)):
                yield f"Projection {projection.name} is on {_name(kind)}, which is not an event."
                kinds_right = False
            else:
                yield from _handler_mistakes(function, kind)
    for event in app.genesis:
        if not isinstance(event, Event):
            yield f"Genesis holds {event!r}, which is not an event."
            kinds_right = False
    yield from _twice("Projection", [projection.name for projection in app.projections])
    if kinds_right:
        yield from _type_mistakes(app)


def _type_mistakes(app: App) -> Iterator[str]:
    events = _events(app)
    kinds: set[type[Message]] = {*app.commands, *app.queries, *events}
    yield from _twice("Message type", [kind.__name__ for kind in kinds])
    for kind in sorted(kinds, key=_name):
        roles = [base.__name__.lower() for base in (Command, Query, Event) if issubclass(kind, base)]
        if len(roles) > 1:
            yield f"{kind.__name__} is a {' and a '.join(roles)}: a type is one of them, never two."
    private = {tag for kind in events for tag in _private_tags(kind)}
    shown = {tag for kind in events for name, tag in kind.tag_fields if name not in kind.private_fields}
    yield from upcast_mistakes(app.upcasts, {kind.__name__ for kind in events})
    for tag in sorted(private & shown):
        yield f"Tag {tag!r} is on a private field of one event and on a field that is not of another."


def _twice(what: str, names: list[str]) -> Iterator[str]:
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{what} {name} is there twice: give one of them another name."


def _handler_mistakes(function: Callable[..., Any], kind: type[Message]) -> Iterator[str]:
    """Yield what keeps a function from being called with a message and a second argument."""
    if not callable(function):
        yield f"{kind.__name__} is answered by {function!r}, which is not a function."
        return
    name = _name(function)
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        yield f"{name}, which answers {kind.__name__}, is async: write it as a plain function."
    try:
        signature = inspect.signature(function)
        signature.bind(object(), object())
    except TypeError:
        yield f"{name} must take two arguments, a {kind.__name__} and what it may use."
        return
    except ValueError:
        return  # a builtin that does not tell
    first = next(iter(signature.parameters.values()))
    try:
        wanted = typing.get_type_hints(function).get(first.name, kind)
    except NameError as error:
        yield f"{name} has an annotation that cannot be found: {error}."
        return
    except TypeError:
        return  # an object or a partial, which has no annotations of its own
    if isinstance(wanted, type) and not issubclass(kind, wanted):
        yield f"{name} takes a {wanted.__name__} and is given a {kind.__name__}."


def _name(thing: object) -> str:
    return str(getattr(thing, "__name__", repr(thing)))
