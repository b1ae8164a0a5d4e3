"""A library, with a function for each result and error that a client can receive."""

from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, TypedDict

from pydantic import BaseModel, Field

from dualbus import (
    App,
    Command,
    Event,
    Past,
    Private,
    Problem,
    Projection,
    Query,
    ReadOnlyTables,
    Recorded,
    Rejected,
    Tables,
    Tag,
    Text,
)

BOOK = Tag("book")


class AddBook(Command):
    isbn: Text
    title: Text
    price: Annotated[Decimal, Field(ge=0)]
    bought: date
    supplier: str = "unknown"

    def problems(self) -> Iterator[Problem]:
        if self.title == self.isbn:
            yield Problem("Title must not be the ISBN", field="title", code="same")


class BookAdded(Event):
    isbn: Annotated[str, BOOK]
    title: str
    price: Decimal
    bought: date
    supplier: Annotated[str, Private]


class Shelve(Command):
    number: int


class Shelved(Event):
    number: int


class Jam(Command):
    """Append an event that the projection cannot apply."""


class Jammed(Event):
    pass


class Stumble(Command):
    how: str


class Book(BaseModel):
    title: str
    price: Decimal
    bought: date
    added: datetime
    by: str


class GetBook(Query[Book | None]):
    isbn: Text


class Label(TypedDict):
    title: str
    price: Decimal
    new: bool


class GetLabel(Query[Label]):
    isbn: Text


class CountShelved(Query[int]):
    pass


class Fail(Query):
    how: str


def add_book(command: AddBook, past: Past) -> Iterator[BookAdded]:
    if past.events(BOOK(command.isbn)):
        raise Rejected("The library has this book", code="book_exists", field="isbn")
    yield BookAdded(**command.model_dump())


def shelve(command: Shelve, past: Past) -> Iterator[Shelved]:
    yield from (Shelved(number=number) for number in range(command.number))


def jam(command: Jam, past: Past) -> Iterator[Jammed]:
    yield Jammed()


def stumble(command: Stumble, past: Past) -> Iterator[Shelved]:
    match command.how:
        case "raise":
            raise ZeroDivisionError("secret")
        case "several":
            raise Rejected("First", Problem("Second", field="how", code="second"))
        case "who":
            raise Rejected(f"You are {past.actor}")
        case "too large":
            yield Shelved(number=2**63)


def insert_book(event: BookAdded, tables: Tables, recorded: Recorded) -> None:
    values = (event.isbn, event.title, event.price, event.bought, recorded.time, recorded.metadata.get("user", ""))
    tables.execute("INSERT INTO books VALUES (?, ?, ?, ?, ?, ?)", values)


def count_shelved(event: Shelved, tables: Tables) -> None:
    tables.execute("UPDATE shelves SET shelved = shelved + 1")


def fail_to_project(event: Jammed, tables: Tables) -> None:
    tables.execute("UPDATE shelves SET shelved = -1")
    raise ValueError("jammed")


def get_book(query: GetBook, tables: ReadOnlyTables) -> Any:
    return tables.one("SELECT title, price, bought, added, by FROM books WHERE isbn = ?", (query.isbn,))


def get_label(query: GetLabel, tables: ReadOnlyTables) -> Any:
    return tables.one("SELECT title, price, added > '2000' AS new FROM books WHERE isbn = ?", (query.isbn,))


def shelved(query: CountShelved, tables: ReadOnlyTables) -> int:
    return int(tables.all("SELECT shelved FROM shelves")[0]["shelved"])


def fail(query: Fail, tables: ReadOnlyTables) -> Any:
    match query.how:
        case "raise":
            raise KeyError("secret")
        case "set":
            return {1, 2}
        case "large":
            return ["x" * 100_000] * 20
        case "write":
            return tables.all("UPDATE shelves SET shelved = 0")
        case "chance":
            return tables.one("SELECT random() IS NOT NULL AS any")


BOOKS = """
CREATE TABLE books (isbn TEXT PRIMARY KEY, title TEXT, price TEXT, bought TEXT, added TEXT, by TEXT);
CREATE TABLE shelves (shelved INTEGER);
INSERT INTO shelves VALUES (0);
"""

app = App(
    commands=[add_book, shelve, jam, stumble],
    projections=[
        Projection("books", version=1, tables=BOOKS, on=[insert_book, count_shelved, fail_to_project]),
    ],
    queries=[get_book, get_label, shelved, fail],
    genesis=[
        BookAdded(isbn="0", title="Zero", price=Decimal("0.10"), bought=date(2026, 1, 1), supplier="founder"),
    ],
)
