"""An application with three projections, in versions that differ from each other."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw

from dualbus import App, Event, Projection, Tables
from dualbus.application.event_json import to_text
from dualbus.log.contract import Decision, NewEvent
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.readmodel.builder import Builder
from dualbus.readmodel.file import file_name
from dualbus.readmodel.reader import ReadModelReader
from dualbus.worker.interrupt import Interrupt


class Sold(Event):
    item: str
    price: int


class Returned(Event):
    item: str


def count(sold: Sold, tables: Tables) -> None:
    tables.execute("INSERT INTO counts VALUES (?, 1) ON CONFLICT DO UPDATE SET n = n + 1", (sold.item,))


def uncount(returned: Returned, tables: Tables) -> None:
    tables.execute("UPDATE counts SET n = n - 1 WHERE item = ?", (returned.item,))


def list_(sold: Sold, tables: Tables) -> None:
    tables.execute("INSERT INTO sales (item, price) VALUES (?, ?)", (sold.item, sold.price))


def index(sold: Sold, tables: Tables) -> None:
    tables.execute("INSERT INTO words VALUES (?)", (f"sold {sold.item}",))


def spoil(sold: Sold, tables: Tables) -> None:
    """Index the first sale, and remove words that are not in the index at the second sale."""
    if sold.price == 0:
        tables.execute("INSERT INTO spoilt (rowid, text) VALUES (1, 'sold')")
    else:
        tables.execute("INSERT INTO spoilt (spoilt, rowid, text) VALUES ('delete', 1, 'sold')")
        tables.execute("INSERT INTO spoilt (spoilt, rowid, text) VALUES ('delete', 1, 'sold')")
        tables.execute("INSERT INTO spoilt (spoilt) VALUES ('integrity-check')")


def shout(sold: Sold, tables: Tables) -> None:
    tables.execute("INSERT INTO loud (item) VALUES (?)", (sold.item,))


def rank(sold: Sold, tables: Tables) -> None:
    """Note how many of the item were sold up to this event, as the counts say."""
    row = tables.one("SELECT n FROM counts WHERE item = ?", (sold.item,))
    tables.execute("INSERT INTO ranks (item, n) VALUES (?, ?)", (sold.item, row["n"] if row else 0))


def note_first(sold: Sold, tables: Tables) -> None:
    """Note the count at the first sale of an item: 1, and at the end of the log a count that the table refuses."""
    tables.execute(
        "INSERT INTO firsts SELECT item, n FROM counts WHERE item = ?1 AND NOT EXISTS "
        "(SELECT 1 FROM firsts WHERE item = ?1)",
        (sold.item,),
    )


def register(sold: Sold, tables: Tables) -> None:
    """Note an item and its sale; the foreign key is deferred, and the fifth sale has no item."""
    tables.execute("INSERT INTO items_sold VALUES (?)", (sold.item,))
    if sold.price != 4:
        tables.execute("INSERT OR IGNORE INTO items VALUES (?)", (sold.item,))
    else:
        tables.execute("DELETE FROM items WHERE item = ?", (sold.item,))


def note_once(sold: Sold, tables: Tables) -> None:
    """Note an item once, and ignore the error of the fourth sale, which has an item again."""
    with suppress(apsw.ConstraintError):
        tables.execute("INSERT OR ROLLBACK INTO once VALUES (?)", (sold.item,))


COUNTS = Projection("counts", 1, "CREATE TABLE counts (item TEXT PRIMARY KEY, n INTEGER)", [count])
COUNTS_2 = Projection("counts", 2, COUNTS.tables, [count])
COUNTS_RETURNS = Projection("counts", 1, COUNTS.tables, [count, uncount])
SALES = Projection(
    "sales",
    1,
    "CREATE TABLE sales (number INTEGER PRIMARY KEY AUTOINCREMENT, item TEXT, price INTEGER);"
    "CREATE INDEX by_item ON sales (item); CREATE VIEW cheap AS SELECT item FROM sales WHERE price < 10",
    [list_],
)
WORDS = Projection("words", 1, "CREATE VIRTUAL TABLE words USING fts5(text)", [index])
SPOILT = Projection("spoilt", 1, "CREATE VIRTUAL TABLE spoilt USING fts5(text, content='')", [spoil])
LOUD = Projection(
    "loud", 1, "CREATE TABLE loud (item TEXT, said TEXT AS (upper(item) || '-loud') STORED, at AS (1))", [shout]
)
RANKS = Projection("ranks", 1, "CREATE TABLE ranks (item TEXT, n INTEGER)", [rank])
DEFERRED = Projection(
    "deferred",
    1,
    "CREATE TABLE items (item TEXT PRIMARY KEY);"
    "CREATE TABLE items_sold (item TEXT REFERENCES items (item) DEFERRABLE INITIALLY DEFERRED)",
    [register],
)
ONCE = Projection("once", 1, "CREATE TABLE once (item TEXT PRIMARY KEY)", [note_once])
FIRSTS = Projection("firsts", 1, "CREATE TABLE firsts (item TEXT, n INTEGER CHECK (n = 1))", [note_first])


def app(*projections: Projection) -> App:
    return App(projections=projections, genesis=[Returned(item="none")])


class Shop:
    """A log of sales, of which read models are built."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._log = SqliteLog(folder, lambda secret: Decision("genesis", "2026-01-01", []))
        self.reader = SqliteLogReader(folder)
        self.sold = 0

    def sell(self, number: int) -> None:
        """Append sales of three items in turn."""
        sales = [Sold(item="abc"[at % 3], price=at) for at in range(self.sold, self.sold + number)]
        self.sold += number
        self._log.append(
            [Decision(f"k{one.price}", "2026-01-01", [NewEvent("Sold", to_text(one), ())]) for one in sales]
        )

    def path(self, *projections: Projection) -> Path:
        return self.folder / file_name(projections)

    def build(self, *projections: Projection, keep: int = 1) -> Builder:
        """Build the read model of these projections, up to the head of the log."""
        builder = Builder(self.path(*projections), app(*projections), self.reader, Interrupt(), keep=keep)
        while not builder.done or not builder.updater or builder.updater.behind:
            builder.build()
            assert builder.failure is None, builder.failure
        builder.updater.writer.close()
        return builder

    def rows(self, *projections: Projection, sql: str) -> list[Any]:
        """Return rows of the read model of these projections."""
        reader = ReadModelReader(self.path(*projections))
        found = reader.all(sql)
        reader.close()
        return found

    def names(self) -> list[str]:
        """Return the read models in the folder."""
        return sorted(path.name for path in self.folder.glob("read-*.db"))

    def close(self) -> None:
        self._log.close()
        self.reader.close()
