"""One machine beside three servers and three hosts, in turns within one run: python -m tests.machines.speed."""

import os
import shutil
import signal
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median

from dualbus.log.contract import Log
from dualbus.log.nats.address import read_address
from dualbus.log.nats.commit_log import NatsCommitLog
from dualbus.log.sqlite.shared import SharedLog
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.testing import Cluster
from dualbus.testing.log_contract import GENESIS, decided, event
from tests import keyring
from tests.conftest import ROOT
from tests.machines.hosts import running_hosts
from tests.machines.servers import running_servers
from tests.raw import RawClient, create, query

DATA = '{"id": "u-1", "name": "Somebody", "email": "somebody@example.com"}'


def main() -> None:
    os.environ["DUALBUS_KEYS"] = str(keyring.FOLDER)
    for measure in (logs, clusters):
        folder = Path(tempfile.mkdtemp(prefix="db"))
        try:
            measure(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def logs(folder: Path) -> None:
    """Append to both logs."""
    with ExitStack() as stack:
        servers = stack.enter_context(running_servers(folder, 3))
        commits = NatsCommitLog(read_address(servers.url()), create=True)
        both: dict[str, Log] = {
            "one machine": stack.enter_context(closing(SqliteLog(folder / "one", lambda secret: GENESIS))),
            "three servers": stack.enter_context(
                closing(SharedLog(folder / "three", commits, lambda secret: GENESIS, "h"))
            ),
        }
        for size, rounds in ((1, 200), (256, 60)):
            seconds: dict[str, list[float]] = {name: [] for name in both}
            for number in range(rounds):
                batch = [decided(f"{size}.{number}.{n}", event(f"user:{number}.{n}", data=DATA)) for n in range(size)]
                for name, log in both.items():
                    began = time.perf_counter()
                    log.append(batch)
                    seconds[name].append(time.perf_counter() - began)
            print(f"{size} commands:", ", ".join(f"{name} {median(s) * 1000:.2f} ms" for name, s in seconds.items()))


def clusters(folder: Path) -> None:
    """Send commands and queries to both clusters, of which all processes are on this machine."""
    (folder / "one").mkdir()
    (folder / "three").mkdir()
    with Cluster(folder / "one", cwd=ROOT) as one, running_hosts(folder / "three") as hosts:
        one.start()
        active = hosts.active()
        with RawClient(one.front) as first, RawClient(active.front) as second:
            compare({"one machine": first, "three hosts": second}, "all")
            for host in hosts.hosts:
                for process in host.processes if host is not active else ():
                    process.send(signal.SIGSTOP)
            compare({"one machine": first, "three hosts": second}, "standbys paused")


def compare(clients: dict[str, RawClient], title: str) -> None:
    """Print the median times of commands and queries, in turns."""
    for what, send, size, rounds in (
        ("commands at once", create_many, 2000, 12),
        ("command alone", create_many, 1, 300),
        ("queries at once", get_many, 2000, 12),
    ):
        seconds: dict[str, list[float]] = {name: [] for name in clients}
        for number in range(rounds):
            for name, client in clients.items():
                began = time.perf_counter()
                send(client, f"{title}.{size}.{number}", size)
                seconds[name].append(time.perf_counter() - began)
        one, three = (median(found) * 1000 for found in seconds.values())
        print(
            f"{title}, {size} {what}: one machine {one:.2f} ms, three hosts {three:.2f} ms; ratio {one / three:.2f}"
        )


def create_many(client: RawClient, name: str, size: int) -> None:
    """Send commands in one batch, and wait for the answers."""
    ids = [f"c{name}.{n}" for n in range(size)]
    client.send(*[create("Somebody", id_) for id_ in ids])
    assert all(reply["body"].get("success") for reply in client.wait_for(ids))


def get_many(client: RawClient, name: str, size: int) -> None:
    """Send queries in one batch, and wait for the answers."""
    ids = [f"q{name}.{n}" for n in range(size)]
    client.send(*[query("GetUser", id_, user_id="user-123") for id_ in ids])
    assert all(reply["body"].get("data") for reply in client.wait_for(ids))


if __name__ == "__main__":
    main()
