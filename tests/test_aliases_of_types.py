"""Type aliases: repeated by a class (pydantic keeps the schema once, under a reference), and with arguments."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, TypeVar

import pytest
from typing_extensions import TypeAliasType

from dualbus import App, Command, Event, HandlerError, Past, Projection, Query, ReadOnlyTables, Tables, Tag
from dualbus.testing import InProcess

Money = TypeAliasType("Money", Decimal)
Name = TypeAliasType("Name", str)
T = TypeVar("T")
Maybe = TypeAliasType("Maybe", T | None, type_params=(T,))
Yields = TypeAliasType("Yields", Iterator[T], type_params=(T,))
Same = TypeAliasType("Same", T, type_params=(T,))
BOOK = Tag("book")


class Pay(Command):
    amount: Money
    fee: Money


class Paid(Event):
    amount: Money
    fee: Money


class ListGroups(Query[dict[Name, list[Name]]]):
    wrong: bool = False


def pay(command: Pay, past: Past) -> Iterator[Paid]:
    yield Paid(amount=command.amount, fee=command.fee)


def list_groups(query: ListGroups, tables: ReadOnlyTables) -> dict[Name, list[Name]]:
    members: Any = [date(2026, 1, 31)] if query.wrong else ["Ada"]
    return {"admins": members}


def test_an_alias_may_be_repeated_in_a_command_and_in_an_answer() -> None:
    with InProcess(App(commands=[pay], queries=[list_groups])) as client:
        [paid] = client.command("Pay", {"amount": Decimal("0.10"), "fee": 1}).events
        assert paid["payload"] == {"amount": "0.10", "fee": "1"}
        assert client.query(ListGroups()) == {"admins": ["Ada"]}
        with pytest.raises(HandlerError, match="not the same when it is read back"):
            client.query(ListGroups(wrong=True))


class Lend(Command):
    id: Maybe[str]
    due: date


class Lent(Event):
    id: Annotated[Maybe[str], BOOK]
    due: date


class LastDue(Query[Maybe[date]]):
    pass


class ListDue(Query[list[Same[date]]]):
    pass


def lend(command: Lend, past: Past) -> Yields[Lent]:
    yield Lent(id=command.id, due=command.due)


def on_lent(event: Maybe[Lent], tables: Tables) -> None:
    assert event is not None
    tables.execute("INSERT INTO loans VALUES (?)", (event.due,))


def last_due(query: LastDue, tables: ReadOnlyTables) -> Maybe[date]:
    row = tables.one("SELECT max(due) AS due FROM loans")
    return row and date.fromisoformat(row["due"])


def list_due(query: ListDue, tables: ReadOnlyTables) -> list[Same[date]]:
    return [date.fromisoformat(row["due"]) for row in tables.all("SELECT due FROM loans")]


def test_an_alias_with_arguments_names_a_class_of_messages_a_tag_and_an_answer() -> None:
    loans = Projection("loans", 1, "CREATE TABLE loans (due TEXT)", on=[on_lent])
    with InProcess(App(commands=[lend], projections=[loans], queries=[last_due, list_due])) as client:
        client.command(Lend(id="a", due=date(2026, 1, 31)))

        assert next(client.events(tag="book:a")).payload["id"] == "a"
        assert client.query(LastDue()) == date(2026, 1, 31)
        assert client.query(ListDue()) == [date(2026, 1, 31)]
