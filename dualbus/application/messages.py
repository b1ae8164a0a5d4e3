"""What an application says: commands, events and queries, and the types of their fields."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from pydantic_core import to_json

from dualbus.application.error_text import EMAIL_PATTERN, sentences
from dualbus.application.errors import replace_surrogates
from dualbus.protocol.codes import WireError
from dualbus.protocol.values import check
from dualbus.runtime.errors import ConfigError


class Invalid(Exception):
    """A message that breaks its own rules; `errors` holds every problem, a sentence each."""

    def __init__(self, errors: list[str]) -> None:
        self.errors = [replace_surrogates(error) for error in errors]
        super().__init__("; ".join(self.errors))


class Tag:
    """Marks an event's field: the event belongs to the history of `<name>:<the field's value>`."""

    def __init__(self, name: str) -> None:
        self.name = name


class Private:
    """Marks an event's field that is kept in the log and shown in no reply and no `repr`."""


class _Hidden:
    """Stands for the value of a private field in a `repr`."""

    def __repr__(self) -> str:
        return "<private>"


_PLAIN = frozenset({str, bool, NoneType})  # whose every value has a place in JSON, the log and the tables

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
"""Text that says something: surrounding space is dropped, and blank counts as missing."""

Email = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=254, pattern=EMAIL_PATTERN)]
"""An address of the form name@host.domain; whether anyone reads it, only a mail can tell."""


def _is_json(annotation: Any) -> bool:
    """Tell whether every value of a type is the same in JSON as in Python."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated or origin is list:
        return _is_json(parts[0])
    if origin in (Union, UnionType) and len(parts) == 2 and NoneType in parts:
        return all(_is_json(part) for part in parts if part is not NoneType)
    return annotation in (str, int, float, bool)


def _is_lax(mark: Any) -> bool:
    """Tell whether a mark on a field lets a value of another type be made into one that fits."""
    return getattr(mark, "strict", None) is False or bool(getattr(mark, "coerce_numbers_to_str", None))


def _marked_within(annotation: Any) -> bool:
    """Tell whether a part of a type, and not the whole, is marked as a tag or as private."""
    parts = get_args(annotation)
    return any(isinstance(part, Tag | Private) or part is Private or _marked_within(part) for part in parts)


class Message(BaseModel):
    """What commands, events and queries share: frozen, strict, and no field that was not declared."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        ser_json_inf_nan="constants",
        hide_input_in_errors=True,
    )

    def problems(self) -> Iterable[str]:
        """Yield a sentence for each rule across fields that is broken; asked once every field is right."""
        return ()

    @classmethod
    def parse(cls, fields: dict[str, Any]) -> Self:
        """Make a message from JSON-like fields, or raise Invalid with every problem at once."""
        message: Self = _parser(cls)(fields)
        return message


@cache
def _parser(kind: type[Message]) -> Callable[[dict[str, Any]], Any]:
    """Return what makes messages of a kind: worked out once, for what a model knows of itself is slow to ask.

    Fields that JSON has no type for come out of JSON, because only pydantic's JSON mode is strict the way a client
    means it: "5" is no integer, while "2026-01-31" may be a date.
    """
    validator, ruled = kind.__pydantic_validator__, kind.problems is not Message.problems
    strict = kind.model_config.get("strict") is True
    fields = kind.model_fields.values()
    is_json = strict and all(_is_json(one.annotation) and not any(map(_is_lax, one.metadata)) for one in fields)

    def parse(fields: dict[str, Any]) -> Message:
        given = {**fields}  # for a validator of the author's own may change it
        try:
            message: Message = (
                validator.validate_python(given) if is_json else validator.validate_json(to_json(given))
            )
        except ValidationError as error:
            raise Invalid(sentences(kind.__name__, error)) from None
        if ruled and (errors := list(message.problems())):
            raise Invalid(errors)
        return message

    return parse


@cache
def _kept_as_it_is(kind: type[Message]) -> bool:
    """Tell whether the log keeps every field of a kind, and none in a form of its author's."""
    return "serialization" not in repr(kind.__pydantic_core_schema__)  # which says so where it is otherwise


class Command(Message):
    """Asks for a change; the class name is its type on the wire."""


class Query(Message):
    """Asks for an answer and changes nothing; the class name is its type on the wire."""


class Event(Message):
    """Says what has happened; the class name is its type in the log."""

    tag_fields: ClassVar[tuple[tuple[str, str], ...]] = ()
    private_fields: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        hints = {name: field.metadata for name, field in cls.model_fields.items()}
        cls.tag_fields = tuple(
            (name, mark.name) for name, marks in hints.items() for mark in marks if isinstance(mark, Tag)
        )
        cls.private_fields = frozenset(
            name for name, marks in hints.items() if any(m is Private or isinstance(m, Private) for m in marks)
        )
        if overlooked := [name for name, field in cls.model_fields.items() if _marked_within(field.annotation)]:
            raise ConfigError(
                f"{cls.__name__}.{overlooked[0]}: put Tag and Private around the whole type, "
                "such as Annotated[str | None, Private]; further in they are not seen."
            )

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, _Hidden() if name in self.private_fields else value

    def tags(self) -> list[tuple[str, str]]:
        """Return (tag name, value) for each history this event belongs to; a None belongs to none."""
        values = self.__dict__
        return [(name, str(value)) for field, name in self.tag_fields if (value := values[field]) is not None]

    def data(self) -> str:
        """Return every field, the private ones too, as the JSON text that the log keeps."""
        return self.__pydantic_serializer__.to_json(self).decode()

    def fields(self) -> dict[str, Any]:
        """Return what the log keeps, as JSON-like values; raise WireError for one that no log or table can hold."""
        fields = self.__dict__
        if _kept_as_it_is(type(self)):
            if _PLAIN.issuperset(map(type, fields.values())):
                return fields
            with suppress(WireError):  # for a value that is only not yet JSON, such as a date
                check(fields)
                return fields
        # By the names that the author gave them, as above, whatever they are called in the log.
        kept: dict[str, Any] = self.__pydantic_serializer__.to_python(
            self, mode="json", by_alias=False, include=set(fields)
        )
        check(kept)
        return kept

    def shown(self) -> dict[str, Any]:
        """Return the event as a reply shows it: its type, and all but its private fields. Raises as `fields` does."""
        payload = self.fields()
        if hidden := self.private_fields:
            payload = payload.copy()
            for name in hidden:
                payload.pop(name, None)
        return {"type": type(self).__name__, "payload": payload}
