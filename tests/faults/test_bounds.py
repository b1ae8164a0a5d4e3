"""Whatever one client makes the cluster hold, twenty others are served as they were without it.

docs/guarantees.md lists all that a client can make the cluster hold, with the bounds; each is attacked here.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from dualbus.testing import Cluster, until
from tests.conftest import ROOT
from tests.faults import hostile
from tests.faults.crowd import QUERY, Crowd
from tests.faults.hostile import Attacker, Hostile, Line, Target
from tests.faults.seeing import memory_mb, status, wait_ready
from tests.raw import Envelope, RawClient, command, query

MEASURE_SECONDS = 1.0
TRIES = 3  # the machine has others to serve: a figure counts when it is bad three times
DESCRIPTORS = 1024  # as a login has them
SLOWER_MAX = 3.0  # how many times worse the figures of honest clients may be


class Case(NamedTuple):
    """An attack, and what is measured beside it."""

    attack: hostile.Attack
    kinds: tuple[str, ...] = ("query", "command")
    processes: tuple[str, ...] = ()  # that run; all four where none is named
    kept_mb: float = 64.0  # how much more a process may hold
    remaining: int = 0  # requests that a bus has been given, and that nobody can take back
    slower: float = SLOWER_MAX


CASES = [
    Case(hostile.far_positions),
    Case(hostile.far_positions_and_gone),
    Case(hostile.types_of_nobody, kinds=("command",), processes=("gateway", "commandbus", "projector"), kept_mb=128),
    Case(hostile.held_queries, kinds=("query",), kept_mb=128, remaining=8),
    Case(hostile.staggered_deadlines, kinds=("query",), remaining=3),
    Case(hostile.many_sessions, kept_mb=170),
    Case(hostile.unread_replies, kept_mb=256 + 64),
    Case(hostile.silent_connections, kept_mb=128),
    Case(hostile.connections_made_and_dropped),
    Case(hostile.deaf_subscribers),
    Case(hostile.many_keys),
    Case(hostile.large_batches),
    Case(hostile.refused_batches),
    Case(hostile.many_values),
    Case(hostile.own_writes_read, kinds=("query",)),
]


@contextmanager
def started(*processes: str) -> Iterator[Cluster]:
    """Start a cluster of an application with quick handlers; its processes have few descriptors to begin with."""
    with (
        tempfile.TemporaryDirectory(prefix="db") as folder,
        Cluster(Path(folder), "tests.faults.apps.heavy:app", cwd=ROOT) as cluster,
    ):
        shell = f'ulimit -Sn {DESCRIPTORS} && exec "$@"'
        cluster.commands = {name: ["sh", "-c", shell, name, *line] for name, line in cluster.commands.items()}
        cluster.start(*processes)
        yield cluster


def target(cluster: Cluster) -> Target:
    """Return what a client knows of a cluster."""
    running = {process.name: process.pid for process in cluster.processes}
    return Target(cluster.addresses, running.get("projector", 0))


def sizes(cluster: Cluster) -> dict[str, float]:
    """Return how many megabytes each process holds."""
    return {process.name: memory_mb(process.pid) for process in cluster.processes}


def attacked(case: Case) -> list[str]:
    """Measure honest clients without and with an attack; return a sentence for each figure that is worse."""
    with (
        started(*case.processes) as cluster,
        RawClient(cluster.front) as client,
        Crowd(cluster.front, case.kinds) as crowd,
    ):
        until(lambda: client.ask({"src": "t", "dest": "commandbus", "body": {"type": "None"}}))
        crowd.measure(MEASURE_SECONDS / 2)  # until all has been loaded
        before, held = crowd.measure(MEASURE_SECONDS), sizes(cluster)
        with Attacker(case.attack, target(cluster)):
            during = crowd.measure(MEASURE_SECONDS)
            assert [process.stderr_text[-300:] for process in cluster.processes if not process.running] == []
            grown = {name: size - held[name] for name, size in sizes(cluster).items()}
        print(f"without: {before.shown()}\nattacked: {during.shown()}\nmegabytes: {grown}")
        assert not before.errors
        assert not during.errors, f"{len(during.errors)} honest requests were refused: {during.errors[0]}"
        # then what is under way for the client that is gone is let go
        until(lambda: status(client)["gateway"]["under_way"] <= case.remaining, what="its requests are let go")
        assert {name: size for name, size in grown.items() if size > case.kept_mb} == {}
        # The machine is noisy: honest clients are measured before the attack and after it.
        after = crowd.measure(MEASURE_SECONDS)
        return during.harm((before, after), case.slower)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("case", CASES, ids=[case.attack.__name__ for case in CASES])
def test_one_hostile_client_costs_twenty_honest_ones_neither_answers_nor_time(case: Case) -> None:
    harm: list[str] = []
    for _ in range(TRIES):
        harm = attacked(case)
        if not harm:
            return
        print(" ".join(harm))
    assert harm == []


def test_a_position_that_the_log_has_not_reached_is_refused_at_once_and_its_own_writes_are_not() -> None:
    with started() as cluster, RawClient(cluster.front) as client:
        wait_ready(client)
        [added] = client.ask(command("Add", name="mine"))
        assert added["success"]
        [mine] = client.ask({**query("Quick"), "after": 1})
        assert mine["type"] == "query_result"
        # when the position is beyond the log, or beyond what any log holds
        for after in (2, 1000, hostile.FAR, 2**63 - 1):
            [refused] = client.ask({**query("Quick"), "after": after, "timeout_ms": 3_600_000})
            # then the refusal is definite, does not wait for the deadline, and names the position
            assert refused.get("code") == 11, refused
            assert str(after) in refused["text"], refused


def ask_far(line: Line) -> None:
    line.send(hostile.quick(number, after=hostile.FAR) for number in range(1024))


def ask_endless(line: Line) -> None:
    line.send({**query("Sql", number), "timeout_ms": 3_600_000} for number in range(3))


@pytest.mark.parametrize("ask", [ask_far, ask_endless])
def test_what_a_client_that_is_gone_has_asked_is_let_go_everywhere(ask: Callable[[Line], None]) -> None:
    with started() as cluster, RawClient(cluster.front) as client:
        wait_ready(client)
        # when a client asks for an hour's work, and is gone
        with Hostile(target(cluster)) as gone:
            line = gone.line()
            ask(line)
            line.settle()
        # then the gateway and the querybus are free, without a restart and with one
        until(lambda: status(client)["gateway"]["under_way"] == 0)
        assert client.ask(query("Quick"))[0]["type"] == "query_result"
        assert status(client)["gateway"]["sent_again"] == 0
        cluster.restart("querybus")
        assert client.ask(query("Quick"))[0]["type"] == "query_result"


def test_while_the_projector_stands_still_a_session_that_has_written_is_told_and_readers_are_served() -> None:
    with started() as cluster, RawClient(cluster.front) as reader, Crowd(cluster.front, (QUERY,)) as crowd:
        wait_ready(reader)
        crowd.measure(MEASURE_SECONDS / 2)
        with Attacker(hostile.own_writes_read, target(cluster)):
            during = crowd.measure(MEASURE_SECONDS)
            mine: Envelope = command("Add", "written", src="mine", name="mine")
            reader.send(mine, {**query("Quick", "told", src="mine"), "timeout_ms": 5000})
            written, told = reader.wait_for(["written", "told"])
        assert written["body"].get("success"), written
        # at the gateway or in a querybus, which has room for it as no client fills it alone
        assert (told["body"].get("code"), "read model" in told["body"].get("text", "")) == (11, True), told
        assert not during.errors
