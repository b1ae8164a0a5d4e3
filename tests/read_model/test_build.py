"""A read model is built beside others: unchanged projections are copied, and all rows are those of a replay."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from dualbus import Projection, Tables
from dualbus.log.contract import VerificationError
from dualbus.log.identity import Identity
from dualbus.operations.verify import verify
from dualbus.readmodel.builder import Builder
from dualbus.readmodel.file import file_name
from dualbus.readmodel.folder import lock_writer, other_read_models
from dualbus.readmodel.reader import ReadModelReader
from dualbus.readmodel.writer import ReadModelWriter
from dualbus.runtime.errors import AlreadyRunningError
from dualbus.worker.interrupt import Interrupt
from tests.damage import damage
from tests.read_model.counting import (
    COUNTS,
    COUNTS_2,
    COUNTS_RETURNS,
    DEFERRED,
    FIRSTS,
    LOUD,
    ONCE,
    RANKS,
    SALES,
    SPOILT,
    WORDS,
    Shop,
    Sold,
    app,
)


@pytest.fixture
def shop(folder: Path) -> Iterator[Shop]:
    made = Shop(folder)
    yield made
    made.close()


def verified(shop: Shop, *projections: Projection) -> str:
    """Return what verify says of a read model: every row is that of a replay."""
    return str(verify(shop.folder, app(*projections)))


def test_the_order_of_projections_is_not_in_the_name_and_a_changed_on_is() -> None:
    assert file_name([COUNTS, SALES]) == file_name([SALES, COUNTS])
    assert len({file_name([one]) for one in (COUNTS, COUNTS_2, COUNTS_RETURNS, SALES)}) == 4


def test_tables_of_unchanged_projections_are_copied_and_the_changed_are_made_of_the_log(shop: Shop) -> None:
    shop.sell(12_000)
    first = shop.build(COUNTS, SALES, WORDS)
    shop.sell(7)
    second = shop.build(COUNTS_2, SALES, WORDS)

    assert first.copied.names == frozenset()
    assert second.copied.names == {"sales", "words"}
    assert second.copied.position == 12_000
    assert "at position 12007 is what the log gives" in verified(shop, COUNTS_2, SALES, WORDS)
    assert shop.rows(COUNTS_2, SALES, WORDS, sql="SELECT sum(n) AS n FROM counts") == [{"n": 12_007}]
    assert shop.rows(COUNTS_2, SALES, WORDS, sql="SELECT count(*) AS n FROM words WHERE words MATCH 'a'") == [
        {"n": 4003}
    ]


def test_a_projection_that_is_added_or_removed_leaves_the_others_as_they_are(shop: Shop) -> None:
    shop.sell(100)
    shop.build(SALES)
    assert shop.build(SALES, COUNTS).copied.names == {"sales"}
    shop.sell(1)
    assert shop.build(COUNTS).copied.names == {"counts"}

    assert "at position 101 is what the log gives: 3 rows in 1 table" in verified(shop, COUNTS)


def test_a_projection_on_another_event_is_built_again(shop: Shop) -> None:
    shop.sell(100)
    shop.build(COUNTS, SALES)

    assert shop.build(COUNTS_RETURNS, SALES).copied.names == {"sales"}


def test_a_projection_that_has_read_the_tables_of_a_changed_one_is_built_with_it(shop: Shop) -> None:
    shop.sell(100)
    shop.build(COUNTS, RANKS, SALES)

    assert shop.build(COUNTS_2, RANKS, SALES).copied.names == {"sales"}
    assert "is what the log gives" in verified(shop, COUNTS_2, RANKS, SALES)


def test_a_new_projection_that_reads_copied_tables_has_their_rows_of_each_earlier_position(shop: Shop) -> None:
    # Given counts at the end of the log, which a projection shall read that is not there yet
    shop.sell(100)
    shop.build(COUNTS, SALES)

    builder = shop.build(COUNTS, SALES, RANKS)

    assert builder.copied.names == frozenset()
    ranks = shop.rows(COUNTS, SALES, RANKS, sql="SELECT n FROM ranks WHERE item = 'a' ORDER BY rowid LIMIT 3")
    assert [row["n"] for row in ranks] == [1, 2, 3]


def test_a_new_projection_that_fails_with_the_rows_of_copied_tables_is_built_with_them(shop: Shop) -> None:
    shop.sell(100)
    shop.build(COUNTS, SALES)

    assert shop.build(COUNTS, SALES, FIRSTS).copied.names == frozenset()

    assert shop.rows(COUNTS, SALES, FIRSTS, sql="SELECT item, n FROM firsts ORDER BY item") == [
        {"item": item, "n": 1} for item in "abc"
    ]
    assert "at position 100 is what the log gives" in verified(shop, COUNTS, SALES, FIRSTS)


def test_tables_with_foreign_keys_to_those_of_another_projection_are_built_with_them(shop: Shop) -> None:
    child = Projection(
        "child", 1, "CREATE TABLE child (item TEXT REFERENCES Counts (item) ON DELETE CASCADE)", COUNTS.on
    )
    shop.sell(10)
    shop.build(child, COUNTS, SALES)

    assert shop.build(child, COUNTS_2, SALES).copied.names == {"sales"}


@pytest.mark.parametrize(
    ("projection", "position", "rows"),
    [(DEFERRED, 5, "SELECT count(*) AS n FROM items_sold"), (ONCE, 4, "SELECT count(*) AS n FROM once")],
)
def test_a_function_that_violates_a_deferred_key_or_rolls_back_is_named_and_the_events_before_are_applied(
    shop: Shop, projection: Projection, position: int, rows: str
) -> None:
    shop.sell(9)
    builder = Builder(shop.path(projection), app(projection), shop.reader, Interrupt())
    while not builder.failure:
        builder.build()

    assert builder.failure == (
        f"Projection {projection.name} raised NotAllowed at position {position} (Sold); "
        "the log of the projector has the details"
    )
    assert builder.path and builder.updater
    with closing(ReadModelReader(builder.path)) as reader:
        assert (reader.checkpoint().position, reader.all(rows)) == (position - 1, [{"n": position - 1}])
    builder.updater.writer.close()


def test_verify_names_the_event_that_violates_a_deferred_key(shop: Shop) -> None:
    shop.sell(4)
    shop.build(DEFERRED)
    shop.sell(1)
    with closing(ReadModelWriter(shop.path(DEFERRED))) as writer:
        writer.begin()
        writer.commit(5, shop.reader.head().hash)

    with pytest.raises(VerificationError, match=r"Projection deferred raised NotAllowed at position 5 \(Sold\)"):
        verified(shop, DEFERRED)


def test_nothing_is_copied_from_a_read_model_of_another_history(shop: Shop, folder: Path) -> None:
    shop.sell(10)
    shop.build(SALES)
    other = Shop(folder / "other")
    other.sell(10)
    path = other.build(SALES).path
    assert path
    path.rename(shop.folder / "read-other.db")
    shop.path(SALES).unlink()
    other.close()

    assert shop.build(SALES, COUNTS).copied.names == frozenset()


def test_a_file_that_cannot_be_read_is_not_copied(shop: Shop) -> None:
    shop.sell(10)
    (shop.folder / "read-bad.db").write_bytes(b"my diary" * 1000)

    assert shop.build(SALES).copied.names == frozenset()
    assert len(shop.rows(SALES, sql="SELECT * FROM sales")) == 10


def test_tables_that_turn_out_to_be_damaged_after_they_were_copied_are_built(shop: Shop) -> None:
    shop.sell(10)
    shop.build(SALES)
    damage(shop.path(SALES), "sales")
    shop.sell(1)

    assert shop.build(SALES, COUNTS).copied.names == frozenset()

    assert "at position 11 is what the log gives" in verified(shop, SALES, COUNTS)


def test_a_build_with_a_damaged_file_of_its_own_builds_it_again(shop: Shop) -> None:
    shop.sell(10)
    shop.build(SALES)
    damage(shop.path(SALES), "sales")
    shop.sell(1)

    shop.build(SALES)

    assert "at position 11 is what the log gives" in verified(shop, SALES)


def test_a_projection_that_damages_its_full_text_search_is_named(shop: Shop) -> None:
    shop.sell(3)
    builder = Builder(shop.path(SPOILT), app(SPOILT), shop.reader, Interrupt())
    while not builder.failure:
        builder.build()

    assert builder.failure.startswith("Projection spoilt raised CorruptError at position 2 (Sold)")
    assert builder.updater
    builder.updater.writer.close()


def test_a_return_to_the_version_before_needs_the_events_since_only(shop: Shop) -> None:
    shop.sell(100)
    shop.build(COUNTS)
    shop.build(COUNTS_2)
    shop.sell(1)
    back = shop.build(COUNTS)

    assert back.updater
    assert back.updater.counters["applied"] == 1
    assert "at position 101 is what the log gives" in verified(shop, COUNTS)


@pytest.mark.parametrize(("keep", "kept"), [(0, []), (1, [SALES]), (2, [COUNTS, SALES]), (9, [COUNTS, SALES])])
def test_as_many_read_models_are_kept_as_wanted_the_last_written_first(
    shop: Shop, keep: int, kept: list[Projection]
) -> None:
    shop.sell(10)
    shop.build(COUNTS, keep=9)
    shop.build(SALES, keep=9)
    shop.build(WORDS, keep=keep)

    assert shop.names() == sorted(file_name([one]) for one in [WORDS, *kept])


def test_a_read_model_with_a_writer_is_kept(shop: Shop) -> None:
    shop.sell(10)
    shop.build(COUNTS)
    lock = lock_writer(shop.path(COUNTS))
    shop.build(SALES, keep=0)
    assert other_read_models(shop.path(SALES)) == [shop.path(COUNTS)]

    lock.release()
    shop.build(WORDS, keep=0)
    assert other_read_models(shop.path(WORDS)) == []


def test_a_read_model_that_an_operator_removes_has_the_same_writer(shop: Shop) -> None:
    shop.sell(10)
    shop.build(COUNTS)
    lock = lock_writer(shop.path(COUNTS))
    for path in shop.folder.glob("read-*"):
        path.unlink()

    with pytest.raises(AlreadyRunningError, match="Another process writes the read model"):
        lock_writer(shop.path(COUNTS))

    lock.release()
    lock_writer(shop.path(COUNTS)).release()


def test_a_removed_read_model_leaves_no_lock(shop: Shop) -> None:
    shop.sell(10)
    for projection in (COUNTS, SALES):
        lock_writer(shop.path(projection)).release()
        shop.build(projection, keep=0)

    assert [path.name for path in shop.folder.glob("*.lock") if path.name != "log.lock"] == [
        file_name([SALES]).replace("read-", "writer-").replace(".db", ".lock")
    ]


def test_verify_passes_over_a_kept_read_model_from_before_a_restore(shop: Shop) -> None:
    shop.sell(10)
    shop.build(COUNTS)
    with closing(ReadModelWriter(shop.path(COUNTS))) as before:
        before.adopt(Identity(shop.reader.identity.log, "earlier"))
    shop.build(SALES)

    assert "is what the log gives" in verified(shop, SALES)


def test_verify_continues_up_to_the_read_model_of_another_version_that_grows_during_the_audit(shop: Shop) -> None:
    shop.sell(10)
    shop.build(COUNTS)
    shop.build(COUNTS_2)

    def progress(done: int, total: int) -> None:
        """Write as a cluster with the earlier version does, once the audit has reached the end of the log."""
        if done == total == 10:
            shop.sell(1)
            shop.build(COUNTS)

    assert str(verify(shop.folder, app(COUNTS_2), progress)).startswith("The log is whole: positions 1 to 11 ")


def test_verify_compares_the_values_of_generated_columns(shop: Shop) -> None:
    shop.sell(3)
    shop.build(LOUD, WORDS)
    assert "is what the log gives" in verified(shop, LOUD, WORDS)

    path = shop.path(LOUD, WORDS)
    path.write_bytes(path.read_bytes().replace(b"B-loud", b"X-loud"))

    with pytest.raises(VerificationError, match="Table loud: row 2, in key order, has wrong values in said"):
        verified(shop, LOUD, WORDS)


def test_verify_compares_the_last_numbers_of_tables_in_whatever_order_the_tables_were_written(shop: Shop) -> None:
    first, second = ordered("one", 1), ordered("two", 1)
    shop.sell(10)
    shop.build(first, second)

    assert shop.build(ordered("one", 2), second).copied.names == {"two"}

    assert "is what the log gives" in verified(shop, ordered("one", 2), second)
    with closing(apsw.Connection(str(shop.path(ordered("one", 2), second)))) as db:
        db.execute("UPDATE sqlite_sequence SET seq = 9 WHERE name = 'two'")
    with pytest.raises(
        VerificationError, match="Table sqlite_sequence: row 2, in key order, has wrong values in seq"
    ):
        verified(shop, ordered("one", 2), second)


def ordered(name: str, version: int) -> Projection:
    """Return a projection that numbers the sales."""

    def number(sold: Sold, tables: Tables) -> None:
        tables.execute(f"INSERT INTO {name} (item) VALUES (?)", (sold.item,))

    tables = f"CREATE TABLE {name} (number INTEGER PRIMARY KEY AUTOINCREMENT, item TEXT)"
    return Projection(name, version, tables, [number])
