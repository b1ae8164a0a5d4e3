"""Equality of a value and the value read back from JSON, in types too: a set is equal to a frozenset."""

import dataclasses
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from typing import Any

from pydantic import BaseModel

from dualbus.application.schemas import holds


def hides_types(schema: Any) -> bool:
    """Return whether two values of a core schema may be equal and of different types: a member of IntEnum | int."""
    return holds(schema, lambda node: node.get("type") in ("any", "union"))


def same(message: BaseModel, read: BaseModel) -> bool:
    """Return whether a message is equal to the message read back, and has values of the same types."""
    if message == read and not _hides_types(type(message)):
        return True
    return difference(message, read) is None


@cache
def _hides_types(kind: type[BaseModel]) -> bool:
    return hides_types(kind.__pydantic_core_schema__)


def changed_names(message: BaseModel, read: BaseModel) -> str:
    """Return the names of the fields that differ, for a sentence."""
    names = [name for name, value in message if difference(value, getattr(read, name, None)) is not None]
    return ", ".join(names) or "its private attributes"


def difference(value: Any, read: Any) -> str | None:
    """Return the place of the first difference between two values, such as ".price"; None for equal values.

    The place of the whole value is an empty text.
    """
    kind = type(value)
    if kind is not type(read):
        return f" (a value of type {kind.__name__}, read as {type(read).__name__})"
    if isinstance(value, dict):
        keys = {key: type(key) for key in read}
        for key in value:
            if keys.get(key, type(key)) is not type(key):
                return f"[{key!r}] (a key of type {type(key).__name__}, read as {keys[key].__name__})"
    parts, others = dict(_parts(value)), dict(_parts(read))
    for name, part in parts.items():
        if name in others and (inner := difference(part, others[name])) is not None:
            return f"{name}{inner}"
    if value == read or (isinstance(value, datetime) and _is_same_time(value, read)):
        return None
    same_parts = parts.keys() == others.keys() and _hidden(value) == _hidden(read)
    return None if same_parts and any(map(_has_changed_clock, parts.values())) else ""


def _is_same_time(value: datetime, read: datetime) -> bool:
    offset, read_offset = value.utcoffset(), read.utcoffset()
    if offset is None or read_offset is None:
        return False
    return value.replace(tzinfo=None) - read.replace(tzinfo=None) == offset - read_offset


def _has_changed_clock(value: Any) -> bool:
    """Return whether a value has a time in an hour that a clock repeats or skips.

    For Python, such a time equals no time of another zone, not even the same one in UTC (PEP 495).
    """
    if isinstance(value, datetime):
        return value.utcoffset() != value.replace(fold=1 - value.fold).utcoffset()
    return any(_has_changed_clock(part) for _, part in _parts(value))


def _hidden(value: Any) -> Any:
    """Return the attributes of a model that are no fields."""
    return (value.__pydantic_private__, value.__pydantic_extra__) if isinstance(value, BaseModel) else None


def _parts(value: Any) -> Iterable[tuple[Any, Any]]:
    """Return the parts of a value with a name for each; the name of an element of a set is the element."""
    if isinstance(value, BaseModel):
        return [(f".{name}", part) for name, part in value.__dict__.items()]
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return [(f".{field.name}", getattr(value, field.name, None)) for field in fields]
    if isinstance(value, dict):
        return [(f"[{name!r}]", part) for name, part in value.items()]
    if isinstance(value, list | tuple | deque):
        return [(f"[{index}]", part) for index, part in enumerate(value)]
    if isinstance(value, set | frozenset):
        return [(_in_utc(part), part) for part in value]
    return ()


def _in_utc(value: Any) -> Any:
    """Return the element of a set; in UTC, if it is a time in an hour that a clock repeats or skips."""
    return value.astimezone(UTC) if isinstance(value, datetime) and _has_changed_clock(value) else value
