"""dualbus send"""

import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from dualbus.cli import output
from dualbus.cli.gateway import Body, Gateway
from dualbus.cli.settings import settings
from dualbus.protocol.codec import NODES_MAX, pack
from dualbus.protocol.codes import Code, MessageId, WireError, error
from dualbus.protocol.json_stream import DecodeError, JsonStream
from dualbus.protocol.values import check
from dualbus.transport.poller import Poll

READ_BYTES = 1 << 16
IN_FLIGHT_MAX = 2000  # messages without a reply; reading pauses at this number
BATCH_BYTES_MAX = NODES_MAX  # a batch of so few bytes cannot exceed the limit of lists and objects
GRACE_SECONDS = 5.0  # beyond the deadline, at which the gateway replies


def send(
    what: Annotated[
        str | None,
        typer.Argument(metavar="[MESSAGE|FILE]", help="A message, or a file of messages; default: standard input."),
    ] = None,
) -> None:
    """Send JSON messages and print their replies.

    Prints the body of each reply on a line. The exit code is 1 if a message was rejected or failed.
    """
    source = _source(what)
    with source, Gateway(settings()) as gateway, output.bar("Answered", wanted=not sys.stdout.isatty()) as progress:
        sender = Sender(gateway, source, settings().timeout_ms / 1000, progress)
        sender.run()
    if sender.failed:
        raise typer.Exit(output.EXIT_FAILED)


def _source(what: str | None) -> io.RawIOBase | io.BytesIO:
    """Open the source of the messages."""
    if what is None or what == "-":
        return io.FileIO(0, closefd=False)
    if what.lstrip().startswith("{"):
        return io.BytesIO(what.encode(errors="surrogateescape"))
    try:
        return io.FileIO(Path(what))
    except OSError as problem:
        raise output.WrongUse(f"{what} cannot be read ({problem.strerror}): pass a message or a file.") from None


class Sender:
    """Reads messages, sends them and prints replies, without blocking on any of the three."""

    def __init__(
        self,
        gateway: Gateway,
        source: io.RawIOBase | io.BytesIO,
        timeout: float,
        progress: Callable[[int, int], None],
    ) -> None:
        self.failed = False  # whether a message was rejected or failed
        self._gateway = gateway
        self._source = source
        self._progress = progress
        self._stream = JsonStream()
        self._ended = False
        self._sent = self._replied = 0
        self._silence_max = timeout + GRACE_SECONDS
        self._last_reply = time.monotonic()

    @property
    def _in_flight(self) -> int:
        return self._sent - self._replied

    def run(self) -> None:
        """Send all messages and wait for all replies."""
        try:
            while not self._ended or self._in_flight:
                if self._may_read():
                    self._read()
                for body in self._gateway.replies():
                    self._replied += 1
                    self._last_reply = time.monotonic()
                    self._print(body)
                self._progress(self._replied, self._sent)
                output.flush()
                self._check_silence()
        except KeyboardInterrupt:
            raise output.CliError(f"Stopped. {self._unanswered()}") from None
        except output.CliError as failed:
            raise output.CliError(f"{failed} {self._unanswered()}") from None

    def _may_read(self) -> bool:
        """Wait for input or replies; return whether input is readable."""
        wanted = not self._ended and self._in_flight < IN_FLIGHT_MAX
        if wanted and isinstance(self._source, io.BytesIO):
            return True
        watched = [self._source.fileno()] if wanted else []
        ready = Poll(*self._gateway.watched, *watched).wait(0.5)
        return any(descriptor in ready for descriptor in watched)

    def _read(self) -> None:
        data = self._source.read(READ_BYTES) or b""
        self._ended = not data
        packed: list[bytes] = []
        size = 0
        for found in self._stream.feed(data, final=self._ended):
            message = self._packed(found)
            if packed and size + len(message) > BATCH_BYTES_MAX:
                self._send(packed)
                packed, size = [], 0
            if message:
                packed.append(message)
                size += len(message)
        if packed:
            self._send(packed)

    def _packed(self, found: dict[str, Any] | DecodeError) -> bytes:
        """Pack a message; for an invalid message, print an error and return no bytes."""
        if isinstance(found, DecodeError):
            self._print(error(found.msg_id, Code.MALFORMED, found.text))
            return b""
        try:
            check(found)
            packed = pack(found)
        except WireError as problem:
            self._print(error(_msg_id(found), Code.MALFORMED, str(problem)))
            return b""
        own = found.get("timeout_ms")
        if type(own) is int:
            self._silence_max = max(self._silence_max, own / 1000 + GRACE_SECONDS)
        return packed

    def _send(self, packed: list[bytes]) -> None:
        if not self._in_flight:
            self._last_reply = time.monotonic()
        self._gateway.send(packed)
        self._sent += len(packed)

    def _print(self, body: Body) -> None:
        self.failed |= body["type"] == "error" or body.get("success") is False
        output.json_line(body)

    def _check_silence(self) -> None:
        if self._in_flight and time.monotonic() > self._last_reply + self._silence_max:
            raise output.CliError("The gateway does not reply: check its log.")

    def _unanswered(self) -> str:
        if not self._in_flight:
            return "All sent messages have a reply."
        return (
            f"{self._in_flight} messages have no reply; their commands may have been executed. Send them again: "
            "a command with an idempotency_key runs at most once."
        )


def _msg_id(message: dict[str, Any]) -> MessageId | None:
    body = message.get("body")
    found = body.get("msg_id") if isinstance(body, dict) else None
    return found if type(found) is int else None
