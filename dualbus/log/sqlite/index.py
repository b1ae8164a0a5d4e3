"""Queries of the index of tags: the events of these types that carry all of these tags."""

from collections.abc import Collection, Sequence
from functools import cache

import apsw

from dualbus.log.sqlite.schema import EVENT_COLUMNS

SAMPLE = 1000  # entries that are counted to find the rarest of several tags

_EVENTS = ", ".join(f"events.{name}" for name in EVENT_COLUMNS.split(", "))
# The index is sorted by tag, type and position: a query for some types reads no entry of another type. Without types,
# a query after a position first finds the types of the tag, by one seek each, so that it reads only later entries.
_TYPES_OF_TAG = (
    "WITH RECURSIVE wanted(type) AS (SELECT min(type) FROM tags WHERE tag = ?1 UNION ALL SELECT (SELECT min(type) "
    "FROM tags WHERE tag = ?1 AND type > wanted.type) FROM wanted WHERE wanted.type NOT NULL)"
)


def history(db: apsw.Connection, tags: Sequence[str], types: Collection[str], after: int, limit: int) -> apsw.Cursor:
    """Return the events after a position that match, in order."""
    if len(tags) > 1:
        tags = _rarest_first(db, tags, types)
    return db.execute(
        _sql(len(tags), len(types), after > 0, exists=False), (tags[0], after, *tags[1:], *types, limit)
    )


def exists(db: apsw.Connection, tags: Sequence[str], types: Collection[str], after: int) -> bool:
    """Return whether an event after a position matches."""
    if len(tags) > 1:
        tags = _rarest_first(db, tags, types)
    sql = _sql(len(tags), len(types), after > 0, exists=True)
    return bool(db.execute(sql, (tags[0], after, *tags[1:], *types)).get)


def _rarest_first(db: apsw.Connection, tags: Sequence[str], types: Collection[str]) -> list[str]:
    sql = _sample_sql(len(types))
    return sorted(set(tags), key=lambda tag: int(db.execute(sql, (tag, *types, SAMPLE)).get))


@cache
def _sample_sql(types: int) -> str:
    """Return a query for the number of entries of a tag, up to a limit, without those of other types."""
    of_types = f"AND type IN ({', '.join('?' * types)})" if types else ""
    return f"SELECT count(*) FROM (SELECT 1 FROM tags WHERE tag = ? {of_types} LIMIT ?)"  # noqa: S608


@cache
def _sql(tags: int, types: int, later: bool, *, exists: bool) -> str:
    """Return a query: `t0` is the entry of the first tag, and CROSS JOIN fixes the order of the loops."""
    tables, conditions = ["tags AS t0"], ["t0.tag = ?1 AND t0.position > ?2"]
    if types:
        numbers = ", ".join(f"?{tags + 2 + number}" for number in range(types))
        conditions.append(f"t0.type IN ({numbers})")
    elif later:
        tables.insert(0, "wanted")
        conditions.append("t0.type = wanted.type")
    for number in range(1, tags):
        tables.append(f"tags AS t{number}")
        conditions.append(
            f"t{number}.tag = ?{number + 2} AND t{number}.type = t0.type AND t{number}.position = t0.position"
        )
    if not exists:
        tables.append("events")
        conditions.append("events.position = t0.position")
    start = f"{_TYPES_OF_TAG if later and not types else ''} SELECT {'1' if exists else _EVENTS}"
    end = "LIMIT 1" if exists else f"ORDER BY t0.position LIMIT ?{tags + types + 2}"
    return f"{start} FROM {' CROSS JOIN '.join(tables)} WHERE {' AND '.join(conditions)} {end}"
