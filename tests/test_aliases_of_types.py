"""A type alias that a class repeats: pydantic keeps its schema once, under a reference."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from typing_extensions import TypeAliasType

from dualbus import App, Command, Event, HandlerError, Past, Query, ReadOnlyTables
from dualbus.testing import InProcess

Money = TypeAliasType("Money", Decimal)
Name = TypeAliasType("Name", str)


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
