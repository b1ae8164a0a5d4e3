"""One hostile client, and its attacks: each makes the cluster hold more and more, or hold it for an hour.

python -m tests.faults.hostile ATTACK TARGET    an attack until standard input ends; TARGET is a Target as JSON
"""

import itertools
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Self

import msgpack
import zmq

from tests.conftest import ROOT
from tests.keyring import as_client, as_process
from tests.raw import Envelope, command, query

HOUR_MS = 3_600_000
FAR = 10**15  # a position that no log reaches
STEP_SECONDS = 0.02
READY_SECONDS = 40.0
# A DEALER's part of the ZMTP 3.0 handshake: greeting with the mechanism NULL, then READY.
_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\x00") + bytes(32)
_READY = b"\x05READY" + b"\x0bSocket-Type" + (6).to_bytes(4) + b"DEALER"
_HANDSHAKE = _GREETING + b"\x04" + bytes([len(_READY)]) + _READY


class Line:
    """One connection that a client of ill will has made."""

    def __init__(self, socket: "zmq.Socket[bytes]") -> None:
        self.socket = socket
        self.answered = 0

    def send(self, envelopes: Iterable[Envelope]) -> None:
        """Send envelopes as one batch."""
        self.socket.send(msgpack.packb(["send", list(envelopes)]))

    def settle(self) -> None:
        """Wait until the gateway has taken in all that was sent: it answers Status at once, and in order."""
        self.send([{"src": "h", "dest": "gateway", "body": {"type": "Status", "msg_id": "settled"}}])
        while not any(one["body"]["in_reply_to"] == "settled" for one in self.receive(READY_SECONDS)):
            pass

    def receive(self, seconds: float = 0) -> list[Envelope]:
        """Return the next batch of replies."""
        if not self.socket.poll(round(seconds * 1000)):
            assert not seconds, "The gateway has not answered Status."
            return []
        replies: list[Envelope] = msgpack.unpackb(self.socket.recv())[1]
        self.answered += len(replies)
        return replies


class Target(NamedTuple):
    """A cluster, as a client knows it."""

    addresses: dict[str, str]
    projector: int  # its process, which an attack may stop


class Hostile:
    """All that one client has open."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._context: zmq.Context[Any] = zmq.Context()
        self._raw: list[socket.socket] = []
        self._kept: list[zmq.Socket[bytes]] = []  # open until they are closed: pyzmq closes what nobody refers to

    def line(self, unread: int = 1000) -> Line:
        """Open a connection to the gateway that takes in so many messages before they are read."""
        made = self._context.socket(zmq.DEALER)
        made.linger, made.rcvhwm = 0, unread
        as_client(made)
        made.connect(self.target.addresses["front"])
        self._kept.append(made)
        return Line(made)

    def listen(self, name: str) -> None:
        """Subscribe to a publisher, and never read."""
        made = self._context.socket(zmq.SUB)
        made.linger, made.rcvhwm = 0, 1
        made.subscribe(b"")
        as_process(made)
        made.connect(self.target.addresses[name])
        self._kept.append(made)

    def plug(self, said: bytes = b"", name: str = "front") -> socket.socket | None:
        """Open a connection without ZeroMQ, on which `said` is all that is ever sent; None if nobody accepts it."""
        made = socket.socket(socket.AF_UNIX)
        self._raw.append(made)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 1, 0))
        try:
            made.connect(self.target.addresses[name].removeprefix("ipc://"))
            made.sendall(said)
        except OSError:
            return None
        return made

    def unplug(self) -> None:
        """Close all connections without ZeroMQ."""
        while self._raw:
            self._raw.pop().close()

    def hang_up(self) -> None:
        """Close all connections of ZeroMQ, with all that is not read."""
        while self._kept:
            self._kept.pop().close(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.unplug()
        self.hang_up()
        self._context.destroy(0)


Attack = Callable[[Hostile], Iterator[None]]


def quick(msg_id: int, src: str = "h", **envelope: Any) -> Envelope:
    return {**query("Quick", msg_id, src=src), "timeout_ms": HOUR_MS, **envelope}


def far_positions(hostile: Hostile) -> Iterator[None]:
    """Ask for answers from a position that never comes."""
    line = hostile.line()
    for first in range(0, 10_240, 1024):
        line.send(quick(first + number, after=FAR) for number in range(1024))
        line.settle()
    while True:
        yield


def far_positions_and_gone(hostile: Hostile) -> Iterator[None]:
    """The same, and the connection is closed with nothing read."""
    for _ in range(10):
        line = hostile.line()
        line.send(quick(number, after=FAR) for number in range(1024))
        line.settle()
    hostile.hang_up()
    while True:
        yield


def types_of_nobody(hostile: Hostile) -> Iterator[None]:
    """Send messages without dest, of types that no bus will ever announce: querybus is not there."""
    lines = [hostile.line() for _ in range(8)]
    for line, number in itertools.product(lines, range(5)):
        bodies = [{"type": f"Nothing {one}", "msg_id": number * 2000 + one} for one in range(2000)]
        line.send({"src": "h", "timeout_ms": HOUR_MS, "body": body} for body in bodies)
    for line in lines:
        line.settle()
    while True:
        yield


def held_queries(hostile: Hostile) -> Iterator[None]:
    """Send queries behind a command of the same session that is not decided for an hour."""
    lines = [hostile.line() for _ in range(8)]
    for line in lines:
        line.send([{**command("Dawdle", -1, src="h", name="held", seconds=3600), "timeout_ms": HOUR_MS}])
        for first in range(0, 10_000, 2500):
            line.send(quick(first + number) for number in range(2500))
    for line in lines:
        line.settle()
    while True:
        yield


def staggered_deadlines(hostile: Hostile) -> Iterator[None]:
    """Have thousands of requests, of which some pass their deadline every millisecond."""
    lines = [hostile.line() for _ in range(3)]
    for line in lines:
        line.send([{**command("Dawdle", -1, src="h", name="held", seconds=3600), "timeout_ms": HOUR_MS}])
        line.settle()
        for first in range(0, 10_000, 2500):
            line.send(quick(number, timeout_ms=1000 + number) for number in range(first, first + 2500))
    while True:
        for line in lines:
            line.receive()
        yield


def many_sessions(hostile: Hostile) -> Iterator[None]:
    """Use 200,000 sessions: a thousand names on each of 200 connections."""
    for connection in range(200):
        line = hostile.line()
        names = (f"a session with a long name {connection} {number}".ljust(200) for number in range(1000))
        line.send(quick(number, src=name, timeout_ms=1) for number, name in enumerate(names))
        line.settle()
    while True:
        yield


def unread_replies(hostile: Hostile) -> Iterator[None]:
    """Ask for large answers on many connections, and read none."""
    lines = [hostile.line(unread=1) for _ in range(24)]
    asking = hostile.line()
    for line in lines:
        line.send({**query("Large", number, bytes=256_000), "timeout_ms": HOUR_MS} for number in range(100))
    asking.settle()
    while _under_way(asking) > 100:
        pass
    for number in itertools.count(100):
        lines[0].send([query("Large", number, bytes=1000)])
        yield


def _under_way(line: Line) -> int:
    line.send([{"src": "h", "dest": "gateway", "body": {"type": "Status", "msg_id": "status"}}])
    [reply] = line.receive(READY_SECONDS)
    count: int = reply["body"]["data"]["gateway"]["under_way"]
    return count


def silent_connections(hostile: Hostile) -> Iterator[None]:
    """Open 2,000 connections that send nothing, or a greeting and then nothing."""
    for _ in range(1000):
        if not (hostile.plug() and hostile.plug(_HANDSHAKE)):
            break
    while True:
        yield


def connections_made_and_dropped(hostile: Hostile) -> Iterator[None]:
    """Open connections, send a query on some, and close them at once."""
    while True:
        for _ in range(10):
            hostile.plug()
            hostile.plug(_HANDSHAKE)
        hostile.unplug()
        lines = [hostile.line() for _ in range(3)]
        for line in lines:
            line.send([quick(1, after=FAR), {**query("Quick", 2), "timeout_ms": HOUR_MS}])
        yield
        hostile.hang_up()


def deaf_subscribers(hostile: Hostile) -> Iterator[None]:
    """Subscribe to all that is published, and never read."""
    for _ in range(25):
        hostile.listen("events")
        hostile.listen("progress")
    while True:
        yield


def many_keys(hostile: Hostile) -> Iterator[None]:
    """Have thousands of commands under way, each with an idempotency key of its own."""
    line, numbers = hostile.line(), itertools.count()

    def more(count: int) -> None:
        made = ((one, f"key {one}".ljust(200, "x")) for one in itertools.islice(numbers, count))
        line.send({**command("Add", one, key=key, name="h"), "timeout_ms": HOUR_MS} for one, key in made)

    for _ in range(4):
        more(2500)
        line.settle()
    while True:
        yield
        answered = len(line.receive())
        if answered:
            more(answered)


def own_writes_read(hostile: Hostile) -> Iterator[None]:
    """Write and read, 2,400 under way, while the projector stands still."""
    os.kill(hostile.target.projector, signal.SIGSTOP)
    line, numbers = hostile.line(), itertools.count()

    def more(pairs: int) -> None:
        batch: list[Envelope] = []
        for number in itertools.islice(numbers, pairs):
            src = f"h {number % 64}"
            batch += [command("Add", 2 * number, src=src, name="h"), query("Quick", 2 * number + 1, src=src)]
        line.send(batch)

    more(1200)
    line.settle()
    answered = 0
    while True:
        yield
        answered += len(line.receive())
        if answered > 1:
            more(answered // 2)
            answered %= 2


def large_batches(hostile: Hostile) -> Iterator[None]:
    """Send batches of two megabytes faster than they can be read."""
    lines = [hostile.line() for _ in range(2)]
    padding = "x" * 1_000_000
    batch = msgpack.packb(["send", [quick(number, src="h", note=padding) for number in range(2)]])
    while True:
        for line in lines:
            line.receive()
            try:
                for _ in range(16):
                    line.socket.send(batch, zmq.NOBLOCK)
            except zmq.Again:
                pass
        yield


def refused_batches(hostile: Hostile) -> Iterator[None]:
    """Send batches of thousands of messages that are refused, one after the other."""
    line = hostile.line()
    bodies = [{"type": f"Nothing {one}", "msg_id": one} for one in range(9000)]
    batch = msgpack.packb(["send", [{"src": "h", "body": body} for body in bodies]])
    sent = 0
    while True:
        if sent - line.answered < 2 * len(bodies):
            line.socket.send(batch)
            sent += len(bodies)
        while line.receive():
            pass
        yield


def many_values(hostile: Hostile) -> Iterator[None]:
    """Send messages with as many values as a message may have, and some with twenty times as many."""
    line = hostile.line()
    bodies = [{"type": "Quick", "msg_id": count, "params": {"note": [0] * count}} for count in (19_000, 400_000)]
    batch = msgpack.packb(["send", [{"src": "h", "dest": "nowhere", "body": body} for body in bodies]])
    sent = 0
    while True:
        while sent - line.answered < 4 * len(bodies):
            line.socket.send(batch)
            sent += len(bodies)
        while line.receive():
            pass
        yield


class Attacker:
    """Runs an attack in a process of its own: what it costs itself, honest clients do not wait for."""

    def __init__(self, attack: Attack, target: Target) -> None:
        self._command = [sys.executable, "-m", __name__, attack.__name__, json.dumps(target)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout
        if select.select([self._process.stdout], [], [], READY_SECONDS)[0] and self._process.stdout.readline():
            return self
        self._process.kill()
        self._process.communicate()
        raise AssertionError("The attack has not begun.")

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._process.communicate(timeout=READY_SECONDS)
        assert kind or self._process.returncode == 0


def main(name: str, packed: str) -> None:
    """Attack until standard input ends."""
    attack: Attack = globals()[name]
    with Hostile(Target(*json.loads(packed))) as hostile:
        for number, _ in enumerate(attack(hostile)):
            if not number:
                print("begun", flush=True)
                os.nice(19)  # an attacker elsewhere does not share the processors of the cluster
            if select.select([sys.stdin], [], [], STEP_SECONDS)[0]:
                break


if __name__ == "__main__":
    main(*sys.argv[1:])
