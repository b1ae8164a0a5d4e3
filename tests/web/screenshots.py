"""Takes the pictures of the page for the documents: python -m tests.web.screenshots

A cluster with the application `bank` executes commands and queries for a while, in the rhythm of a small team's day.
"""

import math
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page

from dualbus import Client, Rejected
from dualbus.testing import Cluster
from tests.conftest import ROOT
from tests.web.chromium import chromium, page_of
from tests.web.conftest import serving

SECONDS = 150
OWNERS = ("Ada", "Bob", "Cleo", "Dan", "Eve", "Faye")
PICTURES = {
    "cluster": "/",
    "events": "/page/events",
    "command": "/page/commands/find?find={position}",
    "try": "/page/try/GetAccount?run=1&field.account_id=account-1",
    "application": "/page/application",
    "rows": "/page/rows/statement",
}


def main() -> None:
    """Write a picture of each view into docs/."""
    with (
        tempfile.TemporaryDirectory(prefix="db") as folder,
        chromium() as browser,
        Cluster(Path(folder), "examples.bank:app", cwd=ROOT) as cluster,
        _load(serving(cluster)) as client,
    ):
        time.sleep(SECONDS)
        position = client.command("Deposit", account_id="account-1", cents=4200).position
        with page_of(browser, cluster, viewport={"width": 1280, "height": 905}) as (page, _):
            for name, path in PICTURES.items():
                _take(page, path.format(position=position), ROOT / "docs" / f"page-{name}.png")


def _take(page: Page, path: str, into: Path) -> None:
    page.goto(path)
    page.wait_for_timeout(3000)  # for the charts, and for the next of the repeated requests
    page.screenshot(path=into)
    sys.stdout.write(f"{into.relative_to(ROOT)}\n")


@contextmanager
def _load(cluster: Cluster) -> Iterator[Client]:
    ended = threading.Event()
    with Client(cluster.front) as client:
        threads = [threading.Thread(target=_work, args=(client, ended, seed)) for seed in range(4)]
        for thread in threads:
            thread.start()
        yield client
        ended.set()
        for thread in threads:
            thread.join()


def _work(client: Client, ended: threading.Event, seed: int) -> None:
    rng = random.Random(seed)
    accounts = ["account-1", "account-2"]
    while not ended.wait(rng.expovariate(12 + 8 * math.sin(time.monotonic() / 12))):
        source, target = rng.sample(accounts, 2)
        try:
            if rng.random() < 0.1:
                opened = client.command("OpenAccount", owner=rng.choice(OWNERS))
                accounts.append(opened.events[0]["payload"]["id"])
            elif rng.random() < 0.5:
                client.command("Deposit", account_id=source, cents=rng.randrange(500, 20_000))
            else:
                client.command("Transfer", source_id=source, target_id=target, cents=rng.randrange(100, 9_000))
        except Rejected:
            pass
        for _ in range(rng.randrange(4)):
            client.query("GetAccount", account_id=rng.choice(accounts))


if __name__ == "__main__":
    main()
