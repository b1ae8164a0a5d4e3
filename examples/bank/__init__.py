"""Accounts, transfers without overdrafts, and statements."""

from dualbus import App, Projection
from examples.bank import decisions, projections, queries
from examples.bank.messages import (
    AccountOpened,
    Deposit,
    GetAccount,
    GetStatement,
    ListAccounts,
    MoneyDeposited,
    MoneyTransferred,
    MoneyWithdrawn,
    OpenAccount,
    Transfer,
    Withdraw,
)

app = App(
    commands={
        OpenAccount: decisions.open_account,
        Deposit: decisions.deposit,
        Withdraw: decisions.withdraw,
        Transfer: decisions.transfer,
    },
    projections=[
        Projection(
            "accounts",
            version=1,
            tables=projections.TABLES,
            on={
                AccountOpened: projections.add_account,
                MoneyDeposited: projections.deposit,
                MoneyWithdrawn: projections.withdraw,
                MoneyTransferred: projections.transfer,
            },
        )
    ],
    queries={
        GetAccount: queries.get_account,
        ListAccounts: queries.list_accounts,
        GetStatement: queries.get_statement,
    },
    genesis=[
        AccountOpened(id="account-1", owner="Ada"),
        AccountOpened(id="account-2", owner="Bob"),
        MoneyDeposited(account="account-1", cents=10_000, at="2026-01-01T00:00:00.000000Z"),
    ],
)
