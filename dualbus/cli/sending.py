"""dualbus send"""

import io
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from dualbus.application.errors import Rejected
from dualbus.cli import output
from dualbus.cli.gateway import Body, Gateway
from dualbus.cli.settings import settings
from dualbus.protocol.codes import Code, WireError, error
from dualbus.protocol.json_stream import DecodeError, JsonStream, msg_id

READ_BYTES = 1 << 16
IN_FLIGHT_MAX = 2000  # messages without a reply; reading pauses at this number
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
    with (
        source,
        closing(Gateway(settings())) as gateway,
        output.bar("Answered", wanted=not sys.stdout.isatty()) as progress,
    ):
        sender = Sender(gateway, source, progress)
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
    """Reads messages, sends them and prints replies. The future of every message: `set_result` receives its reply."""

    def __init__(
        self, gateway: Gateway, source: io.RawIOBase | io.BytesIO, progress: Callable[[int, int], None]
    ) -> None:
        self.failed = False  # whether a message was rejected or failed
        self._gateway = gateway
        self._source = source
        self._progress = progress
        self._stream = JsonStream()
        self._ended = self._silent = False
        self._sent = self._replied = 0

    @property
    def _in_flight(self) -> int:
        return self._sent - self._replied

    def run(self) -> None:
        """Send all messages and wait for all replies."""
        try:
            while not self._ended or self._in_flight:
                if self._may_read():
                    self._read()
                self._gateway.step()
                self._progress(self._replied, self._sent)
                output.flush()
                if self._silent:
                    raise output.CliError("The gateway does not reply: check its log.")
        except KeyboardInterrupt:
            raise output.CliError(f"Stopped. {self._unanswered()}") from None
        except output.CliError as failed:
            raise output.CliError(f"{failed} {self._unanswered()}") from None

    def _may_read(self) -> bool:
        """Wait for input or replies; return whether input is readable."""
        if self._ended or self._in_flight >= IN_FLIGHT_MAX:
            return self._gateway.wait(0.5)
        if isinstance(self._source, io.BytesIO):
            return True
        return self._gateway.wait(0.5, self._source.fileno())

    def _read(self) -> None:
        data = self._source.read(READ_BYTES) or b""
        self._ended = not data
        for found in self._stream.feed(data, final=self._ended):
            if isinstance(found, DecodeError):
                self._print(error(found.msg_id, Code.MALFORMED, found.text))
            else:
                self._send(found)

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._gateway.send(message, self, GRACE_SECONDS)
            self._sent += 1
        except (WireError, Rejected) as problem:
            self._print(error(msg_id(message), Code.MALFORMED, str(problem)))

    def done(self) -> bool:
        return False

    def set_result(self, result: Body, /) -> None:
        self._replied += 1
        self._print(result)

    def set_exception(self, exception: BaseException, /) -> None:
        self._silent = True

    def _print(self, body: Body) -> None:
        self.failed |= body["type"] == "error" or body.get("success") is False
        output.json_line(body)

    def _unanswered(self) -> str:
        if not self._in_flight:
            return "All sent messages have a reply."
        return (
            f"{self._in_flight} messages have no reply; their commands may have been executed. Send them again: "
            "a command with an idempotency_key runs at most once."
        )
