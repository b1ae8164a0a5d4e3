"""Tags: the histories to which an event belongs."""

import re
from datetime import date, datetime
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, Union, get_args, get_origin
from uuid import UUID

from dualbus.runtime.errors import ConfigError

Taggable: TypeAlias = str | int | UUID | date | Enum
"""The type of a tag's value. Each value has a single text: an id, a number, a UUID, `2026-01-31`, an enum's value."""


class TagValue(NamedTuple):
    """A tag with its value: a history that a decision reads."""

    name: str
    text: str


class Tag:
    """A tag, such as `USER = Tag("user")`.

    In an event, `id: Annotated[str, USER]` adds the event to the history of each user; the values of a list field
    add it to several histories. In a decision, `past.events(USER(id))` reads the history of one user.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        if not re.fullmatch(r"[\w-]+", name):
            raise ConfigError(f"Tag {name!r} needs a name of letters, digits, _ or -.")
        self.name = name

    def __call__(self, value: Taggable) -> TagValue:
        return TagValue(self.name, tag_text(value))

    def __repr__(self) -> str:
        return f"Tag({self.name!r})"


class Private:
    """Marks a private field: of an event, in the log and in no reply; of every message, hidden in `repr`."""


def tag_text(value: Taggable) -> str:
    """Return the text of a tag's value; raise TypeError for a value of another type."""
    if type(value) is str:
        return value
    if isinstance(value, Enum):  # first: a StrEnum is a str too
        value = value.value
    if isinstance(value, bool | datetime) or not isinstance(value, str | int | UUID | date):
        kind = type(value).__name__  # and not the value, which may be private
        raise TypeError(f"A tag's value is a str, an int, a UUID, a date or an enum of text, not {kind}.")
    return value.isoformat() if isinstance(value, date) else str(value)


def is_taggable(annotation: Any, *, lists: bool = True) -> bool:
    """Return whether the values of a field's type can be tags: a text for each value, for each value of a list.

    A list inside a list has no text.
    """
    annotation = plain_type(annotation)
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (list, set, frozenset, tuple):
        return lists and all(is_taggable(part, lists=False) for part in parts if part is not ...)
    if origin in (Union, UnionType):
        return all(is_taggable(part, lists=lists) for part in parts if part is not type(None))
    if origin is Literal:
        return all(type(part) is str for part in parts)
    if not isinstance(annotation, type):
        return False
    if issubclass(annotation, Enum):
        return all(isinstance(member.value, str) for member in annotation)
    return issubclass(annotation, str | int | UUID | date) and not issubclass(annotation, bool | datetime)


def plain_type(annotation: Any) -> Any:
    """Return a type without Annotated, NewType and `type X = …`."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif hasattr(annotation, "__value__"):
            annotation = aliased(annotation)
        else:
            return annotation


def aliased(alias: Any) -> Any:
    """Return the type that an alias names, such as `str | None` for `Maybe[str]` with `type Maybe[T] = T | None`."""
    value, variables = alias.__value__, alias.__type_params__
    types = dict(zip(variables, get_args(alias), strict=False))
    if value in variables:
        return types.get(value, value)
    inner = getattr(value, "__parameters__", ()) if types else ()
    return value[tuple(types.get(variable, variable) for variable in inner)] if inner else value
