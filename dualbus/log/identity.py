"""The identity of a log."""

from typing import NamedTuple


class Identity(NamedTuple):
    """Which log: a new log has a new id, a restored one a new incarnation."""

    log: str
    incarnation: str
