"""A deployment with another read model, while clients send commands and queries."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from dualbus.log.contract import Decision, NewEvent
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.testing import Cluster, until
from tests.damage import damage
from tests.faults.seeing import process_status
from tests.raw import RawClient, command, query

SOURCE = """
import time
from pathlib import Path
from collections.abc import Iterator
from dualbus import App, Command, Event, Past, Projection, Query, ReadOnlyTables, Tables, Text

class Sell(Command):
    item: Text

class Sold(Event):
    item: str

class Report(Query):
    pass

def sell(command: Sell, past: Past) -> Iterator[Sold]:
    yield Sold(item=command.item)

def count(event: Sold, tables: Tables):
    if event.item == "held":
        while Path("hold-VERSION").exists():
            time.sleep(0.01)
    if event.item == "poison" and Path("raise").exists():
        raise ValueError("I do not count poison")
    tables.execute("INSERT INTO counts VALUES (?, 1) ON CONFLICT DO UPDATE SET n = n + 1", (event.item,))

def list_(event: Sold, tables: Tables):
    tables.execute("INSERT INTO sales (item) VALUES (?)", (event.item,))

def report(query: Report, tables: ReadOnlyTables):
    counted, listed = tables.one("SELECT sum(n) AS n FROM counts"), tables.one("SELECT max(id) AS n FROM sales")
    return {"version": VERSION, "counted": counted["n"], "listed": listed["n"]}

COUNTS = "CREATE TABLE counts (item TEXT PRIMARY KEY, n INTEGER)"
SALES = "CREATE TABLE sales (id INTEGER PRIMARY KEY, item TEXT)"
app = App(
    commands=[sell],
    projections=[
        Projection("counts", version=VERSION, tables=COUNTS, on=[count]),
        Projection("sales", version=1, tables=SALES, on=[list_]),
    ],
    queries=[report],
)
"""
FEW, MANY = 20, int(os.environ.get("DUALBUS_TEST_SALES", "20000"))


class Shop:
    """A cluster with a log of sales, and two versions of its application."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.folder = cluster.folder
        for version in ("1", "2", "3"):
            (self.folder / f"shop{version}.py").write_text(SOURCE.replace("VERSION", version))
        cluster.environ["DUALBUS_APP"] = "shop1:app"

    def fill(self, number: int) -> None:
        """Write a log with this number of sales."""
        log = SqliteLog(self.cluster.data, lambda secret: Decision("genesis", "2026-01-01", []))
        for first in range(0, number, 1000):
            sales = range(first, min(first + 1000, number))
            events = [NewEvent("Sold", f'{{"item":"i{at % 100}"}}', ()) for at in sales]
            log.append([Decision(f"k{at}", "2026-01-01", [one]) for at, one in zip(sales, events, strict=True)])
        log.close()

    def build(self, *options: str, version: int = 2) -> subprocess.CompletedProcess[str]:
        """Run `dualbus build` with the second version, or another."""
        return subprocess.run(
            [sys.executable, "-m", "dualbus", "build", *options],
            cwd=self.folder,
            env=self.cluster.environ | {"DUALBUS_APP": f"shop{version}:app"},
            capture_output=True,
            text=True,
        )

    def restart(self, *names: str, version: int = 2) -> None:
        """Stop processes, and start them with a version."""
        self.cluster.environ["DUALBUS_APP"] = f"shop{version}:app"
        for name in names:
            assert self.cluster.stop(name) == 0
        self.cluster.start(*names)

    def read_models(self) -> set[str]:
        return {path.name for path in self.cluster.data.glob("read-*.db")}


@pytest.fixture
def shop(folder: Path) -> Iterator[Shop]:
    with Cluster(folder, cwd=folder) as cluster:
        yield Shop(cluster)


class Visitor:
    """A client that sells and asks, again and again, from a thread of its own."""

    def __init__(self, front: str) -> None:
        self.front = front
        self.answers: list[dict[str, Any]] = []
        self.slowest = 0.0  # seconds, of a query: for a person who reads this, not for the test
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._visit)

    def _visit(self) -> None:
        with RawClient(self.front) as client:
            for number in count():
                if self.stopped.is_set():
                    return
                if number % 10 == 0:
                    client.ask(command("Sell", item="sold"))
                began = time.monotonic()
                self.answers += client.ask(query("Report"))
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.stopped.wait(0.005)

    def __enter__(self) -> "Visitor":
        self.thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.stopped.set()
        self.thread.join()


def test_every_query_is_answered_through_a_deployment_with_another_read_model(shop: Shop) -> None:
    # Given many sales, and a client that sells and asks all the while
    shop.fill(MANY)
    shop.cluster.start()
    with Visitor(shop.cluster.front) as visitor:
        until(lambda: len(visitor.answers) > 10, seconds=100)
        assert visitor.answers[0]["data"]["version"] == 1
        visitor.slowest = 0.0  # the first query has waited for the first build

        # When the new read model is built beside the running cluster, and then projector and querybus are restarted
        built = shop.build("--compare")
        shop.restart("projector", "querybus")
        until(lambda: visitor.answers[-1]["data"]["version"] == 2)
        seen = len(visitor.answers)
        until(lambda: len(visitor.answers) > seen + 10)
    print(f"the slowest query took {visitor.slowest:.2f} s")

    # Then the build has shown that no row differs, and has copied what did not change
    assert (built.returncode, built.stderr.count("Copied the tables of sales")) == (0, 1), built
    assert "counts: 101 rows before, 101 rows after; 0 only before, 0 only after" in built.stdout
    # And no query was refused, or answered from earlier rows than the one before
    answers = [answer["data"] for answer in visitor.answers]
    counted = [answer["counted"] for answer in answers]
    assert counted == sorted(counted)
    assert all(answer["counted"] == answer["listed"] for answer in answers)
    # And the projector had nothing to build
    assert "Building" not in shop.cluster.process("projector").stderr_text


def test_a_stopped_querybus_returns_the_queries_that_wait_for_a_stopped_projector(shop: Shop) -> None:
    # Given a query for the position of a command, which the stopped projector has not reached
    shop.cluster.start()
    with RawClient(shop.cluster.front) as client, RawClient(shop.cluster.front) as other:
        client.ask(query("Report"))
        shop.cluster.stop("projector")
        client.ask(command("Sell", item="new"))
        client.send(query("Report", "waits"))
        until(lambda: process_status(other, "querybus")["in_flight"] == 1)

        # When querybus is stopped and both are started again, then querybus has returned the query, which is answered
        shop.restart("querybus", version=1)
        shop.cluster.start("projector")
        assert client.wait_for(["waits"])[0]["body"]["data"] == {"version": 1, "counted": 1, "listed": 1}
        assert "with 1 in flight" not in shop.cluster.process("gateway").stderr_text


def test_a_cluster_that_stops_answers_the_queries_that_its_projector_still_reaches(shop: Shop) -> None:
    # Given a query that waits for a paused projector
    shop.cluster.start()
    with RawClient(shop.cluster.front) as client, RawClient(shop.cluster.front) as other:
        client.ask(query("Report"))
        until(lambda: process_status(other, "projector")["uptime_s"] > 0.5)  # and so the gateway's heartbeats arrive
        shop.cluster.process("projector").send(signal.SIGSTOP)
        client.ask(command("Sell", item="new"))
        client.send(query("Report", "waits"))
        until(lambda: process_status(other, "querybus")["in_flight"] == 1)

        # When the whole cluster is stopped, and the projector goes on
        for name in ("projector", "gateway", "commandbus", "querybus"):
            shop.cluster.process(name).send(signal.SIGTERM)
        shop.cluster.process("projector").send(signal.SIGCONT)

        # Then the query is answered
        assert client.wait_for(["waits"])[0]["body"].get("data") == {"version": 1, "counted": 1, "listed": 1}


def test_an_operator_builds_again_and_goes_back(shop: Shop) -> None:
    # Given a running cluster, and a new read model that was built beside it some time ago
    shop.fill(FEW)
    shop.cluster.start()
    with RawClient(shop.cluster.front) as client:
        assert client.ask(query("Report"))[0]["data"] == {"version": 1, "counted": FEW, "listed": FEW}
        assert shop.build().returncode == 0
        client.ask(*[command("Sell", item="new")] * 3, query("Report"))

        # When it is built again, then it has the events since
        again = shop.build()
        assert f"all events up to position {FEW + 3}" in again.stdout
        assert len(shop.read_models()) == 2

        # When the version is deployed, then there is no more to build, and the way back is as short
        shop.restart("projector", "querybus")
        assert client.ask(query("Report"))[0]["data"]["version"] == 2
        assert shop.build().stdout.startswith("No build is needed: another process writes read-")
        client.ask(command("Sell", item="newer"))
        shop.restart("projector", "querybus", version=1)
        assert client.ask(query("Report"))[0]["data"] == {"version": 1, "counted": FEW + 4, "listed": FEW + 4}
        assert len(shop.read_models()) == 2


def test_a_build_is_compared_with_the_read_model_in_use_and_not_with_an_earlier_build(shop: Shop) -> None:
    # Given a running version, and a build of another that was never deployed
    shop.fill(FEW)
    shop.cluster.start()
    with RawClient(shop.cluster.front) as client:
        client.ask(query("Report"))
    [running] = shop.read_models()
    assert shop.build().returncode == 0

    # When a third version is built, then it is compared with the running version
    built = shop.build("--compare", "--keep", "2", version=3)
    assert f"Compared with {running} at position {FEW}:" in built.stdout, built

    # And without a projector, the comparison says that no process writes the other read model
    shop.cluster.stop("projector")
    assert ", which no process writes, at position" in shop.build("--compare", "--keep", "2", version=3).stdout


def test_while_a_new_projector_builds_the_querybus_of_before_answers_from_its_rows(shop: Shop) -> None:
    # Given a projector of a new version, in the middle of a build
    shop.fill(FEW)
    shop.cluster.start()
    with RawClient(shop.cluster.front) as client, RawClient(shop.cluster.front) as other:
        client.ask(command("Sell", item="held"), query("Report"))
        (shop.folder / "hold-2").touch()
        shop.restart("projector")
        until(lambda: list(shop.cluster.data.glob("building-read-*.db")), what="the projector builds")

        # Then the querybus of the version before answers from its rows
        old = {"version": 1, "counted": FEW + 1, "listed": FEW + 1}
        assert client.ask(query("Report"))[0]["data"] == old
        # And whoever has seen a later position is refused, with the reason
        (shop.folder / "hold-2").unlink()
        until(lambda: len(shop.read_models()) == 2)
        assert client.ask(command("Sell", item="later"))[0]["success"]
        until(lambda: "another version" in refusal(client))
        assert refusal(client) == (
            f"The read model of this querybus stays at position {FEW + 1}, because the projector runs another "
            f"version of the application, and is at position {FEW + 2}: restart querybus with that version. "
            f"You have seen position {FEW + 2}. Try again."
        )
        # And the others are answered still
        assert other.ask(query("Report"))[0]["data"]["version"] == 1

        # When querybus is restarted too, everybody is answered
        shop.restart("querybus")
        assert client.ask(query("Report"))[0]["data"] == {"version": 2, "counted": FEW + 2, "listed": FEW + 2}


def refusal(client: RawClient) -> str:
    """Return the text that a query with a short deadline is refused with."""
    [answer] = client.ask({**query("Report"), "timeout_ms": 300})
    assert answer["code"] == 11, answer
    return str(answer["text"])


def test_a_projector_waits_for_a_build_of_its_read_model(shop: Shop) -> None:
    # Given a build that is held in the middle
    shop.fill(FEW)
    shop.cluster.start()
    with RawClient(shop.cluster.front) as client:
        client.ask(command("Sell", item="held"), query("Report"))
        (shop.folder / "hold-2").touch()
        build = threading.Thread(target=shop.build)
        build.start()
        until(lambda: list(shop.cluster.data.glob("building-read-*.db")))

        # When the projector of that version is started, then it waits, and goes on with the file that was built
        shop.restart("projector", "querybus")
        until(lambda: "Waiting until the read model is built" in shop.cluster.process("projector").stderr_text)
        (shop.folder / "hold-2").unlink()
        assert client.ask(query("Report"))[0]["data"] == {"version": 2, "counted": FEW + 1, "listed": FEW + 1}
        build.join()
        assert "Building" not in shop.cluster.process("projector").stderr_text


def test_a_projector_builds_a_new_read_model_if_a_page_of_the_file_is_damaged(shop: Shop) -> None:
    # Given a read model with a damaged page, which has rows of a projection
    shop.fill(FEW)
    shop.cluster.start()
    with RawClient(shop.cluster.front) as client:
        client.ask(query("Report"))
        shop.cluster.stop("projector")
        shop.cluster.stop("querybus")
        [name] = shop.read_models()
        damage(shop.cluster.data / name, "counts")
        shop.cluster.start("projector", "querybus")

        # When a projection writes this table
        client.ask(command("Sell", item="later"))

        # Then all rows are there again, and the log of the projector names the file and not the projection
        def report() -> Any:
            return client.ask(query("Report"))[0].get("data")

        until(lambda: report() == {"version": 1, "counted": FEW + 1, "listed": FEW + 1})
        log = shop.cluster.process("projector").stderr_text
        assert f"{name} cannot be read (database disk image is malformed). Building a new read model." in log
        assert "Projection" not in log


def test_whoever_waits_for_a_later_position_is_told_which_projection_raises(shop: Shop) -> None:
    shop.fill(FEW)
    (shop.folder / "raise").touch()
    shop.cluster.start()
    with RawClient(shop.cluster.front) as client:
        client.ask(query("Report"))
        client.ask(command("Sell", item="poison"), command("Sell", item="after"))

        until(lambda: "Projection" in refusal(client))
        assert refusal(client) == (
            f"The read model has not caught up: it is at position {FEW}. Projection counts raised ValueError at "
            f"position {FEW + 1} (Sold); the log of the projector has the details. "
            f"You have seen position {FEW + 2}. Try again."
        )

        (shop.folder / "raise").unlink()
        assert client.ask(query("Report"))[0]["data"]["counted"] == FEW + 2


def test_a_build_that_cannot_apply_an_event_names_the_event_and_leaves_everything_as_it_was(shop: Shop) -> None:
    shop.fill(FEW)
    shop.cluster.start()
    with RawClient(shop.cluster.front) as client:
        client.ask(command("Sell", item="poison"), query("Report"))
        (shop.folder / "raise").touch()

        built = shop.build()

        assert (built.returncode, built.stdout) == (1, "")
        assert f"Projection counts raised ValueError at position {FEW + 1} (Sold)" in built.stderr
        assert "I do not count poison" in built.stderr
        assert len(shop.read_models()) == 1
        assert client.ask(query("Report"))[0]["data"]["counted"] == FEW + 1


def test_the_rows_that_differ_are_shown(shop: Shop) -> None:
    shop.fill(FEW)
    changed = shop.folder / "shop2.py"
    changed.write_text(changed.read_text().replace('n = n + 1", (event.item,))', 'n = n + 1", (event.item[:2],))'))
    shop.cluster.start()
    with RawClient(shop.cluster.front) as client:
        client.ask(query("Report"))
        assert shop.build("--compare").stdout.splitlines()[1:-1] == [
            "counts: 20 rows before, 10 rows after; 11 only before, 1 only after",
            "  - item='i1', n=1",
            "  - item='i10', n=1",
            "  - item='i11', n=1",
            "  + item='i1', n=11",
            "sales: 20 rows before, 20 rows after; 0 only before, 0 only after",
        ]
