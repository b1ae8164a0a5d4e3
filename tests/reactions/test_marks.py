"""The marks of the reactions in a log."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dualbus.log.contract import GENESIS, Decision, Origin
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.protocol.origin import MARK, METADATA_BYTES_MAX
from dualbus.reactor.marks import POSITION, Finished, LogMarks, Marks

NOW = "2026-11-27T12:00:00.000000Z"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    with closing(SqliteLog(tmp_path, lambda secret: Decision(GENESIS, NOW))) as found:
        yield found


def mark(log: SqliteLog, key: str, metadata: dict[str, str]) -> None:
    log.append([Decision(key, NOW, origin=Origin(MARK, metadata=metadata))])


def marks_of(log: SqliteLog, reaction: str) -> Marks:
    return asyncio.run(LogMarks(log).of(reaction))


def test_the_mark_of_the_highest_position_counts_and_of_two_the_later(log: SqliteLog) -> None:
    mark(log, "mail/finished/a", Finished(40, (12, 30)).metadata())
    mark(log, "mail/finished/b", Finished(40, (30,)).metadata())
    mark(log, "mail/finished/c", Finished(20, (12,)).metadata())  # of a reactor that was paused
    mark(log, "pay/finished/d", Finished(90).metadata())
    mark(log, "mail/skipped/35", {POSITION: "35"})
    mark(log, "mail/since", {POSITION: "0"})

    found = marks_of(log, "mail")

    assert found == Marks(Finished(40, (30,)), frozenset({35}))
    assert [number for number in range(28, 44) if not found.has_finished(number)] == [30, 41, 42, 43]
    assert marks_of(log, "none") == Marks()


def test_a_mark_without_the_unfinished_events_is_of_an_earlier_version(log: SqliteLog) -> None:
    mark(log, "mail/finished/40", {POSITION: "40"})

    assert marks_of(log, "mail").finished == Finished(40)


def test_a_mark_names_a_thousand_unfinished_events_and_ends_before_the_first_that_does_not_fit() -> None:
    window = tuple(range(10**9, 10**9 + 3000, 3))
    assert Finished.of(Finished(10**9 + 5000, window).bounded().metadata()) == Finished(10**9 + 5000, window)

    many = tuple(range(1, 10**6, 100))
    found = Finished(10**6, many).bounded()

    assert found == Finished(found.unfinished[-1] + 99, many[: len(found.unfinished)])
    assert not any(map(Marks(found).has_finished, many))
    assert sum(map(len, found.metadata().values())) < METADATA_BYTES_MAX - 100
