"""The log in SQLite: the contract of every log, and what a file can suffer."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path

import apsw
import pytest

from dualbus.log.contract import Log, LogDamaged, LogError
from dualbus.log.sqlite.copy import move_into
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.log.sqlite.schema import FILE_NAME
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.runtime.errors import AlreadyRunningError
from dualbus.testing.log_contract import GENESIS, Engine, LogContract, decided, event


class SqliteEngine:
    """A log in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def writer(self) -> AbstractContextManager[SqliteLog]:
        return closing(SqliteLog(self.folder, lambda secret: GENESIS))

    def reader(self) -> AbstractContextManager[SqliteLogReader]:
        return closing(SqliteLogReader(self.folder))

    @contextmanager
    def full(self, log: Log) -> Iterator[None]:
        assert isinstance(log, SqliteLog)
        pages = log._db.pragma("page_count")
        log._db.pragma("max_page_count", pages)
        yield
        log._db.pragma("max_page_count", 1 << 30)


class TestSqliteLog(LogContract):
    @pytest.fixture
    def engine(self, folder: Path) -> Engine:
        return SqliteEngine(folder)


@pytest.fixture
def engine(folder: Path) -> SqliteEngine:
    """A log of some events, closed."""
    made = SqliteEngine(folder)
    with made.writer() as log:
        log.append([decided(f"c{number}", event("a", data="x" * 500)) for number in range(100)])
    return made


def test_a_reader_cannot_write(engine: SqliteEngine) -> None:
    with engine.reader() as reader:
        assert not hasattr(reader, "append")
        with pytest.raises(apsw.ReadOnlyError):
            reader._db.execute("DELETE FROM events")


def test_a_reader_makes_no_log(folder: Path) -> None:
    with pytest.raises(LogError, match="start commandbus, which creates it"):
        SqliteLogReader(folder)
    assert list(folder.iterdir()) == []


def test_every_commit_is_synced_before_append_returns(engine: SqliteEngine) -> None:
    with engine.writer() as log:
        assert log._db.pragma("synchronous") == 2  # FULL: once more, since what SQLite begins with may change
        assert log._db.pragma("journal_mode") == "wal"


def test_a_start_writes_the_commits_in_the_wal_again_also_beside_a_reader_of_an_old_snapshot(
    engine: SqliteEngine,
) -> None:
    # Given a reader at an earlier position, and later commits whose fsync may have failed
    files = [engine.folder / name for name in (FILE_NAME, f"{FILE_NAME}-wal")]
    with closing(apsw.Connection(str(files[0]), flags=apsw.SQLITE_OPEN_READONLY)) as reader:
        with engine.writer() as log:
            reader.execute("BEGIN; SELECT count(*) FROM events").fetchall()
            log.append([decided(f"later{number}", event("a", data="x" * 5000)) for number in range(100)])
        before = [path.read_bytes() for path in files]
        os.utime(files[1], ns=(1, 1))

        # When the log is opened by a writer
        with engine.writer() as log:
            # Then the -wal was written again, and no byte was changed
            assert log.head().position == 201
            assert files[1].stat().st_mtime_ns > 1
            assert [path.read_bytes() for path in files] == before
        assert reader.execute("SELECT count(*) FROM events").get == 101
    with engine.reader() as reading:
        assert reading.head().position == 201


def test_two_new_logs_are_two(folder: Path) -> None:
    with SqliteEngine(folder / "one").writer() as one, SqliteEngine(folder / "two").writer() as two:
        assert one.identity.log != two.identity.log
        assert one.secret != two.secret
        assert one.head() == two.head()


@pytest.mark.parametrize("leftover", ["log.new", "log.new-journal", "log.new-wal"])
def test_a_log_that_was_only_half_made_is_made_again(folder: Path, leftover: str) -> None:
    (folder / leftover).write_bytes(b"half made" * 1000)

    with SqliteEngine(folder).writer() as log:
        assert log.head().position == 1

    assert not (folder / leftover).exists()


def test_a_log_that_was_made_and_not_yet_named_is_made_again(folder: Path) -> None:
    engine = SqliteEngine(folder)
    with engine.writer() as log:
        first = log.identity
    (folder / FILE_NAME).rename(folder / "log.new")
    (folder / "log.head").unlink()  # made after the name

    with engine.writer() as log:
        assert log.head().position == 1
        assert log.identity != first


# Files that are not a log, or not a whole one.


def refused(engine: SqliteEngine, kind: type[LogError], match: str) -> None:
    """Expect that neither a writer nor a reader takes the file, and that each says why."""
    with pytest.raises(kind, match=match):
        engine.writer()
    with pytest.raises(kind, match=match):
        engine.reader()


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(folder: Path) -> None:
    (folder / FILE_NAME).write_bytes(b"my diary, which nobody may overwrite\n" * 100)

    refused(SqliteEngine(folder), LogDamaged, "is not a readable log")
    assert (folder / FILE_NAME).read_bytes().startswith(b"my diary")


def test_an_empty_file_is_refused(folder: Path) -> None:
    (folder / FILE_NAME).touch()

    refused(SqliteEngine(folder), LogDamaged, "is not a dualbus log")


def test_a_database_of_another_program_is_refused(folder: Path) -> None:
    with closing(sqlite3.connect(folder / FILE_NAME)) as other:
        other.execute("CREATE TABLE meta (id, incarnation, secret)")

    refused(SqliteEngine(folder), LogDamaged, "point DUALBUS_DATA to another folder")


def test_a_log_of_a_later_format_is_refused(engine: SqliteEngine) -> None:
    with closing(sqlite3.connect(engine.folder / FILE_NAME)) as db:
        db.execute("PRAGMA user_version = 99")

    refused(engine, LogError, "has format 99, and this dualbus reads format 2")


def test_a_folder_in_the_place_of_the_log_is_refused(folder: Path) -> None:
    (folder / FILE_NAME).mkdir()

    refused(SqliteEngine(folder), LogError, "cannot be opened|is not a readable log")


def test_a_log_whose_last_events_are_gone_is_refused(engine: SqliteEngine) -> None:
    with closing(sqlite3.connect(engine.folder / FILE_NAME)) as db, db:
        db.execute("DELETE FROM events WHERE position > 90")

    with pytest.raises(LogDamaged, match="ends at position 90, but its last commit ends at 101: restore the log"):
        engine.writer()


@pytest.mark.parametrize("page", range(1, 8))
def test_a_log_with_an_overwritten_page_is_refused_or_opened_and_never_a_crash(
    engine: SqliteEngine, page: int
) -> None:
    with (engine.folder / FILE_NAME).open("r+b") as file:
        file.seek(page * 4096)
        file.write(os.urandom(4096))

    with suppress(LogError), engine.writer() as log:
        assert log.head().position == 101


def test_a_log_that_was_refused_can_be_put_right_and_opened(engine: SqliteEngine) -> None:
    good = engine.folder / "good"
    shutil.copy(engine.folder / FILE_NAME, good)
    (engine.folder / FILE_NAME).write_bytes(b"bad")
    with pytest.raises(LogDamaged):
        engine.writer()

    good.rename(engine.folder / FILE_NAME)

    with engine.writer() as log:
        assert log.head().position == 101


def test_a_part_of_a_log_that_is_gone_is_not_written_into_a_new_one(engine: SqliteEngine) -> None:
    with engine.writer() as log:
        log.append([decided("last", event("a"))])
        shutil.copy(engine.folder / "log.db-wal", engine.folder / "kept")
    (engine.folder / FILE_NAME).unlink()
    (engine.folder / "kept").rename(engine.folder / "log.db-wal")

    with pytest.raises(LogDamaged, match="of which position 102 was acknowledged"):
        engine.writer()
    (engine.folder / "log.head").unlink()
    with pytest.raises(LogDamaged, match="a part of it, exists: restore the log, or move"):
        engine.writer()


def test_the_lock_says_who_holds_it(engine: SqliteEngine) -> None:
    with engine.writer(), pytest.raises(AlreadyRunningError) as taken:
        engine.writer()

    assert str(os.getpid()) in str(taken.value)
    assert str(engine.folder) in str(taken.value)


def test_a_new_log_whose_commits_are_in_its_wal_is_not_moved(engine: SqliteEngine, tmp_path: Path) -> None:
    # Given a new log that was closed without a checkpoint, as on a full disk, because another connection reads it
    with engine.writer() as log:
        other = apsw.Connection(str(engine.folder / FILE_NAME), flags=apsw.SQLITE_OPEN_READONLY)
        other.execute("BEGIN; SELECT * FROM meta").fetchall()
        log.append([decided("last", event("a"))])

    with closing(other), pytest.raises(LogError, match="end other processes that read the new log"):
        move_into(tmp_path, engine.folder)

    assert list(tmp_path.iterdir()) == []
