"""What an exception of the application shows of itself.

Its text may hold values of records, also private ones: clients, Status and `dualbus verify` are shown its class and
the rules that were broken. The log of a process is the operator's and shows the text of the author; but pydantic puts
the values into its own texts, so these are replaced there too.
"""

import traceback
from collections.abc import Collection, Iterator
from types import TracebackType
from typing import Any, TypeAlias

from pydantic import ValidationError

ExcInfo: TypeAlias = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


class Unreadable(Exception):
    """This version of the application cannot read a record; the text holds no value of it."""

    def __init__(self, type_: str, cause: str) -> None:
        super().__init__(f"This version of the application cannot read {type_}: {cause}")
        self.type = type_
        self.cause = cause


def cause(error: BaseException, fields: Collection[str] = ()) -> str:
    """Return the class of an exception and, of a validation, each broken rule with its field if it is one of these.

    Other names are not shown: a key of a dictionary is a value too.
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
    """Return the text of an exception for the operator: that of the author, and not pydantic's."""
    return f"{error.title} ({_rules(error, ())})" if isinstance(error, ValidationError) else str(error)


def own_traceback(error: BaseException) -> str:
    """Return the traceback of an exception with the texts of `own_text`, also in what it was raised from."""
    whole = traceback.TracebackException.from_exception(error)
    for shown, raised in _chain(whole, error, set()):
        if isinstance(raised, ValidationError):
            shown._str = own_text(raised)
    return "".join(whole.format()).rstrip("\n")


def _chain(shown: Any, raised: Any, seen: set[int]) -> Iterator[tuple[Any, BaseException]]:
    """Yield each exception of a chain and of its groups, with what the traceback shows of it."""
    if shown is None or raised is None or id(shown) in seen:
        return
    seen.add(id(shown))
    yield shown, raised
    yield from _chain(shown.__cause__, raised.__cause__, seen)
    yield from _chain(shown.__context__, raised.__context__, seen)
    for one, other in zip(shown.exceptions or (), getattr(raised, "exceptions", ()), strict=False):
        yield from _chain(one, other, seen)
