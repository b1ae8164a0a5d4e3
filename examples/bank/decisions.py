"""The decisions of the commands: no account is ever overdrawn."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

from dualbus import Past, Rejected
from examples.bank.messages import (
    ACCOUNT,
    AccountOpened,
    Deposit,
    MoneyDeposited,
    MoneyTransferred,
    MoneyWithdrawn,
    OpenAccount,
    Transfer,
    Withdraw,
)


@dataclass(frozen=True)
class Account:
    """The state of an account for its rules, folded from the events with the tag account:<id>."""

    id: str
    exists: bool = False
    balance: int = 0

    def apply(self, event: AccountOpened | MoneyDeposited | MoneyWithdrawn | MoneyTransferred) -> Self:
        match event:
            case AccountOpened():
                return replace(self, exists=True)
            case MoneyDeposited(cents=cents):
                return replace(self, balance=self.balance + cents)
            case MoneyWithdrawn(cents=cents):
                return replace(self, balance=self.balance - cents)
            case MoneyTransferred(source=source, cents=cents):
                return replace(self, balance=self.balance + (-cents if source == self.id else cents))


def open_account(command: OpenAccount, past: Past) -> Iterator[AccountOpened]:
    yield AccountOpened(id=past.new_id(), owner=command.owner)


def deposit(command: Deposit, past: Past) -> Iterator[MoneyDeposited]:
    _account(past, command.account_id)
    yield MoneyDeposited(account=command.account_id, cents=command.cents, at=past.now())


def withdraw(command: Withdraw, past: Past) -> Iterator[MoneyWithdrawn]:
    _require(_account(past, command.account_id), command.cents)
    yield MoneyWithdrawn(account=command.account_id, cents=command.cents, at=past.now())


def transfer(command: Transfer, past: Past) -> Iterator[MoneyTransferred]:
    source, target = command.source_id, command.target_id
    if source == target:
        raise Rejected("Source and target are the same account")
    _account(past, target)
    _require(_account(past, source), command.cents)
    yield MoneyTransferred(source=source, target=target, cents=command.cents, at=past.now())


def _account(past: Past, account_id: str) -> Account:
    account = past.fold(Account(account_id), ACCOUNT(account_id))
    if not account.exists:
        raise Rejected(f"Account {account_id} does not exist")
    return account


def _require(account: Account, cents: int) -> None:
    if account.balance < cents:
        raise Rejected(f"Account {account.id} has {account.balance} cents, which is not enough")
