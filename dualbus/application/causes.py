"""Descriptions of the application's exceptions, without private values.

The text of an exception may contain values of records, also private values. Clients, Status and `dualbus verify` show
only the class and the broken rules. Process logs are for operators and show the author's text, but not pydantic's,
which contains the values.
"""

import traceback
from collections.abc import Collection, Iterator
from types import TracebackType
from typing import Any, TypeAlias

from pydantic import ValidationError

from dualbus.runtime.errors import application_errors

ExcInfo: TypeAlias = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


class Unreadable(Exception):
    """Raised for a record that this version of the application cannot read. The text contains no values."""

    def __init__(self, type_: str, cause: str) -> None:
        super().__init__(f"This version of the application cannot read {type_}: {cause}")
        self.type = type_
        self.cause = cause


def cause(error: BaseException, fields: Collection[str] = ()) -> str:
    """Return the class of an exception; for a ValidationError, add the broken rules, with names in `fields`.

    Other names are omitted, because keys of a dictionary are values too.
    """
    if isinstance(error, Unreadable):
        return error.cause
    name = type(error).__name__
    return f"{name} ({_rules(error, fields)})" if isinstance(error, ValidationError) else name


def _rules(error: ValidationError, fields: Collection[str]) -> str:
    found: dict[str, None] = {}
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        field = problem["loc"][0] if problem["loc"] else ""
        found[f"{field}: {problem['type']}" if field in fields else problem["type"]] = None
    return ", ".join(found)


def own_text(error: BaseException) -> str:
    """Return the text of an exception for process logs: the author's text, but not pydantic's."""
    try:
        return f"{error.title} ({_rules(error, ())})" if isinstance(error, ValidationError) else str(error)
    except application_errors():  # of the author's __str__
        return "an exception without a text"


def own_traceback(error: BaseException) -> str:
    """Return the traceback of an exception and its causes, with the texts of `own_text`."""
    whole = traceback.TracebackException.from_exception(error)
    for shown, raised in _chain(whole, error, set()):
        if isinstance(raised, ValidationError):
            shown._str = own_text(raised)
    return "".join(whole.format()).rstrip("\n")


def _chain(shown: Any, raised: Any, seen: set[int]) -> Iterator[tuple[Any, BaseException]]:
    """Yield each exception of a chain and its groups with the traceback entry."""
    if shown is None or raised is None or id(shown) in seen:
        return
    seen.add(id(shown))
    yield shown, raised
    yield from _chain(shown.__cause__, raised.__cause__, seen)
    yield from _chain(shown.__context__, raised.__context__, seen)
    for shown_part, part in zip(shown.exceptions or (), getattr(raised, "exceptions", ()), strict=False):
        yield from _chain(shown_part, part, seen)
