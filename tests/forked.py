"""Processes of clusters, forked from an interpreter that has imported their modules: a fifth of the time of a start.

The server forks twice, and the process between ends at once. The kernel then makes the worker of the test run, which
is a "child subreaper" (prctl(2)) meanwhile, the parent of the process: the worker waits for it as for any child.
"""

import ctypes
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from dualbus.testing.cluster import PROCESSES, REACTOR, WEB

ROOT = Path(__file__).parents[1]
MODULES = [f"dualbus.{name}" for name in (*PROCESSES, REACTOR, WEB)]
STARTING = ("PYTHON", "LD_", "HONCHO_")  # variables that mean something before a process reads its settings
PR_SET_CHILD_SUBREAPER = 36
REQUEST_BYTES_MAX = 1 << 20


class Forked(subprocess.Popen[bytes]):
    """A process like any other; where its command is plain, forked in place of Popen's fork and exec."""

    def _execute_child(self, args: Sequence[str], *rest: Any) -> None:
        cwd, env = rest[4:6]
        if not (is_plain(args, env) and hasattr(os, "pidfd_open")):  # without pidfd_open: not Linux
            super()._execute_child(args, *rest)  # type: ignore[misc]
            return
        read, _, _, written, _, errors = pipes = rest[9:15]
        try:
            self.pid = server().fork(args[2], env, cwd, [read, written, errors])
            self._child_created = True
        finally:
            self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


class Server:
    """The interpreter from which processes are forked."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None)
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            line = [sys.executable, "-m", "tests.forked", str(theirs.fileno())]
            self._process = subprocess.Popen(line, cwd=ROOT, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)

    def fork(self, module: str, environ: Mapping[str, str], cwd: Path, files: Sequence[int]) -> int:
        """Run a module in a new process with these standard streams; return its process id."""
        request = json.dumps({"module": module, "environ": dict(environ), "cwd": str(cwd)}).encode()
        self._libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
        socket.send_fds(self._connection, [request], files)
        pid = int(self._connection.recv(32))
        self._libc.prctl(PR_SET_CHILD_SUBREAPER, 0)  # orphans of other processes are for init
        return pid


@cache
def server() -> Server:
    """Return the server of this worker."""
    return Server()


def is_plain(command: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Return whether a start of this command would read no variable that the start of the server has not read."""
    names = {name for name in {*environ, *os.environ} if name.startswith(STARTING)}
    return (
        list(command[:2]) == [sys.executable, "-m"]
        and list(command[2:]) in [[module] for module in MODULES]
        and all(environ.get(name) == os.environ.get(name) for name in names)
    )


def serve(connection: socket.socket) -> None:
    """Fork a process for each request, until the worker has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for module in MODULES:
        import_module(f"{module}.node")
    while True:
        data, files, _, _ = socket.recv_fds(connection, REQUEST_BYTES_MAX, 3)
        if not data:
            return
        reading, writing = os.pipe()
        if between := os.fork():
            os.close(writing)
            os.waitpid(between, 0)
            connection.send(os.read(reading, 32))
            for number in (reading, *files):
                os.close(number)
            continue
        if pid := os.fork():
            os.write(writing, str(pid).encode())
            os._exit(0)
        for number, file in enumerate(files):
            os.dup2(file, number)
        for number in {reading, writing, connection.detach(), *files} - {0, 1, 2}:
            os.close(number)
        run(**json.loads(data))
        return


def run(module: str, environ: dict[str, str], cwd: str) -> None:
    """Run a module as `python -m` does."""
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(cwd)
    sys.path[0] = cwd
    time.tzset()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    runpy.run_module(f"{module}.__main__", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
