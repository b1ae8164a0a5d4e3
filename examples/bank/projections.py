"""The changes of the read model for each event: balances, and statements with numbered lines."""

from datetime import datetime

from dualbus import Tables
from examples.bank.messages import AccountOpened, MoneyDeposited, MoneyTransferred, MoneyWithdrawn

TABLES = """
CREATE TABLE accounts (id TEXT PRIMARY KEY, owner TEXT NOT NULL, balance INTEGER NOT NULL, lines INTEGER NOT NULL)
    WITHOUT ROWID;
CREATE TABLE statement (account TEXT NOT NULL, number INTEGER NOT NULL, at TEXT NOT NULL, what TEXT NOT NULL,
    cents INTEGER NOT NULL, balance INTEGER NOT NULL, PRIMARY KEY (account, number)) WITHOUT ROWID;
"""


def add_account(event: AccountOpened, tables: Tables) -> None:
    tables.execute("INSERT INTO accounts (id, owner, balance, lines) VALUES (?, ?, 0, 0)", (event.id, event.owner))


def deposit(event: MoneyDeposited, tables: Tables) -> None:
    _add_line(tables, event.account, event.at, "deposit", event.cents)


def withdraw(event: MoneyWithdrawn, tables: Tables) -> None:
    _add_line(tables, event.account, event.at, "withdrawal", -event.cents)


def transfer(event: MoneyTransferred, tables: Tables) -> None:
    _add_line(tables, event.source, event.at, f"to {event.target}", -event.cents)
    _add_line(tables, event.target, event.at, f"from {event.source}", event.cents)


def _add_line(tables: Tables, account: str, at: datetime, what: str, cents: int) -> None:
    tables.execute("UPDATE accounts SET balance = balance + ?, lines = lines + 1 WHERE id = ?", (cents, account))
    tables.execute(
        "INSERT INTO statement (account, number, at, what, cents, balance) "
        "SELECT id, lines, ?, ?, ?, balance FROM accounts WHERE id = ?",
        (at, what, cents, account),
    )
