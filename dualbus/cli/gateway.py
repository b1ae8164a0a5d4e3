"""Send messages to the gateway as they are, and query its status. Uses the connection and the calls of the client."""

import time
from concurrent.futures import Future as Waiting
from typing import Any

from dualbus.application.errors import DualbusError
from dualbus.cli import output
from dualbus.client.call import Call, Future, packed_body
from dualbus.client.link import ClientLink, new_calls
from dualbus.client.sessions import SessionState
from dualbus.protocol.codes import WireError
from dualbus.protocol.values import read_msg_id
from dualbus.runtime.settings import OFF, Settings
from dualbus.transport.poller import Poll
from dualbus.transport.sockets import Connection

Body = dict[str, Any]


class Gateway:
    """A connection to the gateway of a running cluster. Raises CliError without a gateway, and after its loss."""

    def __init__(self, settings: Settings) -> None:
        self._seconds = settings.timeout_ms / 1000
        self._connection: Connection | None = None
        self._sent = 0
        self._calls = new_calls(settings.fronts, None, self._seconds, settings.keys or OFF)
        self._link = ClientLink(self._calls, self._watch, self._unwatch)
        deadline = time.monotonic() + self._seconds
        while not self._calls.connected:
            if time.monotonic() > deadline:
                self.close()
                raise output.CliError(self._calls.unreachable())
            self.wait(0.1)
            self.step()

    def _watch(self, connection: Connection) -> None:
        self._connection = connection

    def _unwatch(self, connection: Connection) -> None:
        if self._connection and self._sent:  # unlike a client, do not send again: a message may have no key
            raise output.CliError(f"Lost the connection to the gateway at {self._calls.address}: is it running?")

    def send(self, message: dict[str, Any], future: Future, grace: float = 0.0) -> None:
        """Queue a message. The result of the future is the body of its reply; without one, it fails after `grace`.

        Raise WireError or Rejected if the gateway could not decode the message, or not reply to it.
        """
        own = message.get("timeout_ms")
        seconds = max(self._seconds, own / 1000 if type(own) is int else 0)
        call = _Message(self._sent + 1, message, seconds + grace, self._calls.session)
        self._calls.add(call, future, time.monotonic())
        self._sent += 1

    def wait(self, seconds: float, *descriptors: int) -> bool:
        """Wait for the connection or a readable descriptor; return whether a descriptor is readable."""
        connection = self._connection
        poll = Poll(*((connection.socket, connection.monitor) if connection else ()), *descriptors)
        return not poll.wait(min(seconds, self._link.seconds_to_step())).isdisjoint(descriptors)

    def step(self) -> None:
        """Send the queued messages, and receive replies."""
        while self._link.step():
            pass

    def request(self, body: Body, dest: str) -> Body:
        """Send a request and wait for its reply."""
        reply: Waiting[Body] = Waiting()
        self.send({"dest": dest, "body": body}, reply)
        self.step()
        while not reply.done():
            self.wait(1.0)
            self.step()
        try:
            return reply.result()
        except DualbusError:
            text = f"The gateway at {self._calls.address} did not reply within {self._seconds:g} s: check its log."
            raise output.CliError(text) from None

    def close(self) -> None:
        """Close the connection."""
        self._connection = None
        self._link.close()


class _Message(Call):
    """A message as it is, except for its id: two messages may have the same."""

    __slots__ = ("msg_id",)

    def __init__(self, id_: int, message: dict[str, Any], seconds: float, session: SessionState) -> None:
        body = message.get("body")
        if not isinstance(body, dict):
            raise WireError("body must be an object.")
        self.msg_id = read_msg_id(body)
        packed = packed_body({**message, "body": {**body, "msg_id": id_}})
        super().__init__(id_, "A message", "", None, packed, seconds, session)

    def envelope(self, ms: int) -> bytes:
        return self.body

    def outcome(self, position: int, body: Body, details: dict[str, Any]) -> tuple[Body, bool]:
        return {**body, "in_reply_to": self.msg_id}, False
