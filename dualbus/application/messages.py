"""Base classes of commands, events and queries, and the types of their fields."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Self, Union, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, StringConstraints, ValidationError, ValidationInfo
from pydantic_core import CoreSchema, core_schema, to_json

from dualbus.application.error_text import EMAIL_PATTERN, problems
from dualbus.application.errors import INVALID, Problem, problems_of
from dualbus.protocol.codes import WireError
from dualbus.protocol.values import check
from dualbus.runtime.errors import ConfigError


class Invalid(Exception):
    """Raised for a message that fails validation, with its `problems`; `errors` has their sentences."""

    def __init__(self, found: Sequence[str | Problem]) -> None:
        self.problems = problems_of(found, INVALID)
        self.errors = [problem.text for problem in self.problems]
        super().__init__("; ".join(self.errors))


class Tag:
    """Marks a field of an event as a tag: the event belongs to the history of `<name>:<value of the field>`."""

    def __init__(self, name: str) -> None:
        self.name = name


class Private:
    """Marks a private field of an event: stored in the log, hidden from replies and `repr`."""


class _Hidden:
    """The placeholder of a private value in a `repr`."""

    def __repr__(self) -> str:
        return "<private>"


_PLAIN = frozenset({str, bool, NoneType})  # each value is valid in JSON, the log and the tables

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
"""Non-blank text: surrounding whitespace is stripped, and blank text counts as missing."""

Email = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=254, pattern=EMAIL_PATTERN)]
"""An address of the form name@host.domain. Only a mail can verify the mailbox."""


def _is_json(annotation: Any) -> bool:
    """Whether each value of a type is the same in JSON and in Python."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated or origin is list:
        return _is_json(parts[0])
    if origin in (Union, UnionType) and len(parts) == 2 and NoneType in parts:
        return all(_is_json(part) for part in parts if part is not NoneType)
    return annotation in (str, int, float, bool)


def _is_lax(metadata: Any) -> bool:
    """Whether the metadata of a field allows conversion from another type."""
    return getattr(metadata, "strict", None) is False or bool(getattr(metadata, "coerce_numbers_to_str", None))


def _has_nested_mark(annotation: Any) -> bool:
    """Whether a part of a type, and not the whole type, is marked with Tag or Private."""
    parts = get_args(annotation)
    return any(isinstance(part, Tag | Private) or part is Private or _has_nested_mark(part) for part in parts)


class Message(BaseModel):
    """The base of commands, events and queries: frozen, strict, without undeclared fields."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        ser_json_inf_nan="constants",
        hide_input_in_errors=True,
    )

    def problems(self) -> Iterable[str | Problem]:
        """Yield a sentence, or a `Problem`, for each broken rule that involves several fields.

        Called after all fields are valid.
        """
        return ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the strict schema for the class itself; in other schemas, objects are validated in JSON mode.

        A web framework validates a decoded JSON body with a schema of its own, in Python mode, and the text of a UUID
        is correct there. Python code that creates a message must pass a UUID.
        """
        schema = handler(source)
        return _with_json_objects(cls, schema) if cls.__pydantic_complete__ else schema

    @classmethod
    def parse(cls, fields: dict[str, Any]) -> Self:
        """Create a message from JSON-like fields, or raise Invalid with all problems."""
        message: Self = _parser(cls)(fields)
        return message


def _with_json_objects(kind: type[Message], schema: CoreSchema) -> CoreSchema:
    """Return a schema that validates dictionaries as JSON also in Python mode."""

    def validate(value: Any, strictly: core_schema.ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        if info.mode == "json" or type(value) is not dict:
            return strictly(value)
        try:
            data = to_json(value)
        except ValueError:  # not decoded from JSON
            return strictly(value)
        return kind.__pydantic_validator__.validate_json(data)

    inner: dict[str, Any] = {**schema}
    ref = inner.pop("ref", None)  # further uses of the class in the same schema refer to the outer schema
    return core_schema.with_info_wrap_validator_function(validate, cast("CoreSchema", inner), ref=ref)


@cache
def _parser(kind: type[Message]) -> Callable[[dict[str, Any]], Any]:
    """Return the parser of a class. Cached, because attributes of a pydantic class are slow to read.

    Types that JSON lacks are parsed from JSON, because only pydantic's JSON mode is strict in the way clients expect:
    "5" is not an integer, but "2026-01-31" can be a date.
    """
    validator, has_rules = kind.__pydantic_validator__, kind.problems is not Message.problems
    strict = kind.model_config.get("strict") is True
    fields = kind.model_fields.values()
    is_json = strict and all(_is_json(field.annotation) and not any(map(_is_lax, field.metadata)) for field in fields)

    def parse(fields: dict[str, Any]) -> Message:
        own_fields = {**fields}  # a copy: a validator of the application may change the dictionary
        try:
            message: Message = (
                validator.validate_python(own_fields) if is_json else validator.validate_json(to_json(own_fields))
            )
        except ValidationError as error:
            raise Invalid(problems(kind.__name__, error, fields)) from None
        if has_rules and (errors := list(message.problems())):
            raise Invalid(errors)
        return message

    return parse


@cache
def _has_serializer(kind: type[Message]) -> bool:
    """Whether a serializer of the application changes or omits fields of a class in the log."""
    return _serializes(kind.__pydantic_core_schema__)


def _serializes(schema: object) -> bool:
    """Whether a core schema of pydantic or a nested schema has a key such as `serialization_exclude`."""
    if isinstance(schema, Mapping):
        return any(str(key).startswith("serialization") or _serializes(part) for key, part in schema.items())
    return isinstance(schema, list | tuple) and any(map(_serializes, schema))


class Command(Message):
    """A request for a change; the class name is the type on the wire."""


class Query(Message):
    """A request for data, without effects; the class name is the type on the wire."""


class Event(Message):
    """A fact; the class name is the type in the log."""

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
        if nested := [name for name, field in cls.model_fields.items() if _has_nested_mark(field.annotation)]:
            raise ConfigError(
                f"{cls.__name__}.{nested[0]}: put Tag and Private on the whole type, "
                "such as Annotated[str | None, Private]; on a part of a type they have no effect."
            )

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, _Hidden() if name in self.private_fields else value

    def tags(self) -> list[tuple[str, str]]:
        """Return the (tag name, value) pairs of the event; a field that is None adds no tag."""
        values = self.__dict__
        return [(name, str(value)) for field, name in self.tag_fields if (value := values[field]) is not None]

    def data(self) -> str:
        """Return all fields, including private fields, as the JSON text for the log."""
        return self.__pydantic_serializer__.to_json(self).decode()

    def fields(self) -> dict[str, Any]:
        """Return all fields as JSON-like values; raise WireError for a value that a log or table cannot hold."""
        fields = self.__dict__
        if not _has_serializer(type(self)):
            if _PLAIN.issuperset(map(type, fields.values())):
                return fields
            with suppress(WireError):  # the serializer below may convert the value, such as a date
                check(fields)
                return fields
        # Field names instead of aliases, as above.
        stored: dict[str, Any] = self.__pydantic_serializer__.to_python(
            self, mode="json", by_alias=False, include=set(fields)
        )
        check(stored)
        return stored

    def shown(self) -> dict[str, Any]:
        """Return type and payload for a reply, without private fields; raise WireError like `fields`."""
        payload = self.fields()
        if hidden := self.private_fields:
            payload = payload.copy()
            for name in hidden:
                payload.pop(name, None)
        return {"type": type(self).__name__, "payload": payload}
