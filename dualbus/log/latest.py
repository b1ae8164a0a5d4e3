"""The log of a data folder, for processes that read it for long."""

from pathlib import Path

from dualbus.log.contract import ReadableLog
from dualbus.log.engine import log_file, open_reader


class LatestLog:
    """Opens the log, and again after a restore has replaced the file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log: ReadableLog | None = None
        self._inode = 0

    def open(self) -> ReadableLog:
        """Return the log. Raises LogError."""
        try:
            inode = log_file(self._folder).stat().st_ino
        except FileNotFoundError:
            inode = 0
        if inode != self._inode:
            self.close()
        if self._log is None:
            self._log, self._inode = open_reader(self._folder), inode
        return self._log

    def close(self) -> None:
        """Close the log."""
        if self._log:
            self._log.close()
        self._log = None
