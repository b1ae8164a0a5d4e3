"""What commandbus answers is definite only when it is: a test in the gateway's place sends what is late."""

import itertools
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

from dualbus.protocol.frames import ANNOUNCE, BEAT, DONE, READY, WORK
from dualbus.testing import Cluster, until
from dualbus.worker.clock import ArrivalClock
from tests.faults.launch import launched
from tests.faults.seeing import stopped
from tests.keyring import as_server
from tests.raw import SECONDS


class Back:
    """The gateway's end of a bus's line."""

    def __init__(self, address: str) -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        self.socket = self.context.socket(zmq.ROUTER)
        as_server(self.socket, context=self.context)
        self.socket.bind(address)
        self.bus = b""
        self.registration = 0

    def wait_for(self, kind: str) -> list[Any]:
        """Return the items of the next message of that kind."""
        while self.socket.poll(SECONDS * 1000):
            self.bus, packed = self.socket.recv_multipart()
            items: list[Any]
            said, items = msgpack.unpackb(packed)
            if said == kind:
                if kind == READY:
                    self.registration = items[0][2]
                return items
        raise AssertionError(f"no {kind!r}")

    def work(self, *items: tuple[int, int, str]) -> list[tuple[int, dict[str, Any]]]:
        """Send commands (id, milliseconds that are left, key); return the answers' ids and bodies."""
        self.send(*items)
        return sorted(self.answers())

    def send(self, *items: tuple[int, int, str]) -> None:
        body = {"type": "CreateUser", "msg_id": 1, "payload": {"name": "Ada", "email": "a@example.com"}}
        work = [(id_, self.registration, "t", ms, key, 0, body) for id_, ms, key in items]
        self.socket.send_multipart([self.bus, msgpack.packb([WORK, work])])

    def say(self, kind: str, *numbers: int) -> None:
        self.socket.send_multipart([self.bus, msgpack.packb([kind, numbers])])

    def answers(self) -> list[tuple[int, dict[str, Any]]]:
        return [(id_, msgpack.unpackb(done)) for id_, _, done, _ in self.wait_for(DONE)[1:]]


@pytest.fixture
def trouble() -> tuple[str, str]:
    """What commandbus has while there is a file `arm`."""
    return "write", "full"


@pytest.fixture
def back(cluster: Cluster, folder: Path, trouble: tuple[str, str]) -> Iterator[Back]:
    made = Back(cluster.addresses["back"])
    cluster.commands["commandbus"] = launched("commandbus", folder / "arm", *trouble)
    cluster.start("commandbus")
    made.wait_for(READY)
    yield made
    made.context.destroy(0)


def test_a_late_command_is_refused(back: Back) -> None:
    [(_, refused)] = back.work((1, 0, "k"))
    assert refused["code"] == 11


def test_a_command_that_ends_a_wait_has_all_of_its_time(back: Back) -> None:
    def done() -> bool:
        back.say(BEAT)
        back.wait_for(BEAT)
        began = time.monotonic()
        until(lambda: time.monotonic() > began + 0.4)  # when nothing has happened for longer than it has
        number = next(numbers)
        [(_, body)] = back.work((number, 250, f"k{number}"))
        return bool(body.get("success"))

    numbers = itertools.count(1)
    until(done)  # on a busy machine, commandbus may begin after more than 250 ms


@pytest.mark.parametrize("trouble", [("sync", "held")])
def test_the_time_in_which_a_command_waits_behind_a_slow_commit_counts(back: Back, folder: Path) -> None:
    (folder / "arm").touch()
    back.send((1, 60_000, "first"))
    until(lambda: (folder / "HELD").exists())
    began = time.monotonic()
    back.send((2, 100, "late"))
    back.send((3, 60_000, "in time"))
    until(lambda: time.monotonic() > began + 0.2)
    (folder / "arm").unlink()
    answers: dict[int, Any] = {}
    while len(answers) < 3:
        answers |= dict(back.answers())
    assert [answers[id_].get("code") for id_ in (1, 2, 3)] == [None, 11, None]


def test_commands_that_came_while_the_process_was_stopped_are_refused_every_one(back: Back, cluster: Cluster) -> None:
    bus = cluster.process("commandbus")
    for first in (1, 4, 7, 10):
        back.work((first, 60_000, f"before {first}"))
        bus.send(signal.SIGSTOP)
        until(lambda: stopped(bus.pid))
        began = time.monotonic()
        for id_ in range(first, first + 3):
            back.send((id_, 100, f"late {id_}"))
        until(lambda: time.monotonic() > began + 1)  # noqa: B023 - asked before the loop goes on
        bus.send(signal.SIGCONT)
        refused: dict[int, Any] = {}
        while len(refused) < 3:
            refused |= {id_: body.get("code") for id_, body in back.answers()}
        assert refused == {first: 11, first + 1: 11, first + 2: 11}
    # And what a gateway gives that has asked who it is, is new.
    back.say(ANNOUNCE, back.registration)
    back.wait_for(READY)
    [(_, done)] = back.work((20, 900, "new"))  # less than it was stopped for
    assert done["success"]


@pytest.mark.parametrize("trouble", [("stop", "dualbus.worker.link:WorkerLink.wait")])
def test_commands_that_came_while_the_process_was_stopped_between_two_waits_are_refused(
    back: Back, cluster: Cluster, folder: Path
) -> None:
    bus = cluster.process("commandbus")
    for first in range(1, 21, 2):
        (folder / "arm").touch()
        until(lambda: stopped(bus.pid))
        began = time.monotonic()
        back.send((first, 50, f"late {first}"))
        back.send((first + 1, 50, f"later {first}"))
        until(lambda: time.monotonic() > began + 0.3)  # noqa: B023 - asked before the loop goes on
        bus.send(signal.SIGCONT)
        refused: dict[int, Any] = {}
        while len(refused) < 2:
            refused |= {id_: body.get("code") for id_, body in back.answers()}
        assert refused == {first: 11, first + 1: 11}


def test_messages_of_a_queue_that_was_empty_just_after_a_stop_may_be_as_old_as_the_stop() -> None:
    clock = ArrivalClock(0.0)
    clock.record_check(10.0)
    clock.record_check(10.4)
    # The receiving thread continues as late as the others, and delivers after the queue was seen empty.
    assert clock.since(10.41, 10.46) == 10.0
    assert clock.since(10.46, 10.47) == 10.46


def test_messages_received_before_the_attendant_continues_may_be_as_old_as_the_stop_until_a_registration() -> None:
    clock = ArrivalClock(0.0)
    clock.record_check(10.0)
    assert clock.since(10.05, 10.05) == 10.05
    assert clock.since(10.5, 10.5) == 10.0
    clock.registered(10.5)
    assert clock.since(10.55, 10.55) == 10.55


def test_a_command_that_is_in_the_log_is_never_called_refused_however_late_it_is_sent_again(back: Back) -> None:
    [(_, first)] = back.work((1, 60_000, "k"))
    [(_, again), (_, late)] = back.work((2, 0, "k"), (3, 0, "other"))
    assert again == first
    assert late["code"] == 11


def test_a_command_that_is_in_the_log_is_never_called_refused_when_the_disk_is_full(back: Back, folder: Path) -> None:
    [(_, first)] = back.work((1, 60_000, "k"))
    (folder / "arm").touch()
    [(_, again), (_, full)] = back.work((2, 60_000, "k"), (3, 60_000, "other"))
    assert again == first
    assert full["code"] == 11


def test_a_new_registration_discards_the_work_of_earlier_ones_whenever_it_arrives(back: Back) -> None:
    old = back.registration
    back.say(ANNOUNCE, old)
    back.wait_for(READY)
    assert back.registration == old + 1
    # when work arrives that was sent under the earlier registration, and then some under this one
    back.registration = old
    back.send((1, 60_000, "k"))
    back.registration = old + 1
    [(id_, done)] = back.work((2, 60_000, "other"))
    # then only the latter is done, under the next position
    assert (id_, done["success"]) == (2, True)
    [(id_, done)] = back.work((3, 60_000, "k"))
    assert (id_, done["success"]) == (3, True)


@pytest.mark.parametrize("trouble", [("sync", "held")])
def test_what_waits_when_a_worker_registers_again_is_discarded(back: Back, folder: Path) -> None:
    (folder / "arm").touch()
    back.send((1, 60_000, "first"))
    until(lambda: (folder / "HELD").exists())
    back.send((2, 60_000, "waits"))
    back.say(ANNOUNCE, back.registration)
    (folder / "arm").unlink()
    back.wait_for(READY)
    [(id_, done)] = back.work((3, 60_000, "waits"))
    assert (id_, done["success"]) == (3, True)


def test_an_announcement_about_an_earlier_registration_is_ignored(back: Back) -> None:
    registration = back.registration
    back.say(ANNOUNCE, registration - 1)
    [(_, done)] = back.work((1, 60_000, "k"))
    assert done["success"]
