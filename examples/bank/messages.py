"""What is said about accounts and the money on them. Amounts are whole cents: money is never a float."""

from typing import Annotated

from pydantic import Field

from dualbus import Command, Event, Query, Tag, Text

CENTS_MAX = 100_000_000_000  # of one payment

Cents = Annotated[int, Field(ge=1, le=CENTS_MAX)]


class OpenAccount(Command):
    owner: Text


class Deposit(Command):
    account_id: Text
    cents: Cents


class Withdraw(Command):
    account_id: Text
    cents: Cents


class Transfer(Command):
    source_id: Text
    target_id: Text
    cents: Cents


class AccountOpened(Event):
    id: Annotated[str, Tag("account")]
    owner: str


class MoneyDeposited(Event):
    account: Annotated[str, Tag("account")]
    cents: int
    at: str


class MoneyWithdrawn(Event):
    account: Annotated[str, Tag("account")]
    cents: int
    at: str


class MoneyTransferred(Event):
    """One event in two histories: there is no moment at which the money is on neither account, or on both."""

    source: Annotated[str, Tag("account")]
    target: Annotated[str, Tag("account")]
    cents: int
    at: str


class GetAccount(Query):
    account_id: Text


class ListAccounts(Query):
    """Accounts in the order of their ids, a page at a time: `after` is the last id of the page before."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    after: str = ""


class GetStatement(Query):
    """The lines of an account, the newest first; `before` is the number of the last line of the page before."""

    account_id: Text
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    before: Annotated[int, Field(ge=1)] | None = None
