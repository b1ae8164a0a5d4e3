"""Exact equality: Python finds 1, 1.0, True and Decimal("1.00") equal; here they are different values."""

import dataclasses
from collections.abc import Hashable
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from types import NoneType
from typing import Any
from uuid import UUID

from pydantic import BaseModel

_ATOMS = frozenset({str, int, bool, NoneType, bytes, date, timedelta, UUID})  # equal values are the same value


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
        return kind, value.replace(tzinfo=None), value.utcoffset(), value.fold, _zone(value)
    if kind is list or isinstance(value, tuple):
        return kind, tuple(map(exact, value))
    if kind in (set, frozenset):
        return kind, frozenset(map(exact, value))
    if kind is dict:
        return kind, tuple((exact(key), exact(item)) for key, item in value.items())
    if is_record(kind):
        return kind, exact(attributes(value))
    raise TypeError(f"A {kind.__name__} cannot be compared exactly.")


def _zone(value: datetime | time) -> tzinfo | None:
    """Return a zone whose offset depends on the date: calculations with equal times of two zones differ."""
    zone = value.tzinfo
    return zone if zone and zone.utcoffset(None) is None else None


def attributes(value: object) -> Any:
    """Return all attributes of an object, also those that are no fields."""
    return object.__getstate__(value)


def is_record(kind: type[Any]) -> bool:
    """Return whether a class is a dataclass or a model."""
    return dataclasses.is_dataclass(kind) or issubclass(kind, BaseModel)
