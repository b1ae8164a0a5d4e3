"""Validation of JSON in four respects in which pydantic loses what a client has sent.

pydantic converts a number in JSON to a float before a Decimal field sees the number. Behind a function of the author
that runs before a field's own rules, pydantic validates Python: in strict mode, the text of a date is refused there.
In a nested model, pydantic applies the configuration of that model alone: without `extra` and `strict`, it ignores
unknown fields, and converts true to 1. Copies of the classes' schemas look the digits of numbers up, validate the
result of such a function as JSON, refuse unknown fields, and validate nested records as strictly as the message.
"""

from contextvars import ContextVar
from decimal import Decimal
from functools import cache, cached_property
from math import inf, nextafter
from types import NoneType
from typing import Any, cast

from pydantic import BaseModel
from pydantic_core import CoreSchema, PydanticKnownError, SchemaValidator, core_schema, to_json

from dualbus.application.schemas import Config, Node, before, changed, fields_without_init, holds, validator_of
from dualbus.protocol.numbers import Number

_BEFORE = ("function-before", "function-wrap")
_RECORDS = ("model", "dataclass", "typed-dict")
_SCALARS = (str, int, float, bool, NoneType, Number)


class AmbiguousNumbers(Exception):
    """Raised for numbers that differ only in digits that a float does not keep, outside of fields of numbers."""


class _Numbers:
    """The numbers of a message, each under a float of its own."""

    def __init__(self) -> None:
        self.digits: dict[float, Decimal] = {}
        self.floats: dict[float, float] = {}  # of the numbers whose own float belonged to another number
        self.found: set[float] = set()  # of these, those that a field of numbers has received

    def replaced(self, value: Any) -> Any:
        """Return a copy of a value with the floats in place of its numbers."""
        kind = type(value)
        if kind is dict:
            return {key: self.replaced(item) for key, item in value.items()}
        if kind is list:
            return [self.replaced(item) for item in value]
        if kind is Number:
            return self._own_float(float(value), value.digits)
        return self._own_float(value, Decimal(repr(value))) if kind is float else value

    def _own_float(self, number: float, digits: Decimal) -> float:
        own, towards = number, -inf if number > 0 else inf
        while self.digits.setdefault(own, digits) != digits:
            own = nextafter(own, towards)
        if own != number:
            self.floats[own] = number
        elif digits.as_tuple().exponent < self.digits[own].as_tuple().exponent:  # type: ignore[operator]
            self.digits[own] = digits  # 0.10, and not 0.1
        return own


_numbers: ContextVar[_Numbers | None] = ContextVar("numbers", default=None)


@cache
def has_decimals(kind: type[BaseModel]) -> bool:
    """Return whether a class has a Decimal, at any depth."""
    return holds(kind.__pydantic_core_schema__, lambda node: node.get("type") == "decimal")


@cache
def has_functions(kind: type[BaseModel]) -> bool:
    """Return whether a class has functions of the author that run before the rules of a field."""
    return holds(kind.__pydantic_core_schema__, lambda node: node.get("type") in _BEFORE)


@cache
def has_lax_records(kind: type[BaseModel]) -> bool:
    """Return whether records of a class ignore unknown fields or convert values, without a choice of the author."""
    return holds(kind.__pydantic_core_schema__, lambda node: is_open(node) or _is_lax(node))


def json_validator(kind: type[BaseModel], *, by_name: bool = False) -> SchemaValidator:
    """Return a validator of JSON; `by_name`, with the names of the fields in place of their aliases."""
    return validator_of(json_schema(kind, by_name=by_name))


def json_schema(kind: type[BaseModel], *, by_name: bool = False) -> CoreSchema:
    """Return the schema of the validator.

    Only messages refuse unknown fields of records: an event in the log may have the fields of an earlier record.
    """
    definitions: list[Any] = []

    def change(node: Node, copy: Node, config: Config) -> Node:
        if not by_name:
            copy = _strict(node, _closed(node, copy, config))
        match node.get("type"):
            case "definitions":
                definitions.extend(copy["definitions"])
            case "decimal":
                return before(_digits, {**copy, "strict": False})
            case "float":
                return before(_float, copy)
            case "function-before" | "function-wrap" if not _needs_info(node["schema"]):
                inner = _Inner(copy["schema"], config, definitions, by_name)
                plain = core_schema.no_info_plain_validator_function(inner)
                return before(_restored, {**node, "schema": plain})
            case "function-before" | "function-wrap" | "function-plain":
                return before(_restored, node if by_name else cast("Node", changed(cast("Any", node), _closed)))
        return copy

    return changed(kind.__pydantic_core_schema__, change)


def validate(validator: SchemaValidator, value: Any, *, by_name: bool = False) -> Any:
    """Return the result of a validator for JSON-like data. Raises ValidationError and AmbiguousNumbers."""
    numbers = _Numbers()
    token = _numbers.set(numbers)
    try:
        data = to_json(numbers.replaced(value))
        message = (
            validator.validate_json(data, by_alias=False, by_name=True) if by_name else validator.validate_json(data)
        )
    finally:
        _numbers.reset(token)
    if numbers.floats.keys() - numbers.found:
        raise AmbiguousNumbers
    return message


class _Inner:
    """The rules of a field behind a function of the author, which returns JSON or a value of Python."""

    def __init__(self, schema: Node, config: Config, definitions: list[Any], by_name: bool) -> None:
        self._schema = {"type": "definitions", "schema": schema, "definitions": definitions}
        self._config = config
        self._by_name = by_name

    @cached_property
    def _validator(self) -> SchemaValidator:
        return validator_of(cast("CoreSchema", self._schema), self._config)

    def __call__(self, value: Any) -> Any:
        if _is_json(value):
            return validate(self._validator, value, by_name=self._by_name)
        return self._validator.validate_python(value)


def _closed(node: Node, copy: Node, config: Config) -> Node:
    """Return a node that refuses unknown fields, unless the author configures `extra`."""
    if not is_open(node):
        return copy
    closed = {**copy, "config": {**node.get("config", {}), "extra_fields_behavior": "forbid"}}
    return {**closed, "extra_behavior": "forbid"} if node["type"] == "typed-dict" else closed


def _strict(node: Node, copy: Node) -> Node:
    """Return a record that converts no values. The record itself remains lax, which only affects values of Python."""
    if not _is_lax(node):
        return copy
    return {**copy, "config": {**copy.get("config", {}), "strict": True}, "strict": False}


def _is_lax(node: Node) -> bool:
    """Return whether a record converts values, without a choice of its author."""
    return node.get("type") in _RECORDS and "strict" not in node and "strict" not in node.get("config", {})


def is_open(node: Node) -> bool:
    """Return whether a record ignores unknown fields, without a choice of its author.

    A dataclass with init=False writes a field that it does not read.
    """
    if node.get("type") not in _RECORDS or node.get("root_model"):
        return False
    chosen = node.get("extra_behavior", "ignore") != "ignore" or "extra_fields_behavior" in node.get("config", {})
    return not chosen and not fields_without_init(node)


def _needs_info(part: Any) -> bool:
    """Return whether a function inside a field's schema receives information about the other fields."""
    if type(part) is dict:
        if part.get("type") in ("model-fields", "typed-dict", "dataclass-args"):
            return False
        return part.get("type") == "with-info" or any(map(_needs_info, part.values()))
    return type(part) is list and any(map(_needs_info, part))


def _is_json(value: Any) -> bool:
    kind = type(value)
    if kind is dict:
        return all(map(_is_json, value.values()))
    return all(map(_is_json, value)) if kind is list else kind in _SCALARS


def _digits(value: Any) -> Any:
    """Return the exact value of a number. The Decimal field is not strict afterwards; this function is."""
    if type(value) is float and (numbers := _numbers.get()):
        numbers.found.add(value)
        return numbers.digits.get(value, value)
    if type(value) not in (float, int, str, Decimal):
        raise PydanticKnownError("decimal_type")
    return value


def _float(value: Any) -> Any:
    if type(value) is not float or not (numbers := _numbers.get()):
        return value
    numbers.found.add(value)
    return numbers.floats.get(value, value)


def _restored(value: Any) -> Any:
    """Return a value for a function of the author, with Numbers in place of floats that do not keep their digits."""
    kind = type(value)
    if kind is dict:
        return {key: _restored(item) for key, item in value.items()}
    if kind is list:
        return [_restored(item) for item in value]
    if kind is float and type(digits := _digits(value)) is Decimal:
        return value if str(digits) == repr(value) else Number(digits)
    return value
