"""The answers to queries from the read model."""

from dualbus import ReadOnlyTables
from examples.bank.messages import Account, Balance, GetAccount, GetStatement, Line, ListAccounts, Statement


def get_account(query: GetAccount, tables: ReadOnlyTables) -> Account | None:
    return tables.one("SELECT id, owner, balance FROM accounts WHERE id = ?", (query.account_id,))


def list_accounts(query: ListAccounts, tables: ReadOnlyTables) -> list[Balance]:
    return tables.all("SELECT id, balance FROM accounts WHERE id > ? ORDER BY id LIMIT ?", (query.after, query.limit))


def get_statement(query: GetStatement, tables: ReadOnlyTables) -> Statement:
    """Return a page of lines, and `before` for the next page, or null after the last page."""
    before = query.before or 2**62
    lines: list[Line] = tables.all(
        "SELECT number, at, what, cents, balance FROM statement WHERE account = ? AND number < ? "
        "ORDER BY number DESC LIMIT ?",
        (query.account_id, before, query.limit),
    )
    more = bool(lines) and lines[-1]["number"] > 1
    return {"lines": lines, "before": lines[-1]["number"] if more else None}
