"""A storm: orders under kills and pauses of every process, and the loss of the reactor's file; then the judge.

python -m tests.reactions.storm --orders 50000 --seed 1
"""

import argparse
import asyncio
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dualbus import AsyncClient, DualbusError
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.testing import Cluster, until
from tests import keyring
from tests.conftest import ROOT
from tests.raw import RawClient
from tests.reactions.judge import History, judge, read
from tests.reactions.shop import PlaceOrder

NAMES = ("gateway", "commandbus", "reactor")
AT_ONCE = 200
TIMER_SECONDS = 3.0
END_SECONDS = 600.0


async def place_all(
    client: AsyncClient, orders: Sequence[str], rate: float, placed: Callable[[], None] = lambda: None
) -> None:
    """Place so many orders in a second, each until it is acknowledged."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def place(number: int, order: str) -> None:
        await asyncio.sleep(number / rate)
        async with slots:
            while True:
                try:
                    command = PlaceOrder(order=order, seconds=TIMER_SECONDS)
                    await client.command(command, idempotency_key=f"place-{order}")
                    return placed()
                except DualbusError:
                    await asyncio.sleep(0.1)

    await asyncio.gather(*(place(number, order) for number, order in enumerate(orders)))


class Storm:
    """A cluster under load and faults."""

    def __init__(self, folder: Path, orders: int, seed: int, pause: float, rate: float) -> None:
        self.orders = [f"o{number}" for number in range(orders)]
        self.faults = {"kills": 0, "pauses": 0, "files": 0}
        self.world = folder / "world"
        self.cluster = Cluster(folder, "tests.reactions.stormy:app", cwd=ROOT, timeout_ms="5000")
        self.cluster.environ["WORLD"] = str(self.world)
        self._chance = random.Random(seed)
        self._pause = pause  # mean seconds between two faults
        self._rate = rate  # orders in a second
        self._placed = 0

    def run(self) -> History:
        """Place all orders under faults, wait for the end, and return the history."""
        with self.cluster:
            self.cluster.start(*NAMES)
            asyncio.run(self._both())
            until(self._settled, END_SECONDS, "all reactions have finished")
            for name in NAMES:
                self.cluster.stop(name)
            return read(self.cluster.data, self.world)

    async def _both(self) -> None:
        load = asyncio.create_task(self._load())
        while not load.done():
            await asyncio.sleep(self._chance.uniform(0.5, 1.5) * self._pause)
            await asyncio.to_thread(self._fault)
        await load

    async def _load(self) -> None:
        async with AsyncClient(self.cluster.front, timeout=10) as client:
            await place_all(client, self.orders, self._rate, self._count)

    def _count(self) -> None:
        self._placed += 1

    def _fault(self) -> None:
        """Kill or pause a process; once, after half of the orders, remove the reactor's file."""
        self._check_processes()
        name = self._chance.choice((*NAMES, "reactor", "reactor"))
        if not self.faults["files"] and self._placed > len(self.orders) / 2:
            self.faults["files"] += 1
            self.cluster.kill("reactor")
            for path in self.cluster.data.glob("reactor.db*"):
                path.unlink()
            self.cluster.start("reactor")
        elif self._chance.random() < 0.7:
            self.faults["kills"] += 1
            self.cluster.restart(name)
        else:
            self.faults["pauses"] += 1
            process = self.cluster.process(name)
            process.send(signal.SIGSTOP)
            time.sleep(self._chance.uniform(0.2, 2.5))
            process.send(signal.SIGCONT)

    def _check_processes(self) -> None:
        for name in NAMES:
            process = self.cluster.process(name)
            if not process.running:
                raise SystemExit(f"{name} has ended by itself:\n{process.stderr_text[-2000:]}")

    def _settled(self) -> bool:
        """Return whether the reactor is idle at the head of the log, and all timers have fired."""
        time.sleep(0.5)
        self._check_processes()
        log = SqliteLogReader(self.cluster.data)
        head = log.head().position
        log.close()
        try:
            with RawClient(self.cluster.front) as raw:
                [reply] = raw.ask({"dest": "gateway", "body": {"type": "Status", "msg_id": 1}})
        except AssertionError:
            return False
        for one in reply["data"]["processes"]:
            if one["name"] == "reactor" and one.get("state") == "following":
                idle = one["timers"] == one["parked"] == one["waiting"] == one["under_way"] == one["lag_events"] == 0
                return bool(idle and one["position"] == head)
        return False


def main() -> int:
    """Run a storm of so many orders, print the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--orders", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause", type=float, default=3.0, help="mean seconds between two faults")
    parser.add_argument("--rate", type=float, default=300.0, help="orders in a second")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="db"))
    os.environ["DUALBUS_KEYS"] = str(keyring.FOLDER)
    began = time.monotonic()
    storm = Storm(folder, given.orders, given.seed, given.pause, given.rate)
    history = storm.run()
    broken = judge(history, storm.orders)
    counts = {"orders": given.orders, **storm.faults, "events": len(history.events), "effects": len(history.world)}
    print({**counts, "seconds": round(time.monotonic() - began), "broken": len(broken)})
    for sentence in broken[:20]:
        print(sentence)
    if broken:
        print(f"The data is in {folder}.")
    else:
        shutil.rmtree(folder)
    shutil.rmtree(keyring.FOLDER)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
