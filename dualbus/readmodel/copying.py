"""Copies the tables of unchanged projections from an earlier read model into a new one."""

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from dualbus.application.app import Projection
from dualbus.log.contract import NO_HASH, ReadableLog
from dualbus.readmodel.file import (
    READ_CHECKPOINT,
    Checkpoint,
    Stored,
    add_tables,
    definition,
    quoted,
    read_projections,
)
from dualbus.readmodel.tables import CHECKPOINT_TABLE

PAGES_A_STEP = 2000

logger = logging.getLogger(__name__)


class Copied(NamedTuple):
    """The projections with copied tables, and the position of these tables."""

    names: frozenset[str]
    position: int


def unchanged(stored: dict[str, Stored], projections: Sequence[Projection]) -> frozenset[str]:
    """Return the projections with the same definition, without those that share tables with a changed projection."""
    same = {one.name for one in projections if one.name in stored and stored[one.name].definition == definition(one)}
    pairs = [(name, other) for name, part in stored.items() for other in part.uses]
    pairs += [(other, name) for name, other in pairs]
    while torn := {name for name, other in pairs if name in same and other not in same}:
        same -= torn
    return frozenset(same)


def copy_unchanged(
    others: Collection[Path], path: Path, projections: Sequence[Projection], log: ReadableLog
) -> Iterator[Copied | None]:
    """Copy from the read model with the most unchanged projections; yield None after each step, then the result.

    The new file has all pages of the other, without the tables of changed projections, at checkpoint 0. Yield no
    result if no other read model can be used.
    """
    found = [(*usable, other) for other in others if (usable := _usable(other, projections, log))]
    if not found:
        return
    *_, other = max(found)
    try:
        source = apsw.Connection(str(other), flags=apsw.SQLITE_OPEN_READONLY)
        db = apsw.Connection(str(path))
        with closing(source), closing(db):
            source.execute("BEGIN")  # one snapshot for all steps, while a projector writes
            row: Any = source.execute(READ_CHECKPOINT).get
            checkpoint = Checkpoint(log.identity, row[2], row[3])
            with db.backup("main", source, "main") as backup:
                while not backup.done:
                    backup.step(PAGES_A_STEP)
                    yield None
            with db:
                names = _replace_changed(db, projections, checkpoint)
    except apsw.Error as error:
        logger.warning("%s cannot be copied (%s): building all tables.", other, error)
        return
    logger.info(
        "Copied the tables of %s at position %d from %s.", ", ".join(sorted(names)), checkpoint.position, other
    )
    yield Copied(names, checkpoint.position)


def _replace_changed(db: apsw.Connection, projections: Sequence[Projection], at: Checkpoint) -> frozenset[str]:
    """Replace the tables of changed projections by empty tables; return the unchanged projections."""
    stored = read_projections(db)
    names = unchanged(stored, projections)
    for name in stored.keys() - names:
        for kind, object_ in stored.pop(name).objects:
            db.execute(f"DROP {kind} IF EXISTS {quoted(object_)}")
    new = [one for one in projections if one.name not in names]
    add_tables(db, new, stored)
    position, hash_ = (0, NO_HASH) if new else at[1:]
    db.execute(
        f"UPDATE {CHECKPOINT_TABLE} SET log = ?, incarnation = ?, position = ?, hash = ?",  # noqa: S608
        (*at.identity, position, hash_),
    )
    return names


def _usable(path: Path, projections: Sequence[Projection], log: ReadableLog) -> tuple[int, int] | None:
    """Return the number of unchanged projections and the position of a read model of this log."""
    try:
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as db:
            row: Any = db.execute(READ_CHECKPOINT).get
            log_id, _, position, hash_ = row
            count = len(unchanged(read_projections(db), projections))
    except (apsw.Error, TypeError):
        return None
    same_log = log_id == log.identity.log and log.hash_at(position) == hash_
    return (count, position) if count and position and same_log else None
