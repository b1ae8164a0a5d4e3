"""More than can be done: what cannot be done in time is refused at once and never done, the rest goes on."""

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from dualbus.testing import Cluster, until
from tests.conftest import ROOT
from tests.faults.seeing import fields, memory_mb, status, wait_ready
from tests.raw import SECONDS, Envelope, RawClient, command, query

MS = 10  # what one takes: asleep, so that it takes as long on a busy machine
TIMEOUT_MS = 1500

Make = Callable[[str], Envelope]


@pytest.fixture
def slow(folder: Path) -> Iterator[Cluster]:
    """A cluster of an application that takes its time."""
    with Cluster(folder, "tests.faults.apps.slow:app", cwd=ROOT) as cluster:
        cluster.start()
        yield cluster


def work(id_: str, ms: int = MS) -> Envelope:
    return command("Work", id_, src=id_, name=id_, ms=ms)


def look(id_: str, ms: int = MS) -> Envelope:
    return query("Look", id_, src=id_, ms=ms)


def names(cluster: Cluster) -> list[str]:
    return [one["name"] for one in fields(cluster.data)]


def test_work_whose_deadline_has_passed_never_reaches_the_log(slow: Cluster) -> None:
    with RawClient(slow.front) as client:
        wait_ready(client)
        # given commands that take at least half a second, and behind them commands that may wait for 50 ms
        long = [f"long {number}" for number in range(50)]
        short = [f"short {number}" for number in range(50)]
        client.send(*[work(one) for one in long], *[{**work(one), "timeout_ms": 50} for one in short])
        replies = client.wait_for([*long, *short])
        # then the first are done, and of the others none is in the log, now or later
        assert all(reply["body"].get("success") for reply in replies[:50])
        assert {reply["body"].get("code") for reply in replies[50:]} <= {0, 11}
        client.ask(work("the last"))
        assert sorted(names(slow)) == sorted([*long, "the last"])


class Outcome(NamedTuple):
    """What became of an open loop."""

    per_second: float  # answered well, once the queue had formed
    refused: list[float]  # seconds until each was refused
    undone: list[str]  # the ids of those


def capacity(client: RawClient, make: Make) -> float:
    """Return how many a second can be done: by asking for some of them all at once."""
    ids = [f"capacity {time.monotonic()} {number}" for number in range(100)]
    began = time.monotonic()
    client.send(*[make(id_) for id_ in ids])
    client.wait_for(ids)
    return len(ids) / (time.monotonic() - began)


def recovered(client: RawClient, make: Make, least: float) -> float:
    """Wait until at least so many a second can be done again; return how many."""
    return until(lambda: found if (found := capacity(client, make)) > least else 0.0)


def open_loop(client: RawClient, make: Make, rate: float, seconds: float) -> Outcome:
    """Send at a rate, whatever is answered."""
    began = time.monotonic()
    sent: dict[str, float] = {}
    answered: dict[str, tuple[float, bool, bool]] = {}
    numbers = itertools.count()

    def take(patience: float) -> None:
        for reply in client.receive(patience):
            done = reply["body"]["type"] != "error"
            refused = not done and reply["body"]["code"] == 11
            assert done or refused or reply["body"]["code"] == 0, reply
            answered[reply["body"]["in_reply_to"]] = (time.monotonic(), done, refused)

    while (now := time.monotonic()) < began + seconds:
        due = [f"open {began} {next(numbers)}" for _ in range(int((now - began) * rate) - len(sent))]
        sent |= dict.fromkeys(due, now)
        if due:
            client.send(*[{**make(id_), "timeout_ms": TIMEOUT_MS} for id_ in due])
        take(0.002)
    while len(answered) < len(sent):
        take(SECONDS)  # the test's own time limit sees to one that is never answered
    steady = began + TIMEOUT_MS / 1000
    good = sum(done and steady < at < began + seconds for at, done, _ in answered.values())
    refused = {id_: at - sent[id_] for id_, (at, _, definitely) in answered.items() if definitely}
    return Outcome(good / (began + seconds - steady), sorted(refused.values()), list(refused))


@pytest.mark.parametrize(("make", "loads"), [(work, (2, 10)), (look, (10,))])
def test_ten_times_the_load_is_refused_quickly_and_what_can_be_done_is_done(
    slow: Cluster, make: Make, loads: tuple[int, ...]
) -> None:
    with RawClient(slow.front) as client:
        wait_ready(client)
        gateway = slow.process("gateway")
        size = memory_mb(gateway.pid)
        for times in loads:
            # given what can be done
            able = capacity(client, make)
            # when twice or ten times that comes
            outcome = open_loop(client, make, able * times, seconds=2 * TIMEOUT_MS / 1000)
            # then with the load gone all is as it was
            until(lambda: status(client)["gateway"]["under_way"] == 0)
            again = recovered(client, make, able / 2)
            able = min(able, again)  # the machine has others to serve, sometimes more and sometimes less
            # Beside other load, the measured capacity may be half of the true one.
            assert outcome.refused or times == 2
            median = outcome.refused[len(outcome.refused) // 2] if outcome.refused else 0.0
            print(f"{able:.0f}/s, {times} times: {outcome.per_second:.0f}/s, refused in {median * 1000:.1f} ms")
            # and meanwhile as much was done: 95 and 90 % where nothing else runs. Beside other load, which comes
            # and goes, half tells it from a cluster that does what is too late
            assert outcome.per_second > able / 2
            # and what is refused is refused while it can still be tried elsewhere, and is never done
            assert median < TIMEOUT_MS / 1000 / 4
            assert not set(outcome.undone) & set(names(slow))
        assert memory_mb(gateway.pid) - size < 32


def test_a_greedy_client_does_not_delay_a_modest_one_beyond_its_share(slow: Cluster) -> None:
    with RawClient(slow.front) as greedy, RawClient(slow.front) as modest:
        wait_ready(modest)
        capacity(modest, work)  # so that commandbus knows how long one takes, and asks for no more than it can do
        # given a client that has queued as much as it may
        greedy.send(*[{**work(f"greedy {number}"), "timeout_ms": 600_000} for number in range(10_000)])
        until(lambda: status(modest)["gateway"]["under_way"] > 9000)
        # when another asks one thing at a time
        for number in range(8):
            modest.send(work(f"modest {number}"))
            [reply] = modest.wait_for([f"modest {number}"])
            assert reply["body"]["type"] != "error"
        # then it has not waited for the thousands that came before it
        greedy.receive()
        done = sum(one["body"]["type"] != "error" for one in greedy.replies.values())
        print(f"{done} of the greedy client's were done meanwhile")
        assert done < 1000
