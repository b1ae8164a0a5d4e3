"""SQL functions that a projection must not use: their results are not a function of the events."""

from collections.abc import Callable
from typing import Any

import apsw

from dualbus.readmodel.file import NotAllowed

REFUSED = ("random", "randomblob", "current_date", "current_time", "current_timestamp", "total_changes")
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
        f"A projection cannot use {call}: rebuilt rows would differ. Use a field of the event, such as its time."
    )


def _refusing(name: str) -> Callable[..., Any]:
    def refuse(*arguments: Any) -> Any:
        raise _refused(f"{name}()")

    return refuse


def _timeless(name: str, plain: apsw.Connection) -> Callable[..., Any]:
    """Return a function of time that refuses the clock, and otherwise returns SQLite's result."""
    format_arguments = 1 if name == "strftime" else 0

    def call(*arguments: Any) -> Any:
        times = [one.lower() if isinstance(one, str) else one for one in arguments[format_arguments:]]
        if not times or times[0] in CLOCK_FIRST or not CLOCK_ARGUMENTS.isdisjoint(times):
            raise _refused(f"{name}() with the clock or the time zone of the machine")
        return plain.execute(f"SELECT {name}({', '.join('?' * len(arguments))})", arguments).get

    return call
