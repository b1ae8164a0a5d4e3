"""Connections without a key, many and with bytes that never end: others are served, and the memory returns."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dualbus import Client
from dualbus.testing import Cluster, until
from tests.conftest import ROOT

from .zmtp import READY, connect, frame, greeting

HELD, HELD_BYTES = 100, 300_000  # connections that announce a message of a megabyte and send a part
HELD_KIB = HELD * HELD_BYTES // 1024
GROWN_KIB = HELD_KIB // 2  # for the allocator


def memory(cluster: Cluster) -> int:
    """Return the resident memory of the gateway in KiB."""
    lines = Path(f"/proc/{cluster.process('gateway').pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def serve(cluster: Cluster) -> None:
    """Check that the cluster answers."""
    with Client(cluster.front, keys=cluster.environ.get("DUALBUS_KEYS", cluster.data / "keys"), timeout=30) as client:
        assert client.query("GetUser", user_id="user-123")["name"] == "John Doe"


def flood(cluster: Cluster) -> None:
    """Open 10,000 connections, 500 at a time; half of them begin a handshake, and none ends it."""
    for _ in range(20):
        opened = [connect(cluster.front) for _ in range(500)]
        for each in opened[::2]:
            each.sendall(greeting(b"CURVE"))
        serve(cluster)
        for each in opened:
            each.close()


def hold(cluster: Cluster, stack: ExitStack) -> list[socket.socket]:
    """Open connections that begin a command of the handshake of a megabyte, and do not end it."""
    opened = [stack.enter_context(connect(cluster.front)) for _ in range(HELD)]
    for each in opened:
        each.sendall(greeting(b"CURVE") + frame(b"x" * HELD_BYTES, flags=4, size=1 << 20))
    return opened


def is_open(connection: socket.socket) -> bool:
    """Return whether the peer has kept a connection, after everything that it sent."""
    connection.setblocking(False)
    try:
        while connection.recv(65_536):
            pass
    except BlockingIOError:
        return True
    except ConnectionError:
        pass
    return False


@pytest.fixture
def unkeyed(folder: Path) -> Iterator[Cluster]:
    """The control: a cluster with keys off."""
    (folder / "off").mkdir()
    with Cluster(folder / "off", cwd=ROOT, keys="off") as made:
        yield made


def test_connections_without_a_key_leave_no_memory_and_others_served(keyed: Cluster, unkeyed: Cluster) -> None:
    keyed.start()
    unkeyed.start()
    serve(keyed)
    serve(unkeyed)
    with ExitStack() as stack:  # so that the allocator has all that such connections need
        hold(keyed, stack)
        flood(keyed)
    before, control_before = memory(keyed), memory(unkeyed)
    with ExitStack() as stack:
        held = hold(keyed, stack)
        control = [stack.enter_context(connect(unkeyed.front)) for _ in range(HELD)]
        for each in control:
            each.sendall(greeting(b"NULL") + READY + frame(b"x" * HELD_BYTES, size=1 << 20))
        flood(keyed)
        # The gateway closes the connections whose handshake does not end, and has not grown
        until(lambda: not any(map(is_open, held)), 25)  # libzmq's own deadline is 30 s
        until(lambda: memory(keyed) < before + GROWN_KIB)
        # The control: without keys there is no handshake to end, and each such connection keeps its memory
        assert all(map(is_open, control))
        assert memory(unkeyed) > control_before + GROWN_KIB
    serve(keyed)
    descriptors = Path(f"/proc/{keyed.process('gateway').pid}/fd")
    until(lambda: len(list(descriptors.iterdir())) < 100)
