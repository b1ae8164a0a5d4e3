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
from tests.raw import RawClient, create

STOPS = [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT]


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


@pytest.mark.parametrize("number", STOPS, ids=lambda number: number.name)
def test_the_gateway_answers_what_is_in_flight_before_it_stops(running: Cluster, number: signal.Signals) -> None:
    with RawClient(running.front) as client:
        client.ask(create("Ada"))
        sent = [f"m{one}" for one in range(3000)]
        client.send(*(create(msg_id, msg_id) for msg_id in sent))
        until(lambda: client.receive(1))

        running.process("gateway").send(number)

        answers = client.wait_for(sent)
        assert running.process("gateway").wait() == 0
    assert all(one["body"].get("success") or one["body"]["code"] == 11 for one in answers)


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
    if started.stdin:
        started.stdin.close()
    started.wait()


@pytest.mark.parametrize("number", STOPS, ids=lambda number: number.name)
def test_under_honcho_everything_ends_in_time_and_what_was_in_flight_is_answered(
    cluster: Cluster, honcho: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    with RawClient(cluster.front) as client:
        client.ask(create("Ada"))
        said = (cluster.folder / "said").read_text()
        pids = [int(pid) for pid in re.findall(r"started \(pid=(\d+)\)", said)]
        assert len(pids) == 4
        sent = [f"m{one}" for one in range(3000)]
        client.send(*(create(msg_id, msg_id) for msg_id in sent))
        until(lambda: client.receive(1))

        os.killpg(honcho.pid, number)  # as a key of the terminal does; honcho's children are not in the group

        answers = client.wait_for(sent)
        honcho.wait()
        until(lambda: not any(map(alive, pids)))
    assert all(one["body"].get("success") or one["body"]["code"] == 11 for one in answers)
    assert "SIGKILL" not in (cluster.folder / "said").read_text()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
