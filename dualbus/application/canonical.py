"""One text for all equal values of a type, however a client writes them: 0.10 and "0.1", +00:00 and Z."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import Any
from uuid import UUID


def _decimal(value: Decimal) -> str:
    if not value or not value.is_finite():
        return str(value if value else 0)
    precision = max(1, len(value.as_tuple().digits))
    return str(value.normalize(Context(prec=precision, Emax=MAX_EMAX, Emin=MIN_EMIN)))


def _datetime(value: datetime) -> str:
    return (value if value.utcoffset() is None else value.astimezone(UTC)).isoformat()


_TEXTS: dict[type, Callable[[Any], str]] = {
    Decimal: _decimal,
    datetime: _datetime,
    date: date.isoformat,
    time: time.isoformat,
    timedelta: str,
    UUID: str,
    bytes: bytes.hex,
}


def canonical(value: object) -> str | None:
    """Return the type and the text of a value; None for a value of another type."""
    text = _TEXTS.get(type(value))
    return None if text is None else f"{type(value).__name__} {text(value)}"
