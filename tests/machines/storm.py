"""A storm on three hosts: orders with timers and effects while hosts fail and reactors take over; then the judge.

python -m tests.machines.storm --orders 5000 --seed 1
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
from collections import Counter
from pathlib import Path

from dualbus import AsyncClient
from dualbus.testing import until
from tests import keyring
from tests.machines.hosts import Host, Hosts, running_hosts
from tests.machines.soak import kill_commandbus, kill_host, leave, stop_commandbus
from tests.raw import STATUS, RawClient
from tests.reactions.judge import History, judge, read
from tests.reactions.storm import END_SECONDS, place_all

APP = "tests.reactions.stormy:app"


def kill_reactor(hosts: Hosts, host: Host, chance: random.Random) -> None:
    host.restart("reactor")


def stop_reactor(hosts: Hosts, host: Host, chance: random.Random) -> None:
    """Pause a reactor for so long that another one may take over meanwhile."""
    process = host.process("reactor")
    process.send(signal.SIGSTOP)
    time.sleep(chance.uniform(0.5, 3))
    if chance.random() < 0.5:
        leave(hosts, host, chance)
        time.sleep(chance.uniform(0, 6))
    process.send(signal.SIGCONT)


FAULTS = [kill_commandbus, kill_host, kill_reactor, leave, leave, stop_commandbus, stop_reactor]


def storm(hosts: Hosts, orders: list[str], seed: int, rate: float) -> Counter[str]:
    """Place all orders under faults of the host that runs the reactions; return the number of each fault."""
    chance, counts = random.Random(seed), Counter[str]()

    async def load() -> None:
        async with AsyncClient(hosts.fronts, timeout=30) as client:
            await place_all(client, orders, rate)

    async def both() -> None:
        loading = asyncio.create_task(load())
        while not loading.done():
            fault = chance.choice(FAULTS)
            counts[fault.__name__] += 1
            host = await asyncio.to_thread(hosts.active)
            await asyncio.to_thread(fault, hosts, host, chance)
            await asyncio.sleep(chance.uniform(2, 12))
        await loading

    asyncio.run(both())
    return counts


def settled(hosts: Hosts) -> bool:
    """Return whether a reactor has finished all events, and all timers have fired."""
    time.sleep(0.5)
    found = []
    for host in hosts.hosts:
        with RawClient(host.front) as client:
            [answer] = client.ask(STATUS)
        found += [one for one in answer["data"]["processes"] if one.get("state") == "following" and "timers" in one]
    [one] = found
    return all(one[name] == 0 for name in ("timers", "parked", "waiting", "under_way", "lag_events"))


def run(folder: Path, number: int, seed: int, rate: float) -> int:
    """Run a storm; print the result, and each broken promise."""
    orders = [f"o{one}" for one in range(number)]
    world = folder / "world"
    os.environ["WORLD"] = str(world)
    began = time.monotonic()
    with running_hosts(folder / "hosts", app=APP) as hosts:
        for host in hosts.hosts:
            host.names = (*host.names, "reactor")
            host.start("reactor")
        counts = storm(hosts, orders, seed, rate)
        hosts.active()
        until(lambda: settled(hosts), END_SECONDS, "all reactions have finished")
        histories: list[History] = [read(host.data, world) for host in hosts.hosts]
    broken = [sentence for history in histories for sentence in judge(history, orders)]
    effects = Counter((line.what, line.position) for line in histories[0].world)
    repeated = sum(count - 1 for count in effects.values())
    print({
        "seed": seed, "orders": number, **counts, "events": len(histories[0].events), "effects": len(effects),
        "repeated effects": repeated, "seconds": round(time.monotonic() - began), "broken": len(broken),
    })  # fmt: skip
    print("\n".join(broken[:20]))
    return 1 if broken else 0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--orders", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--rate", type=float, default=50.0, help="orders in a second")
    given = parser.parse_args()
    os.environ["DUALBUS_KEYS"] = str(keyring.FOLDER)
    folder = Path(tempfile.mkdtemp(prefix="db"))
    (folder / "hosts").mkdir()
    try:
        code = run(folder, given.orders, given.seed, given.rate)
        if code:
            print(f"The data is in {folder}.")
        else:
            shutil.rmtree(folder)
        return code
    finally:
        shutil.rmtree(keyring.FOLDER)


if __name__ == "__main__":
    sys.exit(main())
