"""Answers as the type of the query: `Query[User | None]` is answered with a User, or None."""

from functools import cache
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import CoreConfig, CoreSchema, PydanticCustomError, SchemaValidator, core_schema, to_json

from dualbus.application.answer_types import AnswerTypes
from dualbus.application.causes import cause
from dualbus.application.equality import difference, hides_types
from dualbus.application.errors import HandlerError
from dualbus.application.forms import json_form
from dualbus.application.messages import Query, R, result_type
from dualbus.application.schemas import (
    OF_MEMBER,
    Config,
    Node,
    before,
    changed,
    holds,
    is_json,
    is_plain_member,
    validator_of,
)
from dualbus.protocol.codes import WireError
from dualbus.runtime.errors import application_errors

_BASE64 = CoreConfig(val_json_bytes="base64")
_OTHER = object()
_CHANGED = "changed"


class _Undefined(Exception):
    """Raised for a type that names a class by a text, and the class is defined later."""


class ChangedAnswer(WireError):
    """Raised for an answer without a form in JSON, or that a client would read with another value.

    The text may have keys of the answer.
    """


def answer_of(query: Query[R], data: Any) -> R:
    """Return the data of an answer as the type of the query; raise HandlerError for other data."""
    validator = _validator(type(query))
    if validator is None:
        return cast("R", data)
    try:
        return cast("R", validator.validate_json(to_json(data)))
    except ValidationError as error:
        name = type(query).__name__
        raise HandlerError(
            f"The answer to {name} is not of its type ({cause(error)}): correct its function."
        ) from None
    except application_errors() as error:  # of a validator: the answers to other calls must not be lost with this one
        name = type(query).__name__
        raise HandlerError(f"The answer to {name} cannot be read ({cause(error)}): correct its type.") from error


def check_answer(kind: type[Query[Any]], value: Any, data: Any) -> None:
    """Raise ChangedAnswer if a client would read another value than the query function has returned.

    A value of another type than that of the query, such as a row in place of a model, is for the type to convert.
    """
    _check_json(kind, value)
    if (validator := _validator(kind)) is None:
        return
    try:
        read = validator.validate_json(to_json(data))
    except ValidationError as error:
        if _typed(validator, value) is not _OTHER:
            raise ChangedAnswer(
                f"The answer to {kind.__name__} cannot be read back ({_places(error)}): "
                "let its type read the fields that it writes."
            ) from None
        return
    except application_errors():  # of a validator: the client reports it
        return
    if (value == read and not _hides_types(kind)) or _is_read_once(kind):
        return
    place = difference(value, read)
    if place is not None and not place.startswith(".") and "]." not in place:  # no attribute: it may be of a row
        if (value := _typed(validator, value)) is _OTHER:
            return
        place = difference(value, read)
    if place is not None:
        raise _changed_answer(kind, value, place)


def _check_json(kind: type[Query[Any]], value: Any) -> None:
    """Raise ChangedAnswer for a text or a number of the type whose value has another form in JSON, such as a date."""
    if (validator := _json_validator(kind)) is None:
        return
    try:
        validator.validate_python(value)
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_context=False):
            if problem["type"] == _CHANGED:
                part, read = problem["input"], json_form(problem["input"])
                types = f" (a value of type {type(part).__name__}, read as {type(read).__name__})"
                raise _changed_answer(kind, value, _place(value, problem["loc"]) + types) from None
    except application_errors():  # of a validator
        return


def _place(value: Any, location: tuple[int | str, ...]) -> str:
    """Return the place of a problem, without the names of union members: neither keys nor indexes of a value."""
    place = ""
    for step in location:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            continue
        place += f"[{step!r}]"
    return place


def _changed_answer(kind: type[Query[Any]], value: Any, place: str) -> ChangedAnswer:
    return ChangedAnswer(
        f"The answer to {kind.__name__} is not the same when it is read back: {type(value).__name__}{place}. "
        "Let its type keep this value in JSON, or return another value."
    )


def _typed(validator: SchemaValidator, value: Any) -> Any:
    """Return a value with its rows as the classes of the type; _OTHER for a value of another type."""
    try:
        return validator.validate_python(value)
    except application_errors():
        return _OTHER


def _places(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return ", ".join(f"{error.title}.{'.'.join(map(str, one['loc']))}: {one['type']}" for one in problems)


@cache
def _validator(kind: type[Query[Any]]) -> SchemaValidator | None:
    """Return the validator of an answer's data; None if JSON has the values of the type."""
    schema = _schema(kind)
    return None if is_json(schema) else validator_of(changed(schema, _with_base64), _BASE64)


@cache
def _json_validator(kind: type[Query[Any]]) -> SchemaValidator | None:
    """Return the validator of a returned value whose type has the values of JSON; None for any value."""
    return None if result_type(kind) is Any else validator_of(changed(_schema(kind), _with_check))


def _with_check(node: Node, copy: Node, config: Config) -> Node:
    """Return a node that refuses a value with another form in JSON, if the node is for a text or a number.

    A model, a dataclass and a function read values by their own rules, and may change the values that they read.
    """
    kind = str(node.get("type"))
    if kind in ("model", "dataclass") or kind.startswith("function-"):
        return cast("Node", core_schema.any_schema(ref=node.get("ref")))
    return before(_unchanged, copy) if kind in ("str", "int", "float") else copy


def _unchanged(value: Any) -> Any:
    form = json_form(value)
    if form != value and type(form) not in (dict, list):  # no model in place of a dictionary
        raise PydanticCustomError(_CHANGED, "has another form in JSON")
    return value


@cache
def _hides_types(kind: type[Query[Any]]) -> bool:
    return hides_types(_schema(kind))


@cache
def _is_read_once(kind: type[Query[Any]]) -> bool:
    """Return whether an answer has an iterator, such as that of an Iterable, which no comparison may read."""
    return holds(_schema(kind), lambda node: node.get("type") == "generator")


def _schema(kind: type[Query[Any]]) -> CoreSchema:
    adapter = TypeAdapter[Any](AnswerTypes().readable(result_type(kind)))
    if not adapter.pydantic_complete:
        raise _Undefined
    return adapter.core_schema


def _with_base64(node: Node, copy: Node, config: Config) -> Node:
    """Return a node whose bytes are base64, their form in an answer, whatever the author's class configures."""
    if node.get("type") in ("model", "dataclass", "typed-dict"):
        return {**copy, "config": {**node.get("config", {}), **_BASE64}}
    return copy


def answer_mistake(kind: type[Query[Any]]) -> str:
    """Return a sentence for the author if answers cannot be converted to the type of a query, or an empty string."""
    try:
        if _validator(kind) is None:
            _json_validator(kind)
    except _Undefined:
        name = kind.__name__
        return f"{name} is a Query of a class that is not defined before it: define the class of its answer first."
    except Exception as error:
        reason = str(error).splitlines()[0].rstrip(".")
        return f"{kind.__name__} is a Query of a type that pydantic cannot read ({reason})."
    if holds(_schema(kind), lambda node: any(map(is_plain_member, node.get("expected", ())))):
        return f"The answer to {kind.__name__} {OF_MEMBER}"
    return ""
