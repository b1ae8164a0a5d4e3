"""Equality of a value and the value read back from JSON, in types too: a set is equal to a frozenset."""

import dataclasses
from collections import deque
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from dualbus.application.schemas import holds


def hides_types(schema: Any) -> bool:
    """Return whether two values of a core schema may be equal and of different types, at any depth."""
    return holds(schema, lambda node: node.get("type") in ("any", "union"))


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
