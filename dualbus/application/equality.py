"""Equality of a value and the value read back from JSON, in types too: a set is equal to a frozenset."""

import dataclasses
from collections import deque
from collections.abc import Iterable
from functools import cache
from typing import Any

from pydantic import BaseModel

from dualbus.application.schemas import holds


def hides_types(schema: Any) -> bool:
    """Return whether two values of a core schema may be equal and of different types: a member of IntEnum | int."""
    return holds(schema, lambda node: node.get("type") == "union")


def same(message: BaseModel, read: BaseModel) -> bool:
    """Return whether a message is equal to the message read back, and has values of the same types in unions."""
    return message == read and not (_has_unions(type(message)) and difference(message, read) is not None)


@cache
def _has_unions(kind: type[BaseModel]) -> bool:
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
    others = dict(_parts(read))
    for name, part in _parts(value):
        if name in others and (inner := difference(part, others[name])) is not None:
            return f"{name}{inner}"
    return None if value == read else ""


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
        return [(part, part) for part in value]
    return ()
