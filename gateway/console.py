"""Standard input and output as a client of the gateway: JSON in, a line with the body of each reply out.

Nothing here blocks: input is read when readable, output is written when writable, and input pauses while too many
requests are unanswered.
"""

import errno
import json
import logging
import os
import stat
import sys
from collections.abc import Container, Iterator
from typing import Any

from dualbus.protocol.codec import unpack
from dualbus.protocol.json_stream import Garbage, JsonStream
from dualbus.transport.poller import Poll

from .clients import CONSOLE, Clients
from .router import Router

READ_BYTES = 1 << 16
WRITE_BYTES = 4096  # a writable pipe has room for this much
UNDER_WAY_MAX = 2000  # unanswered requests before input pauses
OUT_BYTES_MAX = 1 << 20

logger = logging.getLogger(__name__)

GREETING = """\
The cluster is running; its data is in {data}. Type or paste a message, such as
{{"src": "me", "dest": "commandbus", "body": {{"type": "CreateUser", "msg_id": 1, "payload": \
{{"name": "Ada", "email": "ada@example.org"}}}}}}
{{"src": "me", "dest": "querybus", "body": {{"type": "GetUser", "msg_id": 2, "params": {{"user_id": "user-123"}}}}}}
End with Ctrl-D."""


class Console:
    """Standard input, if open, and standard output."""

    def __init__(self, routing: Router, poll: Poll) -> None:
        self.speaks = _speaks(0)
        self._routing = routing
        self._clients: Clients = routing.clients
        self._poll = poll
        self._stream = JsonStream()
        self._found: Iterator[dict[str, Any] | Garbage] = iter(())
        self._more = False  # in the parsed input, which waits while too many requests are unanswered
        self._ended = not self.speaks
        self._out = bytearray()
        self._closed = False
        self.failed = False  # whether input was not read, or replies not written, to their end
        self._watched: tuple[bool, bool] = False, False

    @property
    def finished(self) -> bool:
        """Tell whether input has ended and every reply is written; always False without input."""
        if not self.speaks or not self._ended or self._more:
            return False
        client = self._clients.of(CONSOLE)
        return self._closed or not (client.requests or client.outbox or self._out)

    @property
    def unwritten(self) -> bool:
        """Tell whether output waits to be written."""
        return bool(self._out or self._clients.of(CONSOLE).outbox) and not self._closed

    @property
    def eager(self) -> bool:
        """Tell whether the next turn can start without waiting."""
        return self._more and not self._full

    @property
    def _full(self) -> bool:
        client = self._clients.of(CONSOLE)
        unwritten = len(self._out) + client.outbox_bytes
        return client.requests + len(client.outbox) >= UNDER_WAY_MAX or unwritten > OUT_BYTES_MAX

    def greet(self, data: str) -> None:
        """Greet a person at a terminal."""
        if self.speaks and os.isatty(0):
            sys.stderr.write(GREETING.format(data=data) + "\n")

    def turn(self, ready: Container[object], now: float) -> None:
        """Read and write as far as the poll allows, and accept the messages read."""
        if 1 in ready:
            self._write()
        if 0 in ready:
            self._read()
        self._take(now)

    def watch(self) -> None:
        """Register the descriptors with the poll."""
        wanted = (not (self._ended or self._more or self._full), bool(self._out))
        if wanted != self._watched:
            self._poll.watch(0, read=wanted[0])
            self._poll.watch(1, write=wanted[1])
            self._watched = wanted

    def _read(self) -> None:
        """Read the available input."""
        try:
            data = os.read(0, READ_BYTES)
        except OSError as error:
            if error.errno != errno.EIO:  # raised by a closed terminal
                logger.error("Standard input cannot be read (%s): give a file, a pipe or a terminal.", error.strerror)
                self.failed = True
            data = b""
        self._ended = not data
        self._found = self._stream.feed(data, final=self._ended)
        self._more = True

    def _take(self, now: float) -> None:
        """Accept the messages read, as long as few enough are unanswered."""
        while self.eager:
            found = next(self._found, None)
            if found is None:
                self._more = False
            elif isinstance(found, Garbage):
                self._routing.malformed(CONSOLE, found.text, found.msg_id)
            else:
                self._routing.accept(CONSOLE, [found], now)

    def collect(self) -> None:
        """Format the replies in the outbox as lines."""
        client = self._clients.of(CONSOLE)
        while client.outbox and len(self._out) <= OUT_BYTES_MAX:
            self._out += json.dumps(unpack(client.pop_reply())["body"]).encode() + b"\n"

    def _write(self) -> None:
        """Write whole lines, as many as fit: log lines may share the pipe, as under honcho."""
        end = self._out.rfind(b"\n", 0, WRITE_BYTES) + 1
        try:
            written = os.write(1, self._out[: end or WRITE_BYTES])
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):  # the reader, or the terminal, is closed
                logger.error("Standard output cannot be written (%s): replies are lost.", error.strerror)
                self.failed = True
            self.close()
            return
        del self._out[:written]

    def close(self) -> None:
        """Stop after the reader of the output has left: treat input as ended and all replies as written."""
        self._out.clear()
        self._ended = self._closed = True
        self._more = False


def _speaks(descriptor: int) -> bool:
    """Tell whether a descriptor is open and is not /dev/null."""
    try:
        found = os.fstat(descriptor)
    except OSError as error:
        if error.errno == errno.EBADF:
            return False
        raise
    null = os.stat(os.devnull)
    return not (stat.S_ISCHR(found.st_mode) and found.st_rdev == null.st_rdev)
