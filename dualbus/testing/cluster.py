"""A cluster for tests: real processes, on free addresses, in a folder of its own."""

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
# Each of these only ends a test that hangs: on a busy machine, a start alone may take seconds.
TIMEOUT_MS = 60_000  # the deadline of a request that has none of its own
UNTIL_SECONDS = 30.0
STOP_SECONDS = 30.0


def until(ask: Callable[[], T], seconds: float = UNTIL_SECONDS, what: str = "") -> T:
    """Call `ask` until it returns a true value, and return that value; an AssertionError counts as not yet."""
    deadline = time.monotonic() + seconds
    while True:
        problem = ""
        try:
            if answer := ask():
                return answer
        except AssertionError as error:
            problem = f": {error}"
        if time.monotonic() > deadline:
            raise AssertionError(f"Not within {seconds:g} s: {what or ask}{problem}")
        time.sleep(0.01)


class Process:
    """One process of a cluster; what it says on stderr is kept in a file."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environ: Mapping[str, str],
        cwd: Path,
        said: Path,
        stdin: int | IO[bytes],
    ) -> None:
        self.name = name
        self.said_path = said
        with said.open("ab") as stderr:
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
    def said(self) -> str:
        """What it has said on stderr."""
        return self.said_path.read_text(errors="replace")

    @property
    def running(self) -> bool:
        """Tell whether it runs."""
        return self.popen.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.running:
            self.popen.send_signal(number)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait until it has ended; return its exit code."""
        return self.popen.wait(seconds)

    def end(self) -> None:
        """Make sure that it has ended."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGKILL)
        self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe:
                pipe.close()


class Cluster:
    """The processes of a cluster in `folder`. A context manager: at its end, none of them is left.

    Addresses are ipc paths in the folder, so that clusters side by side never meet. A request without a deadline
    of its own has a minute, unless `timeout_ms` is among the settings.
    """

    def __init__(self, folder: Path, app: str = "users:app", *, cwd: Path | None = None, **settings: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.cwd = cwd or Path.cwd()
        self.addresses = {name: f"ipc://{folder}/{name}" for name in ("front", "back", "events", "progress")}
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("DUALBUS_")}
        self.environ |= {f"DUALBUS_{name.upper()}": address for name, address in self.addresses.items()}
        self.environ |= {"DUALBUS_APP": app, "DUALBUS_DATA": str(self.data), "DUALBUS_TIMEOUT_MS": str(TIMEOUT_MS)}
        self.environ |= {f"DUALBUS_{name.upper()}": value for name, value in settings.items()}
        self.commands = {name: [sys.executable, "-m", f"dualbus.{name}"] for name in PROCESSES}  # for a test to wrap
        self.processes: list[Process] = []

    @property
    def front(self) -> str:
        """The address that clients connect to."""
        return self.environ["DUALBUS_FRONT"]

    def start(self, *names: str, stdin: int | IO[bytes] = subprocess.DEVNULL, **environ: str) -> list[Process]:
        """Start processes, all four if none is named; give a gateway `stdin` to speak to it that way."""
        started = []
        for name in names or PROCESSES:
            said = self.folder / f"{name}.{len(self.processes)}.log"
            given = stdin if name == GATEWAY else subprocess.DEVNULL
            started.append(Process(name, self.commands[name], self.environ | environ, self.cwd, said, given))
            self.processes.append(started[-1])
        return started

    def process(self, name: str) -> Process:
        """Return the process of that name that was started last."""
        return next(one for one in reversed(self.processes) if one.name == name)

    def kill(self, name: str) -> None:
        """Kill a process the hard way (SIGKILL), and wait until it is gone."""
        process = self.process(name)
        process.send(signal.SIGKILL)
        process.wait()

    def stop(self, name: str, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask a process to end, and return its exit code."""
        process = self.process(name)
        process.send(number)
        return process.wait()

    def restart(self, name: str) -> Process:
        """Kill a process and start it again."""
        self.kill(name)
        return self.start(name)[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes:
            process.end()
