"""The contract of the event log. Every engine implements `Log`, `ReadableLog` and `Audit`.

Positions start at 1 and have no holes. An append is conditional on the histories that each decision has read. The
hashes of events and commits are defined in `dualbus.log.chain`. An engine must also, when opened by the writer,

- refuse a second writer with AlreadyRunningError;
- create a missing log with a random identity and secret, and append the genesis decision;
- call `dualbus.readmodel.checkpoints.check_log_is_complete`, and then record commits in `dualbus.log.head.HeadFile`.

`dualbus.testing.log_contract` has the tests for an engine.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from dualbus.log.identity import Identity
from dualbus.runtime.errors import DataError

if TYPE_CHECKING:
    from dualbus.application.messages import Event

GENESIS = "genesis"  # the command id of the first events of a log
NO_HASH = bytes(32)  # the hash before the first event and before the first commit


class LogError(DataError):
    """A problem of the log that an operator must resolve; the text names the problem and the next step."""


class OldFormatError(LogError):
    """The log has an earlier format; `dualbus upgrade` makes a copy in the current format."""


class LogDamaged(LogError):
    """The log was changed after its events were committed, or has lost some of them."""


class VerificationError(LogDamaged):
    """The audit has found an error; `position` is the position where verification stopped."""

    def __init__(self, position: int, text: str) -> None:
        super().__init__(text)
        self.position = position


class LogUnavailable(LogError):
    """The log cannot be written now (disk full, or locked). Nothing of the batch was written."""


class CommitFailed(LogError):
    """The batch may or may not be in the log; only a new start of the writer can find out."""


class NewEvent(NamedTuple):
    """An event that a decision has produced and that is not yet in the log."""

    type: str
    data: str  # JSON
    tags: tuple[str, ...]


class RecordedEvent(NamedTuple):
    """An event in the log. Columns, attributes and JSON keys have these names everywhere."""

    position: int
    type: str
    data: str  # JSON
    time: str  # UTC, "2026-01-31T12:00:00.000000Z"
    command_id: str
    hash: bytes  # of this event and, through the previous hash, of the whole log up to this position


class Head(NamedTuple):
    """The last position and its hash."""

    position: int
    hash: bytes


class AppendCondition(NamedTuple):
    """A condition of an append: no event after a position has one of these types and carries all these tags."""

    tags: tuple[str, ...]  # at least one
    types: frozenset[str]  # as stored in the log; empty: any type
    after: int  # the position up to which the decision has read


class Origin(NamedTuple):
    """The type of a command, and its origin."""

    type: str  # empty if unknown
    actor: str | None = None  # the authenticated name
    cause: int | None = None  # the position that the command reacts to
    correlation: str = ""  # the key of the first command of the chain; empty for the command's own key
    trace: str | None = None  # W3C traceparent
    metadata: Mapping[str, str] = MappingProxyType({})  # of the client


class Decision(NamedTuple):
    """The result of one command: events, or errors. Appended completely or not at all."""

    command_id: str
    time: str
    events: Sequence[NewEvent] = ()
    errors: Sequence[Any] = ()  # of a rejection, as JSON
    conditions: Sequence[AppendCondition] = ()
    fingerprint: bytes | None = None  # of type and payload, if the client sent an idempotency key
    origin: Origin = Origin("")


class Outcome(NamedTuple):
    """The recorded result of a command."""

    command_id: str
    fingerprint: bytes | None
    first: int  # position of the first event; without events, the head at the decision plus one
    events: int  # number of events
    errors: list[Any]
    origin: Origin  # `correlation` is never empty

    @property
    def position(self) -> int:
        """The position that a read model must reach to include everything this command has read and written."""
        return self.first + self.events - 1


class Appended(NamedTuple):
    """The result of `append`: the number of decisions appended, and their events in order."""

    decisions: int
    events: list[RecordedEvent]
    sync_seconds: float = 0.0  # of writing the commit durably


class ReadableLog(Protocol):
    """The log as any process may use it."""

    identity: Identity
    secret: bytes  # the key that hides the values of private tags in the index

    def head(self) -> Head:
        """Return the last position and its hash; position 0 when the log is empty."""
        ...

    def read(self, after: int, limit: int) -> list[RecordedEvent]:
        """Return up to `limit` events after the position, in order."""
        ...

    def history(
        self, tags: Sequence[str], types: Collection[str] = (), after: int = 0, limit: int = -1
    ) -> list[RecordedEvent]:
        """Return the events of these types that carry all tags, after the position, in order.

        At least one tag; without types, the events of any type; without a limit (-1), all of them.
        """
        ...

    def types(self) -> dict[str, list[RecordedEvent]]:
        """Return the types of all events, each with its first and its last event; called once per start."""
        ...

    def outcomes(self, command_ids: Iterable[str]) -> dict[str, Outcome]:
        """Return the outcomes of these commands by command id, without those the log does not know."""
        ...

    def commands(self, after: int, limit: int) -> list[Outcome]:
        """Return up to `limit` outcomes in the order of the log, after the first `after` outcomes."""
        ...

    def caused_by(self, position: int) -> list[Outcome]:
        """Return the outcomes of the commands that react to an event, in the order of the log."""
        ...

    def hash_at(self, position: int) -> bytes | None:
        """Return the hash of the event at a position, NO_HASH for 0, None beyond the head."""
        ...

    def commit_hash_at(self, number: int) -> bytes | None:
        """Return the hash of a commit, NO_HASH for 0, None beyond the last; an `append` is a commit."""
        ...

    def close(self) -> None:
        """Release the log."""
        ...


class Log(ReadableLog, Protocol):
    """The log as its only writer may use it."""

    def append(self, decisions: Sequence[Decision]) -> Appended:
        """Append the decisions durably, in order, up to the first with a conflict.

        A decision with an unmet condition is in conflict. The caller must decide it and all later decisions again:
        they may have read its events.
        Raises LogUnavailable (nothing was written) or CommitFailed (the result is unknown: stop and restart).
        """
        ...

    def when_idle(self) -> None:
        """Do deferred work; called when no command is queued. Raises LogError."""
        ...


class Audit(ReadableLog, Protocol):
    """The log as `dualbus verify` uses it: an audit in progress, with all rows up to `position` verified."""

    position: int
    hash: bytes  # at this position
    end: int  # the head at the latest `refresh`
    commits: int  # verified
    outcomes_seen: int  # verified, with genesis
    refused: int  # outcomes with errors

    @property
    def warning(self) -> str:
        """A sentence if the application assigns tags that verified events were not written with, or ""."""
        ...

    def refresh(self) -> None:
        """Read the end of the log; `events` stops there."""
        ...

    def events(self) -> Iterator[tuple[RecordedEvent, "Event"]]:
        """Yield verified events in order, up to the end; raise VerificationError at the first error.

        Verification covers hashes, tags and outcomes, and compares the tags with those of the application.
        """
        ...

    def verified(self, after: int, until: int) -> Iterator[tuple[RecordedEvent, "Event"]]:
        """Yield events that are already verified, again."""
        ...

    def check_file(self) -> None:
        """Check the storage beyond the rows, such as indexes. Raises VerificationError."""
        ...
