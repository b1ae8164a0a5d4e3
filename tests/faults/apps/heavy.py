"""Handlers that take long, hang or cannot be stopped; each notes its runs and its pid in the file HEAVY_RUNS."""

import os
import re
import time
from collections.abc import Iterator
from itertools import repeat
from typing import Annotated, Any

from dualbus import App, Command, Event, Past, Projection, Query, ReadOnlyTables, Tables, Tag, Text

RUNS = os.environ.get("HEAVY_RUNS", os.devnull)
SLOW_PREFIX = "slow"  # the projection sleeps for a name that starts with this
SLOW_SECONDS = 2.0
_ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) AS i FROM n"
_ROWS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT max(i) AS i FROM n"


class Add(Command):
    name: Text


class Dawdle(Command):
    name: Text
    seconds: float


class SpinDecide(Command):
    name: Text
    guarded: bool = False


class Added(Event):
    name: Annotated[str, Tag("thing")]


class Quick(Query):
    pass


class Sleep(Query):
    seconds: float


class Spin(Query):
    seconds: float
    guarded: bool = False


class Backtrack(Query):
    n: int


class Stuck(Query):
    pass


class Sql(Query):
    rows: int = 0  # endless without


class Stubborn(Query):
    seconds: float


class Large(Query):
    bytes: int


def note(what: str) -> None:
    """Append a line to the file of runs: one write, so that processes do not mix their lines."""
    with open(RUNS, "ab", buffering=0) as runs:
        runs.write(f"{os.getpid()} {what}\n".encode())


def spin(seconds: float, *, guarded: bool = False) -> None:
    """Keep the processor busy in Python, and if `guarded`, ignore every Exception."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            for _ in range(1000):
                pass
        except Exception:
            if not guarded:
                raise


def add(command: Add, past: Past) -> Iterator[Added]:
    yield Added(name=command.name)


def dawdle(command: Dawdle, past: Past) -> Iterator[Added]:
    note("Dawdle")
    time.sleep(command.seconds)
    yield Added(name=command.name)


def spin_decide(command: SpinDecide, past: Past) -> Iterator[Added]:
    note("SpinDecide")
    spin(3600, guarded=command.guarded)
    yield Added(name=command.name)


def show(event: Added, tables: Tables) -> None:
    if event.name.startswith(SLOW_PREFIX):
        time.sleep(SLOW_SECONDS)
    tables.execute("INSERT INTO things (name) VALUES (?)", (event.name,))


def quick(query: Quick, tables: ReadOnlyTables) -> dict[str, Any] | None:
    return tables.one("SELECT max(rowid) AS last FROM things")


def sleep(query: Sleep, tables: ReadOnlyTables) -> str:
    note("Sleep")
    time.sleep(query.seconds)
    note("end of Sleep")
    return "slept"


def spin_query(query: Spin, tables: ReadOnlyTables) -> str:
    note("Spin")
    spin(query.seconds, guarded=query.guarded)
    return "spun"


def backtrack(query: Backtrack, tables: ReadOnlyTables) -> str:
    note("Backtrack")
    re.match(r"(a+)+$", "a" * query.n + "b")
    return "matched"


def stuck(query: Stuck, tables: ReadOnlyTables) -> int:
    """Stay in C for a minute, where Python can be neither interrupted nor switched to another thread."""
    note("Stuck")
    return sum(repeat(0, 1 << 32))


def sql(query: Sql, tables: ReadOnlyTables) -> Any:
    note("Sql")
    row = tables.one(_ROWS, (query.rows,)) if query.rows else tables.one(_ENDLESS)
    note("end of Sql")
    return row


def stubborn(query: Stubborn, tables: ReadOnlyTables) -> str:
    """Swallow whatever is meant to stop it."""
    note("Stubborn")
    until = time.monotonic() + query.seconds
    while time.monotonic() < until:
        try:
            spin(0.1)
        except BaseException:
            continue
    return "done"


def large(query: Large, tables: ReadOnlyTables) -> str:
    return "x" * query.bytes


app = App(
    commands=[add, dawdle, spin_decide],
    projections=[Projection("things", version=1, tables="CREATE TABLE things (name TEXT NOT NULL)", on=[show])],
    queries=[quick, sleep, spin_query, backtrack, stuck, sql, stubborn, large],
)
