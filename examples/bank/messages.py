"""The messages about accounts and payments. Amounts are integers, in cents, because floats round."""

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
    """An event in the histories of both accounts: the money leaves and arrives at the same position."""

    source: Annotated[str, Tag("account")]
    target: Annotated[str, Tag("account")]
    cents: int
    at: str


class GetAccount(Query):
    account_id: Text


class ListAccounts(Query):
    """A page of accounts in the order of their ids: `after` is the last id of the previous page."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    after: str = ""


class GetStatement(Query):
    """A page of an account's statement, newest line first: `before` is the last number of the previous page."""

    account_id: Text
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    before: Annotated[int, Field(ge=1)] | None = None
