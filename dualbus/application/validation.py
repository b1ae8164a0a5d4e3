"""The mistakes in an application, all at once."""

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


def event_types_of(app: "App") -> set[type[Event]]:
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


def private_tags(kind: type[Event]) -> set[str]:
    """Return the tags on private fields."""
    return {tag for field_name, tag in kind.tag_fields if field_name in kind.private_fields}


def mistakes(app: "App") -> Iterator[str]:
    """Yield a sentence for each mistake in an application."""
    kinds_right = True
    tables: list[tuple[Mapping[Any, Any], type[Message]]] = [(app.commands, Command), (app.queries, Query)]
    for table, base in tables:
        for kind, function in table.items():
            if not (isinstance(kind, type) and issubclass(kind, base)):
                yield f"{name_of(kind)} stands among the {base.__name__.lower()} types and is not one."
                kinds_right = False
            else:
                yield from _handler_mistakes(function, kind)
    for projection in app.projections:
        if not re.fullmatch(r"\w+", projection.name) or type(projection.version) is not int:
            yield f"Projection {projection.name!r} needs a name of letters and a whole number as its version."
        for kind, function in projection.on.items():
            if not (isinstance(kind, type) and issubclass(kind, Event)):
                yield f"Projection {projection.name} is on {name_of(kind)}, which is not an event."
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


def _type_mistakes(app: "App") -> Iterator[str]:
    events = event_types_of(app)
    kinds: set[type[Message]] = {*app.commands, *app.queries, *events}
    yield from _twice("Message type", [kind.__name__ for kind in kinds])
    for kind in sorted(kinds, key=name_of):
        roles = [base.__name__.lower() for base in (Command, Query, Event) if issubclass(kind, base)]
        if len(roles) > 1:
            yield f"{kind.__name__} is a {' and a '.join(roles)}: a type is one of them, never two."
    private = {tag for kind in events for tag in private_tags(kind)}
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
    name = name_of(function)
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


def name_of(thing: object) -> str:
    """Return the name of a class or a function, or how it is shown."""
    return str(getattr(thing, "__name__", repr(thing)))
