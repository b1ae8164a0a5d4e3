"""The read model as a file: rows and checkpoint together, and what is read is of one position."""

import os
import time
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from dualbus import Projection
from dualbus.application.tables import Interrupted, NotAllowed
from dualbus.log.contract import NO_HASH
from dualbus.log.identity import Identity
from dualbus.readmodel.checkpoints import checkpoints
from dualbus.readmodel.copying import unchanged
from dualbus.readmodel.file import Checkpoint, Damaged, ReadModelBusyError, create, file_name
from dualbus.readmodel.memory import ModelInMemory
from dualbus.readmodel.reader import ReadModelReader
from dualbus.readmodel.writer import ReadModelWriter
from dualbus.runtime.errors import ConfigError
from tests.read_model.conftest import LOG, USERS, ages

# Rows and checkpoint.


def test_a_new_read_model_is_empty_and_at_the_beginning(path: Path) -> None:
    with closing(ReadModelReader(path)) as reader:
        assert reader.checkpoint() == Checkpoint(LOG, 0, NO_HASH)
        assert ages(reader) == []


def test_rows_and_checkpoint_appear_together(writer: ReadModelWriter, reader: ReadModelReader) -> None:
    writer.begin()
    writer.execute("UPDATE users SET age = age + 1")
    assert (ages(reader), reader.checkpoint().position) == ([20, 21, 22], 3)

    writer.commit(4, b"four")

    assert (ages(reader), reader.checkpoint()) == ([21, 22, 23], Checkpoint(LOG, 4, b"four"))


def test_rows_and_checkpoint_vanish_together(writer: ReadModelWriter, reader: ReadModelReader) -> None:
    writer.begin()
    writer.execute("DELETE FROM users")
    writer.roll_back()

    assert (ages(reader), reader.checkpoint().position) == ([20, 21, 22], 3)


def test_what_was_not_committed_is_not_there_when_it_is_opened_again(path: Path, reader: ReadModelReader) -> None:
    with closing(ReadModelWriter(path)) as writer:
        writer.begin()
        writer.execute("DELETE FROM users")

    with closing(ReadModelReader(path)) as again:
        assert (ages(again), again.checkpoint().position) == ([20, 21, 22], 3)


def test_a_snapshot_stays_at_its_position_until_it_ends(writer: ReadModelWriter, reader: ReadModelReader) -> None:
    assert reader.begin().position == 3
    writer.begin()
    writer.execute("UPDATE users SET age = 0")
    writer.commit(4, b"four")

    assert (ages(reader), reader.checkpoint().position) == ([20, 21, 22], 3)
    reader.end()
    assert reader.begin().position == 4
    assert ages(reader) == [0, 0, 0]
    reader.end()


def test_a_second_writer_waits_its_turn_or_says_so(path: Path, writer: ReadModelWriter) -> None:
    writer.begin()
    with closing(ReadModelWriter(path)) as second:
        second.db.set_busy_timeout(10)
        with pytest.raises(ReadModelBusyError, match="cannot be written"):
            second.begin()


def test_a_file_is_not_finished_without_the_commits_that_a_reader_keeps_beside_it(
    writer: ReadModelWriter, reader: ReadModelReader
) -> None:
    reader.begin()
    writer.begin()
    writer.execute("UPDATE users SET age = 0")
    writer.commit(4, b"four")
    writer.db.set_busy_timeout(10)
    with pytest.raises(ReadModelBusyError, match="could not be finished"):
        writer.finish()

    reader.end()
    writer.finish()


def test_a_transaction_that_was_rolled_back_from_within_writes_nothing_more(
    writer: ReadModelWriter, reader: ReadModelReader
) -> None:
    # An author's statement may roll back the whole of it, and the author may go on all the same.
    writer.begin()
    with suppress(apsw.ConstraintError):
        writer.execute("INSERT OR ROLLBACK INTO users VALUES ('u1', 5)")

    with pytest.raises(NotAllowed, match="rolled back"):
        writer.execute("INSERT INTO users VALUES ('u9', 5)")
    with pytest.raises(NotAllowed, match="rolled back"):
        writer.check_applied()

    assert (ages(reader), reader.checkpoint().position) == ([20, 21, 22], 3)


def test_a_restored_log_is_adopted_under_its_new_incarnation(
    writer: ReadModelWriter, reader: ReadModelReader
) -> None:
    writer.adopt(Identity("log-1", "life-2"))

    assert reader.checkpoint() == Checkpoint(Identity("log-1", "life-2"), 3, b"three")


# Reading.


def test_a_row_is_a_dict_by_column_name(reader: ReadModelReader) -> None:
    assert reader.one("SELECT id, age + 1 AS next FROM users WHERE id = ?", ("u1",)) == {"id": "u1", "next": 22}
    assert reader.one("SELECT id FROM users WHERE id = :id", {"id": "u2"}) == {"id": "u2"}
    assert reader.one("SELECT id FROM users WHERE id = 'nobody'") is None
    assert reader.all("SELECT id FROM users WHERE age > 20 ORDER BY id DESC") == [{"id": "u2"}, {"id": "u1"}]
    assert reader.all("SELECT id FROM users WHERE 0") == []


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT i FROM n", 3),
        ("SELECT value FROM json_each('[1, 2, 3]')", 3),
        ("SELECT count(*) OVER () AS c, max(age, 1) AS m FROM users", 3),
        ("EXPLAIN SELECT 1", None),
        ("VALUES (1), (2)", 2),
    ],
)
def test_a_query_may_read_with_all_that_sqlite_has(reader: ReadModelReader, sql: str, rows: int | None) -> None:
    found = reader.all(sql)

    assert rows is None or len(found) == rows


def test_full_text_search_can_be_written_and_read(folder: Path) -> None:
    path = folder / "text.db"
    create(path, [Projection("texts", 1, "CREATE VIRTUAL TABLE texts USING fts5(body)", [])], LOG)
    with closing(ReadModelWriter(path)) as writer, closing(ReadModelReader(path)) as reader:
        writer.begin()
        writer.execute("INSERT INTO texts VALUES ('the quick brown fox')")
        writer.commit(1, b"one")

        assert reader.all("SELECT body FROM texts WHERE texts MATCH 'quick'") == [{"body": "the quick brown fox"}]
        writer.begin()
        writer.execute("DELETE FROM texts")
        writer.commit(2, b"two")
        assert reader.all("SELECT body FROM texts WHERE texts MATCH 'quick'") == []


def test_a_statement_that_runs_into_its_deadline_is_stopped_and_the_next_is_not(reader: ReadModelReader) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    reader.begin()
    reader.deadline = time.monotonic() + 0.05

    with pytest.raises(Interrupted):
        reader.one(endless)

    reader.deadline = time.monotonic() + 10
    assert ages(reader) == [20, 21, 22]
    reader.end()


def test_a_snapshot_begins_whatever_the_deadline_of_the_query_before(reader: ReadModelReader) -> None:
    reader.deadline = time.monotonic() - 1

    for _ in range(3000):  # SQLite looks at the deadline every so many steps, over all runs of a statement
        assert reader.begin().position == 3
        reader.end()


def test_sql_that_an_author_builds_anew_each_time_does_not_fill_the_memory(reader: ReadModelReader) -> None:
    for number in range(3000):
        assert reader.one(f"SELECT {number} AS n") == {"n": number}

    assert len(reader._names) <= 1000


# Files.


def test_the_name_of_the_file_tells_which_projections_made_it() -> None:
    other = Projection("users", 2, USERS.tables, [])
    changed = Projection("users", 1, USERS.tables + ";", [])

    assert file_name([USERS]) == file_name([Projection("users", 1, USERS.tables, [])])
    assert len({file_name(one) for one in ([], [USERS], [other], [changed], [USERS, other], [other, USERS])}) == 5


def test_tables_that_are_not_sql_are_all_named(folder: Path) -> None:
    broken = [Projection("one", 1, "CREATE TABEL x", []), USERS, Projection("two", 1, "CREATE TABLE users (id)", [])]

    with pytest.raises(ConfigError) as fault:
        create(folder / "new.db", broken, LOG)

    assert [sentence.partition(" are not valid SQL")[0] for sentence in fault.value.errors] == [
        "The tables of projection one",
        "The tables of projection two",
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TEMP TABLE notes (id TEXT)",
        "CREATE TABLE temp.notes (id TEXT)",
        "CREATE VIRTUAL TABLE temp.notes USING fts5(id)",
        "CREATE TABLE notes (id TEXT); CREATE TEMP TRIGGER t AFTER INSERT ON notes BEGIN SELECT 1; END",
        "ATTACH ':memory:' AS other; CREATE TABLE other.notes (id TEXT)",
        "PRAGMA journal_mode = delete; CREATE TABLE notes (id TEXT)",
        "BEGIN; CREATE TABLE notes (id TEXT)",
        "SAVEPOINT s; CREATE TABLE notes (id TEXT)",
        "CREATE TABLE dualbus_checkpoint (id TEXT)",
    ],
)
def test_tables_that_are_not_of_the_read_model_are_refused(folder: Path, sql: str) -> None:
    refused(
        folder,
        sql,
        "The tables of projection notes use a transaction, ATTACH, a PRAGMA, a temporary table or "
        "dualbus_checkpoint: create tables, indexes, views and triggers of the projection, and insert their first "
        "rows.",
    )


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TRIGGER t AFTER UPDATE ON Dualbus_Checkpoint BEGIN SELECT 1; END",
        "CREATE INDEX i ON dualbus_checkpoint (position)",
        "ALTER TABLE dualbus_checkpoint ADD COLUMN more",
        "ALTER TABLE dualbus_checkpoint RENAME TO mine",
        "UPDATE dualbus_checkpoint SET position = 5",
        "DROP TABLE dualbus_checkpoint",
    ],
)
def test_tables_leave_the_checkpoint_as_it_is(folder: Path, sql: str) -> None:
    with pytest.raises(ConfigError, match=r"use .* or dualbus_checkpoint: create tables"):
        create(folder / "new.db", [Projection("notes", 1, sql, [])], LOG)


@pytest.mark.parametrize("expression", ["hex(randomblob(4))", "CURRENT_TIMESTAMP", "strftime('%f', 'now')"])
def test_first_rows_of_chance_or_of_the_clock_are_refused(folder: Path, expression: str) -> None:
    refused(
        folder,
        f"CREATE TABLE notes (id TEXT); INSERT INTO notes VALUES ({expression})",
        "The tables of projection notes cannot be created. A projection cannot use ",
    )


def refused(folder: Path, sql: str, beginning: str) -> None:
    """Check that a read model with these tables is refused, as a file and in memory, with the same sentence."""
    projection = Projection("notes", 1, sql, [])
    with pytest.raises(ConfigError) as fault:
        create(folder / "new.db", [projection], LOG)
    with pytest.raises(ConfigError) as in_memory:
        ModelInMemory([projection])
    assert fault.value.errors == in_memory.value.errors
    [sentence] = fault.value.errors
    assert sentence.startswith(beginning)


def test_statements_after_a_statement_with_rows_run_too(folder: Path) -> None:
    seeds = (
        "CREATE TABLE notes (id); INSERT INTO notes VALUES (1), (2) RETURNING id; CREATE TABLE more AS SELECT 3 AS n"
    )
    path = folder / "new.db"
    create(path, [Projection("notes", 1, seeds, [])], LOG)

    with closing(ReadModelReader(path)) as reader:
        assert reader.all("SELECT id, n FROM notes, more") == [{"id": 1, "n": 3}, {"id": 2, "n": 3}]


TYPES = """
CREATE TABLE things (id STRING PRIMARY KEY, price DECIMAL(10, 2), amount numeric);
CREATE TABLE kept (a INT, b VARCHAR(5), c TEXT, d REAL, e DOUBLE, f BOOLEAN, g DATE, h DATETIME, i BLOB, j);
CREATE TABLE anything (a ANY) STRICT;
CREATE VIEW shown AS SELECT CAST(a AS NUMERIC) AS a FROM kept;
CREATE VIRTUAL TABLE texts USING fts5(name);
CREATE VIRTUAL TABLE places USING rtree(id, low, high);
"""


def test_columns_in_which_sqlite_would_change_a_text_are_refused(folder: Path) -> None:
    projection = Projection("things", 1, TYPES, [])
    with pytest.raises(ConfigError) as fault:
        create(folder / "new.db", [projection], LOG)
    with pytest.raises(ConfigError) as in_memory:
        ModelInMemory([projection])

    assert fault.value.errors == in_memory.value.errors
    assert [sentence.partition(": SQLite")[0] for sentence in fault.value.errors] == [
        "Column id of table things has the type STRING",
        "Column price of table things has the type DECIMAL(10, 2)",
        "Column amount of table things has the type numeric",
    ]


def test_columns_of_other_types_keep_a_text(folder: Path) -> None:
    with closing(ModelInMemory([Projection("kept", 1, TYPES.partition(";")[2], [])])) as model:
        model.execute(
            "INSERT INTO kept (b, c, g, h, i, j) VALUES ('0.10', '007', '2026-01-31', '1e5', '0.10', '007')"
        )
        model.execute("INSERT INTO anything VALUES ('0.10')")
        [row] = model.read_only().all("SELECT b, c, g, i, j FROM kept")
        assert list(row.values()) == ["0.10", "007", "2026-01-31", "0.10", "007"]
        assert model.read_only().all("SELECT a FROM anything") == [{"a": "0.10"}]


def test_a_file_that_is_no_read_model_is_said_to_be_damaged(folder: Path) -> None:
    for number, content in enumerate([b"", b"my diary" * 1000, os.urandom(9000)]):
        path = folder / f"read-{number}.db"
        path.write_bytes(content)
        with pytest.raises(Damaged, match=str(path)), closing(ReadModelReader(path)) as reader:
            reader.checkpoint()


def test_a_handle_knows_when_another_file_has_taken_its_place(
    folder: Path, path: Path, reader: ReadModelReader
) -> None:
    assert not reader.replaced()
    create(folder / "new.db", [USERS], LOG)
    (folder / "new.db").rename(path)
    assert reader.replaced()
    path.unlink()
    assert reader.replaced()


def test_a_finished_file_is_whole_without_its_companions(folder: Path, path: Path) -> None:
    writer = ReadModelWriter(path, building=True)
    writer.begin()
    writer.execute("INSERT INTO users VALUES ('x', 1)")
    writer.commit(1, b"one")
    with closing(ReadModelReader(path)) as reader:
        reader.checkpoint()  # while someone has it open, closing alone would leave a part of it beside it
        writer.finish()
    path.rename(folder / "moved.db")

    with closing(ReadModelReader(folder / "moved.db")) as reader:
        assert (ages(reader), reader.checkpoint().position) == ([1], 1)


def test_the_witnesses_are_the_checkpoints_of_every_read_model_that_can_be_read(folder: Path) -> None:
    for name in ("read-a.db", "read-b.db", "building-read-c.db"):
        create(folder / name, [USERS], LOG)
    (folder / "read-bad.db").write_bytes(b"bad")
    with closing(ReadModelWriter(folder / "read-b.db")) as writer:
        writer.begin()
        writer.commit(7, b"seven")

    assert checkpoints(folder) == [Checkpoint(LOG, 0, NO_HASH), Checkpoint(LOG, 7, b"seven")]


def test_the_tables_that_a_projection_uses_are_recorded_also_after_a_commit_that_failed(folder: Path) -> None:
    # Given a projection that uses the tables of another in a transaction whose commit fails
    parents = "CREATE TABLE sums (id INTEGER PRIMARY KEY, sum REFERENCES sums DEFERRABLE INITIALLY DEFERRED)"
    sums = Projection("sums", 1, parents, [])
    path = folder / "read-sums.db"
    create(path, [USERS, sums], LOG)
    with closing(ReadModelWriter(path)) as writer:
        writer.projection = "sums"
        writer.begin()
        writer.execute("INSERT INTO sums (sum) SELECT sum(age) FROM users")
        writer.execute("INSERT INTO sums (sum) VALUES (99)")
        with pytest.raises(ReadModelBusyError, match="FOREIGN KEY"):
            writer.commit(1, b"one")

        # When the next transaction is committed
        writer.begin()
        writer.execute("INSERT INTO sums (sum) SELECT sum(age) FROM users")
        writer.commit(1, b"one")

    # Then a build after a change of the other projection copies neither
    with closing(ReadModelWriter(path)) as again:
        assert unchanged(again.projections, [sums, USERS]) == {"sums", "users"}
        assert unchanged(again.projections, [sums, replace(USERS, version=2)]) == frozenset()
