"""A call of a client: its request, and the outcome of a reply. No socket, no clock, no thread."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from dualbus.application.answers import answer_of
from dualbus.application.errors import (
    KEY_USED,
    REJECTED,
    DeadlineExceeded,
    DualbusError,
    Executed,
    HandlerError,
    KeyUsed,
    Problem,
    Rejected,
    Unavailable,
)
from dualbus.application.forms import request_form
from dualbus.application.messages import Message, Query
from dualbus.application.requests import request_fields
from dualbus.client.sessions import SessionState
from dualbus.protocol.codec import NODES_MAX, pack, unpack_hostile
from dualbus.protocol.codes import Code, WireError
from dualbus.protocol.frames import MESSAGE_BYTES_MAX
from dualbus.protocol.values import INT_MAX, check

COMMANDS, QUERIES, GATEWAY = "commandbus", "querybus", "gateway"
ANSWERS = ("query_result", "status_result", "rates_result", "timeline_result")  # with data
TIMEOUT_SECONDS_MAX = 3600
SHARED_BYTES_MAX = 50_000  # of a batch with several messages


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The events of a command, each `{"type", "payload"}`, and the position of the log after these events.

    `repeated` is true if the command was executed before this sending: by an earlier call with the same key, or by a
    sending of this call whose reply was lost. Results of the same execution are equal.
    """

    events: list[dict[str, Any]]
    position: int
    repeated: bool = field(default=False, compare=False)


class Future(Protocol):
    """The common interface of the futures of asyncio and concurrent.futures."""

    def done(self) -> bool: ...
    def set_result(self, result: Any, /) -> None: ...
    def set_exception(self, exception: BaseException, /) -> None: ...


class Call:
    """A call without a reply yet."""

    __slots__ = (
        "after", "body", "deadline", "dest", "future", "id", "key", "outcome_unknown", "query", "retry_at", "seconds",
        "session", "tries", "type",
    )  # fmt: skip

    def __init__(
        self, id_: int, type_: str, dest: str, key: str | None, body: bytes, seconds: float, session: SessionState
    ) -> None:
        self.id = id_
        self.type = type_
        self.dest = dest
        self.key = key  # the idempotency key of a command
        self.body = body
        self.seconds = seconds
        self.deadline = float("inf")
        self.outcome_unknown = False  # whether a command was sent and its outcome is unknown
        self.tries = 0
        self.retry_at = 0.0  # while deferred until a retry
        self.query: Query[Any] | None = None  # names the type of the answer
        self.future: Future
        self.session = session
        self.after = 0  # a further position that the answer must not be older than

    def in_session(self, session: SessionState, after: int) -> "Call":
        """Return this call for a session and a position. Raises ValueError."""
        self.session, self.after = session, checked_position(after)
        return self

    def lost(self) -> None:
        """Record the loss of the request after sending: no reply will arrive."""
        self.outcome_unknown = self.key is not None

    def unknown(self, kind: type[DualbusError], text: str) -> DualbusError:
        """Create an error with `outcome_known` and the idempotency key for a retry."""
        return kind(text, outcome_known=not self.outcome_unknown, idempotency_key=self.key)

    def envelope(self, ms: int) -> bytes:
        """Pack an envelope around the packed body: a map of four entries becomes a map of five."""
        after = max(self.after, self.session.position)
        head = {"src": self.session.name, "dest": self.dest, "timeout_ms": ms, "after": after}
        return b"\x85" + pack(head)[1:] + b"\xa4body" + self.body

    def outcome(self, position: int, body: dict[str, Any], details: dict[str, Any]) -> tuple[Any, bool]:
        """Return a result or a DualbusError, and whether to retry before the deadline.

        A retry of a command has the same key. "Unavailable" for a retry leaves the outcome of a lost try unknown.
        """
        if body["type"] in ANSWERS:
            return self._answer(body["data"]), False
        if body["type"] == "command_result":
            if not body["success"]:
                return _rejected(body["errors"], details), False
            return CommandResult(body["events"], position, details.get("repeated", False)), False
        code, text = Code(body["code"]), str(body["text"])
        self.outcome_unknown |= self.key is not None and not code.definite
        if code == Code.EXECUTED:
            return Executed(text, position=position, idempotency_key=self.key), False
        if code == Code.UNAVAILABLE:
            return self.unknown(DeadlineExceeded, text) if self.outcome_unknown else Unavailable(text), True
        if code == Code.CRASH:
            return self.unknown(HandlerError, text), True
        if code == Code.TIMEOUT:
            return self.unknown(DeadlineExceeded, text), False
        if code == Code.ABORTED:
            codes = [problem["code"] for problem in details.get("problems") or ()]
            return KeyUsed(text) if codes == [KEY_USED] else HandlerError(text), False
        if self.outcome_unknown:  # the gateway refuses this sending; an earlier one may have been executed
            return self.unknown(HandlerError, text), False
        return _rejected(body.get("errors") or [text], details, code.name.lower()), False

    def _answer(self, data: Any) -> Any:
        """Return the answer as the type of the query, or a HandlerError for other data."""
        try:
            return data if self.query is None else answer_of(self.query, data)
        except HandlerError as error:
            return error

    def finish(self, outcome: Any) -> None:
        """Set the result or error of the future, unless the caller has cancelled it."""
        if self.future.done():
            return
        if isinstance(outcome, DualbusError):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


def _rejected(errors: list[str], details: dict[str, Any], code: str = REJECTED) -> Rejected:
    """Return the error of a refusal; the details of the reply supplement the sentences."""
    supplements = details.get("problems") or [{"field": None, "code": code}] * len(errors)
    return Rejected(*(Problem(text, **more) for text, more in zip(errors, supplements, strict=True)))


def packed_body(body: dict[str, Any]) -> bytes:
    """Pack a body; raise Rejected if the gateway could not decode it and would reject the whole batch."""
    try:
        packed = pack(_plain(body))
        if len(packed) > MESSAGE_BYTES_MAX:
            raise WireError(f"The message is over {MESSAGE_BYTES_MAX} bytes.")
        if len(packed) > NODES_MAX:  # fewer bytes cannot have more values
            unpack_hostile(b"\x91\x91" + packed)  # a batch with an envelope
    except ValueError as error:
        raise _malformed(error) from None
    return packed


def _malformed(error: ValueError) -> Rejected:
    return Rejected(str(error), code=Code.MALFORMED.name.lower())


def _plain(body: dict[str, Any]) -> dict[str, Any]:
    """Return a body with the JSON forms of its values. Raises WireError for values without a form."""
    try:
        check(body, decimals=True)  # most bodies have plain values
    except WireError as error:
        try:
            body = {name: _fields(value) if type(value) is dict else value for name, value in body.items()}
        except RecursionError:
            raise error from None
        check(body, decimals=True)
    return body


def _fields(values: dict[str, Any]) -> dict[str, Any]:
    return {name: request_form(value) for name, value in values.items()}


def type_and_fields(message: Message | str, fields: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return type and fields of a message for the wire."""
    if isinstance(message, str):
        return message, dict(fields)
    if not isinstance(message, Message):
        raise TypeError(f"Expected a command, a query or the name of its type, not {message!r}.")
    if fields:
        raise TypeError(f"Pass fields with the name of a type only, not with a {type(message).__name__} object.")
    try:
        return type(message).__name__, request_fields(message)
    except WireError as error:
        raise _malformed(error) from error


def checked_timeout(seconds: float) -> float:
    """Return a valid timeout, or raise ValueError."""
    if not 0 < seconds <= TIMEOUT_SECONDS_MAX:
        raise ValueError(f"timeout must be more than 0 and at most {TIMEOUT_SECONDS_MAX} seconds, not {seconds!r}.")
    return seconds


def checked_position(after: int) -> int:
    """Return a valid position, or raise ValueError."""
    if type(after) is not int or not 0 <= after <= INT_MAX:
        raise ValueError(
            f"after must be a position of the log, not {after!r}. Pass a field with the name after in a mapping."
        )
    return after
