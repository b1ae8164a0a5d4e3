"""Numbers of JSON in Decimal fields, with all their digits.

pydantic converts a number in JSON to a float before a Decimal field sees the number. A copy of the class's schema
replaces each Decimal field by a field that receives the float and looks the digits up.
"""

from collections.abc import Callable
from contextvars import ContextVar
from decimal import Decimal
from math import inf, nextafter
from typing import Any, cast

from pydantic_core import CoreSchema, PydanticKnownError, core_schema, to_json

from dualbus.application.schemas import Node, changed_validator, has_type
from dualbus.protocol.numbers import Number, holds_number


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
    if not has_type(schema, "decimal"):
        return None
    validator = changed_validator(schema, _with_lookup)

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


def _with_lookup(node: Node, copy: Node) -> Node:
    """Return a node that looks its numbers up: a Decimal, a float, or a function of the author."""
    kind = node.get("type")
    if kind in ("function-before", "function-wrap", "function-plain"):
        return _after(_restored, node)
    if kind == "decimal":
        return _after(_digits, {**copy, "strict": False})
    return _after(_float, copy) if kind == "float" else copy


def _after(function: Callable[[Any], Any], node: Node) -> Node:
    schema = core_schema.no_info_before_validator_function(function, cast("CoreSchema", node))
    return cast("Node", schema)


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
