"""A poll and the sockets it waits for: no message is overlooked, whatever else is done with the socket it came to."""

import os
import select
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import zmq

from dualbus.testing import until
from dualbus.transport.curve import CLUSTER, ZapHandler, new_pair, secure_client, secure_server
from dualbus.transport.poller import Poll
from dualbus.transport.sockets import RECEIVE_MESSAGES, Socket, Sockets

SECONDS = 30  # no wait here takes that long, unless something is overlooked


class Line:
    """Our end of a connection, with a poll on it, and theirs."""

    def __init__(self, ours: Socket, theirs: Socket, *, spins: bool) -> None:
        self.ours = ours
        self.poll = Poll(ours, spins=spins)
        self._theirs = theirs
        until(lambda: ours.send([b"hello"]))
        [[self._address, _]] = until(theirs.receive)

    def come(self, *messages: bytes) -> None:
        """Have messages come to us, who have nothing else, and wait until our descriptor tells of them."""
        assert self.ours not in self.poll.wait(0)
        for message in messages:
            assert self._theirs.send([self._address, message])
        assert select.select([self.ours.zmq.fileno()], [], [], SECONDS)[0]

    def sent(self) -> bool:
        """Send; tell whether that has used up the sign of what has come: most sends do not look."""
        assert self.ours.send([b"hello"])
        return not select.select([self.ours.zmq.fileno()], [], [], 0)[0]

    def waited(self) -> list[bytes]:
        """Wait, and return what is received then."""
        assert self.ours in self.poll.wait(SECONDS)
        return self.received()

    def received(self) -> list[bytes]:
        return [message for [message] in self.ours.receive(ready=True)]


@pytest.fixture(params=[False, True], ids=["sleeps", "spins"])
def line(folder: Path, request: pytest.FixtureRequest) -> Iterator[Line]:
    with Sockets() as sockets:
        theirs = sockets.back(f"ipc://{folder}/address")
        yield Line(sockets.dealer(f"ipc://{folder}/address"), theirs, spins=request.param)


def test_a_message_is_found_although_a_send_has_used_up_the_sign_of_it(line: Line) -> None:
    for number in range(20):
        line.come(b"%d" % number)
        until(line.sent)
        assert line.poll.wait(0) == {line.ours}
        assert line.received() == [b"%d" % number]
        assert line.poll.wait(0) == set()


def test_what_ended_a_wait_is_received_alone_and_what_came_with_it_at_the_next(line: Line) -> None:
    for _ in range(20):
        line.come(b"a", b"b", b"c")
        assert line.waited() == [b"a"]
        found: list[bytes] = []
        while len(found) < 2:
            found += line.waited()
        assert found == [b"b", b"c"]
        assert line.poll.wait(0) == set()


def test_one_receive_takes_no_more_than_some_hundreds_and_the_rest_is_not_overlooked(line: Line) -> None:
    many = [b"%d" % number for number in range(RECEIVE_MESSAGES + 50)]
    line.come(*many)
    found: list[bytes] = []
    while len(found) < len(many):
        some = line.waited()
        assert len(some) <= RECEIVE_MESSAGES
        found += some
    assert found == many


def test_a_wake_that_was_for_nothing_gives_nothing(line: Line) -> None:
    assert line.ours.receive() == []
    assert line.ours.receive(ready=True) == []
    line.come(b"a")
    assert line.waited() == [b"a"]


def test_descriptors_are_waited_for_as_long_as_they_are_watched(line: Line) -> None:
    readable, writable = os.pipe()
    line.poll.watch(readable)  # which was not watched
    line.poll.watch(writable, write=True)
    assert line.poll.wait(SECONDS) == {writable}
    line.poll.watch(writable)
    line.poll.watch(readable, read=True)
    assert line.poll.wait(0) == set()
    os.write(writable, b"x")
    line.come(b"a")
    assert line.poll.wait(SECONDS) == {readable, line.ours}
    line.poll.watch(readable)
    assert line.received() == [b"a"]
    assert line.poll.wait(0) == set()
    os.close(readable)
    os.close(writable)


def test_a_message_that_is_there_already_is_not_waited_for_and_others_are_seen_beside_it(line: Line) -> None:
    readable, writable = os.pipe()
    line.poll.watch(readable, read=True)
    line.come(b"a", b"b")
    assert line.waited() == [b"a"]
    assert line.ours.zmq.poll(SECONDS * 1000)
    os.write(writable, b"x")
    began = time.monotonic()
    assert line.poll.wait(2 * SECONDS) == {readable, line.ours}
    assert time.monotonic() - began < SECONDS
    os.close(readable)
    os.close(writable)


def test_who_has_been_woken_at_once_for_a_while_still_sleeps_when_nothing_comes(line: Line) -> None:
    for _ in range(10):
        line.come(b"a")
        assert line.waited() == [b"a"]
    spent, began = time.process_time(), time.monotonic()
    assert line.poll.wait(0.4) == set()
    assert time.process_time() - spent < (time.monotonic() - began) / 4


def test_a_failed_check_of_a_key_refuses_one_connection_and_not_the_next() -> None:
    checked: list[str] = []

    def admits(domain: str, key: str) -> bool:
        checked.append(key)
        if len(checked) == 1:
            raise OSError("The file of the keys cannot be read.")
        return True

    (server, secret), (public, own) = new_pair(), new_pair()
    context = zmq.Context()
    ZapHandler(context, admits)
    with context.socket(zmq.ROUTER) as router:
        secure_server(router, secret, CLUSTER)
        port = router.bind_to_random_port("tcp://127.0.0.1")
        for number in (1, 2):
            with context.socket(zmq.DEALER) as dealer:
                dealer.linger = 0
                secure_client(dealer, server, public, own)
                dealer.connect(f"tcp://127.0.0.1:{port}")
                with suppress(zmq.Again):  # a refused connection takes no message
                    dealer.send(b"%d" % number, zmq.NOBLOCK)
                until(lambda: len(checked) >= number)  # noqa: B023 - called before the next number
                assert number == 1 or router.poll(SECONDS * 1000)
        assert router.recv_multipart()[-1] == b"2"
    context.term()
