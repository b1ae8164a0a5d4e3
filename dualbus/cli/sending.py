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
from dualbus.protocol.json_stream import Garbage, JsonStream
from dualbus.protocol.values import check
from dualbus.transport.poller import Poll

READ_BYTES = 1 << 16
UNDER_WAY_MAX = 2000  # messages without an answer before reading rests
SHARED_BYTES_MAX = NODES_MAX  # a batch of so few bytes cannot exceed the limit of lists and objects
PATIENCE_SECONDS = 5.0  # beyond the deadlines of requests in flight; the gateway replies at the deadline


def send(
    what: Annotated[
        str | None,
        typer.Argument(metavar="[MESSAGE|FILE]", help="A message, or a file of them; standard input if not given."),
    ] = None,
) -> None:
    """Send messages as JSON; print the body of each reply.

    Exits with 1 if a message was refused or failed.
    """
    source = _source(what)
    with source, Gateway(settings()) as gateway, output.bar("Answered", wanted=not sys.stdout.isatty()) as progress:
        sender = Sender(gateway, source, settings().timeout_ms / 1000, progress)
        sender.run()
    if sender.failed:
        raise typer.Exit(output.EXIT_FAILED)


def _source(what: str | None) -> io.RawIOBase | io.BytesIO:
    """Return the stream to read messages from."""
    if what is None or what == "-":
        return io.FileIO(0, closefd=False)
    if what.lstrip().startswith("{"):
        return io.BytesIO(what.encode(errors="surrogateescape"))
    try:
        return io.FileIO(Path(what))
    except OSError as problem:
        raise output.WrongUse(f"{what} cannot be read ({problem.strerror}): give a message or a file.") from None


class Sender:
    """Reads, sends and prints, each as soon as possible."""

    def __init__(
        self,
        gateway: Gateway,
        source: io.RawIOBase | io.BytesIO,
        timeout: float,
        progress: Callable[[int, int], None],
    ) -> None:
        self.failed = False  # whether a message was refused or failed
        self._gateway = gateway
        self._source = source
        self._progress = progress
        self._stream = JsonStream()
        self._ended = False
        self._sent = self._answered = 0
        self._patience = timeout + PATIENCE_SECONDS
        self._heard = time.monotonic()

    @property
    def _under_way(self) -> int:
        return self._sent - self._answered

    def run(self) -> None:
        """Send everything, and wait for all replies."""
        try:
            while not self._ended or self._under_way:
                if self._may_read():
                    self._read()
                for body in self._gateway.replies():
                    self._answered += 1
                    self._heard = time.monotonic()
                    self._print(body)
                self._progress(self._answered, self._sent)
                output.flush()
                self._check_patience()
        except KeyboardInterrupt:
            raise output.CliError(f"Stopped. {self._unanswered()}") from None
        except output.CliError as failed:
            raise output.CliError(f"{failed} {self._unanswered()}") from None

    def _may_read(self) -> bool:
        """Wait for an event; tell whether input is being read."""
        wanted = not self._ended and self._under_way < UNDER_WAY_MAX
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
            one = self._packed(found)
            if packed and size + len(one) > SHARED_BYTES_MAX:
                self._send(packed)
                packed, size = [], 0
            if one:
                packed.append(one)
                size += len(one)
        if packed:
            self._send(packed)

    def _packed(self, found: dict[str, Any] | Garbage) -> bytes:
        """Return a message packed for sending; reply at once to an invalid one, and return None."""
        if isinstance(found, Garbage):
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
            self._patience = max(self._patience, own / 1000 + PATIENCE_SECONDS)
        return packed

    def _send(self, packed: list[bytes]) -> None:
        if not self._under_way:
            self._heard = time.monotonic()
        self._gateway.send(packed)
        self._sent += len(packed)

    def _print(self, body: Body) -> None:
        self.failed |= body["type"] == "error" or body.get("success") is False
        output.json_line(body)

    def _check_patience(self) -> None:
        if self._under_way and time.monotonic() > self._heard + self._patience:
            raise output.CliError("The gateway gives no answer: look at its log.")

    def _unanswered(self) -> str:
        if not self._under_way:
            return "Every message that was sent is answered."
        return (
            f"{self._under_way} messages have no answer, and commands among them may have been done: send them "
            "again; one with an idempotency_key is done once."
        )


def _msg_id(message: dict[str, Any]) -> MessageId | None:
    body = message.get("body")
    found = body.get("msg_id") if isinstance(body, dict) else None
    return found if type(found) is int else None
