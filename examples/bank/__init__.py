"""Accounts, transfers without overdrafts, and statements."""

from datetime import UTC, datetime

from dualbus import App, Projection
from examples.bank import decisions, projections, queries
from examples.bank.messages import AccountOpened, MoneyDeposited

app = App(
    commands=[decisions.open_account, decisions.deposit, decisions.withdraw, decisions.transfer],
    projections=[
        Projection(
            "accounts",
            version=1,
            tables=projections.TABLES,
            on=[projections.add_account, projections.deposit, projections.withdraw, projections.transfer],
        )
    ],
    queries=[queries.get_account, queries.list_accounts, queries.get_statement],
    genesis=[
        AccountOpened(id="account-1", owner="Ada"),
        AccountOpened(id="account-2", owner="Bob"),
        MoneyDeposited(account="account-1", cents=10_000, at=datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
