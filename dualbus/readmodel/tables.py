"""The SQL of a projection's tables creates tables, indexes, views and triggers, and inserts their first rows."""

import apsw

from dualbus.application.app import Projection
from dualbus.application.tables import NotAllowed

CHECKPOINT_TABLE = "dualbus_checkpoint"
REFUSED = {
    apsw.SQLITE_TRANSACTION,
    apsw.SQLITE_SAVEPOINT,
    apsw.SQLITE_ATTACH,
    apsw.SQLITE_DETACH,
}
READ_BY_MODULES = {"data_version", "page_size"}  # the pragmas of full-text search and of R-trees


def create_tables(db: apsw.Connection, projection: Projection) -> str:
    """Create the tables of a projection; return a sentence about the mistake in their SQL, or ""."""
    before, db.authorizer = db.authorizer, _authorize
    try:
        # Without reading all rows, the statements after a statement with rows would not run.
        db.execute(projection.tables, can_cache=False).fetchall()
    except (apsw.FullError, apsw.IOError):
        raise
    except apsw.AuthError:
        return (
            f"The tables of projection {projection.name} use a transaction, ATTACH, a PRAGMA, a temporary table or "
            f"{CHECKPOINT_TABLE}: create tables, indexes, views and triggers of the projection, and insert their "
            "first rows."
        )
    except NotAllowed as problem:
        return f"The tables of projection {projection.name} cannot be created. {problem}"
    except apsw.Error as error:
        return f"The tables of projection {projection.name} are not valid SQL for SQLite: {error}."
    finally:
        db.authorizer = before
    return ""


def _authorize(action: int, first: str | None, second: str | None, database: str | None, _: str | None) -> int:
    if action == apsw.SQLITE_PRAGMA:
        allowed = first in READ_BY_MODULES and second is None
    elif action == apsw.SQLITE_INSERT and database == "temp":  # also of each temporary table, into the schema
        allowed = False
    else:
        allowed = action not in REFUSED and (
            action in (apsw.SQLITE_READ, apsw.SQLITE_SELECT) or CHECKPOINT_TABLE not in (first, second)
        )
    return apsw.SQLITE_OK if allowed else apsw.SQLITE_DENY
