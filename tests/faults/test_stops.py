"""Told to stop under load, every process answers what it has and ends in time, also under honcho."""

import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dualbus.testing import Cluster, until
from tests.conftest import ROOT
from tests.faults.judge import judge
from tests.faults.load import Load
from tests.raw import Envelope, RawClient, create

STOPS = [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP]


def test_buses_and_projector_stop_under_load_and_nobody_notices(running: Cluster) -> None:
    with Load(running.front, random.randrange(1 << 32)) as load:
        for number in STOPS:
            for name in ("commandbus", "projector", "querybus"):
                load.more(20)
                assert running.stop(name, number) == 0, running.process(name).said
                running.start(name)
        load.more(20)
    assert {one.answer for one in load.history} == {"acknowledged"}
    assert judge(load.history, running.data) == []


def in_flight(client: RawClient, commandbus: int) -> list[str]:
    """Hold commandbus up, and send more than it is given at once; return the message ids."""
    os.kill(commandbus, signal.SIGSTOP)
    sent = [f"m{one}" for one in range(3000)]
    client.send(*(create(msg_id, msg_id) for msg_id in sent))
    status = {"src": "t", "body": {"type": "Status", "msg_id": 0}}
    until(lambda: client.ask(status)[0]["data"]["gateway"]["under_way"] == len(sent))
    return sent


def check(answers: list[Envelope]) -> None:
    """What the bus was given is done, and what it was not given is refused: nobody is left in doubt."""
    done = [one for one in answers if one["body"].get("success")]
    refused = [one for one in answers if one["body"].get("code") == 11]
    assert len(done) + len(refused) == len(answers)
    assert done and refused


@pytest.mark.parametrize("number", STOPS, ids=lambda number: number.name)
def test_the_gateway_answers_what_is_in_flight_before_it_stops(running: Cluster, number: signal.Signals) -> None:
    with RawClient(running.front) as client:
        client.ask(create("Ada"))
        commandbus = running.process("commandbus")
        sent = in_flight(client, commandbus.pid)

        running.process("gateway").send(number)
        client.wait_for(sent[-1:])
        commandbus.send(signal.SIGCONT)

        check(client.wait_for(sent))
        assert running.process("gateway").wait() == 0


@pytest.fixture
def honcho(cluster: Cluster) -> Iterator[subprocess.Popen[bytes]]:
    """The cluster as a person runs it."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with (cluster.folder / "said").open("wb") as said:
        started = subprocess.Popen(
            [sys.executable, "-m", "honcho", "start"],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
            env={**cluster.environ, "PATH": path},
            cwd=ROOT,
            start_new_session=True,  # as a terminal would
        )
    yield started
    for pid in filter(alive, started_under_honcho(cluster).values()):  # only if the test has failed
        os.kill(pid, signal.SIGKILL)
    if started.stdin:
        started.stdin.close()
    started.wait()


def started_under_honcho(cluster: Cluster) -> dict[str, int]:
    said = (cluster.folder / "said").read_text()
    return {name: int(pid) for name, pid in re.findall(r"(\w+)\.1 started \(pid=(\d+)\)", said)}


@pytest.mark.parametrize("number", STOPS, ids=lambda number: number.name)
def test_under_honcho_everything_ends_in_time_and_what_was_in_flight_is_answered(
    cluster: Cluster, honcho: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    with RawClient(cluster.front) as client:
        client.ask(create("Ada"))
        until(lambda: len(started_under_honcho(cluster)) == 4)  # honcho may say so later than they answer
        pids = started_under_honcho(cluster)
        sent = in_flight(client, pids["commandbus"])

        os.killpg(honcho.pid, number)  # as a key of the terminal does; honcho's children are not in the group
        client.wait_for(sent[-1:])
        os.kill(pids["commandbus"], signal.SIGCONT)

        check(client.wait_for(sent))
        honcho.wait()
        until(lambda: not any(map(alive, pids.values())))
    assert "SIGKILL" not in (cluster.folder / "said").read_text()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
