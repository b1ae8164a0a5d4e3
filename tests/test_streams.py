"""Standard input, output or error that is closed, full or no stream: an exit code that is true, and no traceback."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dualbus.testing import Cluster, until
from tests.conftest import ROOT
from tests.raw import RawClient, create, query

COMMANDS = {
    "events": 0,
    "events --type Nonsense": 2,
    "status": 0,
    "status --json": 0,
    "query ListUsers": 0,
    "query Nonsense": 2,
    "command CreateUser name=Ada email=ada@example.org": 0,
    "command CreateUser name=Ada": 1,
    "send messages.json": 0,
    "describe": 0,
    "verify": 0,
    "export": 0,
    "backup copy.db": 0,
    "new thing": 0,
    "dev": 2,
    "--help": 0,
}
NEEDS_INPUT = {"send": 0, "import": 1}
NO_OUTPUT = {"dev", "events --type Nonsense", "query Nonsense", "command CreateUser name=Ada"}


@pytest.fixture
def beside(running: Cluster) -> Cluster:
    """A running cluster with a folder for the command line."""
    (running.folder / "messages.json").write_text(json.dumps(query("ListUsers")))
    with RawClient(running.front) as client:
        client.ask(create("Ada"), query("ListUsers"))
    return running


def shell(cluster: Cluster, line: str, redirection: str) -> tuple[int, str]:
    """Run a command line with streams redirected; return its exit code, and what was written to standard error."""
    said = cluster.folder / "said"
    text = f"exec 2>{shlex.quote(str(said))}; exec {shlex.quote(sys.executable)} -m dualbus {line} {redirection}"
    done = subprocess.run(
        ["/bin/sh", "-c", text],
        cwd=cluster.folder,
        env={**cluster.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        timeout=30,
        check=False,
    )
    return done.returncode, said.read_text()


def check_clean(said: str) -> None:
    for sign in ("Traceback", "report it", "Exception ignored", "NoneType"):
        assert sign not in said


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_with_closed_streams_has_the_exit_code_that_it_has_with_open_ones(
    beside: Cluster, line: str
) -> None:
    for redirection in (">&-", "2>&-", "<&- >&- 2>&-"):
        (beside.folder / "copy.db").unlink(missing_ok=True)
        subprocess.run(["rm", "-rf", beside.folder / "thing"], check=True)
        code, said = shell(beside, line, redirection)
        assert code == COMMANDS[line], (redirection, said)
        check_clean(said)


@pytest.mark.parametrize("line", NEEDS_INPUT)
def test_closed_input_is_an_empty_one(beside: Cluster, line: str) -> None:
    for name in ("commandbus", "projector"):
        beside.stop(name)
    beside.environ["DUALBUS_DATA"] = str(beside.folder / "other")
    code, said = shell(beside, line, "<&- >/dev/null")
    assert code == NEEDS_INPUT[line], said
    check_clean(said)


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("line", [line for line in COMMANDS if line not in {*NO_OUTPUT, "--help", "new thing"}])
def test_a_result_that_finds_no_room_is_reported(beside: Cluster, line: str, unbuffered: str) -> None:
    beside.environ["PYTHONUNBUFFERED"] = unbuffered
    code, said = shell(beside, line, ">/dev/full")
    assert code == 1
    assert said.startswith("Standard output cannot be written (No space left on device): ")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_every_process_serves_with_closed_streams(cluster: Cluster, redirection: str) -> None:
    for name, line in cluster.commands.items():
        cluster.commands[name] = ["/bin/sh", "-c", f"exec {shlex.join(line)} {redirection}"]
    started = cluster.start()
    with RawClient(cluster.front) as client:
        assert [one.get("success") for one in client.ask(create("Ada"))] == [True]
        assert len(client.ask(query("ListUsers"))[0]["data"]) == 2
    for process in started:
        process.send(signal.SIGTERM)
    assert [process.wait() for process in started] == [0] * 4
    for process in started:
        check_clean(process.stderr_text)


@pytest.mark.parametrize(
    ("redirection", "code", "sentence"),
    [
        ("< messages.json >&-", 0, ""),
        ("< messages.json >&- 2>&-", 0, ""),
        ("< messages.json > /dev/full", 74, "Standard output cannot be written (No space left on device)"),
        ("0> written > /dev/null", 74, "Standard input cannot be read (Bad file descriptor)"),
    ],
)
def test_a_gateway_whose_streams_cannot_be_used_ends_and_reports_it(
    beside: Cluster, redirection: str, code: int, sentence: str
) -> None:
    line = shlex.join(beside.commands["gateway"])
    beside.stop("gateway")
    beside.commands["gateway"] = ["/bin/sh", "-c", f"cd {beside.folder}; exec {line} {redirection}"]
    beside.environ["PYTHONPATH"] = str(ROOT)
    [gateway] = beside.start("gateway")
    assert gateway.wait() == code, gateway.stderr_text
    assert sentence in gateway.stderr_text
    check_clean(gateway.stderr_text)


def test_a_terminal_is_served_though_standard_error_is_closed(beside: Cluster) -> None:
    line = shlex.join(beside.commands["gateway"])
    beside.stop("gateway")
    ours, theirs = os.openpty()
    with os.fdopen(ours, "wb", 0) as keyboard, os.fdopen(theirs, "rb", 0) as terminal:
        beside.commands["gateway"] = ["/bin/sh", "-c", f"exec {line} 2>&-"]
        [gateway] = beside.start("gateway", stdin=terminal)
        keyboard.write(json.dumps(query("ListUsers", 5)).encode() + b"\n")
        assert gateway.popen.stdout
        assert json.loads(gateway.popen.stdout.readline())["in_reply_to"] == 5
        keyboard.write(b"\x04")
        assert gateway.wait() == 0


def test_nothing_of_ours_has_the_descriptor_of_a_stream_that_was_closed(cluster: Cluster) -> None:
    line = shlex.join(cluster.commands["commandbus"])
    cluster.commands["commandbus"] = ["/bin/sh", "-c", f"exec {line} <&- >&- 2>&-"]
    [process] = cluster.start("commandbus")
    until(lambda: (cluster.data / "log.db").exists())
    until(lambda: Path(f"/proc/{process.pid}/fd/2").exists())
    assert {os.readlink(f"/proc/{process.pid}/fd/{number}") for number in range(3)} == {"/dev/null"}
