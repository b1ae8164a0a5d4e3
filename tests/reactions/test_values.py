"""Reactions on values: the test kit, the past of a reaction, the order of events by tag."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dualbus import App, Cancel, Command, Event, Later, Past, Reaction, Rejected
from dualbus.application.errors import HandlerError
from dualbus.application.messages import parse
from dualbus.log.contract import Decision, RecordedEvent
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.log.tags import Tagger
from dualbus.reactions.order import TagOrder
from dualbus.reactions.past import CHUNK_EVENTS, Histories, ReactionPast
from dualbus.testing import NOW, react
from reactor.commands import CommandFailed, Commands
from tests.reactions import shop
from tests.reactions.shop import (
    ORDER,
    CancelOrder,
    Order,
    OrderPlaced,
    OrderShipped,
    PaymentReceived,
    PaymentRequested,
    RequestPayment,
    ShipOrder,
    app,
)

PLACED = OrderPlaced(order="a", amount=3, seconds=60)
PAID = PaymentReceived(order="a")


def test_a_process_manager_is_tested_on_values() -> None:
    assert react(app, when=PLACED) == [
        RequestPayment(order="a", amount=3),
        Later(CancelOrder(order="a"), after=timedelta(minutes=1), name="unpaid/a"),
    ]
    assert react(app, given=[PLACED, PaymentRequested(order="a", amount=3)], when=PAID) == [
        Cancel("unpaid/a"),
        ShipOrder(order="a"),
    ]
    assert react(app, given=[PLACED], when=PAID) == [Cancel("unpaid/a")]


class Noted(Command):
    data: Any

    def problems(self) -> Iterator[str]:
        if not self.data:
            yield "Data is empty"


@pytest.mark.parametrize(("data", "text"), [({1}, "cannot be sent"), ("", "is refused: Data is empty")])
def test_a_command_that_a_cluster_would_not_execute_fails_the_test(data: Any, text: str) -> None:
    def note(event: OrderPlaced, past: Past) -> Iterator[Noted | Later]:
        yield Later(Noted(data=data), after=timedelta(seconds=1)) if data else Noted(data=data)

    def noted(command: Noted, past: Past) -> Iterator[OrderPlaced]:
        yield PLACED

    noting = App(commands=[noted], reactions=[Reaction("noting", on=[note], since="now")])
    with pytest.raises(AssertionError, match=text):
        react(noting, when=PLACED)


def test_the_reaction_to_a_refusal_is_tested_on_values() -> None:
    refused = Rejected("too large", code="too_large")

    assert react(app, given=[PLACED], when=RequestPayment(order="a", amount=3), refused=refused) == [
        Cancel("unpaid/a"),
        CancelOrder(order="a", reason="too_large"),
    ]


def wrong(event: PaymentReceived, past: Past) -> Iterator[ShipOrder]:
    yield Cancel("x")  # type: ignore[misc]


def test_the_kit_reports_what_the_reactor_would_park() -> None:
    broken = App(commands=shop.COMMANDS, reactions=[Reaction("wrong", on=[wrong], since="now")])

    with pytest.raises(AssertionError, match="wrong yields Cancel, which its return annotation does not name"):
        react(broken, when=PAID)
    with pytest.raises(AssertionError, match="OrderShipped is not among the messages of the process managers"):
        react(app, when=OrderShipped(order="a"))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    """A log with the life of an order."""
    log = SqliteLog(tmp_path, lambda secret: Decision("genesis", NOW.isoformat()))
    tagger = Tagger(app.private_tags, log.secret)
    life: list[Event] = [PLACED, PaymentRequested(order="a", amount=3), PAID, OrderShipped(order="a")]
    for number, event in enumerate(life):
        log.append([Decision(f"k{number}", f"2026-01-31T12:00:0{number}.000000Z", [tagger.new_event(event)])])
    yield log
    log.close()


def test_the_past_of_a_reaction_ends_with_its_event(log: SqliteLog) -> None:
    histories = Histories(app, log)
    records = log.read(0, 10)

    seen = [ReactionPast(histories, record, "orders/1").fold(Order, ORDER("a")) for record in records]
    again = [ReactionPast(histories, record, "orders/1").fold(Order, ORDER("a")) for record in reversed(records)]

    assert seen == [Order(True), Order(True, requests=1), Order(True, True, requests=1), Order(True, True, True, 1)]
    assert again == seen[::-1]
    past = ReactionPast(histories, records[2], "orders/3")
    assert past.events(ORDER("a"), of=(OrderPlaced, OrderShipped)) == [PLACED]
    assert past.now().isoformat() == "2026-01-31T12:00:02+00:00"


@dataclass(frozen=True)
class Total:
    amount: float = 0

    def apply(self, event: PaymentRequested) -> "Total":
        return Total(self.amount + event.amount)


@dataclass
class Changing:
    """A state that may change, and has no hash."""

    amount: int = 0

    def apply(self, event: PaymentRequested) -> "Changing":
        return Changing(self.amount + event.amount)


def test_a_fold_begins_with_its_own_initial_state(log: SqliteLog) -> None:
    past = ReactionPast(Histories(app, log), log.read(0, 10)[-1], "orders/4")

    totals = [past.fold(Total(start), ORDER("a")).amount for start in (1, 1.0, True)]
    assert [(type(total), total) for total in totals] == [(int, 4), (float, 4.0), (int, 4)]
    assert past.fold(Changing(2), ORDER("a")) == past.fold(Changing(2), ORDER("a")) == Changing(5)


@dataclass(frozen=True)
class Forgetful:
    def apply(self, event: PaymentRequested) -> "Forgetful":  # type: ignore[empty-body]
        pass


def test_an_apply_that_returns_nothing_is_named(log: SqliteLog) -> None:
    past = ReactionPast(Histories(app, log), log.read(0, 10)[-1], "orders/4")

    with pytest.raises(TypeError, match=r"Forgetful\.apply returned None for PaymentRequested: return the new state"):
        past.fold(Forgetful(), ORDER("a"))


def test_the_past_of_an_early_event_reads_few_of_a_thousand_later_ones(tmp_path: Path) -> None:
    read: list[int] = []

    class Counted(SqliteLog):
        def history(self, *args: Any, **options: Any) -> list[RecordedEvent]:
            found = super().history(*args, **options)
            read.extend(event.position for event in found)
            return found

    with closing(Counted(tmp_path, lambda secret: Decision("genesis", NOW.isoformat()))) as log:
        tagger = Tagger(app.private_tags, log.secret)
        log.append([Decision("k", NOW.isoformat(), [tagger.new_event(PLACED), *[tagger.new_event(PAID)] * 999])])
        histories = Histories(app, log)

        early, last = (ReactionPast(histories, log.read(at - 1, 1)[0], "orders") for at in (2, 1000))
        assert early.events(ORDER("a")) == [PLACED, PAID]
        assert len(read) == CHUNK_EVENTS < 999
        assert len(last.events(ORDER("a"))) == 1000
        assert read == [*range(1, CHUNK_EVENTS + 1), *range(1, 1001)]


def test_a_command_during_which_command_buses_died_counts_as_done_only_if_the_log_has_it(log: SqliteLog) -> None:
    async def died(*command: Any) -> None:
        raise HandlerError("commandbus died 3 times", outcome_known=False)

    commands = Commands(died, log)
    with pytest.raises(CommandFailed, match="died 3 times"):
        asyncio.run(commands.execute("ShipOrder", {}, "orders/9/0", {}))
    assert asyncio.run(commands.execute("", {}, "k1", {})) is None


def test_ids_of_a_reaction_are_the_same_in_every_run_and_differ_from_all_others(log: SqliteLog) -> None:
    histories, record = Histories(app, log), log.read(0, 1)[0]

    runs = [
        [past.new_id(), past.new_id()] for past in (ReactionPast(histories, record, "orders/1") for _ in range(2))
    ]
    other = ReactionPast(histories, record, "mail/1").new_id()

    assert runs[0] == runs[1]
    assert len({*runs[0], other}) == 3
    assert all(id_[14] == "7" and id_[19] in "89ab" for id_ in (*runs[0], other))


@dataclass(frozen=True)
class Step:
    position: int
    tags: frozenset[str]


def test_events_run_in_order_for_each_tag_and_what_follows_a_parked_event_waits() -> None:
    for seed in range(300):
        _check_order(random.Random(seed))


def _check_order(chance: random.Random) -> None:
    """Run events with random tags in a random order; some are parked, and released later."""
    steps = [Step(n, frozenset(chance.sample("abcde", chance.choice([0, 1, 1, 1, 2])))) for n in range(1, 30)]
    order: TagOrder[Step] = TagOrder()
    ready: list[Step] = []
    finished: list[Step] = []
    waiting = list(steps)
    bad = {step for step in steps if chance.random() < 0.15}
    while len(finished) < len(steps):
        choice = chance.random()
        if waiting and choice < 0.5:
            step = waiting.pop(0)
            if order.blocked(step):
                order.mark_parked(step)
            elif order.add(step):
                ready.append(step)
        elif ready:
            step = ready.pop(chance.randrange(len(ready)))
            if step in bad:
                parked = order.park(step)
                assert parked[0] == step and not set(parked) & set(ready)
            else:
                finished.append(step)
                ready += order.finish(step)
        elif order.parked:
            first = chance.choice([one for one in order.parked.values() if not order.blocked(one)])
            bad.discard(first)
            ready += [one for one in order.release(first.position) if order.add(one)]
        for tag in "abcde":
            done = [step.position for step in finished if tag in step.tags]
            assert done == sorted(done)
            assert len([step for step in ready if tag in step.tags]) <= 1


def test_a_command_of_a_timer_is_read_back_equal() -> None:
    command = CancelOrder(order="ä", reason="x")

    assert parse(CancelOrder, command.model_dump(mode="json")) == command
    assert isinstance(command, Command)
