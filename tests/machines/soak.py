"""All faults at once, on three hosts under load: make soak-machines MINUTES=10 SEED=1; `--demo` kills hosts only."""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from dualbus.testing import until
from tests import keyring
from tests.faults.judge import Answer, judge
from tests.faults.load import Load
from tests.machines.hosts import Host, Hosts, running_hosts

Fault = Callable[[Hosts, Host, random.Random], None]
DOWN_SECONDS = 3.0


def kill_commandbus(hosts: Hosts, host: Host, chance: random.Random) -> None:
    host.restart("commandbus")


def stop_commandbus(hosts: Hosts, host: Host, chance: random.Random) -> None:
    pause(host, "commandbus", chance.uniform(0.5, 6))


def leave(hosts: Hosts, host: Host, chance: random.Random) -> None:
    host.stop("commandbus")
    host.start("commandbus")


def kill_gateway(hosts: Hosts, host: Host, chance: random.Random) -> None:
    host.restart("gateway")


def kill_readers(hosts: Hosts, host: Host, chance: random.Random) -> None:
    host.restart("projector")
    host.restart("querybus")


def kill_host(hosts: Hosts, host: Host, chance: random.Random) -> None:
    host.kill_all()
    time.sleep(chance.uniform(0, DOWN_SECONDS))
    host.start_all()


def kill_server(hosts: Hosts, host: Host, chance: random.Random) -> None:
    host.server.kill()
    time.sleep(chance.uniform(0, DOWN_SECONDS))
    host.server.start()


def stop_server(hosts: Hosts, host: Host, chance: random.Random) -> None:
    host.server.send(signal.SIGSTOP)
    time.sleep(chance.uniform(0.5, 6))
    host.server.send(signal.SIGCONT)


def lose_majority(hosts: Hosts, host: Host, chance: random.Random) -> None:
    others = [server for server in hosts.servers.servers if server is not host.server]
    for server in others:
        server.kill()
    time.sleep(chance.uniform(0, DOWN_SECONDS))
    for server in others:
        server.start()


FAULTS: list[Fault] = [
    *(kill_commandbus, kill_commandbus, stop_commandbus, leave, kill_gateway, kill_readers),
    *(kill_host, kill_host, kill_server, stop_server, lose_majority),
]


def pause(host: Host, name: str, seconds: float) -> None:
    process = host.process(name)
    process.send(signal.SIGSTOP)
    time.sleep(seconds)
    process.send(signal.SIGCONT)


class Gaps:
    """The longest time without an acknowledgement, for each fault."""

    def __init__(self, load: Load) -> None:
        self.longest: dict[str, float] = {}  # by the fault during which it ended, or lasts
        self.fault = "none"  # the present fault
        self._load = load
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        count, since = 0, time.monotonic()
        while not self._ended.wait(0.02):
            now = time.monotonic()
            if self._load.acknowledged != count:
                count, since = self._load.acknowledged, now
            self.longest[self.fault] = max(self.longest.get(self.fault, 0.0), now - since)

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()


def soak(folder: Path, seed: int, minutes: float, faults: list[Fault]) -> int:
    """Run; print the table; return an exit code."""
    chance = random.Random(seed)
    counts: Counter[str] = Counter()
    with running_hosts(folder) as hosts:
        hosts.active()
        with Load(hosts.fronts, seed, sessions=9, timeout_ms=15_000, settle_seconds=60) as load:
            gaps = Gaps(load)
            end = time.monotonic() + 60 * minutes
            while time.monotonic() < end:
                load.more(chance.randrange(50, 500))
                fault = chance.choice(faults)
                host = hosts.active() if chance.random() < 0.6 else chance.choice(hosts.hosts)
                gaps.fault = fault.__name__
                fault(hosts, host, chance)
                counts[fault.__name__] += 1
                until(lambda: all(server.ready for server in hosts.servers.servers), 60)
                hosts.active()
            gaps.stop()
        head = hosts.check_same()
        broken = [fault for host in hosts.hosts for fault in judge(load.history, host.data)]
    kinds = Counter(fault.kind for fault in broken)
    done = sum(one.answer is Answer.ACKNOWLEDGED for one in load.history)
    worst = max(gaps.longest, key=lambda name: gaps.longest[name])
    each = (f"{name} {count} (gap {gaps.longest[name]:.1f} s)" for name, count in sorted(counts.items()))
    print(f"\nseed {seed}; " + ", ".join(each))
    columns = [
        "acknowledged",
        "faults",
        "unresolved",
        "longest gap",
        "lost",
        "doubled",
        "stale",
        "other",
        "head on 3 hosts",
    ]
    other = sum(kinds.values()) - kinds["lost"] - kinds["doubled"] - kinds["stale"]
    values = [done, sum(counts.values()), len(load.unknown), f"{gaps.longest[worst]:.1f} s ({worst})"]
    values += [kinds["lost"], kinds["doubled"], kinds["stale"], other, head.position]
    print(f"| {' | '.join(columns)} |\n|{'---:|' * len(columns)}\n| {' | '.join(map(str, values))} |")
    for found in broken[:10]:
        print(found)
    return 1 if broken or load.unknown else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--demo", action="store_true", help="kill hosts only")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="db"))
    os.environ["DUALBUS_KEYS"] = str(keyring.FOLDER)
    try:
        return soak(folder, arguments.seed, arguments.minutes, [kill_host] if arguments.demo else FAULTS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
