"""The answers to queries, which querybus calls."""

from typing import Any

from dualbus import ReadOnlyTables
from users.messages import GetUser, ListUsers


def get_user(query: GetUser, tables: ReadOnlyTables) -> dict[str, Any] | None:
    return tables.one("SELECT id, name FROM users WHERE id = ?", (query.user_id,))


def list_users(query: ListUsers, tables: ReadOnlyTables) -> list[dict[str, Any]]:
    return tables.all("SELECT id, name FROM users WHERE id > ? ORDER BY id LIMIT ?", (query.after, query.limit))
