"""Positions of the log as text."""

from dualbus.protocol.values import INT_MAX


def position_of(text: str) -> int | None:
    """Return the position of a text; None for any other text."""
    if text.isascii() and text.isdecimal() and len(text) <= 19 and int(text) <= INT_MAX:
        return int(text)
    return None
