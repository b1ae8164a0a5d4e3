"""Standard input and output as a client of the gateway: JSON messages in, one reply body per line out.

The console never blocks: the poller reports when input can be read and output written. Reading pauses while too many
requests are pending or too many replies unwritten.
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
from dualbus.protocol.json_stream import DecodeError, JsonStream
from dualbus.transport.poller import Poll

from .clients import CONSOLE, Clients
from .router import Router

READ_BYTES = 1 << 16
WRITE_BYTES = 4096  # POSIX: a writable pipe accepts this many bytes without blocking
PENDING_MAX = 2000  # pending requests and unwritten replies; reading pauses above
OUT_BYTES_MAX = 1 << 20

logger = logging.getLogger(__name__)

BANNER = """\
The cluster is running; its data is in {data}. Type or paste a message, such as
{examples}
End with Ctrl-D."""
USERS = """\
{"src": "me", "dest": "commandbus", "body": {"type": "CreateUser", "msg_id": 1, "payload": \
{"name": "Ada", "email": "ada@example.org"}}}
{"src": "me", "dest": "querybus", "body": {"type": "GetUser", "msg_id": 2, "params": {"user_id": "user-123"}}}"""
OTHERS = """\
{"src": "me", "dest": "commandbus", "body": {"type": COMMAND, "msg_id": 1, "payload": {…}}}
{"src": "me", "dest": "querybus", "body": {"type": QUERY, "msg_id": 2, "params": {…}}}
with the types and fields that `dualbus describe` shows."""


class Console:
    """The client behind standard input and output, enabled if input is open and not /dev/null."""

    def __init__(self, router: Router, poll: Poll) -> None:
        self.enabled = _is_open(0)
        self._router = router
        self._clients: Clients = router.clients
        self._poll = poll
        self._stream = JsonStream()
        self._messages: Iterator[dict[str, Any] | DecodeError] = iter(())
        self._more = False  # whether `_messages` may have more
        self._ended = not self.enabled
        self._out = bytearray()
        self._closed = False
        self.failed = False  # input or output failed before its end
        self._watched: tuple[bool, bool] = False, False

    @property
    def finished(self) -> bool:
        """Whether input has ended and every reply is written; always False while disabled."""
        if not self.enabled or not self._ended or self._more:
            return False
        client = self._clients.of(CONSOLE)
        return self._closed or not (client.requests or client.outbox or self._out)

    @property
    def unwritten(self) -> bool:
        """Whether replies are unwritten."""
        return bool(self._out or self._clients.of(CONSOLE).outbox) and not self._closed

    @property
    def ready(self) -> bool:
        """Whether messages can be accepted without waiting."""
        return self._more and not self._full

    @property
    def _full(self) -> bool:
        client = self._clients.of(CONSOLE)
        unwritten = len(self._out) + client.outbox_bytes
        return client.requests + len(client.outbox) >= PENDING_MAX or unwritten > OUT_BYTES_MAX

    def print_banner(self, data: str, app: str) -> None:
        """Print instructions if standard input is a terminal."""
        if self.enabled and os.isatty(0):
            examples = USERS if app == "users:app" else OTHERS
            sys.stderr.write(BANNER.format(data=data, examples=examples) + "\n")

    def step(self, ready: Container[object], now: float) -> None:
        """Write and read the descriptors that are ready, and route the messages."""
        if 1 in ready:
            self._write()
        if 0 in ready:
            self._read()
        self._accept(now)

    def watch(self) -> None:
        """Register the descriptors that can be used now with the poller."""
        wanted = (not (self._ended or self._more or self._full), bool(self._out))
        if wanted != self._watched:
            self._poll.watch(0, read=wanted[0])
            self._poll.watch(1, write=wanted[1])
            self._watched = wanted

    def _read(self) -> None:
        """Read a chunk of input and start its parser."""
        try:
            data = os.read(0, READ_BYTES)
        except OSError as error:
            if error.errno != errno.EIO:  # EIO: the terminal was closed
                logger.error("Standard input cannot be read (%s): use a file, a pipe or a terminal.", error.strerror)
                self.failed = True
            data = b""
        self._ended = not data
        self._messages = self._stream.feed(data, final=self._ended)
        self._more = True

    def _accept(self, now: float) -> None:
        """Route the messages until the limits are reached."""
        while self.ready:
            message = next(self._messages, None)
            if message is None:
                self._more = False
            elif isinstance(message, DecodeError):
                self._router.malformed(CONSOLE, message.text, message.msg_id)
            else:
                self._router.accept(CONSOLE, [message], now)

    def collect_replies(self) -> None:
        """Format the replies of the outbox as lines of output."""
        client = self._clients.of(CONSOLE)
        while client.outbox and len(self._out) <= OUT_BYTES_MAX:
            self._out += json.dumps(unpack(client.pop_reply())["body"]).encode() + b"\n"

    def _write(self) -> None:
        """Write up to WRITE_BYTES in whole lines, since logs may share the pipe, e.g. under honcho."""
        end = self._out.rfind(b"\n", 0, WRITE_BYTES) + 1
        try:
            written = os.write(1, self._out[: end or WRITE_BYTES])
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):  # the reader or the terminal was closed
                logger.error("Standard output cannot be written (%s): replies are lost.", error.strerror)
                self.failed = True
            self.close()
            return
        del self._out[:written]

    def close(self) -> None:
        """Stop reading and discard unwritten output."""
        self._out.clear()
        self._ended = self._closed = True
        self._more = False


def _is_open(descriptor: int) -> bool:
    """Check whether a descriptor is open and not /dev/null."""
    try:
        status = os.fstat(descriptor)
    except OSError as error:
        if error.errno == errno.EBADF:
            return False
        raise
    null = os.stat(os.devnull)
    return not (stat.S_ISCHR(status.st_mode) and status.st_rdev == null.st_rdev)
