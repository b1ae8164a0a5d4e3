"""The failures of three hosts, one after another under load, with the longest gap of each.

python -m tests.machines.bars --seed 1
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from dualbus import Client, DualbusError
from dualbus.testing import until
from tests import keyring
from tests.faults.judge import judge
from tests.faults.load import PATIENCE_SECONDS, Load
from tests.machines.hosts import Host, Hosts, running_hosts
from tests.machines.networks import Network, allowed, networked_servers
from tests.machines.soak import Gaps, pause
from tests.machines.test_partitions import inside

CUT_SECONDS, STOP_SECONDS, DOWN_SECONDS = 15.0, 5.0, 30.0
CALL_SECONDS, LOAD_SECONDS = 30.0, 15.0


class Run(NamedTuple):
    """The hosts under load."""

    hosts: Hosts
    network: Network | None
    load: Load
    readers: "Readers"
    chance: random.Random


class Bar(NamedTuple):
    """A failure, its rounds, and the longest gap in seconds to arrive at."""

    failure: Callable[[Run], float | None]  # returns another measurement
    rounds: int
    seconds: float
    other: str = ""  # the other measurement, of which the table has the largest


class Readers:
    """A client at each gateway that queries all the time."""

    def __init__(self, hosts: Hosts) -> None:
        self._answered: list[list[float]] = [[time.monotonic()] for _ in hosts.hosts]
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._read, args=(host,)) for host in hosts.hosts]
        for thread in self._threads:
            thread.start()

    def _read(self, host: Host) -> None:
        with Client(host.front, timeout=2) as client:
            while not self._ended.wait(0.05):
                try:
                    client.query("GetUser", user_id="user-123")
                except DualbusError:
                    continue
                self._answered[host.number].append(time.monotonic())

    def gap(self, without: Host, since: float) -> float:
        """Return the longest time without an answer since a time, at all gateways but that of a host."""
        longest = 0.0
        for number, answered in enumerate(self._answered):
            times = [since, *(at for at in answered if at > since), time.monotonic()]
            if number != without.number:
                longest = max(longest, *(after - before for before, after in pairwise(times)))
        return longest

    def stop(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


def kill_commandbus(run: Run) -> None:
    run.hosts.active().restart("commandbus")


def leave(run: Run) -> float:
    """SIGTERM of the active commandbus."""
    host, before = run.hosts.active(), len(run.load.refusals)
    host.stop("commandbus")
    run.load.more(20)
    errors = [found for found in run.load.refusals[before:] if found["type"] == "error"]
    host.start("commandbus")
    return len(errors)


def kill_leader(run: Run) -> float:
    return _kill_host(run, next(host for host in run.hosts.hosts if host.server is run.hosts.servers.leader()))


def kill_host(run: Run) -> float:
    """Of a host that does not lead the stream."""
    leader = run.hosts.servers.leader()
    return _kill_host(run, run.chance.choice([host for host in run.hosts.hosts if host.server is not leader]))


def _kill_host(run: Run, host: Host) -> float:
    began = time.monotonic()
    host.kill_all()
    run.load.more(30)
    gap = run.readers.gap(host, began)
    host.start_all()
    return gap


def stop_commandbus(run: Run) -> None:
    pause(run.hosts.active(), "commandbus", STOP_SECONDS)


def stop_commandbus_and_server(run: Run) -> None:
    host = run.hosts.active()
    host.server.send(signal.SIGSTOP)
    pause(host, "commandbus", STOP_SECONDS)
    host.server.send(signal.SIGCONT)


def cut_off_writer(run: Run) -> float:
    return _cut_off(run, run.hosts.active())


def cut_off_leader(run: Run) -> float:
    return _cut_off(run, next(host for host in run.hosts.hosts if host.server is run.hosts.servers.leader()))


def cut_off_standby(run: Run) -> float:
    active = run.hosts.active()
    return _cut_off(run, run.chance.choice([host for host in run.hosts.hosts if host is not active]))


def _cut_off(run: Run, host: Host) -> float:
    assert run.network
    began = time.monotonic()
    run.network.cut(host.number, silent=run.chance.random() < 0.5)
    run.load.more(30)
    assert "acknowledged" not in inside(host)
    until(lambda: time.monotonic() - began > CUT_SECONDS)
    run.network.mend(host.number)
    mended = time.monotonic()
    run.hosts.active()
    assert all(each.process(name).running for each in run.hosts.hosts for name in each.names)
    return time.monotonic() - mended


def lose_majority(run: Run) -> float:
    """Two of three servers are down."""
    gone = run.chance.sample(run.hosts.servers.servers, 2)
    for server in gone:
        server.kill()
    time.sleep(DOWN_SECONDS)
    for server in gone:
        server.start()
    began = time.monotonic()
    run.load.more(1, 60)
    return time.monotonic() - began


def kill_gateway(run: Run) -> float:
    """Of a client that writes, and reads its own write."""
    host = run.chance.choice(run.hosts.hosts)
    others = [other.front for other in run.hosts.hosts if other is not host]
    with Client(",".join([host.front, *others]), timeout=CALL_SECONDS) as client:
        client.query("GetUser", user_id="user-123")
        host.kill("gateway")
        began = time.monotonic()
        result = client.command("CreateUser", name="own", email="own@example.com")
        payload = result.events[0]["payload"]
        assert client.query("GetUser", user_id=payload["id"]) == payload
        seconds = time.monotonic() - began
        host.start("gateway")
        return seconds


OTHERS, IN_LINE = "queries at the others, longest gap {:.1f} s", "in line {:.1f} s after the link"
BARS = [
    Bar(kill_commandbus, 20, 2),
    Bar(leave, 10, 0.5, "{:.0f} errors"),
    Bar(kill_host, 10, 3, OTHERS),
    Bar(kill_leader, 10, 10, OTHERS),
    Bar(stop_commandbus, 10, 10),
    Bar(stop_commandbus_and_server, 10, 10),
    # The load notices a killed gateway at its deadline only.
    Bar(kill_gateway, 20, LOAD_SECONDS + PATIENCE_SECONDS, "a client's command and query {:.1f} s"),
    Bar(cut_off_writer, 3, 10, IN_LINE),
    Bar(cut_off_leader, 3, 10, IN_LINE),
    Bar(cut_off_standby, 3, 10, IN_LINE),
    Bar(lose_majority, 2, DOWN_SECONDS + 10, "acknowledged again {:.1f} s after the start of the servers"),
]
TABLE = """\
| failure | rounds | longest gap | to arrive at | the worst round otherwise |
| --- | ---: | ---: | ---: | --- |"""


@contextmanager
def running(folder: Path) -> Iterator[tuple[Hosts, Network | None]]:
    """Start three hosts, in network namespaces where this is allowed."""
    if allowed():
        with networked_servers(folder) as (network, servers), running_hosts(folder, servers) as hosts:
            yield hosts, network
    else:
        with running_hosts(folder) as hosts:
            yield hosts, None


def bars(folder: Path, seed: int, names: list[str]) -> int:
    """Run the failures; print the table; return an exit code."""
    with running(folder) as (hosts, network):
        hosts.active()
        with Load(hosts.fronts, seed, sessions=9, timeout_ms=int(LOAD_SECONDS * 1000), settle_seconds=60) as load:
            run = Run(hosts, network, load, Readers(hosts), random.Random(seed))
            gaps = Gaps(load)
            print(TABLE, flush=True)
            try:
                for bar in BARS:
                    if not names or bar.failure.__name__ in names:
                        measure(bar, run, gaps)
            finally:
                run.readers.stop()
                gaps.stop()
        hosts.check_same()
        broken = [fault for host in hosts.hosts for fault in judge(load.history, host.data)]
    print(f"{load.acknowledged} acknowledged, {len(broken)} broken, {len(load.unknown)} unresolved")
    for fault in broken[:10]:
        print(fault)
    return 1 if broken or load.unknown else 0


def measure(bar: Bar, run: Run, gaps: Gaps) -> None:
    """Run the rounds of a failure; print its row."""
    name, others = bar.failure.__name__, []
    if name.startswith("cut_off") and not run.network:
        print(f"| {name} | 0 | | {bar.seconds:g} s | skipped: needs the right to make network namespaces |")
        return
    for _ in range(bar.rounds):
        run.load.more(run.chance.randrange(50, 300))
        gaps.fault = name
        others.append(bar.failure(run) or 0.0)
        run.load.more(30)
        gaps.fault = "none"
        until(lambda: all(server.ready for server in run.hosts.servers.servers), 60)
        run.hosts.active()
    row = (name, bar.rounds, f"{gaps.longest[name]:.1f} s", f"{bar.seconds:g} s", bar.other.format(max(others)))
    print(f"| {' | '.join(map(str, row))} |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--only", nargs="*", default=[], choices=[bar.failure.__name__ for bar in BARS])
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="db"))
    os.environ["DUALBUS_KEYS"] = str(keyring.FOLDER)
    try:
        return bars(folder, arguments.seed, arguments.only)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
