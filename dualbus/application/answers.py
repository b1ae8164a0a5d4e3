"""Answers as the type of the query: `Query[User | None]` is answered with a User, or None."""

import typing
from collections.abc import Callable, Iterator
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin

import typing_extensions
from pydantic import TypeAdapter, ValidationError
from pydantic_core import CoreConfig, to_json

from dualbus.application.answer_types import AnswerTypes
from dualbus.application.causes import cause
from dualbus.application.errors import HandlerError
from dualbus.application.messages import Query, R, result_type
from dualbus.application.schemas import Config, Node, changed, validator_of
from dualbus.application.tags import plain_type
from dualbus.runtime.errors import application_errors

_JSON_TYPES = (str, int, float, NoneType, dict, list)  # not bool: a column of SQLite has 0 and 1

_BASE64 = CoreConfig(val_json_bytes="base64")


def answer_of(query: Query[R], data: Any) -> R:
    """Return the data of an answer as the type of the query; raise HandlerError for other data."""
    convert = _converter(type(query))
    if convert is None:
        return cast("R", data)
    try:
        return cast("R", convert(data))
    except ValidationError as error:
        name = type(query).__name__
        raise HandlerError(
            f"The answer to {name} is not of its type ({cause(error)}): correct its function."
        ) from None
    except application_errors() as error:  # of a validator: the answers to other calls must not be lost with this one
        name = type(query).__name__
        raise HandlerError(f"The answer to {name} cannot be read ({cause(error)}): correct its type.") from error


@cache
def _converter(kind: type[Query[Any]]) -> Callable[[Any], Any] | None:
    """Return the conversion of an answer's data; None if JSON has the values of the type."""
    result = result_type(kind)
    if result is Any or all(map(_is_json, _leaves(result))):
        return None
    schema = TypeAdapter(AnswerTypes().readable(result)).core_schema
    validator = validator_of(changed(schema, _with_base64), _BASE64)
    return lambda data: validator.validate_json(to_json(data))


def _with_base64(node: Node, copy: Node, config: Config) -> Node:
    """Return a node whose bytes are base64, their form in an answer, whatever the author's class configures."""
    if node.get("type") in ("model", "dataclass", "typed-dict"):
        return {**copy, "config": {**node.get("config", {}), **_BASE64}}
    return copy


def _leaves(annotation: Any) -> Iterator[Any]:
    """Yield the classes in an annotation, and the classes of the fields of its TypedDicts."""
    annotation = plain_type(annotation)
    origin = get_origin(annotation) or annotation
    if typing_extensions.is_typeddict(origin):
        for part in (*typing.get_type_hints(origin).values(), *get_args(annotation)):
            yield from _leaves(part)
    elif origin is Literal:
        yield str
    elif parts := get_args(annotation):
        for part in parts:
            yield from _leaves(part)
        yield origin
    else:
        yield annotation


def _is_json(kind: Any) -> bool:
    return kind in (*_JSON_TYPES, Any, Union, UnionType) or isinstance(kind, typing.TypeVar)


def answer_mistake(kind: type[Query[Any]]) -> str:
    """Return a sentence for the author if answers cannot be converted to the type of a query, or an empty string."""
    try:
        _converter(kind)
    except Exception as error:
        reason = str(error).splitlines()[0].rstrip(".")
        return f"{kind.__name__} is a Query of a type that pydantic cannot read ({reason})."
    return ""
