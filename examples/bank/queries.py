"""The answers to queries from the read model."""

from dualbus import Page, ReadOnlyTables, page
from examples.bank.messages import Account, Balance, GetAccount, GetStatement, Line, ListAccounts


def get_account(query: GetAccount, tables: ReadOnlyTables) -> Account | None:
    return tables.one("SELECT id, owner, balance FROM accounts WHERE id = ?", (query.account_id,))


def list_accounts(query: ListAccounts, tables: ReadOnlyTables) -> Page[Balance]:
    sql = "SELECT id, balance FROM accounts WHERE id > ? ORDER BY id"
    return page(tables, sql, (query.after,), by="id", limit=query.limit)


def get_statement(query: GetStatement, tables: ReadOnlyTables) -> Page[Line]:
    sql = (
        "SELECT number, at, what, cents, balance FROM statement WHERE account = ? AND number < ? ORDER BY number DESC"
    )
    return page(tables, sql, (query.account_id, query.before or 2**62), by="number", limit=query.limit)
