"""The forms of values in the tables of a read model and in the answers of queries; docs/values.md lists them."""

import dataclasses
import json
from enum import Enum
from typing import Any

from pydantic import BaseModel

from dualbus.application.answers import ChangedAnswer, check_answer
from dualbus.application.forms import json_form, text_form
from dualbus.application.messages import Query
from dualbus.protocol.codes import WireError
from dualbus.protocol.values import check


def answer_data(value: Any, kind: type[Query[Any]] | None = None) -> Any:
    """Return a value in the forms of JSON; `kind`, as the answer to a query.

    Raises WireError for values without a form, and for an answer that would change.
    """
    try:
        check(value)  # most answers are rows of plain values
    except WireError:
        data = json_form(value)
        try:
            check(data)
        except WireError as problem:
            place = f"{type(value).__name__}{_place(data)}"
            if kind is None:
                raise WireError(f"{place}: {problem}") from None
            raise ChangedAnswer(
                f"The answer to {kind.__name__} has no form in JSON, at {place}: {problem} "
                "Return another value, such as a list or a text."
            ) from None
        if kind is not None:
            check_answer(kind, value, data)
        return data
    return value


def _place(data: Any) -> str:
    """Return the place of the first value without a form."""
    items = data.items() if type(data) is dict else enumerate(data) if type(data) is list else ()
    for step, item in items:
        try:
            check(item)
        except WireError:
            return f"[{step!r}]{_place(item)}"
    return ""


def bound(cursor: object, number: int, value: Any) -> Any:
    """Return the form in a table of a value that SQLite has no type for; apsw calls this function."""
    if isinstance(value, Enum):
        return bound(cursor, number, value.value)
    if isinstance(value, list | tuple | dict | BaseModel) or dataclasses.is_dataclass(value):
        data = answer_data(value)
        return json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    if (text := text_form(value)) is not None:
        return text
    if isinstance(value, str | int | float | bytes | bytearray | memoryview | None):
        return value
    raise TypeError(f"A value of type {type(value).__name__} has no form in a table: convert the value to text.")
