"""The timers of an event to which an earlier version of the reaction has reacted, without the reactor's file."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dualbus import App, Later, Past, Reaction
from dualbus.reactions.store import ReactionStore
from dualbus.testing import InProcess
from tests.reactions.shop import COMMANDS, CancelOrder, OrderEvent, OrderPlaced, PlaceOrder, RequestPayment, ShipOrder
from tests.reactions.test_takeovers import run_host


def first(event: OrderPlaced, past: Past) -> Iterator[RequestPayment | Later]:
    yield RequestPayment(order=event.order, amount=1)
    yield Later(CancelOrder(order=event.order), after=timedelta(seconds=event.seconds), name="unpaid")


def changed(event: OrderPlaced, past: Past) -> Iterator[ShipOrder | Later]:
    yield ShipOrder(order=event.order)
    yield Later(CancelOrder(order=event.order), after=timedelta(seconds=event.seconds), name="unpaid")


def longer(event: OrderPlaced, past: Past) -> Iterator[RequestPayment | ShipOrder | Later]:
    yield ShipOrder(order=event.order)
    yield from first(event, past)


def shorter(event: OrderPlaced, past: Past) -> Iterator[Later]:
    yield Later(CancelOrder(order=event.order), after=timedelta(seconds=event.seconds), name="unpaid")
    yield Later(CancelOrder(order=event.order), after=timedelta(seconds=event.seconds), name="unpaid again")


@pytest.mark.parametrize("version", [changed, longer, shorter])
@pytest.mark.parametrize("fires", [False, True])
def test_a_pending_timer_stays_and_a_fired_timer_does_not_fire_again(
    tmp_path: Path, fires: bool, version: Any
) -> None:
    apps = [
        App(commands=COMMANDS, events=[OrderEvent], reactions=[Reaction("orders", on=[function], since="beginning")])
        for function in (first, version)
    ]
    with InProcess(App(commands=COMMANDS, events=[OrderEvent])) as memory:
        memory.command(PlaceOrder(order="a", seconds=1 if fires else 1e9))
        for number, app in enumerate(apps):
            assert run_host(tmp_path / str(number), app, memory) == []
        log = memory._decider.log
        types = [event.type for event in log.read(0, 100)]
        with closing(ReactionStore(tmp_path / "1", log.identity)) as store:
            pending = {timer.type for timer in store.timers()}

    assert types == ["OrderPlaced", "PaymentRequested", *(["OrderCancelled"] if fires else [])]
    assert pending == (set() if fires else {"CancelOrder"})
