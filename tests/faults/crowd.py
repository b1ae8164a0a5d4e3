"""Twenty honest clients in one thread: each sends one quick request at a time, and every latency is recorded."""

import itertools
import math
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self

import msgpack
import zmq

from tests.keyring import as_client
from tests.raw import Envelope, command, query

QUERY, COMMAND = "query", "command"
TIMEOUT_MS = 20_000  # far longer than a measurement: a request that is held up shows in the latencies
PATIENCE_SECONDS = 20.0  # at the end of a measurement, for the answers that are still to come


def percentile(values: Iterable[float], share: float) -> float:
    """Return the smallest value that is not below this share of the values; infinity if there is none."""
    ordered = sorted(values)
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else math.inf


class Measured(NamedTuple):
    """The latencies of a measurement by kind of request, and the answers that were errors."""

    seconds: float
    latencies: dict[str, list[float]]
    errors: list[Envelope]

    def shown(self) -> str:
        """Return a line for a person."""
        return ", ".join(
            f"{kind} {len(taken) / self.seconds:.0f}/s, p50 {percentile(taken, 0.5) * 1000:.1f} ms, "
            f"p99 {percentile(taken, 0.99) * 1000:.1f} ms"
            for kind, taken in self.latencies.items()
        )

    def harm(self, others: Sequence["Measured"], most: float) -> list[str]:
        """Return a sentence for each figure that is more than `most` times worse than the worst of the others."""
        found = []
        for kind, taken in self.latencies.items():
            p99s = [percentile(one.latencies[kind], 0.99) for one in others]
            rates = [len(one.latencies[kind]) / one.seconds for one in others]
            slower = percentile(taken, 0.99) / max(p99s)
            fewer = min(rates) / max(len(taken) / self.seconds, 1e-9)
            if slower > most:
                found.append(f"The p99 of a {kind} is {slower:.1f} times what it was.")
            if fewer > most:
                found.append(f"The number of each {kind} answered is a {fewer:.1f}th of what it was.")
        return found


class Member:
    """One connection, with one request at most under way."""

    def __init__(self, context: "zmq.Context[Any]", number: int, kind: str) -> None:
        self.kind = kind
        self.sent: float | None = None
        self._src = f"honest {number}"
        self._context = context
        self._ids = itertools.count(1)
        self._id = 0

    def connect(self, front: str) -> None:
        """Connect to a gateway."""
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.linger = 0
        as_client(self.socket)
        self.socket.connect(front)

    def send(self) -> None:
        """Send one request."""
        self._id = next(self._ids)
        made = query("Quick", self._id) if self.kind == QUERY else command("Add", self._id, name=self._src)
        self.sent = time.monotonic()
        self.socket.send(msgpack.packb(["send", [{**made, "src": self._src, "timeout_ms": TIMEOUT_MS}]]))

    def receive(self) -> list[Envelope]:
        """Return the replies of the next batch: one, or none where the gateway asks whether this client is there."""
        replies: list[Envelope] = msgpack.unpackb(self.socket.recv(zmq.NOBLOCK))[1]
        assert [reply["body"]["in_reply_to"] for reply in replies] in ([], [self._id]), replies
        return replies


class Crowd:
    """The honest clients. Half of them connect anew for each measurement."""

    def __init__(self, front: str, kinds: tuple[str, ...] = (QUERY, COMMAND), count: int = 20) -> None:
        self._front = front
        self._context: zmq.Context[Any] = zmq.Context()
        self._members = [Member(self._context, number, kinds[number % len(kinds)]) for number in range(count)]
        for member in self._members:
            member.connect(front)

    def measure(self, seconds: float) -> Measured:
        """Keep one request of each client under way for so long; what stays unanswered counts with its age."""
        for member in self._members[len(self._members) // 2 :]:
            member.socket.close(0)
            member.connect(self._front)
        measured = Measured(seconds, {member.kind: [] for member in self._members}, [])
        poller, by_socket = zmq.Poller(), {member.socket: member for member in self._members}
        for member in self._members:
            poller.register(member.socket, zmq.POLLIN)
            member.send()
        end = time.monotonic() + seconds
        while self._waiting and (now := time.monotonic()) < end + PATIENCE_SECONDS:
            for socket, _ in poller.poll(20):
                if self._note(by_socket[socket], measured) and now < end:
                    by_socket[socket].send()
        for member in self._waiting:
            self._note(member, measured)
            member.socket.close(0)
            member.connect(self._front)
        return measured

    @property
    def _waiting(self) -> list[Member]:
        return [member for member in self._members if member.sent is not None]

    def _note(self, member: Member, measured: Measured) -> bool:
        """Note a reply, or that there is none; False if the gateway has only asked whether the member is there."""
        assert member.sent is not None
        there = bool(member.socket.poll(0))
        replies = member.receive() if there else []
        if there and not replies:
            return False
        measured.latencies[member.kind].append(time.monotonic() - member.sent)
        for one in replies:
            if one["body"]["type"] == "error" or one["body"].get("success") is False:
                measured.errors.append(one)
        member.sent = None
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._context.destroy(0)
