"""The judge of reactions: the log and the world, held against the promises. It reads the log without the reactor."""

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from dualbus.log.contract import Outcome, RecordedEvent
from dualbus.log.sqlite.reader import SqliteLogReader
from tests.reactions.stormy import DECLINED, PAID, SILENT, fate

EFFECTS = {"PaymentRequested": "pay", "OrderShipped": "mail"}
SLACK = timedelta(seconds=1)  # an event commits, and is in the log, this much after its time


class Line(NamedTuple):
    """A line of the world: an effect that has happened."""

    what: str
    order: str
    position: int
    key: str


class History(NamedTuple):
    """All that has happened."""

    events: Sequence[RecordedEvent]
    outcomes: Sequence[Outcome]
    world: Sequence[Line]


def read(folder: Path, world: Path) -> History:
    """Read the log of a data folder, and the world."""
    log = SqliteLogReader(folder)
    lines = [line.split() for line in world.read_text().splitlines()] if world.exists() else []
    found = [Line(what, order, int(position), key) for what, order, position, key in lines]
    history = History(log.read(0, 1 << 40), log.commands(0, 1 << 40), found)
    log.close()
    return history


def judge(history: History, orders: Sequence[str]) -> list[str]:
    """Return a sentence for each broken promise; call when nothing is under way any more."""
    return [*_ends(history, orders), *_commands(history), *_effects(history), *_order(history), *timers(history)]


def order_of(event: RecordedEvent) -> str:
    """Return the order of an event."""
    return str(json.loads(event.data)["order"])


def _by_order(history: History) -> dict[str, list[RecordedEvent]]:
    found: dict[str, list[RecordedEvent]] = defaultdict(list)
    for event in history.events:
        found[order_of(event)].append(event)
    return found


def _ends(history: History, orders: Sequence[str]) -> list[str]:
    """Each order is placed, charged once, and then shipped or cancelled once, as the payment service decides."""
    faults = []
    by_order = _by_order(history)
    for order in orders:
        types = [event.type for event in by_order[order]]
        ends = {
            PAID: ["OrderPlaced", "PaymentRequested", "PaymentReceived", "OrderShipped"],
            DECLINED: ["OrderPlaced", "PaymentRequested", "OrderCancelled"],
            SILENT: ["OrderPlaced", "PaymentRequested", "OrderCancelled"],
        }
        late = fate(order) == PAID and types == ends[SILENT]  # paid after the timer
        if types != ends[fate(order)] and not late:
            faults.append(f"end: {order} ({fate(order)}) has {types}")
    return faults


def _commands(history: History) -> list[str]:
    """Each command of a reaction has the event in its key as cause, and is executed once for each event."""
    faults, seen = [], set()
    for outcome in history.outcomes:
        reaction, *rest = outcome.command_id.split("/")
        if outcome.origin.cause is None or not rest:
            continue
        if int(rest[0]) != outcome.origin.cause:
            faults.append(f"cause: {outcome.command_id} has the cause {outcome.origin.cause}")
        once = reaction, outcome.origin.cause, outcome.origin.type
        if once in seen:
            faults.append(f"doubled: {once}")
        seen.add(once)
    return faults


def _effects(history: History) -> list[str]:
    """Each effect of each event has happened, under one key of its own."""
    keys: dict[tuple[str, int], set[str]] = defaultdict(set)
    for line in history.world:
        keys[line.what, line.position].add(line.key)
    faults = [f"keys: {what} of {position} has {found}" for (what, position), found in keys.items() if len(found) > 1]
    for event in history.events:
        wanted = ["audit", EFFECTS.get(event.type)]
        faults += [
            f"missing: {what} of {event.position}" for what in wanted if what and (what, event.position) not in keys
        ]
    all_keys = [key for found in keys.values() for key in found]
    return faults + (["keys: two effects have the same key"] if len(all_keys) > len(set(all_keys)) else [])


def _order(history: History) -> list[str]:
    """The first effects of the events of an order, and its commands, are in the order of the events."""
    faults = []
    audited: dict[str, list[int]] = defaultdict(list)
    for line in history.world:
        if line.what == "audit" and line.position not in audited[line.order]:
            audited[line.order].append(line.position)
    commanded: dict[str, list[int]] = defaultdict(list)
    orders = {event.position: order_of(event) for event in history.events}
    for outcome in history.outcomes:
        if outcome.origin.cause and outcome.origin.type in ("RequestPayment", "ShipOrder"):
            commanded[orders[outcome.origin.cause]].append(outcome.origin.cause)
    for found in (audited, commanded):
        faults += [
            f"order: {order} has {positions}" for order, positions in found.items() if positions != sorted(positions)
        ]
    return faults


def timers(history: History) -> list[str]:
    """No timer fires before its time, none after an event has cancelled it in time; each other has fired."""
    faults = []
    outcomes = {outcome.command_id: outcome for outcome in history.outcomes}
    positions = {event.position: event for event in history.events}
    for events in _by_order(history).values():
        placed = events[0]
        due = datetime.fromisoformat(placed.time) + timedelta(seconds=json.loads(placed.data)["seconds"])
        fired = outcomes.get(f"orders/{placed.position}/1")
        cancels = [datetime.fromisoformat(event.time) for event in events if event.type == "PaymentReceived"]
        if fired and fired.events and datetime.fromisoformat(positions[fired.first].time) < due:
            faults.append(f"early: the timer of {order_of(placed)}")
        if fired and cancels and cancels[0] < due - SLACK:
            faults.append(f"cancelled: the timer of {order_of(placed)} has fired")
        if not fired and not cancels:
            faults.append(f"lost: the timer of {order_of(placed)}")
    return faults
