"""A read model with a damaged page, which SQLite finds when a statement reads the page."""

from contextlib import closing
from pathlib import Path
from typing import Any

import apsw


def damage(path: Path, table: str) -> None:
    """Overwrite the first page of a table."""
    with closing(apsw.Connection(str(path))) as db:
        page: Any = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).get
        size: Any = db.pragma("page_size")
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
