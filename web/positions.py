"""Whole numbers from outside as text. `int` alone raises ValueError for thousands of digits, also for zeros."""

from dualbus.protocol.values import INT_MAX

DIGITS_MAX = 19


def whole_number_of(text: str, highest: int = INT_MAX) -> int | None:
    """Return the whole number of a text, at most `highest`; None for any other text."""
    if text.isascii() and text.isdecimal() and len(text) <= DIGITS_MAX and int(text) <= highest:
        return int(text)
    return None


def position_of(text: str) -> int | None:
    """Return the position of the log of a text; None for any other text."""
    return whole_number_of(text)
