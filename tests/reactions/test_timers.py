"""Timers: each fires once, at its time, not after a cancellation; also when all was down."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import pytest

from dualbus import App, Every, Reaction
from dualbus.cli.main import main
from dualbus.log.contract import Origin, Outcome
from dualbus.log.identity import Identity
from dualbus.protocol.origin import MARK
from dualbus.reactions.store import Changes, Progress, ReactionStore, Removed, Timer
from dualbus.reactor.timers import Timers
from dualbus.testing import until
from tests.reactions.conftest import Shop
from tests.reactions.shop import COMMANDS, CancelOrder, PlaceOrder, ReceivePayment, ShipOrder

CLOSE = CancelOrder(order="all")
Make = Callable[..., Shop]
Dualbus = Callable[..., str]


def timers(one: Shop, run: Dualbus) -> list[dict[str, Any]]:
    if not one.cluster.data.joinpath("reactor.db").exists():
        return []
    return [json.loads(line) for line in run(one, "timers", "list", "--json").splitlines()]


def cancelled(one: Shop) -> list[str]:
    return [order for type_, order in one.events() if type_ == "OrderCancelled"]


def test_a_timer_fires_once_at_its_time(shop: Make, run: Dualbus) -> None:
    one = shop()
    one.start()

    one.client.command(PlaceOrder(order="a", seconds=1))
    until(lambda: [timer["name"] for timer in timers(one, run)] == ["unpaid/a"])

    until(lambda: cancelled(one) == ["a"])
    until(lambda: timers(one, run) == [])
    one.cluster.restart("reactor")
    until(lambda: one.status().get("state") == "following" and one.status().get("lag_events") == 0)
    assert cancelled(one) == ["a"]
    assert one.records()[-1][2] == "orders/1/1"


def test_timers_that_were_due_while_all_was_down_fire_and_cancelled_timers_do_not(shop: Make, run: Dualbus) -> None:
    # Given timers, of which one is cancelled by an event that the reactor has not read
    one = shop()
    one.start()
    for order in ("a", "b"):
        one.client.command(PlaceOrder(order=order, seconds=1))
    until(lambda: len(timers(one, run)) == 2)
    one.cluster.kill("reactor")
    one.client.command(ReceivePayment(order="a"))
    one.client.command(PlaceOrder(order="c", seconds=0))
    for name in ("gateway", "commandbus"):
        one.cluster.kill(name)

    # When all start again
    one.start()

    until(lambda: sorted(cancelled(one)) == ["b", "c"])
    until(lambda: timers(one, run) == [] and one.status().get("lag_events") == 0)
    assert sorted(cancelled(one)) == ["b", "c"]
    assert one.status()["refused"] == 0  # and the command of the cancelled timer was not sent


def test_timers_are_derived_from_the_log_when_the_file_is_lost(shop: Make, run: Dualbus) -> None:
    # Given a timer that has fired, a cancelled, and a pending timer
    one = shop()
    one.start()
    one.client.command(PlaceOrder(order="fired", seconds=0))
    one.client.command(PlaceOrder(order="paid"))
    one.client.command(PlaceOrder(order="pending"))
    one.client.command(ReceivePayment(order="paid"))
    until(lambda: cancelled(one) == ["fired"])
    until(lambda: [timer["name"] for timer in timers(one, run)] == ["unpaid/pending"])
    before = timers(one, run)
    assert one.cluster.stop("reactor") == 0

    for path in one.cluster.data.glob("reactor.db*"):
        path.unlink()
    one.cluster.start("reactor")

    until(lambda: timers(one, run) == before)
    until(lambda: one.status().get("lag_events") == 0)
    assert cancelled(one) == ["fired"]


def test_an_operator_lists_fires_and_cancels_timers_and_the_log_remembers(shop: Make, run: Dualbus) -> None:
    one = shop()
    one.start()
    for order in ("a", "b"):
        one.client.command(PlaceOrder(order=order))
    until(lambda: [timer["name"] for timer in timers(one, run)] == ["unpaid/a", "unpaid/b"])

    run(one, "timers", "fire", "orders", "unpaid/a")
    until(lambda: cancelled(one) == ["a"])
    run(one, "timers", "cancel", "orders", "unpaid/b")
    until(lambda: timers(one, run) == [])

    # Also when the timers are derived from the log: a mark has the key of the cancelled command
    one.client.command(PlaceOrder(order="c"))
    assert one.cluster.stop("reactor") == 0
    for path in one.cluster.data.glob("reactor.db*"):
        path.unlink()
    one.cluster.start("reactor")
    until(lambda: [timer["name"] for timer in timers(one, run)] == ["unpaid/c"])
    assert cancelled(one) == ["a"]


def test_controls_in_the_name_of_a_timer_are_escaped(shop: Make, run: Dualbus) -> None:
    one = shop()
    one.start()
    order = "\x1b[2J\x9b1m\u202e\r\n\x7f"
    one.client.command(PlaceOrder(order=order))
    until(lambda: [timer["name"] for timer in timers(one, run)] == [f"unpaid/{order}"])

    escaped = r"unpaid/\u001b[2J\u009b1m\u202e\u000d\u000a\u007f"
    assert f" {escaped} " in run(one, "timers", "list")
    assert run(one, "timers", "cancel", "orders", f"unpaid/{order}") == (
        f"The running reactor cancels {escaped} within a second.\n"
    )


def test_a_schedule_executes_the_last_missed_time_once_and_continues_in_the_future(shop: Make, run: Dualbus) -> None:
    # Given a schedule for each new year, three years ago
    one = shop("tests.reactions.shop:cleaned")
    one.start()
    one.client.command(PlaceOrder(order="old"))
    until(lambda: len(timers(one, run)) == 1)
    [before] = timers(one, run)
    assert before["due"] > datetime.now(UTC).isoformat() and before["due"].endswith("-01-01T03:00:00+00:00")
    assert one.cluster.stop("reactor") == 0
    store = ReactionStore(one.cluster.data)
    [row] = store.timers()
    due = int(datetime(2023, 1, 1, 3, tzinfo=UTC).timestamp() * 1_000_000)
    store.write(Changes(timers=[row._replace(due=due, key="cleaning/2023-01-01T03:00Z/CancelOrder")]))
    store.close()

    one.cluster.start("reactor")

    until(lambda: cancelled(one) == ["old"])
    year = datetime.now(UTC).year
    assert one.records()[-1][2] == f"cleaning/{year}-01-01T03:00Z/CancelOrder"
    until(lambda: timers(one, run) == [before])


def test_a_schedule_does_not_execute_a_time_before_its_first_start_without_its_file(shop: Make, run: Dualbus) -> None:
    one = shop("tests.reactions.shop:cleaned")
    one.start()
    one.client.command(PlaceOrder(order="old"))
    until(lambda: len(timers(one, run)) == 1)
    before = timers(one, run)
    assert one.cluster.stop("reactor") == 0
    for path in one.cluster.data.glob("reactor.db*"):
        path.unlink()

    one.cluster.start("reactor")

    until(lambda: timers(one, run) == before)
    assert cancelled(one) == []


class Calendar:
    """The schedules of a reaction on a log, with a file that may be lost."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.marks: dict[str, Outcome] = {}

    async def mark(self, key: str, metadata: dict[str, str]) -> Outcome:
        return self.marks.setdefault(key, Outcome(key, None, 1, 0, [], Origin(MARK, metadata=metadata)))

    def lose(self) -> None:
        for path in self.folder.glob("reactor.db*"):
            path.unlink()

    def start(self, time: str, *schedules: Every) -> dict[str, str]:
        """Start a version of the reaction; return the next time of each schedule."""
        app = App(commands=COMMANDS, reactions=[Reaction("calendar", on=schedules, since="now")])
        store = ReactionStore(self.folder, Identity("log", "life"))
        commands: Any = self
        nothing: Any = None
        timers = Timers(app, nothing, app.reactors["calendar"], store, commands, nothing, nothing)
        asyncio.run(timers.begin(datetime.fromisoformat(f"{time}+00:00")))
        found = {row.name: datetime.fromtimestamp(row.due / 1e6, UTC) for row in store.timers()}
        store.close()
        return {name: f"{due:%Y-%m-%dT%H:%M}" for name, due in found.items()}


DAILY, MONTHLY = Every("0 3 * * *", CLOSE), Every("0 3 1 * *", ShipOrder(order="all"))


@pytest.mark.parametrize(("started", "due"), [("05-01T00:00", "05-03T03:00"), ("05-03T04:00", "05-04T03:00")])
def test_without_a_file_a_schedule_begins_with_the_last_time_since_its_start(
    tmp_path: Path, started: str, due: str
) -> None:
    calendar = Calendar(tmp_path)
    calendar.start(f"2026-{started}", DAILY)
    calendar.lose()

    assert calendar.start("2026-05-03T12:00", DAILY) == {"CancelOrder": f"2026-{due}"}
    # and an earlier time in the file stays
    assert calendar.start("2026-06-02T12:00", DAILY) == {"CancelOrder": f"2026-{due}"}


def test_a_schedule_continues_after_a_clock_that_was_a_year_ahead(tmp_path: Path) -> None:
    calendar = Calendar(tmp_path)
    calendar.start("2026-05-01T12:00", DAILY)
    calendar.lose()
    assert calendar.start("2027-05-03T12:00", DAILY) == {"CancelOrder": "2027-05-03T03:00"}

    assert calendar.start("2026-05-03T12:00", DAILY) == {"CancelOrder": "2026-05-04T03:00"}


def test_a_failed_timer_is_tried_again_after_a_clock_that_was_a_year_ahead(tmp_path: Path) -> None:
    year, hour = 365 * 24 * 3600 * 1_000_000, 3600 * 1_000_000
    start = int(datetime(2026, 5, 3, 12, tzinfo=UTC).timestamp() * 1_000_000)
    later = Timer("calendar", 0, "later", start + year, "calendar/1/0", 1, "CancelOrder", "{}", "{}")
    failed = later._replace(name="failed", tries=1, error="no")
    store = ReactionStore(tmp_path, Identity("log", "life"))
    store.write(Changes(timers=[later, later._replace(name="failed"), failed]))
    store.close()

    calendar = Calendar(tmp_path)
    calendar.start("2026-05-03T12:00", DAILY)

    store = ReactionStore(tmp_path)
    found = {row.name: row.due for row in store.timers() if not row.schedule}
    assert found == {"failed": start + hour, "later": start + year}
    store.close()


def test_a_schedule_that_is_added_or_changed_begins_with_the_next_time(tmp_path: Path) -> None:
    calendar = Calendar(tmp_path)
    calendar.start("2026-04-20T12:00", DAILY)

    # When a schedule is added, or a command renamed
    expected = {"CancelOrder": "2026-04-21T03:00", "ShipOrder": "2026-06-01T03:00"}
    assert calendar.start("2026-05-15T12:00", DAILY, MONTHLY) == expected
    renamed = Every(DAILY.schedule, MONTHLY.command)
    assert calendar.start("2026-05-15T12:00", renamed) == {"ShipOrder": "2026-05-16T03:00"}

    # Then the loss of the file does not bring back a time before the change, but a missed time since then
    calendar.lose()
    assert calendar.start("2026-05-15T13:00", renamed) == {"ShipOrder": "2026-05-16T03:00"}
    calendar.lose()
    assert calendar.start("2026-06-02T12:00", DAILY, MONTHLY)["ShipOrder"] == "2026-06-01T03:00"


def test_a_fired_timer_does_not_remove_a_later_timer_of_the_same_name(tmp_path: Path) -> None:
    store = ReactionStore(tmp_path, Identity("log", "life"))
    first = Timer("orders", 0, "unpaid", 5, "orders/1/0", 1, "CancelOrder", "{}", "{}")
    second = first._replace(key="orders/2/0", due=9)
    store.write(Changes(timers=[first, second]))

    store.write(Changes(timers=[Removed("orders", "unpaid", 0, "orders/1/0"), first._replace(due=7, tries=1)]))
    assert store.timers() == [second]
    store.write(Changes(timers=[Removed("orders", "unpaid")]))

    assert store.timers() == []
    assert store.next_due("orders", 0) is None
    store.close()


def test_an_unknown_timer_is_reported(
    shop: Make, run: Dualbus, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = shop()
    monkeypatch.setenv("DUALBUS_DATA", str(one.cluster.data))

    assert main(["timers", "list"]) == 1
    assert "start reactor, which creates the file" in capsys.readouterr().err
    one.start()
    until(lambda: one.cluster.data.joinpath("reactor.db").exists())
    until(lambda: one.status().get("state") == "following")
    assert main(["timers", "fire", "orders", "no"]) == 1
    assert "Reaction orders has no pending timer 'no'" in capsys.readouterr().err


def test_the_work_for_due_timers_does_not_grow_with_the_pending_timers(folder: Path) -> None:
    # Given a due timer and a schedule, before and after 100,000 later timers are set
    store = ReactionStore(folder, Identity("log", "first"))
    due = Timer("orders", 0, "due", 5, "orders/1/0", 1, "CancelOrder", "{}", "{}")
    store.write(Changes({"orders": Progress(1, b"", 0)}, timers=[due, due._replace(name="night", schedule=1)]))
    calls: list[Callable[[], object]] = [
        lambda: store.due("orders", 10, 1000),
        lambda: store.next_due("orders", 10),
        lambda: store.try_by("orders", 10),
        lambda: store.schedules("orders"),
        lambda: store.timers(limit=1),
        lambda: store.counts(),
    ]
    few = [steps(store, call) for call in calls]
    store._db.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) INSERT INTO timers "
        "SELECT 'orders', 0, 'later/' || i, 100 + i, 'orders/2/' || i, 2, 'CancelOrder', '{}', '{}', 0, '', '' FROM n"
    )

    assert [timer.name for timer in store.due("orders", 10, 1000)] == ["due", "night"]
    assert store.next_due("orders", 10) == 101
    assert store.counts()["orders"].timers == 100_001
    assert all(many <= before + 20 for before, many in zip(few, (steps(store, call) for call in calls), strict=True))


def steps(store: ReactionStore, call: Callable[[], object]) -> int:
    """Return the steps of SQLite's virtual machine for a call."""
    found: list[int] = []

    def ended(statement: dict[str, Any]) -> None:
        found.append(statement["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"])

    store._db.trace_v2(apsw.SQLITE_TRACE_PROFILE, ended)
    call()
    store._db.trace_v2(0, None)
    return sum(found)


def test_timers_are_counted_as_they_are_set_replaced_and_removed(folder: Path) -> None:
    store = ReactionStore(folder, Identity("log", "first"))
    one = Timer("orders", 0, "one", 5, "orders/1/0", 1, "CancelOrder", "{}", "{}")
    two = one._replace(name="two", key="orders/1/1")

    def count(*changes: Timer | Removed) -> int:
        store.write(Changes({"orders": Progress(1, b"", 0)}, timers=list(changes)))
        return store.counts()["orders"].timers

    assert count(one, one._replace(schedule=1)) == 1
    assert count(two, one._replace(key="orders/2/0", due=9)) == 2
    assert count(Removed("orders", "one", 0, "orders/1/0"), one._replace(tries=1)) == 2
    assert count(Removed("orders", "two"), Removed("orders", "three")) == 1
