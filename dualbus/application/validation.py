"""Validation of an App: a sentence for each mistake, all reported together."""

import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dualbus.application.messages import Command, Event, Message, Query
from dualbus.application.upcasts import upcast_mistakes

if TYPE_CHECKING:
    from dualbus.application.app import App

_SECOND_ARGUMENTS: dict[type[Message], str] = {
    Command: "past: Past",
    Query: "tables: ReadOnlyTables",
    Event: "tables: Tables",
}


def event_types_of(app: "App") -> set[type[Event]]:
    """Return the events of the projections and of `genesis`, and all events in the modules of the messages."""
    named = {kind for projection in app.projections for kind in projection.on} | set(map(type, app.genesis))
    messages: set[type[Message]] = {*app.commands, *app.queries, *named}
    modules = {sys.modules[kind.__module__] for kind in messages if kind.__module__ in sys.modules}
    declared = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Event) and value is not Event
    }
    return named | declared


def private_tags(kind: type[Event]) -> set[str]:
    """Return the tags on private fields."""
    return {tag for field_name, tag in kind.tag_fields if field_name in kind.private_fields}


def mistakes(app: "App") -> Iterator[str]:
    """Yield a sentence for each mistake in an application."""
    types_valid = True
    tables: list[tuple[str, Mapping[Any, Any], type[Message]]] = [
        ("commands", app.commands, Command),
        ("queries", app.queries, Query),
    ]
    for title, table, base in tables:
        for kind, function in table.items():
            if not (isinstance(kind, type) and issubclass(kind, base)):
                yield f"{name_of(kind)} is in {title}, but is not a subclass of {base.__name__}."
                types_valid = False
            else:
                yield from _handler_mistakes(function, kind, base)
    for projection in app.projections:
        if not re.fullmatch(r"\w+", projection.name) or type(projection.version) is not int:
            yield f"Projection {projection.name!r} needs a name of letters, digits or _, and an integer version."
        for kind, function in projection.on.items():
            if not (isinstance(kind, type) and issubclass(kind, Event)):
                yield f"Projection {projection.name} handles {name_of(kind)}, which is not a subclass of Event."
                types_valid = False
            else:
                yield from _handler_mistakes(function, kind, Event)
    for event in app.genesis:
        if not isinstance(event, Event):
            yield f"Genesis contains {event!r}, which is not an event."
            types_valid = False
    yield from _duplicates("projection name", [projection.name for projection in app.projections])
    if types_valid:
        yield from _type_mistakes(app)


def _type_mistakes(app: "App") -> Iterator[str]:
    kinds: set[type[Message]] = {*app.commands, *app.queries, *app.events}
    yield from _duplicates("message type", [kind.__name__ for kind in kinds])
    for kind in sorted(kinds, key=name_of):
        bases = [base.__name__ for base in (Command, Query, Event) if issubclass(kind, base)]
        if len(bases) > 1:
            yield f"{kind.__name__} is a subclass of {' and '.join(bases)}: choose one of them."
    private = {tag for kind in app.events for tag in private_tags(kind)}
    public = {tag for kind in app.events for name, tag in kind.tag_fields if name not in kind.private_fields}
    yield from upcast_mistakes(app.upcasts, {kind.__name__ for kind in app.events})
    for tag in sorted(private & public):
        yield f"Tag {tag!r} is on a private field and on a public field: mark both as Private, or neither."


def _duplicates(title: str, names: list[str]) -> Iterator[str]:
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"Duplicate {title} {name!r}: rename one of them."


def _handler_mistakes(function: Callable[..., Any], kind: type[Message], base: type[Message]) -> Iterator[str]:
    """Yield a sentence if a function does not accept a message and the second argument."""
    if not callable(function):
        yield f"The handler of {kind.__name__} is {function!r}, which is not a function."
        return
    name = name_of(function)
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        yield f"{name}, the handler of {kind.__name__}, is async: use a plain function."
    try:
        signature = inspect.signature(function)
        signature.bind(object(), object())
    except TypeError:
        yield f"{name} must accept ({base.__name__.lower()}: {kind.__name__}, {_SECOND_ARGUMENTS[base]})."
        return
    except ValueError:
        return  # a builtin without a signature
    first = next(iter(signature.parameters.values()))
    try:
        accepted = typing.get_type_hints(function).get(first.name, kind)
    except NameError as error:
        yield f"{name} has an annotation that cannot be resolved: {error}."
        return
    except TypeError:
        return  # a callable object or a partial has no annotations
    if isinstance(accepted, type) and not issubclass(kind, accepted):
        yield f"{name} accepts {accepted.__name__}, but is the handler of {kind.__name__}."


def name_of(thing: object) -> str:
    """Return the name of a class or a function, or the `repr` of another object."""
    return str(getattr(thing, "__name__", repr(thing)))
