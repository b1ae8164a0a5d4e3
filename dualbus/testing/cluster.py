"""A cluster for tests: real processes on ipc addresses in their own folder."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self, TypeVar

T = TypeVar("T")

GATEWAY, COMMANDBUS, PROJECTOR, QUERYBUS = PROCESSES = ("gateway", "commandbus", "projector", "querybus")
# Generous, because a start on a busy machine may need seconds: these only end a test that hangs.
TIMEOUT_MS = 60_000  # the default deadline of requests
UNTIL_SECONDS = 30.0
STOP_SECONDS = 30.0


def until(ask: Callable[[], T], seconds: float = UNTIL_SECONDS, what: str = "") -> T:
    """Poll a function until the result is true, and return the result; an AssertionError counts as false."""
    deadline = time.monotonic() + seconds
    while True:
        failure = ""
        try:
            if answer := ask():
                return answer
        except AssertionError as error:
            failure = f": {error}"
        if time.monotonic() > deadline:
            raise AssertionError(f"Not within {seconds:g} s: {what or ask}{failure}")
        time.sleep(0.01)


class Process:
    """A process of a cluster. Its stderr is written to a file."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environ: Mapping[str, str],
        cwd: Path,
        stderr_path: Path,
        stdin: int | IO[bytes],
    ) -> None:
        self.name = name
        self.stderr_path = stderr_path
        with stderr_path.open("ab") as stderr:
            self.popen = subprocess.Popen(  # noqa: S603
                command,
                stdin=stdin,
                stdout=subprocess.PIPE if stdin != subprocess.DEVNULL else subprocess.DEVNULL,
                stderr=stderr,
                env=dict(environ),
                cwd=cwd,
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self.popen.pid

    @property
    def stderr_text(self) -> str:
        """The stderr output so far."""
        return self.stderr_path.read_text(errors="replace")

    @property
    def running(self) -> bool:
        """Whether the process is running."""
        return self.popen.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal if the process is running."""
        if self.running:
            self.popen.send_signal(number)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for the process to end; return the exit code."""
        return self.popen.wait(seconds)

    def end(self) -> None:
        """Kill the process if necessary, and close its pipes."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGKILL)
        self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe:
                pipe.close()


class Cluster:
    """The processes of a cluster in `folder`. As a context manager, kill the remaining processes on exit.

    Addresses are ipc paths in the folder, so clusters can run side by side. The default deadline of a request is a
    minute, unless `timeout_ms` is among the settings. The keys are those of DUALBUS_KEYS, if the variable is set.
    """

    def __init__(self, folder: Path, app: str = "users:app", *, cwd: Path | None = None, **settings: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.cwd = cwd or Path.cwd()
        self.addresses = {name: f"ipc://{folder}/{name}" for name in ("front", "back", "events", "progress")}
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("DUALBUS_")}
        self.environ |= {f"DUALBUS_{name.upper()}": address for name, address in self.addresses.items()}
        self.environ |= {"DUALBUS_APP": app, "DUALBUS_DATA": str(self.data), "DUALBUS_TIMEOUT_MS": str(TIMEOUT_MS)}
        self.environ |= {"DUALBUS_KEYS": keys} if (keys := os.environ.get("DUALBUS_KEYS")) else {}
        self.environ |= {f"DUALBUS_{name.upper()}": value for name, value in settings.items()}
        self.commands = {
            name: [sys.executable, "-m", f"dualbus.{name}"] for name in PROCESSES
        }  # a test may wrap them
        self.processes: list[Process] = []

    @property
    def front(self) -> str:
        """The address that clients connect to."""
        return self.environ["DUALBUS_FRONT"]

    def start(self, *names: str, stdin: int | IO[bytes] = subprocess.DEVNULL, **environ: str) -> list[Process]:
        """Start the named processes, or all four; `stdin` is the standard input of the gateway."""
        started = []
        for name in names or PROCESSES:
            stderr_path = self.folder / f"{name}.{len(self.processes)}.log"
            own_stdin = stdin if name == GATEWAY else subprocess.DEVNULL
            command, environment = self.commands[name], self.environ | environ
            started.append(Process(name, command, environment, self.cwd, stderr_path, own_stdin))
            self.processes.append(started[-1])
        return started

    def process(self, name: str) -> Process:
        """Return the latest started process of a name."""
        return next(process for process in reversed(self.processes) if process.name == name)

    def kill(self, name: str) -> None:
        """Kill a process (SIGKILL) and wait for its end."""
        process = self.process(name)
        process.send(signal.SIGKILL)
        process.wait()

    def stop(self, name: str, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a process SIGTERM, or another signal; return its exit code."""
        process = self.process(name)
        process.send(number)
        return process.wait()

    def restart(self, name: str) -> Process:
        """Kill a process and start another of the same name."""
        self.kill(name)
        return self.start(name)[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes:
            process.end()
