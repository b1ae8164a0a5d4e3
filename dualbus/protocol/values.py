"""Values in messages: JSON within the limits of SQLite."""

from decimal import Decimal
from typing import Any

from dualbus.protocol.codes import MessageId, WireError
from dualbus.protocol.numbers import Number, check_decimal

DEPTH_MAX = 32
INT_MIN, INT_MAX = -(2**63), 2**63 - 1
TIMEOUT_MS_MAX = 3_600_000  # of a request
ID_CHARS_MAX = 256  # of src, dest, type, a textual msg_id, an idempotency key


def check(value: Any, depth: int = 0, *, decimals: bool = False) -> None:
    """Raise WireError unless the value is JSON within the limits of SQLite: finite, int64, text, not too deep.

    A request may hold a Decimal, a number with more digits than a float.
    """
    kind = type(value)
    if kind is dict:
        for key in value:
            if type(key) is not str:
                raise WireError("A key of an object is not text.")
        items = value.values()
    elif kind is list or kind is tuple:
        items = value
    else:
        _check_scalar(value, kind, decimals)
        return
    if depth == DEPTH_MAX:
        raise WireError(f"The message is nested more than {DEPTH_MAX} deep.")
    for item in items:
        kind = type(item)
        if kind is str or (kind is int and INT_MIN <= item <= INT_MAX):
            continue  # most values
        if kind is dict or kind is list or kind is tuple:
            check(item, depth + 1, decimals=decimals)
        else:
            _check_scalar(item, kind, decimals)


def _check_scalar(value: Any, kind: type, decimals: bool) -> None:
    if kind is int:
        if not INT_MIN <= value <= INT_MAX:
            raise WireError("A whole number does not fit in 64 bits: send it as text.")
    elif kind is Decimal and decimals:
        check_decimal(value)
    elif kind is float or kind is Number:
        if value - value != 0:  # true only for infinities and NaN
            raise WireError("A number is not finite.")
    elif not (kind is str or value is None or kind is bool):
        raise WireError(f"A value of type {kind.__name__} has no place in a message.")


def read_msg_id(body: dict[str, Any]) -> MessageId:
    """Return the checked id of a body; raise WireError for a missing or invalid id."""
    msg_id = body.get("msg_id")
    if msg_id is None:
        raise WireError("body.msg_id is required: the reply carries it as in_reply_to.")
    if type(msg_id) is int:
        if not INT_MIN <= msg_id <= INT_MAX:
            raise WireError("body.msg_id does not fit in 64 bits.")
        return msg_id
    return read_text(body, "msg_id", what="a whole number or text")


def read_text(values: dict[str, Any], name: str, default: str | None = None, what: str = "text") -> str:
    """Return a short text of an envelope or a body; raise WireError for an invalid value."""
    value = values.get(name, default)
    if type(value) is str and 0 < len(value) <= ID_CHARS_MAX and value.isascii():
        return value
    if value is None:
        raise WireError(f"{name} is required.")
    if type(value) is not str:
        raise WireError(f"{name} must be {what}.")
    if not value and value != default:
        raise WireError(f"{name} must not be empty.")
    if len(value) > ID_CHARS_MAX:
        raise WireError(f"{name} is longer than {ID_CHARS_MAX} characters.")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise WireError(f"{name} is not valid Unicode.") from None
    return value
