"""The tests that every engine of the commit log must pass (see `dualbus.log.commits`).

To test an engine, write a subclass of `CommitLogContract` with a fixture `opener`: a function that opens a new, empty
commit log again and again.

    class TestNatsCommitLog(CommitLogContract):
        @pytest.fixture
        def opener(self, server: Server) -> Opener:
            return lambda: NatsCommitLog(server.address, create=True)
"""

import select
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing

import pytest

from dualbus.log.commits import CommitLog
from dualbus.testing.cluster import until

SECONDS = 20.0
WRITERS, ROUNDS = 4, 25

Opener = Callable[[], CommitLog]


class CommitLogContract:
    """The tests. pytest collects only subclasses, because of their names."""

    def test_bodies_are_read_in_order_as_they_were_put(self, opener: Opener) -> None:
        bodies = [b"first", b"\0" * 70_000, bytes(range(256)), b""]
        with closing(opener()) as log:
            assert log.get(0, 10) == []
            assert log.tail() == 0
            assert [log.put(number, body, SECONDS) for number, body in enumerate(bodies, 1)] == [True] * 4

            assert log.get(0, 10) == bodies
            assert log.get(1, 2) == bodies[1:3]
            assert log.get(4, 10) == []
        with closing(opener()) as log:
            assert log.get(0, 10) == bodies
            assert until(log.tail) == 4

    def test_a_number_is_assigned_once(self, opener: Opener) -> None:
        with closing(opener()) as log, closing(opener()) as other:
            assert log.put(1, b"first", SECONDS)
            assert log.put(1, b"first", SECONDS)  # the same body again, as after a lost answer
            assert not log.put(1, b"second", SECONDS)
            assert not other.put(1, b"third", SECONDS)
            assert other.put(2, b"third", SECONDS)
            assert not log.put(2, b"second", SECONDS)

            assert log.get(0, 10) == other.get(0, 10) == [b"first", b"third"]

    def test_of_many_writers_one_is_first_at_each_number(self, opener: Opener) -> None:
        won: list[tuple[int, bytes]] = []

        def write(log: CommitLog, name: str) -> None:
            number = 1
            while number <= ROUNDS:
                body = f"{name} {number}".encode()
                if log.put(number, body, SECONDS):
                    won.append((number, body))
                number += 1

        with ExitStack() as stack:
            logs = [stack.enter_context(closing(opener())) for _ in range(WRITERS)]
            threads = [threading.Thread(target=write, args=(log, f"w{n}")) for n, log in enumerate(logs)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

            stored = logs[0].get(0, ROUNDS + 10)
        assert sorted(won) == list(enumerate(stored, 1))
        assert len(stored) == ROUNDS

    def test_the_largest_body_is_stored(self, opener: Opener) -> None:
        with closing(opener()) as log:
            assert log.body_bytes_max >= 4_000_000
            body = bytes(log.body_bytes_max)

            assert log.put(1, body, SECONDS)
            assert log.put(2, b"small", SECONDS)
            assert log.get(0, 1) == [body]
            assert log.get(0, 2)[0] == body
            assert log.get(1, 2) == [b"small"]

    def test_announcements_wake_every_connection(self, opener: Opener) -> None:
        with closing(opener()) as log, closing(opener()) as other:
            for number in range(3):
                message = b"message %d" % number

                def receive() -> bool:
                    log.announce(message)  # noqa: B023 - again, because delivery is not guaranteed
                    signalled = select.select([other.wakeup], [], [], 0.1)[0]
                    return bool(signalled) and message in other.announcements()  # noqa: B023

                until(receive)
            until(lambda: not (other.announcements() or select.select([other.wakeup], [], [], 0.1)[0]))

    @pytest.mark.parametrize("after", [0, 2])
    def test_a_connection_reads_the_bodies_of_others_at_once(self, opener: Opener, after: int) -> None:
        with closing(opener()) as log, closing(opener()) as other:
            for number in range(1, 6):
                assert log.put(number, b"%d" % number, SECONDS)

            assert until(lambda: len(other.get(after, 10)) == 5 - after)
            assert other.get(after, 10) == [b"%d" % number for number in range(after + 1, 6)]
