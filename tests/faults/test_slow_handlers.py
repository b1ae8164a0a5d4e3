"""A handler may take as long as its deadline allows: it runs once, Status shows it, and it ends at its deadline."""

import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dualbus.testing import Cluster, until
from tests.conftest import ROOT
from tests.faults.seeing import fields, process_status, said, status, wait_ready
from tests.raw import Envelope, RawClient, command, query

EXIT_SOFTWARE = 70
SLOW_SECONDS = 2.0  # longer than a worker may be silent
ENDED = (0, 11)  # a query whose deadline has passed
GIVEN_UP = (0, 11, 13)  # a query whose process has been given up
DEFINITE = 11


@pytest.fixture
def heavy(folder: Path) -> Iterator[Cluster]:
    """A cluster of an application with slow handlers, of which nothing runs yet."""
    with Cluster(folder, "tests.faults.apps.heavy:app", cwd=ROOT) as cluster:
        cluster.environ["HEAVY_RUNS"] = str(folder / "runs")
        yield cluster


def start(cluster: Cluster, querybuses: int) -> None:
    """Start a cluster with so many querybuses, and wait until the gateway knows all of them."""
    cluster.start("gateway", "commandbus", "projector", *["querybus"] * querybuses)
    with RawClient(cluster.front) as client:
        wait_ready(client)
        until(lambda: len(entries(client, "querybus")) == querybuses)


def runs(cluster: Cluster, type_: str) -> list[int]:
    """Return the pid of each run of a handler."""
    path = cluster.folder / "runs"
    lines = path.read_text().splitlines() if path.exists() else []
    return [int(pid) for pid, what in (line.split(" ", 1) for line in lines) if what == type_]


def entries(client: RawClient, name: str) -> list[dict[str, Any]]:
    """Return what Status shows of the processes of that name."""
    return [one for one in status(client)["processes"] if one["name"] == name]


def showing(client: RawClient, name: str, type_: str) -> list[dict[str, Any]]:
    """Return the entries of Status in which a handler of a message type runs."""
    return [one for one in entries(client, name) if one.get("running", {}).get("type") == type_]


def running(client: RawClient, name: str, type_: str) -> list[dict[str, Any]]:
    """Return the entries of Status with a running handler of that type; `showing` finds the slowest one too."""
    return [one for one in entries(client, name) if one.get("running", {}).get("type") == type_]


def lost(cluster: Cluster) -> list[str]:
    """Return the lines in which the gateway has declared a process dead."""
    return [line for line in said(cluster, "gateway").splitlines() if "in flight" in line]


def within(seconds: float, envelope: Envelope) -> Envelope:
    """Return a request with a deadline."""
    return {**envelope, "timeout_ms": round(seconds * 1000)}


def growing(seconds: float, first: int, step: int, measure: Callable[[int], object]) -> int:
    """Return the size of a problem that takes this machine about so long: each step doubles the time."""
    size, took = first, 0.0
    while took < seconds / 8:
        size += step
        began = time.monotonic()
        measure(size)
        took = time.monotonic() - began
    while took < seconds:
        size, took = size + step, took * 2
    return size


def slow_regex() -> Envelope:
    """Make a query whose regular expression holds the interpreter for some seconds."""
    n = growing(3 * SLOW_SECONDS, 15, 1, lambda n: re.match(r"(a+)+$", "a" * n + "b"))
    return query("Backtrack", "slow", n=n)


def slow_sql() -> Envelope:
    """Make a query of one long SQL statement."""
    return query("Sql", "slow", rows=5_000_000)


def slow_sleep() -> Envelope:
    return query("Sleep", "slow", seconds=SLOW_SECONDS)


def slow_loop() -> Envelope:
    return query("Spin", "slow", seconds=SLOW_SECONDS)


@pytest.mark.parametrize("make", [slow_sleep, slow_loop, slow_regex, slow_sql])
@pytest.mark.parametrize("querybuses", [1, 2])
def test_a_slow_query_is_answered_once_by_one_worker_and_status_shows_it(
    heavy: Cluster, make: Callable[[], Envelope], querybuses: int
) -> None:
    start(heavy, querybuses)
    slow = make()
    type_ = slow["body"]["type"]
    with RawClient(heavy.front) as client, RawClient(heavy.front) as other:
        # given a query that runs for longer than a process may be silent
        client.send(within(30, slow))
        until(lambda: runs(heavy, type_))
        # then Status names it while it runs
        [shown] = until(lambda: showing(other, "querybus", type_))
        assert shown["pid"] == runs(heavy, type_)[0]
        if querybuses > 1:  # and a free querybus answers others meanwhile
            answers = other.ask(*[within(30, query("Quick"))] * 20)
            assert {one["type"] for one in answers} == {"query_result"}
            assert not client.receive()
        # and it is answered by its one run, and nobody has been declared dead
        [reply] = client.wait_for(["slow"])
        assert reply["body"]["type"] == "query_result", reply
        assert len(runs(heavy, type_)) == 1
        assert lost(heavy) == []
        until(lambda: not running(other, "querybus", type_))
        assert all(process.running for process in heavy.processes)


@pytest.mark.parametrize(
    "envelope",
    [
        query("Sleep", "late", seconds=3600),
        query("Spin", "late", seconds=3600),
        query("Spin", "late", seconds=3600, guarded=True),
        query("Sql", "late"),
    ],
    ids=["sleep", "loop", "guarded loop", "sql"],
)
def test_a_query_past_its_deadline_is_stopped_and_its_process_goes_on(heavy: Cluster, envelope: Envelope) -> None:
    start(heavy, 1)
    type_ = envelope["body"]["type"]
    pid = heavy.process("querybus").pid
    with RawClient(heavy.front) as client, RawClient(heavy.front) as other:
        for round_ in (1, 2):
            # when a query would run for an hour, and has two seconds
            client.send(within(SLOW_SECONDS, envelope))
            [reply] = client.wait_for(["late"])
            # then it is stopped, and the same process answers the next query
            assert reply["body"].get("code") in ENDED, reply
            [quick] = other.ask(within(30, query("Quick")))
            assert quick["type"] == "query_result", quick
            assert runs(heavy, type_) == [pid] * round_
            assert [one["pid"] for one in entries(other, "querybus")] == [pid]
            client.replies.clear()
        assert lost(heavy) == []


@pytest.mark.parametrize(
    ("envelope", "holds"),
    [
        (query("Stubborn", "late", seconds=3600), False),
        (query("Stuck", "late"), True),
        (query("Backtrack", "late", n=200), True),
    ],
    ids=["swallows everything", "in C", "regular expression"],
)
def test_the_process_of_a_query_that_cannot_be_stopped_is_given_up_and_the_query_runs_nowhere_else(
    heavy: Cluster, envelope: Envelope, *, holds: bool
) -> None:
    start(heavy, 3)
    type_ = envelope["body"]["type"]
    with RawClient(heavy.front) as client, RawClient(heavy.front) as other:
        client.send(within(1, envelope))
        [reply] = client.wait_for(["late"])
        assert reply["body"].get("code") in GIVEN_UP, reply
        [pid] = runs(heavy, type_)
        [holder] = [one for one in heavy.processes if one.pid == pid]
        # then its process ends by itself, some seconds after the deadline, with the code of a fault;
        # one whose query holds the interpreter cannot, and is given up by the gateway
        if not holds:
            assert holder.wait() == EXIT_SOFTWARE
            assert type_ in holder.stderr_text
        # and nobody else has run it, nor has the client been answered twice
        answers = other.ask(*[within(30, query("Quick"))] * 20)
        assert {one["type"] for one in answers} == {"query_result"}
        until(lambda: len(entries(other, "querybus")) == 2)
        assert runs(heavy, type_) == [pid]
        assert client.receive() == []


def test_a_querybus_that_hangs_is_still_found_out_and_its_query_is_answered_by_another(heavy: Cluster) -> None:
    start(heavy, 2)
    with RawClient(heavy.front) as client:
        client.send(within(30, slow_sleep()))
        [pid] = until(lambda: runs(heavy, "Sleep"))
        [holder] = [one for one in heavy.processes if one.pid == pid]
        # when the whole process stops, in the middle of a query whose deadline is far
        holder.send(signal.SIGSTOP)
        # then the gateway declares it dead, and the other process answers
        until(lambda: lost(heavy))
        [reply] = client.wait_for(["slow"])
        assert reply["body"]["type"] == "query_result", reply
        first, second = runs(heavy, "Sleep")
        assert first == pid != second


def test_endless_queries_of_one_client_leave_a_querybus_to_the_quick_queries_of_others(heavy: Cluster) -> None:
    start(heavy, 3)
    pids = {one.pid for one in heavy.processes if one.name == "querybus"}
    with RawClient(heavy.front) as other:
        with RawClient(heavy.front) as greedy:
            # given ten queries that never end, with a minute each
            greedy.send(*[within(60, query("Sql", number)) for number in range(10)])
            until(lambda: runs(heavy, "Sql"))
            # then quick ones of others are answered, one after the other
            for _ in range(200):
                [quick] = other.ask(within(30, query("Quick")))
                assert quick["type"] == "query_result", quick
            assert greedy.receive() == []
            assert len(showing(other, "querybus", "Sql")) < 3
            assert lost(heavy) == []
        # and when their client is gone, they are stopped: all three querybuses are free, and the same as before
        until(lambda: not running(other, "querybus", "Sql"))
        until(lambda: status(other)["gateway"]["under_way"] == 0)
        assert {one["pid"] for one in entries(other, "querybus")} == pids
        count = len(runs(heavy, "Sql"))
        answers = other.ask(*[within(30, query("Quick"))] * 50)
        assert {one["type"] for one in answers} == {"query_result"}
        assert len(runs(heavy, "Sql")) == count < 10


@pytest.mark.parametrize("slow", [query("Sleep", seconds=1), query("Sql", rows=1_500_000)], ids=["sleep", "sql"])
def test_with_one_querybus_a_quick_query_waits_for_one_slow_query_at_most(heavy: Cluster, slow: Envelope) -> None:
    start(heavy, 1)
    ends = "end of " + slow["body"]["type"]
    with RawClient(heavy.front) as greedy, RawClient(heavy.front) as other:
        greedy.send(*[within(60, {**slow, "body": {**slow["body"], "msg_id": number}}) for number in range(8)])
        until(lambda: runs(heavy, slow["body"]["type"]))
        for _ in range(3):
            before = len(runs(heavy, ends))
            [quick] = other.ask(within(30, query("Quick")))
            assert quick["type"] == "query_result", quick
            assert len(runs(heavy, ends)) - before <= 1
        assert lost(heavy) == []


@pytest.mark.parametrize(
    "waiting", [query("Quick", "own"), query("Sleep", "own", seconds=0.2)], ids=["quick", "slow"]
)
def test_slow_queries_do_not_wait_behind_queries_for_a_later_position(heavy: Cluster, waiting: Envelope) -> None:
    start(heavy, 1)
    pair = within(10, query("Sleep", 1, "other", seconds=0.2)), within(10, query("Quick", 2, "other"))
    with RawClient(heavy.front) as writer, RawClient(heavy.front) as other:
        other.ask(*pair)
        # Given a query that waits for the stopped projector
        write_ahead_of_the_projector(heavy, writer, waiting)
        # When others send slow and quick queries, then they are answered before
        for _ in range(3):
            assert [reply["type"] for reply in other.ask(*pair)] == ["query_result"] * 2
        assert writer.receive() == []
        assert lost(heavy) == []
        heavy.process("projector").send(signal.SIGCONT)
        [reply] = writer.wait_for(["own"])
        assert reply["body"]["type"] == "query_result"


def test_queries_for_a_later_position_take_no_credit_of_slower_queries(heavy: Cluster) -> None:
    start(heavy, 1)
    with RawClient(heavy.front) as writer, RawClient(heavy.front) as one, RawClient(heavy.front) as two:
        spins = [within(20, query("Spin", number, seconds=0.005)) for number in range(30)]
        one.ask(*spins)
        # Given as many queries as wait in a querybus
        write_ahead_of_the_projector(heavy, writer, query("Quick", "own"))
        writer.send(*[within(60, query("Quick", f"own {number}")) for number in range(63)])
        until(lambda: under_way(writer) == 64)
        # When two clients query at once, then they are answered before
        for client in (one, two):
            client.send(*spins)
        for client in (one, two):
            assert {reply["body"]["type"] for reply in client.wait_for(range(30))} == {"query_result"}
        # And so is another session of the writer, beside a client that goes on
        writer.send(*[{**spin, "src": "other"} for spin in spins])
        replies: list[Envelope] = []
        while len(replies) < len(spins):
            one.ask(*spins)
            replies += writer.receive()
        assert {(reply["dest"], reply["body"]["type"]) for reply in replies} == {("other", "query_result")}


def test_queries_for_a_later_position_are_returned_from_behind_a_slow_query(heavy: Cluster) -> None:
    start(heavy, 1)
    with RawClient(heavy.front) as writer, RawClient(heavy.front) as other:
        # Given queries that wait in the only querybus, for a position that another is about to have
        write_ahead_of_the_projector(heavy, writer, query("Quick", "own"))
        [pid] = [one["pid"] for one in entries(other, "querybus")]
        assert in_flight(other, pid) == 1
        # When a query runs there for long
        other.send(within(60, query("Sleep", "slow", seconds=20)))
        until(lambda: in_flight(writer, pid) == 1)
        # Then another querybus answers the first ones meanwhile
        heavy.start("querybus")
        heavy.process("projector").send(signal.SIGCONT)
        [reply] = writer.wait_for(["own"])
        assert reply["body"]["type"] == "query_result"
        assert "slow" not in other.replies
        assert other.receive() == []


def test_many_queries_before_there_is_a_read_model_take_no_credit(heavy: Cluster) -> None:
    heavy.start("gateway", "commandbus", "querybus")
    with RawClient(heavy.front) as client:
        until(lambda: entries(client, "querybus") and entries(client, "commandbus"))
        [pid] = [one["pid"] for one in entries(client, "querybus")]
        # When a querybus returns more queries than it may keep, and the others reach their deadlines
        client.send(*[within(0.3, query("Quick", f"early {number}")) for number in range(500)])
        client.wait_for([f"early {number}" for number in range(500)])
        # Then the gateway counts none of them as in flight
        until(lambda: in_flight(client, pid) == 0)


def write_ahead_of_the_projector(cluster: Cluster, writer: RawClient, waiting: Envelope) -> None:
    """Stop the projector, write an event, and send a query that needs it."""
    cluster.process("projector").send(signal.SIGSTOP)
    writer.ask(command("Add", name="a"))
    writer.send(within(60, waiting))
    until(lambda: under_way(writer) == 1)


def in_flight(client: RawClient, pid: int) -> int:
    """Return the number of queries that a querybus has."""
    return sum(one["in_flight"] for one in entries(client, "querybus") if one["pid"] == pid)


def under_way(client: RawClient) -> int:
    """Return the number of unanswered requests."""
    return int(status(client)["gateway"]["under_way"])


def test_a_query_whose_querybus_was_lost_twice_does_not_hold_the_third_while_it_waits(heavy: Cluster) -> None:
    start(heavy, 1)
    with RawClient(heavy.front) as writer, RawClient(heavy.front) as other:
        write_ahead_of_the_projector(heavy, writer, query("Quick", "own"))
        for _ in range(2):
            until(lambda: in_flight(other, heavy.process("querybus").pid) == 1)
            heavy.restart("querybus")
        # The last try runs alone, and only once the read model has reached its position.
        for _ in range(20):
            [quick] = other.ask(within(10, query("Quick", src="other")))
            assert quick["type"] == "query_result"
        heavy.process("projector").send(signal.SIGCONT)
        [reply] = writer.wait_for(["own"])
        assert reply["body"]["type"] == "query_result"


def test_a_slow_decision_holds_up_other_writers_and_is_named_in_status_and_in_the_log(heavy: Cluster) -> None:
    start(heavy, 1)
    pid = heavy.process("commandbus").pid
    with RawClient(heavy.front) as client, RawClient(heavy.front) as other:
        # given a decision that takes longer than a process may be silent
        client.send(within(30, command("Dawdle", "slow", name="slowly decided", seconds=SLOW_SECONDS * 1.5)))
        until(lambda: runs(heavy, "Dawdle"))
        other.send(within(30, command("Add", "mine", src="o", name="mine")))
        # then Status names it, and who only reads does not wait
        until(lambda: showing(other, "commandbus", "Dawdle"))
        assert other.ask(within(30, query("Quick")))[0]["type"] == "query_result"
        # and all writers are told the truth: both commands are done, once
        [slow] = client.wait_for(["slow"])
        [mine] = other.wait_for(["mine"])
        assert slow["body"].get("success") and mine["body"].get("success"), (slow, mine)
        assert sorted(one["name"] for one in fields(heavy.data)) == ["mine", "slowly decided"]
        assert runs(heavy, "Dawdle") == [pid]
        # and the log warns of the type, and nobody has been declared dead
        until(lambda: "Dawdle" in said(heavy, "commandbus"))
        assert lost(heavy) == []
        until(lambda: not running(other, "commandbus", "Dawdle"))


@pytest.mark.parametrize(
    "envelope",
    [
        command("Dawdle", "late", name="never", seconds=3600),
        command("SpinDecide", "late", name="never"),
        command("SpinDecide", "late", name="never", guarded=True),
    ],
    ids=["sleep", "loop", "guarded loop"],
)
def test_a_decision_past_its_deadline_is_stopped_and_nothing_is_written(heavy: Cluster, envelope: Envelope) -> None:
    start(heavy, 1)
    type_, pid = envelope["body"]["type"], heavy.process("commandbus").pid
    with RawClient(heavy.front) as client, RawClient(heavy.front) as other:
        client.send(within(SLOW_SECONDS, envelope))
        until(lambda: runs(heavy, type_))
        # given others behind it, of which one has less time
        behind = within(20, command("Add", "behind", name="behind"))
        hurried = within(0.5, command("Add", "hurried", name="hurried"))
        other.send(behind, hurried)
        # then it is refused, definitely, and what waited behind it is decided or refused
        [late] = client.wait_for(["late"])
        assert late["body"].get("code") == DEFINITE, late
        done, refused = other.wait_for(["behind", "hurried"])
        assert done["body"].get("success"), done
        assert refused["body"].get("code") in ENDED, refused
        # and the log has neither, and the same commandbus goes on
        assert other.ask(command("Add", name="after"))[0].get("success")
        assert [one["name"] for one in fields(heavy.data)] == ["behind", "after"]
        assert runs(heavy, type_) == [pid]
        assert lost(heavy) == []
        assert type_ in said(heavy, "commandbus")


def test_a_slow_projection_keeps_beating_and_is_named_in_status(heavy: Cluster) -> None:
    start(heavy, 1)
    with RawClient(heavy.front) as client, RawClient(heavy.front) as other:
        assert all(one.get("success") for one in client.ask(*[command("Add", name=f"slow {n}") for n in range(2)]))

        def applied() -> bool:
            assert lost(heavy) == []
            seen = process_status(other, "projector")
            assert seen, "the gateway has lost the projector"
            named.update(name for name in ("things", "Added") if json.dumps(name) in json.dumps(seen))
            return bool(seen["position"] == 2)

        # while each event takes longer than a process may be silent, Status names what the projector applies
        named: set[str] = set()
        client.send(within(30, query("Quick", "mine")))
        until(applied)
        assert named
        # and who has written reads the rows, once they are there
        [mine] = client.wait_for(["mine"])
        assert mine["body"].get("data") == {"last": 2}, mine
