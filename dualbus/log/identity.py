"""The identity of a log."""

from typing import NamedTuple


class Identity(NamedTuple):
    """Identify a log: a new log has a new id, a restored log a new incarnation."""

    log: str
    incarnation: str

    def __str__(self) -> str:
        return f"{self.log} (incarnation {self.incarnation})"
