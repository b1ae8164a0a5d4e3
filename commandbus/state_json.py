"""States as JSON, exactly: a state that would not be read back with the same values and types has no JSON."""

import dataclasses
import sys
from collections.abc import Hashable, Iterable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from itertools import chain
from types import NoneType
from typing import Any
from uuid import UUID

from pydantic import BaseModel, TypeAdapter

from dualbus.runtime.errors import application_errors

SIZE_MAX = 1 << 18  # so that the conversion takes milliseconds
VALUE_SIZE = 16  # of each value, beside the length of a text

_ATOMS = frozenset({str, int, bool, NoneType, bytes, date, timedelta, UUID})  # equal values are the same value


def packed(state: Any) -> bytes | None:
    """Return the JSON of a dataclass or a model; None if the state would change on the way, or is too large."""
    kind: Any = type(state)
    if not _is_record(kind) or not _is_importable(kind):
        return None
    try:
        if _is_too_large(state):
            return None
        data = _adapter(kind).dump_json(state, by_alias=False, exclude_unset=True, warnings=False)
        return data if is_same(state, unpacked(kind, data)) else None
    except application_errors():  # of the application's serializers and validators, or a type without JSON
        return None


def unpacked(kind: Any, data: bytes) -> Any:
    """Return the state of this class with this JSON. Raises any exception for other JSON."""
    return _adapter(kind).validate_json(data, by_alias=False, by_name=True)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _is_record(kind: type[Any]) -> bool:
    return dataclasses.is_dataclass(kind) or issubclass(kind, BaseModel)


def _is_importable(kind: type[Any]) -> bool:
    """Return whether the name of a class leads to this class, in a module with a file."""
    found: Any = sys.modules.get(kind.__module__)
    if not getattr(found, "__file__", None):
        return False
    for name in kind.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is kind


def is_same(one: Any, other: Any) -> bool:
    """Return whether values are equal in all parts and types: 1 is neither True nor 1.0, and a list is no tuple."""
    try:
        return exact(one) == exact(other)
    except TypeError:
        return False


def exact(value: Any) -> Hashable:
    """Return the types and the values of all parts; raise TypeError for a part of a type without a known equality."""
    kind = type(value)
    if kind in _ATOMS or isinstance(value, Enum):
        return kind, value
    if kind is float:
        return kind, repr(value)
    if kind is Decimal:
        return kind, value.as_tuple()
    if kind in (datetime, time):
        return kind, value.replace(tzinfo=None), value.utcoffset(), value.fold
    if kind is list or isinstance(value, tuple):
        return kind, tuple(map(exact, value))
    if kind in (set, frozenset):
        return kind, frozenset(map(exact, value))
    if kind is dict:
        return kind, tuple((exact(key), exact(item)) for key, item in value.items())
    if _is_record(kind):
        return kind, exact(_attributes(value))
    raise TypeError(f"A {kind.__name__} cannot be compared exactly.")


def _attributes(value: object) -> Any:
    """Return all attributes of an object, also those that are no fields."""
    return object.__getstate__(value)


def _is_too_large(state: Any) -> bool:
    size = 0
    for value in _values(state):
        size += VALUE_SIZE + (len(value) if isinstance(value, str | bytes) else 0)
        if size > SIZE_MAX:
            return True
    return False


def _values(value: Any) -> Iterator[Any]:
    """Yield a value and all values inside."""
    yield value
    parts: Iterable[Any] = ()
    if isinstance(value, list | tuple | set | frozenset):
        parts = value
    elif isinstance(value, dict):
        parts = chain(value.keys(), value.values())
    elif _is_record(type(value)):
        parts = (_attributes(value),)
    for part in parts:
        yield from _values(part)
