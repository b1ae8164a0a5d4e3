"""The client for threads: many of them, forks, forgotten clients."""

import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dualbus import Client, ClientClosed, CommandResult, DeadlineExceeded, DualbusError, Executed, Rejected
from dualbus.runtime.errors import ConfigError
from dualbus.testing import Cluster, until
from tests.clients.notes import CountNotes, Note
from tests.clients.seeing import data, held, logged, under_way
from tests.raw import SECONDS


@pytest.fixture
def client(notes: Cluster) -> Iterator[Client]:
    with Client(notes.front, timeout=SECONDS) as made:
        yield made


def test_many_threads_share_a_client_and_each_sees_its_own_writes(client: Client, notes: Cluster) -> None:
    def write_and_read(thread: int) -> None:
        for number in range(25):
            client.command(Note(text=f"thread {thread}"))
            assert client.query(CountNotes(text=f"thread {thread}")) == number + 1

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(write_and_read, range(32)))
    assert sum('"thread ' in one for one in data(notes)) == 32 * 25


def test_large_messages_from_many_threads_stay_below_what_the_gateway_takes(client: Client) -> None:
    # Given more bytes at once than the gateway takes on from one client
    text = "x" * 250_000
    with ThreadPoolExecutor(80) as pool:
        results = list(pool.map(lambda number: client.command(Note(text=text)), range(80)))
    assert len({result.position for result in results}) == 80


def test_closing_ends_the_calls_of_other_threads_and_leaves_no_thread(notes: Cluster) -> None:
    # Given a call that is under way in another thread, as long as commandbus is stopped
    client = Client(notes.front)
    before = client.command(Note(text="before"))
    assert isinstance(before, CommandResult)
    with ThreadPoolExecutor(1) as pool, held(notes, "commandbus"):
        called = pool.submit(client.command, Note(text="under way"))
        until(lambda: under_way(notes) == 1)

        # When the client is closed
        client.close()

        # Then the call ends, and says that the outcome is not known; and the client's thread is gone
        with pytest.raises(ClientClosed, match="was closed before the reply arrived") as caught:
            called.result()
        assert not caught.value.outcome_known
        assert caught.value.idempotency_key
    assert [one.name for one in threading.enumerate() if one.name == "dualbus-client"] == []


def test_a_client_that_is_forgotten_takes_its_thread_with_it(notes: Cluster) -> None:
    client = Client(notes.front)
    client.command(Note(text="a"))
    threads = [one for one in threading.enumerate() if one.name == "dualbus-client"]
    assert len(threads) == 1
    del client
    until(lambda: not threads[0].is_alive())


PROGRAM = """
import asyncio, dualbus, os, sys
def sync():
    client = dualbus.Client()
    client.command("Note", text="forgotten")
    return client
async def asynchronous():
    client = dualbus.AsyncClient()
    await asyncio.gather(*(client.command("Note", text="forgotten") for _ in range(3)))
    asyncio.ensure_future(client.command("Ponder", text="forgotten", seconds=0.2))
    return client
"""


def ran(program: str, cluster: Cluster) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", "-c", PROGRAM + program],
        env=cluster.environ, cwd=cluster.cwd, capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    "program",
    [
        "client = sync()",
        "client = sync(); client.me = client; del client",
        "client = asyncio.run(asynchronous())",
        "client = asyncio.run(asynchronous()); client.me = client; del client; import gc; gc.collect()",
        "asyncio.run(asynchronous()); asyncio.run(asynchronous())",
    ],
)
def test_a_program_that_forgets_to_close_ends_without_a_word(notes: Cluster, program: str) -> None:
    done = ran(program, notes)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_clients_and_their_errors_are_there_without_zeromq(notes: Cluster) -> None:
    program = """
assert dualbus.DualbusError and dualbus.Rejected and dualbus.DeadlineExceeded and "Client" in dualbus.__all__
assert "zmq" not in sys.modules
from dualbus import AsyncClient, Client
try:
    dualbus.Nothing
except AttributeError as error:
    print(error)
"""
    done = ran(program, notes)
    assert (done.stdout, done.stderr) == ("module 'dualbus' has no attribute 'Nothing'\n", "")


FORK = r"""
client = dualbus.Client()
if USED:
    client.command("Note", text="parent")
pid = os.fork()
try:
    client.command("Note", text="forked")
    said = ("child" if pid == 0 else "parent") + " called"
except RuntimeError as error:
    said = str(error)
os.write(1, said.encode() + b"\n")
client.close()
if pid:
    assert os.waitpid(pid, 0)[1] == 0
"""


def test_a_client_made_before_a_fork_serves_both_and_one_that_was_used_says_so(notes: Cluster) -> None:
    unused = ran("USED = False" + FORK, notes)
    assert (sorted(unused.stdout.splitlines()), unused.stderr) == (["child called", "parent called"], "")
    assert logged(notes, "forked") == 2
    used = ran("USED = True" + FORK, notes)
    assert sorted(used.stdout.splitlines()) == [
        "This client was used before the process was forked: create a client in each process.",
        "parent called",
    ]
    assert unused.stderr == used.stderr == ""


def test_an_address_that_no_socket_takes_is_refused() -> None:
    with pytest.raises(ConfigError, match="use a shorter one"):
        Client("ipc://" + "x" * 200)


@pytest.mark.parametrize(
    "error",
    [
        Rejected("A is required", "B is required"),
        DeadlineExceeded("late", outcome_known=False, idempotency_key="k"),
        Executed("Done.", position=7, idempotency_key="k"),
    ],
    ids=["Rejected", "DeadlineExceeded", "Executed"],
)
def test_errors_travel_between_processes(error: DualbusError) -> None:
    copy: Any = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
