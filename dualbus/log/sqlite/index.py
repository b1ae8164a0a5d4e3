"""Queries of the index of tags: the events of these types that carry all of these tags."""

import json
from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

import apsw

from dualbus.log.sqlite.schema import EVENT_COLUMNS

SAMPLE = 1000  # entries that are counted to find the rarest of several tags

# The index is sorted by tag, type and position: a query for some types reads no entry of another type. Without types,
# the query first finds the types of the tag, by one seek each, so that it reads only entries after the position.
_ANY_TYPE = (
    "WITH RECURSIVE wanted(type) AS (SELECT min(type) FROM tags WHERE tag = ?1 UNION ALL SELECT (SELECT min(type) "
    "FROM tags WHERE tag = ?1 AND type > wanted.type) FROM wanted WHERE wanted.type NOT NULL)"
)
_THESE_TYPES = "WITH wanted(type) AS (SELECT value FROM json_each(?{}))"
_EVENTS = ", ".join(f"events.{name}" for name in EVENT_COLUMNS.split(", "))


def history(db: apsw.Connection, tags: Sequence[str], types: Collection[str], after: int) -> apsw.Cursor:
    """Return the events after a position that match, in order."""
    if len(tags) > 1:
        tags = _rarest_first(db, tags)
    return db.execute(_history_sql(len(tags), bool(types)), _bindings(tags, types, after))


def exists(db: apsw.Connection, tags: Sequence[str], types: Collection[str], after: int) -> bool:
    """Return whether an event after a position matches."""
    if len(tags) > 1:
        tags = _rarest_first(db, tags)
    return bool(db.execute(_exists_sql(len(tags), bool(types)), _bindings(tags, types, after)).get)


def _bindings(tags: Sequence[str], types: Collection[str], after: int) -> tuple[Any, ...]:
    bindings = (tags[0], after, *tags[1:])
    return (*bindings, json.dumps(list(types))) if types else bindings


def _rarest_first(db: apsw.Connection, tags: Sequence[str]) -> list[str]:
    sql = "SELECT count(*) FROM (SELECT 1 FROM tags WHERE tag = ? LIMIT ?)"
    return sorted(set(tags), key=lambda tag: int(db.execute(sql, (tag, SAMPLE)).get))


@cache
def _history_sql(tags: int, typed: bool) -> str:
    join = "CROSS JOIN events ON events.position = t0.position"
    return f"{_wanted(tags, typed)} SELECT {_EVENTS} {_entries(tags, join)} ORDER BY t0.position"


@cache
def _exists_sql(tags: int, typed: bool) -> str:
    return f"{_wanted(tags, typed)} SELECT 1 {_entries(tags)} LIMIT 1"


def _wanted(tags: int, typed: bool) -> str:
    return _THESE_TYPES.format(tags + 2) if typed else _ANY_TYPE


def _entries(tags: int, join: str = "") -> str:
    """Return FROM and WHERE of a query: `t0` is the entry of the first tag, and CROSS JOIN fixes the order."""
    others = [
        f"CROSS JOIN tags t{number} ON t{number}.tag = ?{number + 2} AND t{number}.type = t0.type "
        f"AND t{number}.position = t0.position"
        for number in range(1, tags)
    ]
    first = "FROM wanted CROSS JOIN tags t0 ON t0.tag = ?1 AND t0.type = wanted.type"
    return " ".join([first, *others, join, "WHERE t0.position > ?2"])
