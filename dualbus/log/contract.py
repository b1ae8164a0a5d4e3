"""The contract of the log, the one place where what has happened is kept. Engines fulfil it.

Positions start at 1 and have no holes. Appending is conditional on what a decision has read.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from dualbus.log.identity import Identity
from dualbus.runtime.errors import DataError

NO_HASH = bytes(16)  # what the chain starts from


class LogError(DataError):
    """Something about the log that a person must look at; the text says what and what to do."""


class LogDamaged(LogError):
    """The log is not what it was when it was written."""


class LogUnavailable(LogError):
    """It cannot be written now: no room, or someone holds it. Nothing of the batch was written."""


class CommitFailed(LogError):
    """Nobody knows whether the batch was written, and only opening the log again will tell."""


class NewEvent(NamedTuple):
    """An event that has been decided and is not yet in the log."""

    type: str
    data: str  # JSON
    tags: tuple[str, ...]


class RecordedEvent(NamedTuple):
    """An event in the log. These are its words everywhere: columns, attributes, JSON keys."""

    position: int
    type: str
    data: str  # JSON
    time: str  # UTC, "2026-01-31T12:00:00.000000Z"
    command_id: str
    hash: bytes  # of this event and, through the hash before it, of the whole log up to it


class Head(NamedTuple):
    """The last position and its hash."""

    position: int
    hash: bytes


class Decision(NamedTuple):
    """What one command came to: events, or the sentences of a refusal. Appended whole or not at all."""

    command_id: str
    time: str
    events: Sequence[NewEvent] = ()
    errors: Sequence[str] = ()
    reads: Mapping[str, int] = MappingProxyType({})  # tag: the position it was read at
    fingerprint: bytes | None = None  # of type and payload, where the client chose the command's id


class Outcome(NamedTuple):
    """What a command came to, as the log remembers it."""

    command_id: str
    fingerprint: bytes | None
    first: int  # position of its first event; with no events, the head when it was decided, plus one
    events: int  # how many it has
    errors: list[str]

    @property
    def position(self) -> int:
        """The position that a reader must have reached to see what this command saw or did."""
        return self.first + self.events - 1


class Appended(NamedTuple):
    """What `append` did: how many of the decisions stand, and their events, in order."""

    decisions: int
    events: list[RecordedEvent]


class ReadableLog(Protocol):
    """What anybody may do with the log."""

    identity: Identity

    def head(self) -> Head:
        """Return the last position and its hash; position 0 when the log is empty."""
        ...

    def read(self, after: int, limit: int) -> list[RecordedEvent]:
        """Return up to `limit` events after the position, in order."""
        ...

    def history(self, tag: str, after: int = 0) -> list[RecordedEvent]:
        """Return the events that carry the tag, after the position, in order."""
        ...

    def types(self) -> set[str]:
        """Return the types that its events have; asked once, at a start."""
        ...

    def outcomes(self, command_ids: Iterable[str]) -> dict[str, Outcome]:
        """Return the outcomes of those commands that have one, by command id."""
        ...


class Log(ReadableLog, Protocol):
    """What its only writer may do with the log."""

    secret: bytes  # hides the values of private tags in the index

    def append(self, decisions: Sequence[Decision]) -> Appended:
        """Append all of it durably, up to the first decision that no longer stands.

        A decision stands if no event after the position it read a tag at carries that tag. Those from the
        first that does not stand onwards are left out, to be decided again: they may have read its events.
        Raises LogUnavailable (nothing written) or CommitFailed (nobody knows: stop, and open again).
        """
        ...

    def when_idle(self) -> None:
        """Do what may wait until no command waits. Raises LogError."""
        ...
