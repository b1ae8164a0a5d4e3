"""One call of a client: what is sent for it, and what a reply to it means. No socket, no clock, no thread."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from dualbus.application.errors import DeadlineExceeded, DualbusError, Executed, HandlerError, Rejected, Unavailable
from dualbus.application.messages import Message
from dualbus.protocol.batches import joined
from dualbus.protocol.codec import NODES_MAX, pack, unpack_hostile
from dualbus.protocol.codes import Code, WireError
from dualbus.protocol.frames import MESSAGE_BYTES_MAX, SEND
from dualbus.protocol.values import check

COMMANDS, QUERIES = "commandbus", "querybus"
TIMEOUT_SECONDS_MAX = 3600
SHARED_BYTES_MAX = NODES_MAX  # messages share a batch up to here: so few bytes cannot hold more nodes


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command came to: its events, each `{"type", "payload"}`, and the position of the log after them."""

    events: list[dict[str, Any]]
    position: int


class Future(Protocol):
    """Where the result of a call goes: asyncio's futures are such, and those of concurrent.futures."""

    def done(self) -> bool: ...
    def set_result(self, result: Any, /) -> None: ...
    def set_exception(self, exception: BaseException, /) -> None: ...


class Call:
    """One call, until it is answered."""

    __slots__ = ("body", "deadline", "dest", "doubtful", "future", "id", "key", "seconds", "tries", "type")

    def __init__(self, id_: int, type_: str, dest: str, key: str | None, body: bytes, seconds: float) -> None:
        self.id = id_
        self.type = type_
        self.dest = dest
        self.key = key  # of a command: what makes it happen once
        self.body = body
        self.seconds = seconds
        self.deadline = float("inf")
        self.doubtful = False  # a command that was sent, and nobody knows what became of it
        self.tries = 0
        self.future: Future

    def lost(self) -> None:
        """Nobody will ever answer what was sent."""
        self.doubtful = self.key is not None

    def unknown(self, kind: type[DualbusError], text: str) -> DualbusError:
        """Make an error that says whether the outcome is known, and under which key to ask for it."""
        return kind(text, outcome_known=not self.doubtful, idempotency_key=self.key)

    def envelope(self, src: str, ms: int, after: int) -> bytes:
        """Pack an envelope around the body, which is packed already: a map of four becomes one of five."""
        head = {"src": src, "dest": self.dest, "timeout_ms": ms, "after": after}
        return b"\x85" + pack(head)[1:] + b"\xa4body" + self.body

    def outcome(self, position: int, body: dict[str, Any]) -> tuple[Any, bool]:
        """Return what a reply comes to, a result or a DualbusError, and whether to try again while there is time.

        A command is sent again under its key. So "unavailable" says nothing about an earlier try that was lost.
        """
        if body["type"] == "query_result":
            return body["data"], False
        if body["type"] == "command_result":
            return CommandResult(body["events"], position) if body["success"] else Rejected(*body["errors"]), False
        code, text = Code(body["code"]), str(body["text"])
        self.doubtful |= self.key is not None and not code.definite
        if code == Code.EXECUTED:
            return Executed(text, position=position, idempotency_key=self.key), False
        if code == Code.UNAVAILABLE:
            return self.unknown(DeadlineExceeded, text) if self.doubtful else Unavailable(text), True
        if code == Code.CRASH:
            return self.unknown(HandlerError, text), True
        if code == Code.TIMEOUT:
            return self.unknown(DeadlineExceeded, text), False
        if code == Code.ABORTED:
            return HandlerError(text), False
        return Rejected(*(body.get("errors") or [text])), False

    def finish(self, outcome: Any) -> None:
        """Give the caller a result or an error; one that waits no more gets nothing."""
        if self.future.done():
            return
        if isinstance(outcome, DualbusError):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


def packed_body(body: dict[str, Any]) -> bytes:
    """Pack a body; raise Rejected for what the gateway could not even read, and would blame on its whole batch."""
    try:
        check(body)
        packed = pack(body)
        if len(packed) > MESSAGE_BYTES_MAX:
            raise WireError(f"The message is over {MESSAGE_BYTES_MAX} bytes.")
        if len(packed) > SHARED_BYTES_MAX:
            unpack_hostile(joined(SEND, [b"\x91" + packed])[1])  # a list of one stands for the envelope
    except WireError as error:
        raise Rejected(str(error)) from None
    return packed


def type_and_fields(message: Message | str, fields: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return a message as it goes over the wire."""
    if isinstance(message, str):
        return message, dict(fields)
    if not isinstance(message, Message):
        raise TypeError(f"Call with a command, a query or the name of one, not with {message!r}.")
    if fields:
        raise TypeError(f"{type(message).__name__} is whole: fields are given with a name only.")
    return type(message).__name__, message.model_dump(mode="json", by_alias=True)


def checked_timeout(seconds: float) -> float:
    """Return a timeout that can be one, or raise ValueError."""
    if not 0 < seconds <= TIMEOUT_SECONDS_MAX:
        raise ValueError(f"timeout is {seconds!r}: give seconds, more than 0 and at most {TIMEOUT_SECONDS_MAX}.")
    return seconds
