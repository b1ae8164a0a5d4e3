"""The messages about accounts and payments. Amounts are integers, in cents, because floats round."""

from datetime import datetime
from typing import Annotated, TypedDict

from pydantic import Field

from dualbus import Command, Event, Limit, Page, Query, Tag, Text

ACCOUNT = Tag("account")
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
    id: Annotated[str, ACCOUNT]
    owner: str


class MoneyDeposited(Event):
    account: Annotated[str, ACCOUNT]
    cents: int
    at: datetime


class MoneyWithdrawn(Event):
    account: Annotated[str, ACCOUNT]
    cents: int
    at: datetime


class MoneyTransferred(Event):
    """An event in the histories of both accounts: the money leaves and arrives at the same position."""

    source: Annotated[str, ACCOUNT]
    target: Annotated[str, ACCOUNT]
    cents: int
    at: datetime


class Account(TypedDict):
    id: str
    owner: str
    balance: int


class Balance(TypedDict):
    id: str
    balance: int


class Line(TypedDict):
    number: int
    at: str
    what: str
    cents: int
    balance: int


class GetAccount(Query[Account | None]):
    account_id: Text


class ListAccounts(Query[Page[Balance]]):
    """A page of accounts in the order of their ids: `after` is `next` of the previous page."""

    limit: Limit = 100
    after: str = ""


class GetStatement(Query[Page[Line]]):
    """A page of an account's statement, newest line first: `before` is `next` of the previous page."""

    account_id: Text
    limit: Limit = 20
    before: Annotated[int, Field(ge=1)] | None = None
