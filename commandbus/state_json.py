"""States as JSON, exactly: a state that would not be read back with the same values and types has no JSON."""

import sys
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain
from typing import Any

from pydantic import TypeAdapter

from dualbus.application.exact import attributes, is_record, is_same
from dualbus.runtime.errors import application_errors

SIZE_MAX = 1 << 18  # so that the conversion takes milliseconds
VALUE_SIZE = 16  # of each value, beside the length of a text


def packed(state: Any) -> bytes | None:
    """Return the JSON of a dataclass or a model; None if the state would change on the way, or is too large."""
    kind: Any = type(state)
    if not is_record(kind) or not _is_importable(kind):
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


def _is_importable(kind: type[Any]) -> bool:
    """Return whether the name of a class leads to this class, in a module with a file."""
    found: Any = sys.modules.get(kind.__module__)
    if not getattr(found, "__file__", None):
        return False
    for name in kind.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is kind


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
    elif is_record(type(value)):
        parts = (attributes(value),)
    for part in parts:
        yield from _values(part)
