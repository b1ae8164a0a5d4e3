"""Send envelopes to the gateway without validation, and query its status."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from dualbus.cli import output
from dualbus.protocol.batches import joined
from dualbus.protocol.codec import pack, unpack
from dualbus.protocol.frames import REPLY, SEND
from dualbus.runtime.settings import Settings
from dualbus.transport.poller import Poll
from dualbus.transport.sockets import Connection

Body = dict[str, Any]


class Gateway:
    """A connection to the gateway of a running cluster. Raises CliError without a gateway, and after its loss."""

    def __init__(self, settings: Settings) -> None:
        self._address = settings.front
        self._seconds = settings.timeout_ms / 1000
        self._connection = Connection(settings.front)
        self.watched = (self._connection.socket, self._connection.monitor)
        deadline = time.monotonic() + self._seconds
        while not self._connection.up:
            if time.monotonic() > deadline:
                self.close()
                raise output.CliError(unreachable(self._address))
            Poll(self._connection.monitor).wait(0.1)
            self._connection.update()

    def send(self, packed: Sequence[bytes]) -> None:
        """Send packed envelopes as a message."""
        while not self._connection.socket.send(joined(SEND, packed)):
            Poll(self._connection.monitor).wait(0.01)
            self._check_connection()

    def replies(self) -> list[Body]:
        """Return the bodies of the received replies."""
        self._check_connection()
        return [
            reply["body"]
            for kind, packed in self._connection.socket.receive()
            if kind == REPLY
            for reply in unpack(packed)
        ]

    def request(self, body: Body, dest: str) -> Body:
        """Send a request and wait for its reply."""
        self.send([pack({"dest": dest, "body": body})])
        deadline = time.monotonic() + self._seconds
        while time.monotonic() < deadline:
            Poll(*self.watched).wait(0.1)
            for reply in self.replies():
                return reply
        raise output.CliError(
            f"The gateway at {self._address} did not reply within {self._seconds:g} s: check its log."
        )

    def _check_connection(self) -> None:
        self._connection.update()
        if self._connection.lost:
            raise output.CliError(f"Lost the connection to the gateway at {self._address}: is it running?")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def unreachable(address: str) -> str:
    """Return the error text for a gateway that does not accept the connection."""
    return f"Cannot reach a gateway at {address}. Is it running? Is DUALBUS_FRONT correct?"
