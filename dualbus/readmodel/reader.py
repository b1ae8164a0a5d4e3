"""The reader of a read model."""

import time
from pathlib import Path

import apsw
import apsw.ext

from dualbus.readmodel.file import Checkpoint
from dualbus.readmodel.guard import READ_ACTIONS, Handle


class ReadModelReader(Handle):
    """The read model, opened read-only, with a guard on statements."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, apsw.SQLITE_OPEN_READONLY, READ_ACTIONS)
        self.db.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)
        self.deadline = float("inf")  # by time.monotonic(); a running statement is interrupted at the deadline
        # SQLite counts steps over all runs of a statement, so the handler also runs for short internal statements.
        self.db.set_progress_handler(lambda: not self._guard_disabled and time.monotonic() > self.deadline, 10_000)

    def begin(self) -> Checkpoint:
        """Begin a snapshot and return its checkpoint; `end` releases the snapshot."""
        self.execute_internal("BEGIN")
        return self.checkpoint()

    def end(self) -> None:
        """End the snapshot."""
        if self.db.in_transaction:
            self.execute_internal("ROLLBACK")
