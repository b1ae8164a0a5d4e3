"""Numbers of JSON with digits that a float does not keep, such as 12345678901234567.89 and 0.10.

A decoder of JSON and a client hold such a number as a Decimal, a frame as an extension type with its text, and a
worker as a Number: a float that carries the digits for fields of the type Decimal.
"""

import re
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Self

import msgpack

from dualbus.protocol.codes import WireError

NUMBER = 1  # the code of the extension type
CHARS_MAX = 400
EXPONENT_MIN, EXPONENT_MAX = -324, 308  # of the first digit, as for floats
_JSON_NUMBER = re.compile(rb"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class Number(float):
    """A number in a message from the gateway; `digits` is its exact value."""

    __slots__ = ("digits",)
    digits: Decimal

    def __new__(cls, digits: Decimal) -> Self:
        number = super().__new__(cls, digits)
        number.digits = digits
        return number

    def __repr__(self) -> str:
        return str(self.digits)

    __str__ = __repr__


def holds_number(value: object) -> bool:
    """Return whether a value in a message from the gateway is, or holds, a Number."""
    kind = type(value)
    if kind is dict:
        return any(map(holds_number, value.values()))  # type: ignore[attr-defined]
    if kind is list:
        return any(map(holds_number, value))  # type: ignore[call-overload]
    return kind is Number


def read_number(text: str) -> float | Decimal:
    """Return a JSON number with a fraction or an exponent: a float if the float has the same digits, else a Decimal.

    Raises ValueError for an exponent without a Decimal.
    """
    number = float(text)
    if repr(number) == text or not isfinite(number):
        return number
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError("A number has an exponent of too many digits.") from None


def check_decimal(value: Decimal) -> None:
    """Raise WireError for a Decimal out of the range of floats: the range bounds the length of its plain notation."""
    if not value.is_finite():
        raise WireError("A number is not finite.")
    if not EXPONENT_MIN <= value.adjusted() <= EXPONENT_MAX or not isfinite(float(value)):
        raise WireError("A number is out of the range of floats: send it as text.")
    if len(str(value)) > CHARS_MAX:
        raise WireError(f"A number has more than {CHARS_MAX} characters: send it as text.")


def packed_number(value: object) -> msgpack.ExtType:
    """Return the extension type of a Decimal; msgpack calls this function for types of its own lack."""
    if type(value) is not Decimal:
        raise TypeError(f"a value of type {type(value).__name__} has no form")
    return msgpack.ExtType(NUMBER, str(value).encode())


def unpacked_decimal(code: int, data: bytes) -> Decimal:
    """Return the Decimal of an extension type from a client; raise WireError for any other extension type."""
    if code != NUMBER:
        raise WireError("msgpack extension types other than numbers have no place in a message.")
    if len(data) > CHARS_MAX or not _JSON_NUMBER.fullmatch(data):
        raise WireError("A number of the extension type is not the text of a JSON number.")
    try:
        return Decimal(data.decode())
    except InvalidOperation:
        raise WireError("A number has an exponent of too many digits.") from None


def unpacked_number(code: int, data: bytes) -> Number:
    """Return the Number of an extension type from another process of the cluster."""
    return Number(unpacked_decimal(code, data))
