"""Timers that come due while the whole cluster is down: each fires once after the start, unless it was cancelled.

python -m tests.reactions.overdue --timers 100000
"""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from dualbus import AsyncClient
from dualbus.reactions.store import Counts, ReactionStore
from dualbus.testing import Cluster, until
from tests import keyring
from tests.conftest import ROOT
from tests.reactions.judge import History, read, timers
from tests.reactions.shop import PlaceOrder, ReceivePayment

NAMES = ("gateway", "commandbus", "reactor")
AT_ONCE = 500
CANCELLED = 4  # every fourth timer


class Overdue:
    """A cluster that is down while its timers come due."""

    def __init__(self, folder: Path, count: int, seconds: float) -> None:
        self.seconds_to_last = 0.0  # from the start to the last timer
        self._count = count
        self._due = time.time() + seconds
        self._cluster = Cluster(folder, "tests.reactions.shop:app", cwd=ROOT)

    def run(self) -> History:
        """Set and cancel timers, stop all processes until the timers are due, start them, return the history."""
        with self._cluster:
            self._cluster.start(*NAMES)
            asyncio.run(self._place())
            until(lambda: self._pending() == self._count - len(range(0, self._count, CANCELLED)), 600)
            for name in NAMES:
                self._cluster.kill(name)
            if (late := time.time() - self._due) > 0:
                raise SystemExit(f"The timers were due {late:.0f} s too early: use more --seconds.")
            time.sleep(self._due - time.time() + 1)
            began = time.monotonic()
            self._cluster.start(*NAMES)
            until(lambda: self._pending() == 0, 600)
            self.seconds_to_last = time.monotonic() - began
            return read(self._cluster.data, self._cluster.folder / "world")

    async def _place(self) -> None:
        slots = asyncio.Semaphore(AT_ONCE)
        async with AsyncClient(self._cluster.front, timeout=60) as client:
            await asyncio.gather(*(self._order(client, slots, number) for number in range(self._count)))

    async def _order(self, client: AsyncClient, slots: asyncio.Semaphore, number: int) -> None:
        async with slots:
            await client.command(PlaceOrder(order=f"o{number}", seconds=self._due - time.time()))
            if number % CANCELLED == 0:
                await client.command(ReceivePayment(order=f"o{number}"))

    def _pending(self) -> int:
        time.sleep(0.2)
        if not (self._cluster.data / "reactor.db").exists():
            return -1
        store = ReactionStore(self._cluster.data)
        found = store.counts().get("orders", Counts(-1)).timers
        store.close()
        return found


def main() -> int:
    """Run, and print the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--timers", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=600.0, help="until all timers are due")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="db"))
    os.environ["DUALBUS_KEYS"] = str(keyring.FOLDER)
    overdue = Overdue(folder, given.timers, given.seconds)
    broken = timers(overdue.run())
    print({"timers": given.timers, "seconds to the last": round(overdue.seconds_to_last, 1), "broken": len(broken)})
    for sentence in broken[:20]:
        print(sentence)
    shutil.rmtree(folder)
    shutil.rmtree(keyring.FOLDER)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
