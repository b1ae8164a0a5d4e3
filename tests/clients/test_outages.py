"""Processes that die in the middle of calls: callers notice nothing but time, and nothing happens twice."""

import asyncio
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from dualbus import AsyncClient, Client, ClientClosed, CommandResult, DeadlineExceeded, Unavailable
from dualbus.client.link import ClientLink
from dualbus.testing import Cluster, until
from tests.clients.notes import CountNotes, Note
from tests.clients.seeing import data, logged, under_way, unique
from tests.raw import SECONDS

THREADS = 16
LIMITED = """
import asyncio, inspect, resource, sys
import dualbus

async def main():
    client = getattr(dualbus, sys.argv[1])(sys.argv[2], timeout=60)

    async def note(text):
        call = client.command("Note", text=text)
        return await call if inspect.isawaitable(call) else call

    await note("before")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # no further descriptor
    print("limited", flush=True)
    sys.stdin.readline()
    print((await note("after")).events[0]["payload"]["text"], flush=True)

asyncio.run(main())
"""
FILLED = """
import asyncio, inspect, os, resource, sys
import dualbus

async def main():
    for free in (0, 2, 3, 4, 8, 12):
        client = getattr(dualbus, sys.argv[1])(sys.argv[2])

        async def note(timeout):
            call = client.command("Note", text=f"with {free} free", timeout=timeout)
            return await call if inspect.isawaitable(call) else call

        held = []
        try:
            while True:
                held.append(os.dup(0))
        except OSError:
            for descriptor in held[:free]:
                os.close(descriptor)
        try:
            await note(0.01)
        except (dualbus.DualbusError, OSError) as error:
            print(free, type(error).__name__, flush=True)
        for descriptor in held[free:]:
            os.close(descriptor)
        assert (await note(60)).events
        if inspect.isawaitable(closing := client.close()):
            await closing

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
asyncio.run(main())
"""


class Work:
    """Threads that write, and read what they wrote, until they are told to stop."""

    def __init__(self, client: Client) -> None:
        self.written: list[str] = []  # and answered
        self._name = unique()
        self._client = client
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(THREADS)
        self._ends = [self._pool.submit(self._write_and_read, thread) for thread in range(THREADS)]

    def _write_and_read(self, thread: int) -> None:
        number = 0
        while not self._stopping.is_set():
            text = f"{self._name} {thread}.{number}"
            result = self._client.command(Note(text=text))
            assert result.events[0]["payload"]["text"] == text
            self.written.append(text)
            assert self._client.query(CountNotes(text=text)) == 1, f"{text} was written and is not seen"
            number += 1

    def more(self) -> None:
        """Wait for work to be done after now."""
        enough = len(self.written) + 5 * THREADS
        until(lambda: len(self.written) >= enough or any(end.done() for end in self._ends), SECONDS)

    def stop(self) -> None:
        self._stopping.set()
        for end in self._ends:
            end.result()
        self._pool.shutdown()


@pytest.fixture
def mine(notes: Cluster) -> Iterator[Cluster]:
    """The cluster of notes, with nothing of it stopped at the end."""
    yield notes
    for process in notes.processes:
        process.send(signal.SIGCONT)


@pytest.mark.parametrize("name", ["gateway", "commandbus", "querybus", "projector"])
def test_a_process_is_killed_and_comes_back_and_every_call_has_its_answer_and_one_effect(
    mine: Cluster, name: str
) -> None:
    with Client(mine.front, timeout=SECONDS) as client:
        # Given callers at work
        client.command(Note(text="first"))
        before = len(data(mine))
        work = Work(client)
        work.more()

        # When a process is killed, twice, and comes back
        for _ in range(2):
            mine.kill(name)
            mine.start(name)
            work.more()
        work.stop()

    # Then every call was answered, and each command is in the log once
    assert len(data(mine)) - before == len(work.written)


def test_the_gateway_is_killed_under_thousands_of_calls(mine: Cluster) -> None:
    async def run() -> None:
        async with AsyncClient(mine.front, timeout=SECONDS) as client:
            await client.command(Note(text="first"))
            calls = [asyncio.create_task(client.command(Note(text=f"task {n}"))) for n in range(5000)]
            await asyncio.wait(calls[:500], return_when=asyncio.FIRST_COMPLETED)
            mine.kill("gateway")
            mine.start("gateway")
            results = await asyncio.gather(*calls)
        assert all(isinstance(result, CommandResult) for result in results)
        assert len({result.position for result in results}) == 5000

    asyncio.run(run())
    assert sum('"task ' in one for one in data(mine)) == 5000


def test_a_clean_stop_of_the_gateway_is_no_error_either(mine: Cluster) -> None:
    with Client(mine.front, timeout=SECONDS) as client:
        work = Work(client)
        work.more()
        mine.stop("gateway")
        mine.start("gateway")
        work.more()
        work.stop()
    assert logged(mine, work.written[-1]) == 1


def test_own_writes_are_seen_by_a_new_gateway_that_knows_nothing_of_them(mine: Cluster) -> None:
    with Client(mine.front, timeout=SECONDS) as client, ThreadPoolExecutor(1) as pool:
        # Given a command that was answered, and a read model that does not have it yet
        client.query(CountNotes(text="mine"))
        mine.process("projector").send(signal.SIGSTOP)
        client.command(Note(text="mine"))

        # When a new gateway comes, which nobody tells how far the log is
        mine.process("commandbus").send(signal.SIGSTOP)
        mine.kill("gateway")
        mine.start("gateway")
        asked = pool.submit(client.query, CountNotes(text="mine"))
        with Client(mine.front, timeout=SECONDS) as stranger:
            # Then it answers nobody rather than with old rows
            until(lambda: "does not know the log's position" in refusal(stranger))
            assert not asked.done()

            # And when the projector tells, everybody sees what was written
            mine.process("projector").send(signal.SIGCONT)
            assert asked.result() == 1
            assert stranger.query(CountNotes(text="mine")) == 1
        mine.process("commandbus").send(signal.SIGCONT)


def refusal(client: Client) -> str:
    """Return why a query is refused; a gateway that has just started may have another reason than the one awaited."""
    with pytest.raises(Unavailable) as caught:
        client.query(CountNotes(text="mine"), timeout=1)
    return str(caught.value)


def test_when_nobody_comes_back_the_outcome_is_not_known_and_can_be_asked_for_later(mine: Cluster) -> None:
    with Client(mine.front) as client:
        client.command(Note(text="a"))
        # Given a command that was sent to a commandbus that is stopped, and a gateway that dies with it
        mine.process("commandbus").send(signal.SIGSTOP)
        late = Note(text="late")
        with ThreadPoolExecutor(1) as pool:
            called = pool.submit(client.command, late, timeout=3)
            until(lambda: under_way(mine) == 1)
            mine.kill("gateway")
            with pytest.raises(DeadlineExceeded, match="The outcome is not known") as caught:
                called.result()
        assert not caught.value.outcome_known

        # When both are back, the same key tells
        mine.process("commandbus").send(signal.SIGCONT)
        mine.start("gateway")
        result = client.command(late, idempotency_key=caught.value.idempotency_key, timeout=SECONDS)
        assert result.events[0]["payload"]["text"] == "late"
    assert logged(mine, "late") == 1


def test_a_client_may_come_before_its_cluster(cluster: Cluster) -> None:
    with Client(cluster.front, timeout=SECONDS) as client, ThreadPoolExecutor(1) as pool:
        called = pool.submit(client.command, "CreateUser", name="Early", email="e@example.org")
        cluster.start()
        created = called.result()
        assert client.query("GetUser", user_id=created.events[0]["payload"]["id"])["name"] == "Early"


@pytest.mark.parametrize("kind", ["Client", "AsyncClient"])
def test_a_client_without_a_free_descriptor_connects_again_when_there_is_one(mine: Cluster, kind: str) -> None:
    pipe = subprocess.PIPE
    program = [sys.executable, "-c", LIMITED, kind, mine.front]
    with subprocess.Popen(program, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as caller:
        assert caller.stdin and caller.stdout and caller.stderr
        assert caller.stdout.readline() == "limited\n"
        mine.kill("gateway")
        caller.stdin.write("\n")
        caller.stdin.flush()
        assert "(Too many open files), and tries again." in caller.stderr.readline()
        mine.start("gateway")
        _, most = resource.prlimit(caller.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(caller.pid, resource.RLIMIT_NOFILE, (most, most))
        assert caller.stdout.readline() == "after\n"
        assert caller.wait(SECONDS) == 0


@pytest.mark.parametrize("kind", ["Client", "AsyncClient"])
def test_a_client_whose_first_call_finds_too_few_descriptors_works_later_however_many_there_are(
    notes: Cluster, kind: str
) -> None:
    program = [sys.executable, "-c", FILLED, kind, notes.front]
    done = subprocess.run(program, capture_output=True, text=True, timeout=100, check=False)
    refused = [line.split()[0] for line in done.stdout.splitlines()]
    assert (done.returncode, refused[:5]) == (0, ["0", "2", "3", "4", "8"]), done


def test_the_events_of_a_client_that_fails_end_with_an_error(
    make: Callable[..., Any], notes: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, a program that copies events would end as if its client had been closed."""
    client = make(notes.front)
    found = client.events(client.command(Note(text=unique())).position - 1)
    next(found)

    def fail(link: ClientLink) -> bool:
        raise MemoryError

    monkeypatch.setattr(ClientLink, "step", fail)
    with pytest.raises(ClientClosed):
        next(found)


def test_a_gateway_that_ends_during_a_handshake_is_no_problem_of_keys(make: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = make(f"tcp://127.0.0.1:{listener.getsockname()[1]}", timeout=1.0)

        def refuse() -> None:
            with suppress(OSError):  # until the listener is closed
                while True:
                    listener.accept()[0].close()

        refusing = threading.Thread(target=refuse)
        refusing.start()
        with pytest.raises(Unavailable, match="do not accept each other's keys"):
            client.query(CountNotes(text="a"))
        listener.shutdown(socket.SHUT_RDWR)
    refusing.join()

    with pytest.raises(Unavailable, match="Cannot reach a gateway"):
        client.query(CountNotes(text="a"))
