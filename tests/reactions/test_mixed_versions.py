"""Reactors and command buses of different versions of an application, as while a deployment is under way."""

from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dualbus import App, Attempt, Command, Later, Past, Reaction, Rejected
from dualbus.reactions.store import ReactionStore
from dualbus.testing import InProcess, until
from tests.reactions.shop import (
    COMMANDS,
    CancelOrder,
    OrderEvent,
    OrderPlaced,
    PaymentReceived,
    PaymentRequested,
    PlaceOrder,
    ReceivePayment,
    RequestPayment,
    ShipOrder,
    cancel_order,
    place,
    receive_payment,
    ship_order,
)
from tests.reactions.test_takeovers import run_host


def version(kind: Any, form: str, decisions: list[Any], **fields: int) -> App:
    """Return an application whose reaction executes a payment request of a class."""

    def ask(event: OrderPlaced, past: Past) -> Iterator[Any]:
        yield kind(order=event.order, **fields)

    def ask_later(event: OrderPlaced, past: Past) -> Iterator[Any]:
        yield Later(kind(order=event.order, **fields), after=timedelta(0), name="request")

    async def ask_after_effect(event: OrderPlaced, attempt: Attempt) -> AsyncIterator[Any]:
        yield kind(order=event.order, **fields)

    def refused(command: Any, refused: Rejected, past: Past) -> Iterator[CancelOrder]:
        yield CancelOrder(order=command.order, reason="refused")

    ask.__annotations__["return"] = Iterator[kind]
    ask_later.__annotations__["return"] = Iterator[Later | kind]
    ask_after_effect.__annotations__["return"] = AsyncIterator[kind]
    refused.__annotations__["command"] = kind
    function: Any = {"manager": ask, "timer": ask_later, "effect": ask_after_effect}[form]
    reaction = Reaction("orders", on=[function], since="beginning", on_refused=[refused])
    return App(commands=decisions, events=[OrderEvent], reactions=[reaction])


def old_version(form: str) -> App:
    """Return a version whose payment request has no amount."""

    class RequestPayment(Command):
        order: str

    def request(command: RequestPayment, past: Past) -> Iterator[PaymentRequested]:
        yield PaymentRequested(order=command.order, amount=1)

    return version(RequestPayment, form, [place, cancel_order, request])


@pytest.mark.parametrize("form", ["manager", "timer", "effect"])
def test_a_command_that_another_version_refuses_is_executed_after_the_deployment(tmp_path: Path, form: str) -> None:
    new = version(RequestPayment, form, COMMANDS, amount=1)
    with InProcess(App(commands=COMMANDS, events=[OrderEvent])) as memory:
        memory.command(PlaceOrder(order="a"))
        log = memory._decider.log

        # Given a commandbus that requires an amount, and a reactor of the version before
        parked = run_host(tmp_path / "old", old_version(form), memory)
        with closing(ReactionStore(tmp_path / "old", log.identity)) as store:
            errors = [timer.error for timer in store.timers()] + [row.reason for row in store.parked()]
        assert [event.type for event in log.read(0, 100)] == ["OrderPlaced"]

        # Then the command is not refused for good, and the operator reads the reason
        assert parked == ([] if form == "timer" else [1])
        assert errors == [
            "RequestPayment was refused before its decision: Amount is required. Run the same version of the "
            "application in commandbus and reactor, or correct the reaction."
        ]

        # When a reactor of the new version reacts to the event
        assert run_host(tmp_path / "new", new, memory) == []
        assert [event.type for event in log.read(0, 100)] == ["OrderPlaced", "PaymentRequested"]


def request_payment(command: RequestPayment, past: Past) -> Iterator[PaymentRequested]:
    raise OSError
    yield PaymentRequested(order=command.order, amount=command.amount)


def ask(event: OrderPlaced, past: Past) -> Iterator[RequestPayment]:
    yield RequestPayment(order=event.order, amount=1)


def ship(event: PaymentReceived, past: Past) -> Iterator[ShipOrder]:
    yield ShipOrder(order=event.order)


async def ask_after_effect(event: OrderPlaced, attempt: Attempt) -> AsyncIterator[RequestPayment]:
    yield RequestPayment(order=event.order, amount=1)


async def ship_after_effect(event: PaymentReceived, attempt: Attempt) -> AsyncIterator[ShipOrder]:
    yield ShipOrder(order=event.order)


@pytest.mark.parametrize("functions", [[ask, ship], [ask_after_effect, ship_after_effect]])
def test_a_parked_event_whose_function_was_removed_finishes_and_releases_its_followers(
    tmp_path: Path, functions: list[Any]
) -> None:
    decisions: list[Any] = [place, receive_payment, request_payment, ship_order]
    old, new = (
        App(
            commands=decisions,
            events=[OrderEvent],
            reactions=[Reaction("orders", on=on, since="beginning", pause=0.05)],
        )
        for on in (functions, functions[1:])
    )
    with InProcess(App(commands=decisions, events=[OrderEvent])) as memory:
        memory.command(PlaceOrder(order="a"))
        memory.command(ReceivePayment(order="a"))
        assert run_host(tmp_path, old, memory) == [1, 2]  # the second follows the first

        until(lambda: run_host(tmp_path, new, memory) == [])

        types = [event.type for event in memory._decider.log.read(0, 100)]
        assert types == ["OrderPlaced", "PaymentReceived", "OrderShipped"]
