"""The JSON forms of Python's values in requests and answers; docs/values.md lists them."""

import dataclasses
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from pathlib import PurePath
from types import NoneType
from typing import Any
from uuid import UUID

from pydantic import AnyUrl, BaseModel
from pydantic_core import SchemaSerializer, to_jsonable_python

from dualbus.application.schemas import Change, Config, Node, changed, serializer_of

_TEXTS = (Decimal, UUID, PurePath, IPv4Address, IPv6Address, AnyUrl)
_ALWAYS = {"json": "always", "json-unless-none": "unless-none"}
_PLAIN = (str, int, float, bool, NoneType)


def json_form(value: Any) -> Any:
    """Return the JSON form of a value in an answer; a value without a form unchanged. Raises ValueError."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Enum):
        return json_form(value.value)
    if isinstance(value, dict):
        return _object(value, _key, json_form)
    if isinstance(value, list | tuple):
        return list(map(json_form, value))
    if isinstance(value, BaseModel):
        serializer = _answer_serializer(type(value))
        return json_form(
            serializer.to_python(value, by_alias=True) if serializer else value.model_dump(by_alias=True)
        )
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: json_form(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, bytes):
        return urlsafe_b64encode(value).decode()
    if isinstance(value, timedelta):  # not in a table, where its text would not sort
        return to_jsonable_python(value)
    text = text_form(value)
    return value if text is None else text


def request_form(value: Any) -> Any:
    """Return the JSON form of a value in a request; a value without a form unchanged. Raises ValueError.

    A Decimal is a number. A model has the form that its class reads, and the form of bytes in an object is for the
    class of the object to say.
    """
    if isinstance(value, Enum):
        return request_form(value.value)
    if isinstance(value, dict):
        return _object(value, json_form, lambda item: item if isinstance(item, bytes) else request_form(item))
    if isinstance(value, list | tuple):
        return list(map(request_form, value))
    if isinstance(value, BaseModel):
        return read_form(value)
    return value if type(value) is Decimal else json_form(value)


def read_form(model: BaseModel) -> Any:
    """Return the JSON form of a model under the names that its class reads, also if the class writes other names."""
    if (serializer := _request_serializer(type(model))) is None:
        return model.model_dump(mode="json", by_alias=True, round_trip=True)
    return serializer.to_python(model, mode="json", by_alias=True, round_trip=True)


@cache
def _request_serializer(kind: type[BaseModel]) -> SchemaSerializer | None:
    """Return the serializer with the names that a class reads; None if these are the names that the class writes."""
    return _serializer(kind, _with_read_name)


@cache
def _answer_serializer(kind: type[BaseModel]) -> SchemaSerializer | None:
    """Return the serializer that calls a class's own functions for JSON; None if the class has no such functions."""
    return _serializer(kind, _with_functions_for_json)


def _serializer(kind: type[BaseModel], change: Change) -> SchemaSerializer | None:
    schema = kind.__pydantic_core_schema__
    own = changed(schema, change)
    return None if own == schema else serializer_of(own)


def _with_functions_for_json(node: Node, copy: Node, config: Config) -> Node:
    """Return a node whose function for JSON is always called: an answer has forms of its own for all other values."""
    function = node.get("serialization", {})
    when = _ALWAYS.get(function.get("when_used"))
    return {**copy, "serialization": {**function, "when_used": when}} if when else copy


def _with_read_name(node: Node, copy: Node, config: Config) -> Node:
    alias = node.get("validation_alias")
    written = node.get("serialization_alias")
    if alias is None or (written is None and (config or {}).get("validate_by_name")):
        return copy
    paths = [[alias]] if isinstance(alias, str) else alias if isinstance(alias[0], list) else [alias]
    read = [path[0] for path in paths if len(path) == 1]
    return copy if not read or written in read else {**copy, "serialization_alias": read[0]}


def _object(value: dict[Any, Any], key_form: Callable[[Any], Any], form: Callable[[Any], Any]) -> dict[Any, Any]:
    found = {key_form(key): form(item) for key, item in value.items()}
    if len(found) != len(value):
        raise ValueError("Two keys of a dictionary have the same form in JSON: rename one of them.")
    return found


def _key(value: Any) -> Any:
    """Return the form of a key in an answer: text, for a number too."""
    form = json_form(value)
    return json.dumps(form) if type(form) in (int, float, bool) else form


def text_form(value: Any) -> str | None:
    """Return the text of a time, a number with digits, an id, a path or an address; None for other values."""
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise ValueError("A datetime without a time zone is not a point in time: use an aware datetime, in UTC.")
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value) if isinstance(value, _TEXTS) else None
