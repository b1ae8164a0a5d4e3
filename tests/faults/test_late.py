"""What commandbus answers is definite only when it is: a test in the gateway's place sends what is late."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

from dualbus.testing import Cluster
from dualbus.wire import DONE, READY, WORK
from tests.faults.launch import launched


class Back:
    """The gateway's end of a bus's line."""

    def __init__(self, address: str) -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.bind(address)
        self.bus = b""

    def wait_for(self, kind: bytes) -> list[Any]:
        """Return the items of the next message of that kind."""
        while self.socket.poll(10_000):
            self.bus, said, packed = self.socket.recv_multipart()
            if said == kind:
                return list(msgpack.unpackb(packed))
        raise AssertionError(f"no {kind!r}")

    def work(self, *items: tuple[int, int, str]) -> list[tuple[int, dict[str, Any]]]:
        """Send commands (id, milliseconds that are left, key); return the answers' ids and bodies."""
        body = {"type": "CreateUser", "msg_id": 1, "payload": {"name": "Ada", "email": "a@example.com"}}
        packed = msgpack.packb([(id_, "t", ms, key, 0, body) for id_, ms, key in items])
        self.socket.send_multipart([self.bus, WORK, packed])
        return sorted((id_, msgpack.unpackb(done)) for id_, _, done in self.wait_for(DONE))


@pytest.fixture
def back(cluster: Cluster, folder: Path) -> Iterator[Back]:
    made = Back(cluster.addresses["back"])
    cluster.commands["commandbus"] = launched("commandbus", folder / "full", "write", "full")
    cluster.start("commandbus")
    made.wait_for(READY)
    yield made
    made.context.destroy(0)


def test_a_late_command_is_refused(back: Back) -> None:
    [(_, refused)] = back.work((1, 0, "k"))
    assert refused["code"] == 11


def test_a_command_that_is_in_the_log_is_never_called_refused_however_late_it_is_sent_again(back: Back) -> None:
    [(_, first)] = back.work((1, 5000, "k"))
    [(_, again), (_, late)] = back.work((2, 0, "k"), (3, 0, "other"))
    assert again == first
    assert late["code"] == 11


def test_a_command_that_is_in_the_log_is_never_called_refused_when_the_disk_is_full(back: Back, folder: Path) -> None:
    [(_, first)] = back.work((1, 5000, "k"))
    (folder / "full").touch()
    [(_, again), (_, full)] = back.work((2, 5000, "k"), (3, 5000, "other"))
    assert again == first
    assert full["code"] == 11
