"""Told to stop under load, every process answers what it has and ends in time, also under honcho."""

import os
import random
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import honcho.manager
import pytest

from dualbus.gateway.node import FLUSH_SECONDS
from dualbus.runtime.signals import GRACE_SECONDS
from dualbus.testing import Cluster, until
from tests.conftest import ROOT
from tests.faults.judge import judge
from tests.faults.launch import launched
from tests.faults.load import Load
from tests.raw import SECONDS, Envelope, RawClient, create

PROCESSES = len((ROOT / "Procfile").read_text().splitlines())
STOPS = [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP]

# The tests replace the time that a process has to stop, and the time after which honcho kills it: how much is done in
# seconds depends on how busy the machine is. That the real times are in the right order has a test of its own.
PATIENT_PROCESS = (
    f"import dualbus.runtime.signals as signals, runpy, sys; signals.GRACE_SECONDS = {SECONDS}; "
    "sys.argv = sys.argv[1:]; "
    'runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)'
)
PATIENT_HONCHO = (
    f"import honcho.command, honcho.manager; honcho.manager.KILL_WAIT = {2 * SECONDS}; honcho.command.main()"
)


def test_a_process_that_waits_as_long_as_it_may_still_ends_before_honcho_kills_it() -> None:
    assert 1.5 * (GRACE_SECONDS + FLUSH_SECONDS) < honcho.manager.KILL_WAIT


@pytest.fixture
def patient(cluster: Cluster, folder: Path) -> Cluster:
    """A cluster whose processes have much time to stop, and whose log can be held up by a file `arm`."""
    for name, command in cluster.commands.items():
        if name == "commandbus":
            command = launched(name, folder / "arm", "sync", "held")
        cluster.commands[name] = [sys.executable, "-c", PATIENT_PROCESS, *command[2:]]
    return cluster


def test_buses_and_projector_stop_under_load_and_nobody_notices(running: Cluster) -> None:
    with Load(running.front, random.randrange(1 << 32), timeout_ms=SECONDS * 1000) as load:
        for number in STOPS:
            for name in ("commandbus", "projector", "querybus"):
                load.more(20)
                assert running.stop(name, number) == 0, running.process(name).stderr_text
                running.start(name)
        load.more(20)
    assert {one.answer for one in load.history} == {"acknowledged"}
    assert judge(load.history, running.data) == []


def in_flight(client: RawClient, arm: Path) -> list[str]:
    """Hold commandbus up in a commit, and send more than it is given at once; return the message ids."""
    arm.touch()
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
def test_the_gateway_answers_what_is_in_flight_before_it_stops(
    patient: Cluster, folder: Path, number: signal.Signals
) -> None:
    patient.start()
    with RawClient(patient.front) as client:
        client.ask(create("Ada"))
        sent = in_flight(client, folder / "arm")

        patient.process("gateway").send(number)
        client.wait_for(sent[-1:])
        (folder / "arm").unlink()

        check(client.wait_for(sent))
        assert patient.process("gateway").wait() == 0


@pytest.fixture
def under_honcho(patient: Cluster) -> Iterator[subprocess.Popen[bytes]]:
    """The cluster as a person runs it."""
    procfile = patient.folder / "Procfile"
    procfile.write_text("".join(f"{name}: exec {shlex.join(run)}\n" for name, run in patient.commands.items()))
    with (patient.folder / "said").open("wb") as said:
        started = subprocess.Popen(
            [sys.executable, "-c", PATIENT_HONCHO, "start", "--procfile", str(procfile), "--app-root", str(ROOT)],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
            env=patient.environ,
            cwd=ROOT,
            start_new_session=True,  # as a terminal would
        )
    yield started
    for pid in filter(alive, started_under_honcho(patient).values()):  # only if the test has failed
        os.kill(pid, signal.SIGKILL)
    if started.stdin:
        started.stdin.close()
    started.wait()


def started_under_honcho(cluster: Cluster) -> dict[str, int]:
    said = (cluster.folder / "said").read_text()
    return {name: int(pid) for name, pid in re.findall(r"(\w+)\.1 started \(pid=(\d+)\)", said)}


@pytest.mark.parametrize("number", STOPS, ids=lambda number: number.name)
def test_under_honcho_everything_ends_in_time_and_what_was_in_flight_is_answered(
    patient: Cluster, folder: Path, under_honcho: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    with RawClient(patient.front) as client:
        client.ask(create("Ada"))
        until(lambda: len(started_under_honcho(patient)) == PROCESSES)  # honcho may say so later than they answer
        pids = started_under_honcho(patient)
        sent = in_flight(client, folder / "arm")

        os.killpg(under_honcho.pid, number)  # as a key of the terminal does; honcho's children are not in the group
        client.wait_for(sent[-1:])
        (folder / "arm").unlink()

        check(client.wait_for(sent))
        under_honcho.wait()
        until(lambda: not any(map(alive, pids.values())))
    assert "SIGKILL" not in (patient.folder / "said").read_text()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
