"""A raw connection to the gateway, for envelopes and status."""

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
    """A connection to the gateway of a running cluster. Raises CliError if unreachable or lost."""

    def __init__(self, settings: Settings) -> None:
        self._address = settings.front
        self._seconds = settings.timeout_ms / 1000
        self._connection = Connection(settings.front)
        self.watched = (self._connection.socket, self._connection.monitor)
        deadline = time.monotonic() + self._seconds
        while not self._connection.up:
            if time.monotonic() > deadline:
                self.close()
                raise output.CliError(no_cluster(self._address))
            Poll(self._connection.monitor).wait(0.1)
            self._connection.look()

    def send(self, packed: Sequence[bytes]) -> None:
        """Send packed envelopes as one message."""
        while not self._connection.socket.send(joined(SEND, packed)):
            Poll(self._connection.monitor).wait(0.01)
            self._look()

    def replies(self) -> list[Body]:
        """Return the bodies of the available replies."""
        self._look()
        return [
            reply["body"]
            for kind, packed in self._connection.socket.receive()
            if kind == REPLY
            for reply in unpack(packed)
        ]

    def ask(self, body: Body, dest: str) -> Body:
        """Send a request, and wait for the reply."""
        self.send([pack({"dest": dest, "body": body})])
        deadline = time.monotonic() + self._seconds
        while time.monotonic() < deadline:
            Poll(*self.watched).wait(0.1)
            for reply in self.replies():
                return reply
        raise output.CliError(
            f"The gateway at {self._address} gave no answer in {self._seconds:g} s: look at its log."
        )

    def _look(self) -> None:
        self._connection.look()
        if self._connection.lost:
            raise output.CliError(f"The gateway at {self._address} has gone: start it again.")

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def no_cluster(address: str) -> str:
    """Return the error text for an unreachable gateway."""
    return f"No cluster answers at {address}: start it with `honcho start`, or point DUALBUS_FRONT to one."
