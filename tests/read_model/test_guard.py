"""The two handles on the read model can do no more than they should, whatever SQLite offers."""

from pathlib import Path

import apsw
import pytest

from dualbus.application.tables import NotAllowed
from dualbus.readmodel.reader import ReadModelReader
from dualbus.readmodel.writer import ReadModelWriter
from tests.read_model.conftest import ages

FORBIDDEN_TO_BOTH = [
    "COMMIT",
    "BEGIN",
    "ROLLBACK",
    "SAVEPOINT s",
    "PRAGMA journal_mode = delete",
    "PRAGMA query_only = 0",
    "PRAGMA writable_schema = 1",
    "ATTACH ':memory:' AS other",
    "CREATE TABLE other (id)",
    "CREATE TEMP TABLE other (id)",
    "CREATE VIEW other AS SELECT 1",
    "DROP TABLE users",
    "ALTER TABLE users ADD COLUMN x",
    "CREATE TRIGGER t AFTER INSERT ON users BEGIN SELECT 1; END",
    "REINDEX",
    "ANALYZE",
    "UPDATE dualbus_checkpoint SET position = 99",
    "INSERT INTO dualbus_checkpoint VALUES (1, 'a', 'b', 1, x'')",
    "DELETE FROM dualbus_checkpoint",
    "DELETE FROM DUALBUS_Checkpoint",
    "SELECT 1; COMMIT",
    "SELECT 1; UPDATE dualbus_checkpoint SET position = 99",
]
FORBIDDEN_TO_A_QUERY = [
    "INSERT INTO users VALUES ('x', 1)",
    "UPDATE users SET age = 1",
    "DELETE FROM users",
    "INSERT INTO users VALUES ('x', 1) RETURNING id",
    "REPLACE INTO users VALUES ('u1', 1)",
    "SELECT 1; DELETE FROM users",
    "WITH n AS (SELECT 'x') INSERT INTO users SELECT *, 1 FROM n",
]


@pytest.mark.parametrize("sql", FORBIDDEN_TO_BOTH)
def test_a_projection_cannot_do_what_is_not_its_to_do(
    writer: ReadModelWriter, reader: ReadModelReader, sql: str
) -> None:
    writer.begin()
    for run in (writer.execute, writer.all, writer.one):
        with pytest.raises(NotAllowed, match="This handle does not allow"):
            run(sql)
    writer.commit(4, b"four")

    assert (ages(reader), reader.checkpoint().position) == ([20, 21, 22], 4)


@pytest.mark.parametrize("sql", FORBIDDEN_TO_BOTH + FORBIDDEN_TO_A_QUERY)
def test_a_query_cannot_write_anything(reader: ReadModelReader, sql: str) -> None:
    reader.begin()
    for run in (reader.all, reader.one):
        with pytest.raises(NotAllowed):
            run(sql)
    reader.end()

    assert (ages(reader), reader.checkpoint().position) == ([20, 21, 22], 3)
    assert not hasattr(reader, "execute")


def test_a_query_cannot_copy_the_read_model_to_a_file_of_its_own(folder: Path, reader: ReadModelReader) -> None:
    for sql in (f"VACUUM INTO '{folder}/stolen.db'", "VACUUM"):
        with pytest.raises((NotAllowed, apsw.SQLError, apsw.Error)):
            reader.all(sql)

    assert not (folder / "stolen.db").exists()


def test_a_query_could_not_write_even_without_the_guard(reader: ReadModelReader) -> None:
    with pytest.raises(apsw.ReadOnlyError):
        reader.execute_internal("DELETE FROM users")


def test_what_the_handle_ran_for_itself_is_not_lent_to_the_author(writer: ReadModelWriter) -> None:
    sql = "UPDATE dualbus_checkpoint SET position = 5, hash = x''"
    writer.execute_internal(sql)

    with pytest.raises(NotAllowed):
        writer.all(sql)


def test_a_projection_writes_in_a_transaction_only(writer: ReadModelWriter, reader: ReadModelReader) -> None:
    with pytest.raises(NotAllowed):
        writer.execute("DELETE FROM users")

    assert ages(reader) == [20, 21, 22]


def test_a_statement_of_ours_that_is_kept_is_not_found_by_an_author_who_says_the_same(
    reader: ReadModelReader,
) -> None:
    said = ["BEGIN", "ROLLBACK"]
    for _ in range(3):
        reader.begin()
        reader.end()

    for sql in said:
        with pytest.raises(NotAllowed):
            reader.all(sql)
