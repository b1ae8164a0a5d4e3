"""Base classes of commands, events and queries, and the types of their fields."""

import sys
import typing
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from types import NoneType, SimpleNamespace, UnionType
from typing import Annotated, Any, Generic, Union, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, StringConstraints, ValidationError, ValidationInfo
from pydantic_core import CoreSchema, SchemaValidator, core_schema, to_json
from typing_extensions import TypeVar

from dualbus.application.error_text import EMAIL_PATTERN, problems
from dualbus.application.errors import INVALID, Problem, problems_of
from dualbus.application.json_validation import (
    AmbiguousNumbers,
    has_decimals,
    has_functions,
    has_lax_records,
    json_validator,
    validate,
)
from dualbus.application.rules import partial_message
from dualbus.application.tags import Private, Tag
from dualbus.protocol.numbers import holds_number
from dualbus.runtime.errors import application_errors


class Invalid(Exception):
    """Raised for a message that fails validation, with its `problems`; `errors` has their sentences."""

    def __init__(self, found: Sequence[str | Problem]) -> None:
        self.problems = problems_of(found, INVALID)
        self.errors = [problem.text for problem in self.problems]
        super().__init__("; ".join(self.errors))


R = TypeVar("R", default=Any)


class _Hidden:
    """The placeholder of a private value in a `repr`."""

    def __repr__(self) -> str:
        return "<private>"


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


def has_json_values(kind: type["Message"]) -> bool:
    """Return whether all values of a class are the same in JSON and in Python."""
    strict = kind.model_config.get("strict") is True
    fields = kind.model_fields.values()
    return strict and all(_is_json(field.annotation) and not any(map(_is_lax, field.metadata)) for field in fields)


class Message(BaseModel):
    """The base of commands, events and queries: frozen, strict, without undeclared fields."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        ser_json_bytes="base64",
        val_json_bytes="base64",
        ser_json_inf_nan="constants",
        hide_input_in_errors=True,
    )

    def problems(self) -> Iterable[str | Problem]:
        """Yield a sentence, or a `Problem`, for each broken rule that involves several fields.

        Called also if other fields are wrong: reading a wrong field raises AttributeError, and no further rule runs.
        """
        return ()

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        hidden = private_fields(type(self))
        if hidden:  # a computed field may show a private one
            hidden = hidden | type(self).__pydantic_decorators__.computed_fields.keys()
        for name, value in super().__repr_args__():
            yield name, _Hidden() if name in hidden else value

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the strict schema for the class itself; in other schemas, objects are validated in JSON mode.

        A web framework validates a decoded JSON body with a schema of its own, in Python mode, and the text of a UUID
        is correct there. Python code that creates a message must pass a UUID.
        """
        schema = handler(source)
        return _with_json_objects(cls, schema) if cls.__pydantic_complete__ else schema


M = TypeVar("M", bound=Message)
_AMBIGUOUS = "Two numbers differ only in digits that are lost in a field of any type: send these numbers as text"


def parse(kind: type[M], fields: dict[str, Any]) -> M:
    """Return the message of JSON-like fields, or raise Invalid with all problems."""
    message: M = _parser(kind)(fields)
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
        return _json_reader(kind).validate_json(data)

    inner: dict[str, Any] = {**schema}
    ref = inner.pop("ref", None)  # further uses of the class in the same schema refer to the outer schema
    return core_schema.with_info_wrap_validator_function(validate, cast("CoreSchema", inner), ref=ref)


@cache
def _json_reader(kind: type[Message]) -> SchemaValidator:
    """Return the validator of a message in JSON."""
    if has_functions(kind) or has_lax_records(kind):
        return json_validator(kind)
    return cast("SchemaValidator", kind.__pydantic_validator__)


@cache
def _parser(kind: type[Message]) -> Callable[[dict[str, Any]], Any]:
    """Return the parser of a class. Cached, because attributes of a pydantic class are slow to read.

    Types that JSON lacks are parsed from JSON, because only pydantic's JSON mode is strict in the way clients expect:
    "5" is not an integer, but "2026-01-31" can be a date.
    """
    validator, has_rules = kind.__pydantic_validator__, kind.problems is not Message.problems
    is_json, functions = has_json_values(kind), has_functions(kind)
    exact = json_validator(kind) if functions or has_decimals(kind) else None
    reader = exact or _json_reader(kind)

    def parse(fields: dict[str, Any]) -> Message:
        own_fields = {**fields}  # a copy: a validator of the application may change the dictionary
        try:
            message: Message
            if exact and (functions or holds_number(own_fields)):
                message = validate(exact, own_fields)
            elif is_json:
                message = validator.validate_python(own_fields)
            else:
                message = reader.validate_json(to_json(own_fields))
        except ValidationError as error:
            found = problems(kind.__name__, error, fields)
            raise Invalid([*found, *_rules_of_right_fields(kind, fields, error)] if has_rules else found) from None
        except AmbiguousNumbers:
            raise Invalid([_AMBIGUOUS]) from None
        if has_rules and (errors := list(message.problems())):
            raise Invalid(errors)
        return message

    return parse


def _rules_of_right_fields(kind: type[Message], sent: dict[str, Any], error: ValidationError) -> list[str | Problem]:
    """Return the problems of the rules that can be checked although other fields are wrong."""
    found: list[str | Problem] = []
    try:
        if message := partial_message(kind, sent, error):
            found.extend(message.problems())  # also those before an exception
    except application_errors():  # a rule reads a wrong field: the message is refused for the other problems
        pass
    return found


class Command(Message):
    """A request for a change; the class name is the type on the wire."""


class Query(Message, Generic[R]):
    """A request for data, without effects; the class name is the type on the wire.

    `class GetUser(Query[User | None])` names the type of the answer, which a client's call then returns.
    """


class Event(Message):
    """A fact; the class name is the type in the log."""


@cache
def tag_fields(kind: type[Event]) -> tuple[tuple[str, str], ...]:
    """Return the fields with a tag: pairs of the field's name and the tag's name."""
    fields = kind.model_fields.items()
    return tuple((name, mark.name) for name, field in fields for mark in field.metadata if isinstance(mark, Tag))


@cache
def private_fields(kind: type[Message]) -> frozenset[str]:
    """Return the names of the private fields."""
    fields = kind.model_fields.items()
    return frozenset(name for name, field in fields if any(map(is_private, field.metadata)))


def is_private(mark: object) -> bool:
    """Return whether the metadata of a field is Private, or Private()."""
    return mark is Private or isinstance(mark, Private)


def result_type(kind: type[Query[Any]]) -> Any:
    """Return R of a `Query[R]`; Any for a query that names no type."""
    types: dict[Any, Any] = {}  # by type variable, of the classes between the query and Query
    module = kind.__module__
    for base in kind.__mro__:
        generic = base.__dict__.get("__pydantic_generic_metadata__") or {"origin": None}
        if generic["origin"] is Query:
            return _with_types(_with_classes(generic["args"][0], module), types)
        if generic["origin"] is None:
            module = base.__module__
        else:
            variables = generic["origin"].__pydantic_generic_metadata__["parameters"]
            types |= zip(variables, (_with_types(part, types) for part in generic["args"]), strict=False)
    return Any


def _with_classes(annotation: Any, module: str) -> Any:
    """Return an annotation with the classes of a module that its texts name; unchanged if a text names no class."""
    carrier = SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(carrier, vars(sys.modules[module]), include_extras=True)["it"]
    except Exception:  # the registry reports a type that pydantic cannot read
        return annotation


def _with_types(annotation: Any, types: dict[Any, Any]) -> Any:
    """Return an annotation with types in place of its type variables."""
    if isinstance(annotation, TypeVar):
        return types.get(annotation, annotation)
    model = getattr(annotation, "__pydantic_generic_metadata__", None)
    variables = model["parameters"] if model else getattr(annotation, "__parameters__", ())
    if types.keys().isdisjoint(variables):
        return annotation
    return annotation[tuple(types.get(variable, variable) for variable in variables)]
