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


def json_form(value: Any, *, request: bool = False) -> Any:
    """Return the JSON form of a value; a value without a form unchanged.

    In a request, a Decimal is a number, and a model has its own form, which its class reads.
    """
    if type(value) in (str, int, float, bool, NoneType) or (request and type(value) is Decimal):
        return value
    if isinstance(value, Enum):
        return json_form(value.value, request=request)
    if isinstance(value, dict):
        return {json_form(key): json_form(item, request=request) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_form(item, request=request) for item in value]
    if isinstance(value, BaseModel):
        if request:
            return value.model_dump(mode="json", by_alias=True, round_trip=True)
        return json_form(value.model_dump(by_alias=True), request=request)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: json_form(getattr(value, field.name), request=request) for field in fields}
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
