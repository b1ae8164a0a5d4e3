"""The forms of values in the tables of a read model and in the answers of queries; docs/values.md lists them."""

import dataclasses
import json
from base64 import urlsafe_b64encode
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from types import NoneType
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from dualbus.protocol.codes import WireError
from dualbus.protocol.values import check


def answer_data(data: Any) -> Any:
    """Return the data of an answer in the forms of JSON. Raises WireError for values without a form."""
    try:
        check(data)  # most answers are rows of plain values
    except WireError:
        data = _json(data)
        check(data)
    return data


def bound(cursor: object, number: int, value: Any) -> Any:
    """Return the form in a table of a value that SQLite has no type for; apsw calls this function."""
    if isinstance(value, Enum):
        return bound(cursor, number, value.value)
    if isinstance(value, list | tuple | dict | BaseModel) or dataclasses.is_dataclass(value):
        data = answer_data(value)
        return json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    if (text := _text(value)) is not None:
        return text
    if isinstance(value, str | int | float | bytes | bytearray | memoryview | None):
        return value
    raise TypeError(f"A value of type {type(value).__name__} has no form in a table: convert the value to text.")


def _text(value: Any) -> str | None:
    """Return the text of a time, a number with digits or an id; None for other values."""
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise ValueError("A datetime without a time zone is not a point in time: use an aware datetime, in UTC.")
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal | UUID) else None


def _json(value: Any) -> Any:
    """Return the JSON form of a value; a value without a form unchanged."""
    if type(value) in (str, int, float, bool, NoneType):
        return value
    if isinstance(value, Enum):
        return _json(value.value)
    if isinstance(value, dict):
        return {_json(key): _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if isinstance(value, BaseModel):
        return _json(value.model_dump(by_alias=True))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, bytes):
        return urlsafe_b64encode(value).decode()
    text = _text(value)
    return value if text is None else text
