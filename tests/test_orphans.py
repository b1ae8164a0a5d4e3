"""Whatever ends honcho, or the terminal, ends the cluster; what was started by itself is left alone."""

import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dualbus.testing import Cluster, until
from tests.conftest import ROOT
from tests.raw import RawClient, create

END_SECONDS = 15.0
PROCESSES = ["gateway", "commandbus", "projector", "querybus", "reactor"]
PYTHON = shlex.quote(sys.executable)  # for a shell
HONCHO = """\
import multiprocessing, sys
from honcho.command import main
if __name__ == "__main__":
    multiprocessing.set_start_method({method!r})
    main()
"""


def environ(cluster: Cluster) -> dict[str, str]:
    """Return the settings, with what finds the programs of this environment and the code of this folder."""
    beside = Path(sys.executable).parent
    return {**cluster.environ, "PATH": f"{beside}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def marked(cluster: Cluster) -> dict[int, list[str]]:
    """Return the processes on this machine that carry the cluster's settings, with their command lines."""
    mark = f"DUALBUS_DATA={cluster.data}\0".encode()
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if mark in path.joinpath("environ").read_bytes():
                found[int(path.name)] = path.joinpath("cmdline").read_text().split("\0")
        except OSError:
            continue
    return found


def ours(cluster: Cluster) -> set[str]:
    """Return the names of the processes of the cluster that run."""
    modules = {f"dualbus.{name}": name for name in PROCESSES}
    return {modules[line[2]] for line in marked(cluster).values() if line[1:2] == ["-m"] and line[2] in modules}


@pytest.fixture
def watched(cluster: Cluster) -> Iterator[Cluster]:
    """A cluster of whose processes none is left after the test, whoever started them."""
    yield cluster
    for pid in marked(cluster):
        os.kill(pid, signal.SIGKILL)


def start(cluster: Cluster, *line: str | Path) -> subprocess.Popen[bytes]:
    with (cluster.folder / "said").open("wb") as said:
        return subprocess.Popen(
            line, cwd=ROOT, env=environ(cluster), stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )


def serves(cluster: Cluster) -> bool:
    with RawClient(cluster.front) as client:
        return client.ask(create("Ada"))[0]["success"] is True


def all_end(cluster: Cluster) -> None:
    def ended() -> bool:
        assert marked(cluster) == {}
        return True

    until(ended, END_SECONDS)


@pytest.mark.parametrize("method", ["", "fork", "spawn", "forkserver"])
def test_a_killed_honcho_leaves_nothing_behind(watched: Cluster, method: str) -> None:
    program = Path(sys.executable).parent / "honcho"
    line: list[str | Path] = [program, "start"]
    if method:
        (watched.folder / "honcho").write_text(HONCHO.format(method=method))
        line = [sys.executable, watched.folder / "honcho", "start", "-c", "querybus=2"]
    honcho = start(watched, *line)
    assert serves(watched)
    until(lambda: ours(watched) == set(PROCESSES))  # a command needs no projector

    honcho.kill()
    honcho.wait()

    all_end(watched)


@pytest.mark.parametrize("started", range(1, 5))
def test_a_honcho_that_is_killed_while_it_starts_leaves_nothing_behind(watched: Cluster, started: int) -> None:
    honcho = start(watched, Path(sys.executable).parent / "honcho", "start")
    until(lambda: len(ours(watched)) >= started)
    honcho.kill()
    honcho.wait()
    all_end(watched)


def test_a_killed_dev_leaves_nothing_behind(watched: Cluster) -> None:
    dev = start(watched, sys.executable, "-m", "dualbus", "dev")
    assert serves(watched)
    dev.kill()
    dev.wait()
    all_end(watched)


def test_a_hangup_ends_dev(watched: Cluster) -> None:
    dev = start(watched, sys.executable, "-m", "dualbus", "dev")
    assert serves(watched)
    dev.send_signal(signal.SIGHUP)
    assert dev.wait(END_SECONDS) == 0
    assert marked(watched) == {}


@pytest.mark.parametrize("exported", [False, True], ids=["by hand", "as honcho exports it"])
def test_what_was_started_without_honcho_outlives_what_started_it(watched: Cluster, exported: bool) -> None:
    # Given processes whose parent has ended
    lines = [f"{PYTHON} -m dualbus.{name} </dev/null >/dev/null 2>{watched.folder}/{name} &" for name in PROCESSES]
    if exported:
        watched.environ["HONCHO_PROCESS_NAME"] = "web.1"
    assert start(watched, "/bin/sh", "-c", "\n".join(lines)).wait() == 0

    # Then they serve
    assert serves(watched)
    until(lambda: ours(watched) == set(PROCESSES))  # a command needs no projector


def in_a_terminal(cluster: Cluster, line: str) -> tuple[int, int]:
    """Run a command line in a terminal of its own; return its process id, and our end of the terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execve("/bin/sh", ["sh", "-c", f"exec {line}"], environ(cluster))
    return pid, terminal


def handles_hangup(pid: int) -> bool:
    """Return whether a process has a handler for SIGHUP: the others may serve before it has started."""
    [mask] = re.findall(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(mask, 16) & 1 << signal.SIGHUP - 1)


@pytest.mark.parametrize("name", PROCESSES)
def test_a_closed_terminal_is_an_orderly_end(watched: Cluster, name: str) -> None:
    watched.start(*(one for one in PROCESSES if one != name))
    pid, terminal = in_a_terminal(watched, f"{PYTHON} -m dualbus.{name} 2>{watched.folder}/said")
    assert serves(watched)
    until(lambda: handles_hangup(pid))
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert "Traceback" not in (watched.folder / "said").read_text()


def test_a_closed_terminal_ends_honcho_and_all_that_it_runs(watched: Cluster) -> None:
    pid, terminal = in_a_terminal(watched, "honcho start")
    try:
        assert serves(watched)
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)
    all_end(watched)


def test_nohup_lets_a_process_outlive_its_terminal(watched: Cluster) -> None:
    watched.start("commandbus", "projector", "querybus")
    said = watched.folder / "said"
    pid, terminal = in_a_terminal(watched, f"nohup {PYTHON} -m dualbus.gateway </dev/null >/dev/null 2>{said}")
    assert serves(watched)
    os.close(terminal)
    os.kill(pid, signal.SIGHUP)
    assert serves(watched)
    os.kill(pid, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
