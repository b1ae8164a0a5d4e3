"""Numbers of JSON in Decimal fields, with all their digits.

pydantic converts a number in JSON to a float before a Decimal field sees the number. A copy of the class's schema
replaces each Decimal field by a field that receives the float and looks the digits up.
"""

from collections.abc import Callable
from contextvars import ContextVar
from decimal import Decimal
from math import inf, nextafter
from typing import Any, cast

from pydantic_core import CoreSchema, PydanticKnownError, SchemaValidator, core_schema, to_json

from dualbus.protocol.numbers import Number, holds_number

_WITHOUT_SCHEMAS = frozenset({"cls", "config", "default", "expected", "members", "metadata", "serialization"})


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


_numbers: ContextVar[_Numbers] = ContextVar("numbers")


def exact_parser(schema: CoreSchema) -> Callable[[dict[str, Any]], Any] | None:
    """Return a parser for messages with numbers that floats do not keep; None for a class without a Decimal field.

    The parser returns None for other messages. Raises ValidationError and AmbiguousNumbers.
    """
    if not _has_decimal(schema):
        return None
    # Without this parameter, pydantic takes the validators of nested classes in place of their changed schemas.
    validator = SchemaValidator(_with_lookups(schema), _use_prebuilt=False)

    def parse(fields: dict[str, Any]) -> Any:
        if not holds_number(fields):
            return None
        numbers = _Numbers()
        token = _numbers.set(numbers)
        try:
            message = validator.validate_json(to_json(numbers.replaced(fields)))
        finally:
            _numbers.reset(token)
        if numbers.floats.keys() - numbers.found:
            raise AmbiguousNumbers
        return message

    return parse


def _has_decimal(schema: Any) -> bool:
    if type(schema) is dict:
        return schema.get("type") == "decimal" or any(map(_has_decimal, schema.values()))
    return type(schema) in (list, tuple) and any(map(_has_decimal, schema))


def _with_lookups(schema: Any) -> Any:
    """Return a copy of a schema in which fields of numbers, and the author's functions, look their numbers up."""
    if type(schema) in (list, tuple):
        return type(schema)(map(_with_lookups, schema))
    if type(schema) is not dict:
        return schema
    kind = schema.get("type")
    if kind in ("function-before", "function-wrap", "function-plain"):
        return core_schema.no_info_before_validator_function(_restored, cast("CoreSchema", schema))
    copied: dict[str, Any] = {}
    for key, part in schema.items():
        if key in ("fields", "choices") and type(part) is dict:  # by the names of fields
            copied[key] = {name: _with_lookups(field) for name, field in part.items()}
        else:
            copied[key] = part if key in _WITHOUT_SCHEMAS else _with_lookups(part)
    if kind == "decimal":
        return core_schema.no_info_before_validator_function(_digits, cast("CoreSchema", {**copied, "strict": False}))
    if kind == "float":
        return core_schema.no_info_before_validator_function(_float, cast("CoreSchema", copied))
    return copied


def _digits(value: Any) -> Any:
    """Return the exact value of a number. The Decimal field is not strict afterwards; this function is."""
    if type(value) is float:
        numbers = _numbers.get()
        numbers.found.add(value)
        return numbers.digits.get(value, value)
    if type(value) not in (int, str, Decimal):
        raise PydanticKnownError("decimal_type")
    return value


def _float(value: Any) -> Any:
    if type(value) is not float:
        return value
    numbers = _numbers.get()
    numbers.found.add(value)
    return numbers.floats.get(value, value)


def _restored(value: Any) -> Any:
    """Return a value for a function of the author: each float prints its digits."""
    kind = type(value)
    if kind is dict:
        return {key: _restored(item) for key, item in value.items()}
    if kind is list:
        return [_restored(item) for item in value]
    return Number(Decimal(_digits(value))) if kind is float else value
