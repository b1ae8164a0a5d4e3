"""The declaration of reactions: every mistake is reported at the start, in a sentence."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from pydantic import Field

from dualbus import App, Attempt, Cancel, Command, Event, Every, Later, Past, Reaction, Rejected
from dualbus.runtime.errors import ConfigError
from dualbus.testing import react
from tests.reactions.shop import (
    COMMANDS,
    CancelOrder,
    OrderEvent,
    OrderPlaced,
    PaymentReceived,
    ShipOrder,
    ask_for_payment,
    payment_refused,
    ship,
)


class Forgetful(Command):
    note: str = Field(default="", exclude=True)


class Undecided(Command):
    pass


def undecided(event: OrderPlaced, past: Past) -> Iterator[Undecided]:
    yield Undecided()


def any_command(event: OrderPlaced, past: Past) -> Iterator[Command]:
    yield Undecided()


def an_event(event: OrderPlaced, past: Past) -> Iterator[OrderPlaced]:
    yield event


def in_a_tuple(event: OrderPlaced, past: Past) -> tuple[ShipOrder, Undecided]:
    return ShipOrder(order=""), Undecided()


def of_lists(event: OrderPlaced, past: Past) -> Iterator[list[ShipOrder]]:
    yield [ShipOrder(order="")]


def no_annotation(event: OrderPlaced, past: Past):  # type: ignore[no-untyped-def]
    yield None


def no_past(event: OrderPlaced) -> Iterator[ShipOrder]:
    yield ShipOrder(order="")


def of_a_command(event: ShipOrder, past: Past) -> Iterator[ShipOrder]:
    yield ShipOrder(order="")


async def effect(event: PaymentReceived, attempt: Attempt) -> None:
    pass


async def effect_of_all(event: Event, attempt: Attempt) -> None:
    pass


async def effect_with_resource(event: PaymentReceived, attempt: Attempt, mail: object) -> None:
    pass


def later(command: ShipOrder, refused: Rejected, past: Past) -> Iterator[Later]:
    yield Later(command, after=timedelta(minutes=1))


async def effect_with_timer(event: PaymentReceived, attempt: Attempt) -> AsyncIterator[Later]:
    yield Later(ShipOrder(order=""), after=timedelta(1))


@asynccontextmanager
async def resource() -> AsyncIterator[object]:
    yield object()


def reaction(*on: Any, since: Any = "beginning", **more: Any) -> Reaction:
    return Reaction("orders", on=list(on), since=since, **more)


CLOSE = CancelOrder(order="all")
MANY = Reaction("a b", on=[undecided, effect], since="later", tries=0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        (reaction(undecided), "Reaction orders executes Undecided, for which App(commands=[…]) has no decision: add"),
        (reaction(in_a_tuple), "Reaction orders executes Undecided, for which App(commands=[…]) has no decision"),
        (reaction(of_lists), "is not a class: name classes, such as -> Iterator[ShipOrder]."),
        (
            reaction(any_command),
            "any_command may yield any Command: name its commands, such as -> Iterator[ShipOrder]",
        ),
        (reaction(an_event), "an_event yields OrderPlaced, which is not a command."),
        (reaction(no_annotation), "no_annotation needs a return annotation that names its commands: -> Iterator["),
        (reaction(no_past), "no_past must accept (event: Event, past: Past)."),
        (reaction(of_a_command), "of_a_command accepts ShipOrder, which is not a subclass of Event."),
        (reaction(ship, effect), "Reaction orders mixes plain and async functions (ship): put process managers and"),
        (reaction(effect_with_resource), "effect_with_resource must accept (event: Event, attempt: Attempt)."),
        (reaction(effect_with_timer), "effect_with_timer yields Later, which is not a command."),
        (reaction(effect, on_refused=[later]), "later yields Later, which is not a command."),
        (reaction(), "Reaction orders: on and on_refused must be lists of functions; on needs at least one function"),
        (
            reaction(ship, since="later"),
            'Reaction orders: since must be "beginning", "now" or a position, not \'later\'',
        ),
        (reaction(ship, since=True), 'Reaction orders: since must be "beginning", "now" or a position, not True.'),
        (reaction(ship, tries=0), "Reaction orders: tries must be a whole number of at least 1, not 0."),
        (reaction(ship, timeout=0), "Reaction orders: timeout must be a number of seconds above 0, not 0."),
        (reaction(ship, on_refused=[ship]), "ship must accept (command: Command, refused: Rejected, past: Past)."),
        (
            reaction(ship, on_refused=[payment_refused] * 2),
            "payment_refused and payment_refused are both for a refused",
        ),
        (reaction(Every("0 3 * *", CLOSE)), "Every('0 3 * *') is not a schedule of cron: write minute, hour, day,"),
        (reaction(Every("0 3 * * *", CLOSE, zone="Mars")), "Every('0 3 * * *'): there is no time zone 'Mars'."),
        (reaction(Every("0 3 * * *", 5)), "Every('0 3 * * *') needs a command, not 5."),  # type: ignore[arg-type]
        (
            reaction(Every("0 3 * * *", Forgetful(note="a"))),
            "Every('0 3 * * *'): Forgetful is not the same when it is read back: note.",
        ),
        (
            reaction(Every("0 3 * * *", CLOSE), Every("0 4 * * *", CLOSE)),
            "has two schedules for CancelOrder: use two",
        ),
        (
            reaction(Every("0 3 * * *", Undecided())),
            "Reaction orders executes Undecided, for which App(commands=[…])",
        ),
        (Reaction("a/b", on=[ship], since=0), "Reaction 'a/b' needs a name of at most 50 letters, digits, _ or -."),
        ("orders", "Reactions contains 'orders', which is not a Reaction."),
    ],
)
def test_a_mistake_is_reported(declared: Any, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        App(commands=COMMANDS, reactions=[declared])

    assert sentence in str(refused.value)
    assert len(refused.value.errors) == 1


def test_all_mistakes_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        App(commands=COMMANDS, reactions=[MANY, reaction(no_past), reaction(ship)])

    assert len(refused.value.errors) == 6


def ship_later(event: OrderPlaced, past: Past) -> tuple[ShipOrder, Later]:
    return ShipOrder(order="1"), Later(ShipOrder(order="2"), after=timedelta(1))


def test_a_process_manager_may_return_a_tuple() -> None:
    app = App(commands=COMMANDS, reactions=[reaction(ship_later)])

    assert react(app, when=OrderPlaced(order="1", amount=1, seconds=1.0)) == [
        ShipOrder(order="1"),
        Later(ShipOrder(order="2"), after=timedelta(1)),
    ]


def test_the_functions_are_found_by_event_also_through_base_classes() -> None:
    app = App(
        commands=COMMANDS,
        reactions=[
            Reaction("orders", on=[ask_for_payment, ship], since=7, on_refused=[payment_refused]),
            Reaction("mail", on=[effect_with_resource], since="now", lifespan=resource),
            Reaction("audit", on=[effect_of_all], since="now"),
        ],
    )

    orders, mail, audit = app.reactors.values()
    assert {kind.__name__ for kind in orders.by_event} == {"OrderPlaced", "PaymentReceived"}
    assert (orders.is_effect, mail.is_effect) == (False, True)
    assert [one.wants_resource for one in mail.by_event[PaymentReceived]] == [True]
    assert {*audit.by_event} == set(app.event_types.values()) > {OrderPlaced}
    assert OrderEvent not in audit.by_event


@pytest.mark.parametrize(
    ("create", "sentence"),
    [
        (lambda: Later(CLOSE), "Later needs either `after` or `at`."),
        (lambda: Later(CLOSE, after=timedelta(1), at=datetime.now(UTC)), "Later needs either `after` or `at`."),
        (lambda: Later(CLOSE, at=datetime(2026, 1, 1)), "Later needs a time with a time zone"),
        (lambda: Later(cast("Command", "Cancel"), after=timedelta(1)), "Later needs a command, not 'Cancel'."),
        (lambda: Later(CLOSE, after=timedelta(1), name=""), "The name of a timer is text of 1 to 200 characters"),
        (lambda: Cancel("x" * 201), "The name of a timer is text of 1 to 200 characters"),
    ],
)
def test_a_wrong_timer_is_refused(create: Any, sentence: str) -> None:
    with pytest.raises(TypeError, match=sentence):
        create()


BERLIN = "Europe/Berlin"


@pytest.mark.parametrize(
    ("schedule", "zone", "after", "expected"),
    [
        ("0 3 * * *", "UTC", "2026-03-28T03:00", ["2026-03-29T03:00", "2026-03-30T03:00"]),
        ("0 3 * * *", BERLIN, "2026-03-27T12:00", ["2026-03-28T02:00", "2026-03-29T01:00", "2026-03-30T01:00"]),
        ("30 2 * * *", BERLIN, "2026-03-28T12:00", ["2026-03-29T01:00", "2026-03-30T00:30"]),  # there is no 2:30
        ("30 2 * * *", BERLIN, "2026-10-24T12:00", ["2026-10-25T00:30", "2026-10-26T01:30"]),  # there are two
        ("0 0 1 * MON", "UTC", "2026-05-30T00:00", ["2026-06-01T00:00", "2026-06-08T00:00"]),
    ],
)
def test_the_times_of_a_schedule(schedule: str, zone: str, after: str, expected: list[str]) -> None:
    every = Every(schedule, CLOSE, zone)
    time = datetime.fromisoformat(f"{after}+00:00")

    for text in expected:
        time = every.next(time)
        assert time.isoformat(timespec="minutes") == f"{text}+00:00"
        assert every.latest(time + timedelta(seconds=59)) == time


def test_a_refusal_keeps_its_problems_for_the_reaction() -> None:
    assert Rejected("x", code="too_large").problems[0].code == "too_large"
