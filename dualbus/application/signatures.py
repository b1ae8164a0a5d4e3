"""Signatures of functions: the first parameter names the message, the return annotation names the events."""

import inspect
import sys
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin

from typing_extensions import is_typeddict

from dualbus.application.messages import Event, Message
from dualbus.application.tags import plain_type

Function = Callable[..., Any]
MISSING = inspect.Parameter.empty


class SignatureMistake(Exception):
    """Raised for a function that cannot be registered; the text is a sentence for the author."""


class Signature(NamedTuple):
    """The types that a function accepts and returns."""

    accepts: tuple[type[Any], ...]  # the classes of the first parameter; empty without an annotation
    returns: Any  # the annotation, or MISSING
    arguments: frozenset[int]  # the numbers of arguments, of 1 to 3, that the function accepts


def read_signature(function: Function, *, may_be_async: bool = False) -> Signature:
    """Return the signature of a function; raise SignatureMistake for another object, or for unknown types."""
    name = name_of(function)
    if not callable(function) or isinstance(function, type):
        raise SignatureMistake(f"{function!r} is not a function.")
    if hasattr(function, "cache_info"):
        raise SignatureMistake(
            f"{name} returns earlier results again, from the cache of functools: remove lru_cache or cache."
        )
    layers = list(_layers(function))
    if is_async(function) and not may_be_async:
        raise SignatureMistake(f"{name} is async: use a plain function.")
    returns = next(
        (found for layer in layers if (found := _signature(layer).return_annotation) is not MISSING), MISSING
    )
    if returns is not MISSING:
        returns = _resolved(returns, _scope(layers), name)
    arguments = frozenset(count for count in (1, 2, 3) if _binds(function, count))
    return Signature(read_types(function), returns, arguments)


def read_types(function: Function, number: int = 0) -> tuple[type[Any], ...]:
    """Return the classes that the annotation of a parameter names; no classes without an annotation.

    A decorator may add or drop arguments: its own parameters count, with the annotations of the decorated function.
    """
    layers = list(_layers(function))
    for layer in layers:
        parameters = list(_signature(layer).parameters.values())[: number + 1]
        if len(parameters) > number and parameters[-1].kind <= inspect.Parameter.POSITIONAL_OR_KEYWORD:
            annotation = parameters[-1].annotation
            if annotation is not MISSING:
                return tuple(classes(_resolved(annotation, _scope(layers), name_of(function))))
    return ()


def parameter_at(function: Function, number: int) -> inspect.Parameter | None:
    """Return a parameter; that of the decorated function if the decorator accepts any arguments."""
    for layer in _layers(function):
        parameters = list(_signature(layer).parameters.values())
        named = [one for one in parameters if one.kind <= inspect.Parameter.POSITIONAL_OR_KEYWORD]
        if len(named) > number:
            return named[number]
        if not any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in parameters):
            return None
    return None


def is_generator(function: Function) -> bool:
    """Return whether a call of a function, or of the function in its decorators, would run nothing by itself."""
    return any(inspect.isgeneratorfunction(layer) for layer in _layers(function))


def is_async(function: Function) -> bool:
    """Return whether a function, or a function in its decorators, is a coroutine or an asynchronous generator."""
    layers = _layers(function)
    return any(inspect.iscoroutinefunction(layer) or inspect.isasyncgenfunction(layer) for layer in layers)


def classes(annotation: Any) -> Iterator[type[Any]]:
    """Yield the classes of an annotation: each class of a union, without None."""
    return (part for part in _alternatives(annotation) if isinstance(part, type))


def _alternatives(annotation: Any) -> Iterator[Any]:
    annotation = plain_type(annotation)
    if get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from _alternatives(part)
    elif annotation is not NoneType:
        yield annotation


def item_classes(name: str, annotation: Any, example: str) -> Iterator[type[Any]]:
    """Yield the classes in a return annotation of items, such as Iterator[A | B] or tuple[A, B].

    Raises SignatureMistake, with an example, for another item than a class.
    """
    items = get_args(annotation)
    if get_origin(annotation) is not tuple:
        items = items[:1] or (annotation,)  # a Generator has more; without an item, there is no class
    for item in items:
        for part in _alternatives(item) if item is not ... else ():
            if not isinstance(part, type):
                raise SignatureMistake(
                    f"{name} names {part} in its return annotation, which is not a class: name classes, such as "
                    f"-> {example}."
                )
            yield part


def yielded(function: Function, annotation: Any) -> Iterator[type[Event]]:
    """Yield the events of a decision's return annotation; raise SignatureMistake for an annotation without events."""
    name, annotation = name_of(function), plain_type(annotation)
    if annotation is MISSING:
        raise SignatureMistake(f"{name} needs a return annotation that names its events: -> Iterator[UserCreated].")
    if annotation is None or annotation is NoneType:
        return
    origin = get_origin(annotation)
    if not (isinstance(origin, type) and issubclass(origin, typing.Iterable)) or issubclass(origin, Mapping):
        hint = getattr(annotation, "__name__", "UserCreated") if _is_event(annotation) else "UserCreated"
        raise SignatureMistake(
            f"{name} is annotated to return {name_of(annotation)}: yield the events, and annotate the decision with "
            f"-> Iterator[{hint}]."
        )
    for kind in item_classes(name, annotation, "Iterator[UserCreated | UserRenamed]"):
        if kind is Event:
            raise SignatureMistake(
                f"{name} may return any Event: name its events, such as -> Iterator[UserCreated | UserRenamed]."
            )
        if not _is_event(kind):
            raise SignatureMistake(f"{name} returns {name_of(kind)}, which is not an event.")
        yield kind


def may_be(annotation: Any, declared: Any) -> bool:
    """Return whether values of a type may have the declared type; False only if classes exclude this.

    The parts of the same class count, too: list[int] may be list[int | None], and not list[str]. A part with a name,
    such as `type X = …`, may be any type: it may have its own name inside.
    """
    if get_origin(annotation) in (Union, UnionType):
        return all(may_be(part, declared) for part in get_args(annotation))
    if get_origin(declared) in (Union, UnionType):
        return any(may_be(annotation, part) for part in get_args(declared))
    kind, base = _class_of(annotation), _class_of(declared)
    if Any in (kind, base) or not all(isinstance(part, type) for part in (kind, base)):
        return True
    if kind is base:
        return all(map(may_be, get_args(annotation), get_args(declared)))
    if is_typeddict(base):  # by its keys: a TypedDict has no subclasses
        return is_typeddict(kind) and base.__required_keys__ <= kind.__required_keys__
    return issubclass(kind, base) or (kind is int and base is float)


def _class_of(annotation: Any) -> Any:
    """Return the class of a type without its arguments, if the type is of a class."""
    return NoneType if annotation is None else get_origin(annotation) or annotation


def with_subclasses(kinds: Collection[type[Event]]) -> Iterator[type[Event]]:
    """Yield classes and all their subclasses, each once."""
    found: dict[type[Event], None] = {}
    queue = list(kinds)
    while queue:
        kind = queue.pop(0)
        found[kind] = None
        queue += [one for one in kind.__subclasses__() if one not in found]
    yield from found


def name_of(thing: object) -> str:
    """Return the name of a class or a function, or the `repr` of another object."""
    if isinstance(thing, partial):
        return name_of(thing.func)
    return str(getattr(thing, "__name__", None) or repr(thing))


def _is_event(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Event)


def is_message(kind: Any, base: type[Message]) -> bool:
    """Return whether a class is a declared command, query or event, and not the base class."""
    return isinstance(kind, type) and issubclass(kind, base) and kind is not base


def check_accepts(function: Function, base: type[Message], accepts: Collection[type[Any]], expected: str) -> None:
    """Raise SignatureMistake for a first parameter that names no message of a base class; Event is every event."""
    name, first = name_of(function), parameter_at(function, 0)
    if not accepts and (first is None or first.annotation is MISSING):
        raise SignatureMistake(f"{name} needs a type for its first parameter: def {name}({expected}).")
    if base in accepts and base is not Event:
        raise SignatureMistake(f"{name} accepts any {base.__name__}: name its message: def {name}({expected}).")
    names = [name_of(kind) for kind in accepts if kind is not base and not is_message(kind, base)]
    for other in names if accepts else [first.annotation if first else None]:
        raise SignatureMistake(f"{name} accepts {other}, which is not a subclass of {base.__name__}.")


def _layers(function: Function) -> Iterator[Function]:
    """Yield a function, then the function that it decorates (functools.wraps), and so on."""
    while True:
        yield function
        if not hasattr(function, "__wrapped__"):
            return
        function = function.__wrapped__


def _signature(function: Function) -> inspect.Signature:
    options: dict[str, Any] = {"follow_wrapped": False}
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        options["annotation_format"] = Format.FORWARDREF  # other annotations may be of TYPE_CHECKING
    try:
        return inspect.signature(function, **options)
    except ValueError:
        return inspect.Signature()  # a builtin
    except TypeError as error:
        raise SignatureMistake(f"{name_of(function)} is not a function ({error}).") from None


def _binds(function: Function, count: int) -> bool:
    try:
        _signature(function).bind(*[object()] * count)
    except TypeError:
        return False
    return True


def _scope(layers: list[Function]) -> dict[str, Any]:
    """Return the names of the modules of all layers: those of the decorated function hide those of its decorator."""
    scope: dict[str, Any] = {}
    for layer in layers:
        plain: Any = layer.func if isinstance(layer, partial) else layer
        called = plain if hasattr(plain, "__globals__") else type(plain).__call__  # perhaps of a base class
        scope |= getattr(called, "__globals__", None) or vars(sys.modules[type(plain).__module__])
    return scope


def _resolved(annotation: Any, scope: dict[str, Any], name: str) -> Any:
    """Return an annotation whose strings are replaced by the classes they name."""
    carrier = SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(carrier, scope, include_extras=True)["it"]
    except Exception as error:
        raise SignatureMistake(
            f"{name} has an annotation that cannot be resolved ({error}): import the messages of a function at run "
            "time, not only under TYPE_CHECKING."
        ) from None
