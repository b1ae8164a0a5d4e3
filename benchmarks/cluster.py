"""A separate dualbus cluster: four processes, free ports, a data folder."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, sleep
from typing import IO

from benchmarks import children, wire
from benchmarks.client import Client

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("gateway", "commandbus", "projector", "querybus")
STOP_SECONDS = 10.0
PATIENCE_MS = 60_000
LOOK_MS = 500


class Cluster:
    """`front` is the address for clients, the folder of the keys or "", and "" if messages have one frame: a#b#c.

    An earlier version may have no keys, and messages of two frames.
    """

    def __init__(self, folder: Path, source: Path = ROOT, *, keys: bool = True, app: str = "users:app") -> None:
        self.folder = folder
        self._source = source
        self.data = folder / "data"
        address, back, events, progress = children.free_addresses(4)
        [self.http_port] = children.free_ports(1)
        has_keys = keys and (source / "dualbus" / "transport" / "keys.py").exists()
        batches = source / "dualbus" / "protocol" / "batches.py"
        two_frames = "two frames" if "read_batch" not in batches.read_text() else ""
        self.front = f"{address}#{self.data / 'keys' if has_keys else ''}#{two_frames}"
        self._environment = {
            **os.environ,
            "DUALBUS_FRONT": address,
            "DUALBUS_BACK": back,
            "DUALBUS_EVENTS": events,
            "DUALBUS_PROGRESS": progress,
            "DUALBUS_DATA": str(self.data),
            "DUALBUS_APP": app,
        }
        if (source / "web").exists():  # an earlier version refuses settings that it does not have
            self._environment["DUALBUS_HTTP"] = f"http://127.0.0.1:{self.http_port}"
        if not keys:
            self._environment["DUALBUS_KEYS"] = "off"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def http_headers(self) -> str:
        """The header with the token for HTTP; empty for a version without tokens."""
        path = self.data / "keys" / "http.header"
        return path.read_text().replace("\n", "\r\n") if path.exists() else ""

    def start(self, *names: str, stdin: int = subprocess.DEVNULL, stdout: IO[bytes] | None = None) -> None:
        for name in names or NAMES:
            with (self.folder / f"{name}.log").open("ab") as log:
                self._processes[name] = subprocess.Popen(
                    [sys.executable, "-m", name],
                    cwd=self._source,
                    env=self._environment,
                    stdin=stdin,
                    stdout=stdout or log,
                    stderr=log,
                )

    def stop(self, *names: str) -> None:
        stopping = [self._processes.pop(name) for name in names or list(self._processes)]
        for process in stopping:
            process.terminate()
        for process in stopping:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def process(self, name: str) -> subprocess.Popen[bytes]:
        return self._processes[name]

    @property
    def pids(self) -> dict[str, int]:
        return {name: process.pid for name, process in self._processes.items()}

    def wait_until_working(self) -> None:
        """Wait until a command is answered and a query returns the new user."""
        client = Client(self.front)
        try:
            user = {"name": "First", "email": "first@example.com"}
            client.send([wire.pack_command(user, timeout_ms=PATIENCE_MS)])
            while not (replies := wire.unpack(self._first_answer(client))):
                pass  # an empty batch checks the connection of a waiting client
            [reply] = replies
            query = wire.pack_query(wire.created_id(reply), timeout_ms=PATIENCE_MS)
            wire.refuse_unless_good(client.ask(query, PATIENCE_MS))
        finally:
            client.close()

    def _first_answer(self, client: Client) -> bytes:
        """Wait for the first reply; raise ClusterError if a process exits first."""
        while not client.socket.poll(LOOK_MS):
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise wire.ClusterError(f"{name} ended with {process.returncode}.")
        return client.wait()

    def wait_until_visible(self, user_id: str) -> None:
        """Wait until a query of another session finds the user."""
        client = Client(self.front)
        end = perf_counter() + PATIENCE_MS / 1000
        try:
            while client.ask(wire.pack_query(user_id))["body"].get("data") is None:
                if perf_counter() > end:
                    raise wire.ClusterError(f"No query has found the user {user_id}.")
                sleep(0.01)
        finally:
            client.close()

    def last_words(self) -> str:
        """Return the last lines of the log of each process."""
        logs = {name: self.folder / f"{name}.log" for name in (*NAMES, "reactor")}
        return "\n".join(
            f"{name}: {' / '.join(log.read_text(errors='replace').splitlines()[-3:])}"
            for name, log in logs.items()
            if log.exists()
        )


@contextmanager
def running(folder: Path, source: Path = ROOT, *, keys: bool = True) -> Iterator[Cluster]:
    """Start a cluster with its data in the folder; stop the cluster at the end of the block."""
    with prepared(folder, source, keys=keys) as cluster:
        cluster.start()
        cluster.wait_until_working()
        yield cluster


@contextmanager
def prepared(folder: Path, source: Path = ROOT, *, keys: bool = True, app: str = "users:app") -> Iterator[Cluster]:
    """Prepare a cluster without starting processes. If the block raises, add the processes' logs to the error."""
    folder.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(folder, source, keys=keys, app=app)
    try:
        yield cluster
    except Exception as error:
        error.add_note(cluster.last_words())
        raise
    finally:
        cluster.stop()
