"""SQL functions that a projection must not use: their results are not a function of the events."""

from collections.abc import Callable
from typing import Any

import apsw

from dualbus.application.tables import NotAllowed

REFUSED = (
    *("random", "randomblob", "current_date", "current_time", "current_timestamp"),
    *("changes", "total_changes", "last_insert_rowid"),  # other projections and restarts change these
)
TIME = ("date", "time", "datetime", "julianday", "unixepoch", "strftime", "timediff")
CLOCK_ARGUMENTS = {"now", "localtime", "utc"}  # the clock, or the time zone of the machine
CLOCK_FIRST = {"subsec", "subsecond"}  # as the first argument, SQLite reads the clock


def refuse_nondeterministic(db: apsw.Connection) -> None:
    """Replace the functions of chance and of the clock by functions that raise NotAllowed."""
    plain = apsw.Connection(":memory:")
    for name in REFUSED:
        db.create_scalar_function(name, _refusing(name))
    for name in TIME:
        db.create_scalar_function(name, _timeless(name, plain), deterministic=True)


def _refused(call: str) -> NotAllowed:
    return NotAllowed(
        f"A projection cannot use {call}: rebuilt rows would differ. Use a field of the event, such as its time; "
        "for the rows of a statement, use RETURNING."
    )


def _refusing(name: str) -> Callable[..., Any]:
    def refuse(*arguments: Any) -> Any:
        raise _refused(f"{name}()")

    return refuse


def _timeless(name: str, plain: apsw.Connection) -> Callable[..., Any]:
    """Return a function of time that refuses the clock, and otherwise returns SQLite's result."""
    format_arguments = 1 if name == "strftime" else 0

    def call(*arguments: Any) -> Any:
        times = list(map(_as_read, arguments[format_arguments:]))
        first = times if name == "timediff" else times[:1]
        if not times or not CLOCK_FIRST.isdisjoint(first) or not CLOCK_ARGUMENTS.isdisjoint(times):
            raise _refused(f"{name}() with the clock or the time zone of the machine")
        return plain.execute(f"SELECT {name}({', '.join('?' * len(arguments))})", arguments).get

    return call


def _as_read(argument: Any) -> Any:
    """Return an argument as SQLite's functions of time read it: bytes as text, up to a NUL, without case."""
    text = argument.decode(errors="replace") if isinstance(argument, bytes) else argument
    return text.partition("\0")[0].lower() if isinstance(text, str) else text
