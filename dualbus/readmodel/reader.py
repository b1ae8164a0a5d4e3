"""Reading a read model."""

import time
from pathlib import Path

import apsw
import apsw.ext

from dualbus.readmodel.file import Checkpoint
from dualbus.readmodel.guard import READ_ACTIONS, Handle


class ReadModelReader(Handle):
    """The read model opened so that it cannot be written: read-only file, and a guard on statements."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, apsw.SQLITE_OPEN_READONLY, READ_ACTIONS)
        self.db.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)
        self.deadline = float("inf")  # by time.monotonic(): a statement that is still running then is stopped
        # SQLite counts over all runs of a statement, so one of ours, short as it is, may be asked too.
        self.db.set_progress_handler(lambda: not self._ours and time.monotonic() > self.deadline, 10_000)

    def begin(self) -> Checkpoint:
        """Begin a snapshot; every answer until `end` comes from its position."""
        self.own("BEGIN")
        return self.checkpoint()

    def end(self) -> None:
        """End the snapshot."""
        if self.db.in_transaction:
            self.own("ROLLBACK")
