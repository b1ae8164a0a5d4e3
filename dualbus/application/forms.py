"""The JSON forms of Python's values in requests and answers; docs/values.md lists them."""

import dataclasses
from base64 import urlsafe_b64encode
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from types import NoneType
from typing import Any
from uuid import UUID

from pydantic import BaseModel


def json_form(value: Any, *, decimals: bool = False) -> Any:
    """Return the JSON form of a value; a value without a form, and with `decimals` a Decimal, unchanged."""
    if type(value) in (str, int, float, bool, NoneType) or (decimals and type(value) is Decimal):
        return value
    if isinstance(value, Enum):
        return json_form(value.value, decimals=decimals)
    if isinstance(value, dict):
        return {json_form(key): json_form(item, decimals=decimals) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_form(item, decimals=decimals) for item in value]
    if isinstance(value, BaseModel):
        return json_form(value.model_dump(by_alias=True), decimals=decimals)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: json_form(getattr(value, field.name), decimals=decimals) for field in fields}
    if isinstance(value, bytes):
        return urlsafe_b64encode(value).decode()
    text = text_form(value)
    return value if text is None else text


def text_form(value: Any) -> str | None:
    """Return the text of a time, a number with digits or an id; None for other values."""
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise ValueError("A datetime without a time zone is not a point in time: use an aware datetime, in UTC.")
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal | UUID) else None
