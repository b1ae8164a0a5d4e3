"""A small storm, and the controls of its judge: each broken promise is found."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dualbus.log.contract import NO_HASH, Origin, Outcome, RecordedEvent
from tests.reactions.judge import History, Line, judge, timers
from tests.reactions.overdue import Overdue
from tests.reactions.storm import Storm
from tests.reactions.stormy import DECLINED, PAID, SILENT, fate

NAMES = {fate(f"o{number}"): f"o{number}" for number in range(20)}
CHAIN = ["OrderPlaced", "PaymentRequested", "PaymentReceived", "OrderShipped"]


def test_a_storm_breaks_no_promise(folder: Path) -> None:
    storm = Storm(folder, 300, seed=5, pause=0.7, rate=50)

    history = storm.run()

    assert judge(history, storm.orders) == []
    assert storm.faults["files"] == 1 and storm.faults["kills"] > 0


def event(position: int, type_: str, order: str, second: int, command_id: str) -> RecordedEvent:
    data = f'{{"order": "{order}", "seconds": 3}}'
    return RecordedEvent(position, type_, data, f"2026-01-31T12:00:{second:02}.000000Z", command_id, NO_HASH)


def outcome(key: str, first: int, type_: str, cause: int | None, events: int = 1) -> Outcome:
    return Outcome(key, None, first, events, [] if events else ["late"], Origin(type_, cause=cause))


def whole() -> History:
    """A history of a paid, a declined and a silent order, as it should be."""
    paid, declined, silent = NAMES[PAID], NAMES[DECLINED], NAMES[SILENT]
    events = [
        event(1, "OrderPlaced", paid, 0, "p1"),
        event(2, "PaymentRequested", paid, 0, "orders/1/0"),
        event(3, "OrderPlaced", declined, 0, "p2"),
        event(4, "PaymentReceived", paid, 0, "pay/2/0"),
        event(5, "OrderShipped", paid, 1, "orders/4/1"),
        event(6, "PaymentRequested", declined, 1, "orders/3/0"),
        event(7, "OrderPlaced", silent, 1, "p3"),
        event(8, "OrderCancelled", declined, 1, "pay/6/0"),
        event(9, "PaymentRequested", silent, 1, "orders/7/0"),
        event(10, "OrderCancelled", silent, 5, "orders/7/1"),
    ]
    types = {"orders/1/0": "RequestPayment", "orders/3/0": "RequestPayment", "orders/7/0": "RequestPayment"}
    types |= {"orders/4/1": "ShipOrder", "pay/2/0": "ReceivePayment", "pay/6/0": "CancelOrder"}
    types |= {"orders/7/1": "CancelOrder"}
    outcomes = [
        outcome(one.command_id, one.position, types.get(one.command_id, "PlaceOrder"), _cause(one.command_id))
        for one in events
    ]
    outcomes.append(outcome("orders/3/1", 11, "CancelOrder", 3, 0))
    world = [line("audit", one) for one in events]
    world += [line("pay", one) for one in events if one.type == "PaymentRequested"]
    world += [line("mail", one) for one in events if one.type == "OrderShipped"]
    return History(events, outcomes, world)


def _cause(key: str) -> int | None:
    return int(key.split("/")[1]) if "/" in key else None


def line(what: str, one: RecordedEvent) -> Line:
    order = one.data.split('"')[3]
    return Line(what, order, one.position, f"{what}/{one.position}/0/hash")


def without(name: str, index: int) -> Callable[[History], History]:
    def change(history: History) -> History:
        rows = list(getattr(history, name))
        del rows[index]
        return history._replace(**{name: rows})

    return change


def plus(name: str, row: object) -> Callable[[History], History]:
    return lambda history: history._replace(**{name: [*getattr(history, name), row]})


def swapped(name: str, first: int, second: int) -> Callable[[History], History]:
    def change(history: History) -> History:
        rows = list(getattr(history, name))
        rows[first], rows[second] = rows[second], rows[first]
        return history._replace(**{name: rows})

    return change


def at(index: int, second: int) -> Callable[[History], History]:
    def change(history: History) -> History:
        events = list(history.events)
        events[index] = events[index]._replace(time=f"2026-01-31T12:00:{second:02}.000000Z")
        return history._replace(events=events)

    return change


CHANGES = [
    ("end", without("events", 4)),
    ("end", plus("events", event(11, "PaymentRequested", NAMES[SILENT], 9, "orders/7/2"))),
    ("end", plus("events", event(11, "OrderCancelled", NAMES[PAID], 9, "x"))),
    ("doubled", plus("outcomes", outcome("orders/1/2", 12, "RequestPayment", 1, 0))),
    ("cause", plus("outcomes", outcome("orders/1/2", 12, "ShipOrder", 4, 0))),
    ("missing", without("world", 3)),
    ("missing", without("world", -1)),
    ("keys", plus("world", Line("pay", NAMES[PAID], 2, "pay/2/1/other"))),
    ("keys", plus("world", Line("pay", NAMES[PAID], 99, "pay/2/0/hash"))),
    ("order", swapped("world", 0, 1)),
    ("order", swapped("outcomes", 1, 4)),
    ("early", at(9, 2)),
    ("cancelled", plus("outcomes", outcome("orders/1/1", 12, "CancelOrder", 1, 0))),
    ("lost", without("outcomes", -1)),
]


def test_the_judge_finds_nothing_in_a_whole_history() -> None:
    assert judge(whole(), list(NAMES.values())) == []


@pytest.mark.parametrize(("kind", "change"), CHANGES)
def test_the_judge_finds_a_broken_promise(kind: str, change: Callable[[History], History]) -> None:
    found = judge(change(whole()), list(NAMES.values()))

    assert kind in {sentence.partition(":")[0] for sentence in found}


def test_timers_that_come_due_while_all_is_down_fire_once_each(folder: Path) -> None:
    overdue = Overdue(folder, 100, seconds=15)

    history = overdue.run()

    assert timers(history) == []
    assert [event.type for event in history.events].count("OrderCancelled") == 75
