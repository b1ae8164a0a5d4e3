"""Two read models are compared exactly: values with their types and bytes, and as many rows as there are."""

from contextlib import closing
from pathlib import Path

import pytest

from dualbus import Projection
from dualbus.readmodel.comparison import Comparison, TableDifference
from dualbus.readmodel.file import create
from dualbus.readmodel.writer import ReadModelWriter
from tests.read_model.conftest import LOG

TABLE = "CREATE TABLE t (v, name TEXT COLLATE NOCASE)"


def difference(
    folder: Path, before: str, after: str, *, table: str = TABLE, new_table: str = TABLE
) -> TableDifference:
    """Return the difference of the table t with these rows before and after."""
    paths = folder / "before.db", folder / "after.db"
    for path, columns, rows in zip(paths, (table, new_table), (before, after), strict=True):
        create(path, [Projection("t", 1, columns, [])], LOG)
        with closing(ReadModelWriter(path)) as writer:
            writer.begin()
            if rows:
                writer.execute(f"INSERT INTO t VALUES {rows}")
            writer.commit(1, b"one")
    with closing(Comparison(*paths)) as comparison:
        [found] = comparison.differences()
        return found


@pytest.mark.parametrize(
    ("before", "after", "values"),
    [
        ("(1, 'a')", "(1.0, 'a')", (1, 1.0)),
        ("('1', 'a')", "(1, 'a')", ("1", 1)),
        ("('a', 'a')", "(x'61', 'a')", ("a", b"a")),
        ("(NULL, 'a')", "('', 'a')", (None, "")),
        ("(9007199254740993, 'a')", "(9007199254740992.0, 'a')", (9007199254740993, 9007199254740992.0)),
    ],
)
def test_equal_values_of_different_types_differ(
    folder: Path, before: str, after: str, values: tuple[object, object]
) -> None:
    found = difference(folder, before, after)

    assert (found.only_before, found.only_after) == (1, 1)
    assert repr((found.first_before[0]["v"], found.first_after[0]["v"])) == repr(values)


def test_texts_that_a_collation_takes_for_equal_differ(folder: Path) -> None:
    found = difference(folder, "(1, 'Ann'), (2, 'Bob')", "(1, 'ann'), (2, 'Bob')")

    assert found[1:5] == (2, 2, 1, 1)
    assert found.first_before == [{"v": 1, "name": "Ann"}]
    assert found.first_after == [{"v": 1, "name": "ann"}]


def test_rows_are_counted_as_often_as_they_are_there(folder: Path) -> None:
    found = difference(folder, "(1, 'a'), (1, 'a'), (1, 'a'), (2, 'b')", "(1, 'a'), (2, 'b'), (2, 'b')")

    assert found[1:5] == (4, 3, 2, 1)
    assert found.first_before == [{"v": 1, "name": "a"}]
    assert found.first_after == [{"v": 2, "name": "b"}]


def test_equal_rows_in_another_order_do_not_differ(folder: Path) -> None:
    found = difference(
        folder, "(1, 'a'), (2.5, 'b'), (NULL, NULL), (x'00', '')", "(x'00', ''), (NULL, NULL), (2.5, 'b'), (1, 'a')"
    )

    assert found == ("t", 4, 4, 0, 0, [], [], [])


def test_generated_columns_are_compared(folder: Path) -> None:
    generated = "CREATE TABLE t (v, loud AS (v || {}))"
    found = difference(folder, "(1)", "(1)", table=generated.format("'?'"), new_table=generated.format("'!'"))

    assert (found.first_before, found.first_after) == ([{"v": 1, "loud": "1?"}], [{"v": 1, "loud": "1!"}])


def test_tables_without_a_common_column_are_compared_by_their_numbers_of_rows(folder: Path) -> None:
    found = difference(folder, "(1), (2)", "", table="CREATE TABLE t (a)", new_table="CREATE TABLE t (b)")

    assert found == ("t", 2, 0, 2, 0, ["a", "b"], [], [])


def test_a_folder_may_have_a_name_with_the_characters_of_an_address(folder: Path) -> None:
    odd = folder / "a#b?c%41"
    odd.mkdir()

    assert difference(odd, "(1, 'a')", "(1, 'a')").only_before == 0
