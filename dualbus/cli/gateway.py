"""The wire by hand, for what a client's calls do not say: envelopes as they are, and the gateway's status."""

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
    """A connection to the gateway of a running cluster. Raises Failed if there is none, or no longer."""

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
            self._connection.update()

    def send(self, packed: Sequence[bytes]) -> None:
        """Send envelopes, packed already, as one message."""
        while not self._connection.socket.send(joined(SEND, packed)):
            Poll(self._connection.monitor).wait(0.01)
            self._look()

    def replies(self) -> list[Body]:
        """Return the bodies of the replies that are there."""
        self._look()
        return [
            reply["body"]
            for kind, packed in self._connection.socket.receive()
            if kind == REPLY
            for reply in unpack(packed)
        ]

    def ask(self, body: Body, dest: str) -> Body:
        """Ask one thing, and wait for the answer."""
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
        self._connection.update()
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
    """Return what to say where nobody answers."""
    return f"No cluster answers at {address}: start it with `honcho start`, or point DUALBUS_FRONT to one."
