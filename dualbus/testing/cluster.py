"""A cluster for tests: real processes on ipc addresses in their own folder."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self, TypeVar

from dualbus.application.errors import DualbusError
from dualbus.runtime.errors import FatalError

if TYPE_CHECKING:
    from dualbus.client.client import Client

T = TypeVar("T")

GATEWAY, COMMANDBUS, PROJECTOR, QUERYBUS = PROCESSES = ("gateway", "commandbus", "projector", "querybus")
REACTOR = "reactor"  # started for an application with reactions
WEB = "web"  # started by name only: it needs dualbus[web]
# Generous, because a start on a busy machine may need seconds: these only end a test that hangs.
TIMEOUT_MS = 60_000  # the default deadline of requests
UNTIL_SECONDS = 30.0
STOP_SECONDS = 30.0
KEYS = "DUALBUS_KEYS"
STATUS_SECONDS = 0.2  # for one answer of a gateway that may not run yet


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


def _path_of(app: str) -> Path | None:
    """Return the folder from which this process imports the application, such as `src` in pytest's pythonpath."""
    package = app.partition(":")[0].partition(".")[0]
    found = (path for path in map(Path, sys.path) if (path / package).is_dir() or (path / f"{package}.py").is_file())
    return next((path.absolute() for path in found), None)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """A process of a cluster. Its stderr is written to a file."""

    # A test run may start processes in another way.
    start: "Callable[..., subprocess.Popen[bytes]]" = subprocess.Popen

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
            self.popen = self.start(
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
    """The processes of a cluster.

        with Cluster(app="shop:app") as cluster, Client(cluster.front) as client:
            client.command(...)

    Without a folder, the context manager starts all processes in a temporary folder, waits until they are ready, and
    removes the folder on exit. In a folder of the test, `start` starts the processes. Remaining processes are killed
    on exit.

    The default application is DUALBUS_APP. Addresses are ipc paths in the folder, and a free port for HTTP, so
    clusters can run side by side. The default deadline of a request is a minute, unless `timeout_ms` is a setting.
    `reactor`: start a reactor, too; by default without a folder, if the application has reactions. The keys are those
    of DUALBUS_KEYS. If this is not set, the cluster has its own keys, and the context manager sets the variable, so
    that clients of this process can connect.
    """

    def __init__(
        self,
        folder: Path | None = None,
        app: str | None = None,
        *,
        cwd: Path | None = None,
        reactor: bool | None = None,
        **settings: str,
    ) -> None:
        # A short name: an ipc path has at most 107 characters.
        self._temporary = None if folder else tempfile.TemporaryDirectory(prefix="db")
        folder = folder or Path(self._temporary.name)  # type: ignore[union-attr]
        app = app or os.environ.get("DUALBUS_APP", "users:app")
        self.folder = folder
        self.data = folder / "data"
        self.cwd = cwd or Path.cwd()
        self.addresses = {name: f"ipc://{folder}/{name}" for name in ("front", "back", "events", "progress")}
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("DUALBUS_")}
        self.environ |= {f"DUALBUS_{name.upper()}": address for name, address in self.addresses.items()}
        self.environ |= {"DUALBUS_HTTP": f"http://127.0.0.1:{_free_port()}"}
        self.environ |= {"DUALBUS_APP": app, "DUALBUS_DATA": str(self.data), "DUALBUS_TIMEOUT_MS": str(TIMEOUT_MS)}
        if (path := _path_of(app)) not in (None, self.cwd.absolute()):  # a process imports from its own folder first
            self.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(path), os.environ.get("PYTHONPATH"))))
        self.environ[KEYS] = os.environ.get(KEYS) or str(self.data / "keys")
        self.environ |= {f"DUALBUS_{name.upper()}": value for name, value in settings.items()}
        self.commands = {
            name: [sys.executable, "-m", f"dualbus.{name}"] for name in (*PROCESSES, REACTOR, WEB)
        }  # a test may wrap them
        self.names = (*PROCESSES, REACTOR) if reactor else PROCESSES
        self.processes: list[Process] = []
        self._reacts = reactor
        self._own_keys = False

    @property
    def front(self) -> str:
        """The address that clients connect to."""
        return self.environ["DUALBUS_FRONT"]

    @property
    def http(self) -> str:
        """The address of the web process, which `start("web")` starts."""
        return self.environ["DUALBUS_HTTP"]

    @property
    def http_headers(self) -> dict[str, str]:
        """The header with the token of the operator, for requests to the web process; empty with keys off."""
        from dualbus.runtime.tokens import operator_token  # not before: the pytest plugin must not import ZeroMQ

        if (folder := self.environ.get(KEYS, str(self.data / "keys"))) == "off":
            return {}
        return {"authorization": f"Bearer {operator_token(Path(folder))}"}

    def start(self, *names: str, stdin: int | IO[bytes] = subprocess.DEVNULL, **environ: str) -> list[Process]:
        """Start the named processes, or all but web; `stdin` is the standard input of the gateway."""
        started = []
        for name in names or self.names:
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

    def wait_until_ready(self) -> None:
        """Wait until the started processes are ready; raise AssertionError with the reason if a process has ended."""
        __tracebackhide__ = True
        from dualbus.client.client import Client  # not before: the pytest plugin must not import ZeroMQ

        deadline = time.monotonic() + UNTIL_SECONDS
        latest = {process.name: process for process in self.processes}
        reason = "the cluster has no keys yet"
        with ExitStack() as closing:
            client: Client | None = None
            while reason:
                for process in latest.values():
                    if not process.running:
                        raise AssertionError(
                            f"{process.name} has ended with exit code {process.wait()}:\n{process.stderr_text}"
                        )
                if time.monotonic() > deadline:
                    logs = "".join(process.stderr_text for process in latest.values())
                    raise AssertionError(f"The cluster is not ready within {UNTIL_SECONDS:g} s ({reason}):\n{logs}")
                if client:
                    reason = self._reason_to_wait(client)
                elif self._has_keys():
                    client = closing.enter_context(
                        Client(self.front, timeout=STATUS_SECONDS, keys=self.environ[KEYS])
                    )
                else:
                    time.sleep(0.01)

    def _has_keys(self) -> bool:
        return self.environ[KEYS] == "off" or Path(self.environ[KEYS], "cluster.key").exists()

    def _reason_to_wait(self, client: "Client") -> str:
        """Return what is missing of a cluster that is ready, or an empty text."""
        try:
            status = client.status()
        except DualbusError as error:
            return str(error)
        missing = {process.name for process in self.processes if process.name != WEB}
        missing -= {process["name"] for process in status["processes"]}
        projected = status["lag_events"] == 0 and any(Path(self.environ["DUALBUS_DATA"]).glob("read-*.db"))
        if not projected and any(process.name == PROJECTOR for process in self.processes):
            return "the projector has not applied all events"
        return f"no heartbeat of {', '.join(sorted(missing))}" if missing else ""

    def __enter__(self) -> Self:
        __tracebackhide__ = True
        self._own_keys = KEYS not in os.environ
        if self._own_keys:
            os.environ[KEYS] = self.environ[KEYS]
        if self._temporary:
            try:
                if self._reacts is None and self._has_reactions():
                    self.names = (*PROCESSES, REACTOR)
                self.start()
                self.wait_until_ready()
            except BaseException:
                self._end()
                raise
        return self

    def _has_reactions(self) -> bool:
        from dualbus.application.loader import load  # not before: the pytest plugin must not import ZeroMQ

        try:
            return bool(load(self.environ["DUALBUS_APP"]).reactions)
        except FatalError:  # the processes report the mistake
            return False

    def __exit__(self, *error: object) -> None:
        self._end()

    def _end(self) -> None:
        if self._own_keys:
            del os.environ[KEYS]
        for process in self.processes:
            process.end()
        if self._temporary:
            self._temporary.cleanup()
