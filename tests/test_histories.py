"""What decisions read by tags and types: from the log, from their batch and from the cache of states."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

import pytest
from pydantic import BaseModel

from dualbus import App, Event, Tag
from dualbus.commandbus.history import DecisionPast, History
from dualbus.commandbus.state_cache import StateCache
from dualbus.log.contract import GENESIS, AppendCondition, Decision, NewEvent, Origin
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.log.tags import Tagger
from dualbus.worker.interrupt import Interrupt
from tests.drain import NOW

OF_COURSE, OF_STUDENT = Tag("course"), Tag("student")
COURSE, STUDENT = "course:c", "student:s"
SUBSCRIBED, CHANGED, ANY = frozenset({"Subscribed"}), frozenset({"CapacityChanged"}), frozenset[str]()


class CapacityChanged(Event):
    course: Annotated[str, OF_COURSE]
    capacity: int


class Subscribed(Event):
    course: Annotated[str, OF_COURSE]
    student: Annotated[str, OF_STUDENT]


@dataclass(frozen=True)
class Seen:
    events: tuple[str, ...] = ()

    def apply(self, event: Event) -> Self:
        return replace(self, events=(*self.events, getattr(event, "student", "") or str(event.capacity)))  # type: ignore[attr-defined]


class Changes(Seen):
    def apply(self, event: CapacityChanged) -> Self:  # type: ignore[override]
        return super().apply(event)


class Subscriptions(Seen):
    def apply(self, event: Subscribed) -> Self:  # type: ignore[override]
        return super().apply(event)


app = App(events=[Subscribed], genesis=[CapacityChanged(course="c", capacity=1)])


def new(event: Event) -> NewEvent:
    return Tagger(frozenset(), b"").new_event(event)


def subscribed(student: str, course: str = "c") -> NewEvent:
    return new(Subscribed(course=course, student=student))


def changed(capacity: int) -> NewEvent:
    return new(CapacityChanged(course="c", capacity=capacity))


@pytest.fixture
def log(folder: Path) -> Iterator[SqliteLog]:
    genesis = Decision(GENESIS, NOW, [new(event) for event in app.genesis])
    with closing(SqliteLog(folder, lambda secret: genesis)) as made:
        yield made


def history(log: SqliteLog, states: StateCache | None = None) -> History:
    return History(app, log, StateCache() if states is None else states, NOW, lambda: "id", Interrupt())


def decided(name: str, *events: NewEvent) -> Decision:
    return Decision(name, NOW, events, origin=Origin("Do"))


def append(log: SqliteLog, *events: NewEvent) -> None:
    name = f"c-{log.head().position}"
    assert log.append([decided(name, *events)]).decisions == 1


def test_a_history_has_the_events_of_some_types_that_carry_all_tags_in_the_log_and_in_the_batch(
    log: SqliteLog,
) -> None:
    append(log, subscribed("s"), subscribed("t"), subscribed("s", course="d"))
    batch = history(log)
    batch.add(decided("in batch", changed(2), subscribed("u"), subscribed("s")))
    past = DecisionPast(batch)

    assert past.fold(Seen, OF_COURSE("c")).events == ("1", "s", "t", "2", "u", "s")
    assert past.fold(Changes, OF_COURSE("c")).events == ("1", "2")
    assert past.fold(Subscriptions, OF_STUDENT("s")).events == ("s", "s", "s")
    assert past.fold(Subscriptions, OF_COURSE("c"), OF_STUDENT("s")).events == ("s", "s")
    assert len(past.events(OF_COURSE("c"), OF_STUDENT("s"))) == 2
    assert past.events(OF_COURSE("c"), OF_STUDENT("s"), of=CapacityChanged) == []


def test_the_conditions_are_the_reads_each_at_its_first_position(log: SqliteLog) -> None:
    batch = history(log)
    batch.add(decided("in batch", changed(2), subscribed("s")))
    past = DecisionPast(batch)
    past.events(OF_COURSE("c"), of=CapacityChanged)
    past.fold(Subscriptions, OF_COURSE("c"), OF_STUDENT("s"))
    past.events(OF_STUDENT("t"))
    past.fold(Changes, OF_COURSE("c"))

    assert past.conditions == [
        AppendCondition((COURSE,), CHANGED, 2),  # of the batch
        AppendCondition((COURSE, STUDENT), SUBSCRIBED, 3),
        AppendCondition(("student:t",), ANY, 1),  # before the batch
    ]


def test_a_decision_reads_no_event_of_another_type(log: SqliteLog) -> None:
    append(log, *[NewEvent("Gone", "{}", (COURSE,)) for _ in range(100)], changed(5))  # the application has no Gone

    assert DecisionPast(history(log)).fold(Changes, OF_COURSE("c")).events == ("1", "5")


def test_a_cached_state_receives_later_events_of_its_types_and_tags(log: SqliteLog) -> None:
    states = StateCache()
    keys = [((COURSE,), CHANGED), ((COURSE,), ANY), ((COURSE, STUDENT), SUBSCRIBED), ((STUDENT,), ANY)]
    for number, event in enumerate([changed(7), subscribed("s"), subscribed("t"), subscribed("s", "d"), changed(8)]):
        batch = history(log, states)
        for tags, types in keys[: number % 3]:
            batch.fold(Seen, tags, types)
        batch.add(decided(f"c{number}", event))
        for tags, types in keys[number % 2 :]:
            batch.fold(Seen, tags, types)
        assert log.append(batch.decisions).decisions == 1
        batch.commit_states()

        cached, anew = history(log, states), history(log)
        for tags, types in keys:
            assert cached.fold(Seen, tags, types) == anew.fold(Seen, tags, types)


def test_a_state_is_not_cached_with_events_that_are_not_in_the_log(log: SqliteLog) -> None:
    states = StateCache()
    batch = history(log, states)
    batch.add(decided("lost", changed(9)))
    assert batch.fold(Seen, (COURSE,), ANY).events == ("1", "9")

    append(log, changed(3))  # of another writer

    assert history(log, states).fold(Seen, (COURSE,), ANY).events == ("1", "3")


def test_a_state_that_raises_after_a_commit_is_read_again(log: SqliteLog) -> None:
    states = StateCache()
    batch = history(log, states)
    batch.fold(Picky, (COURSE,), ANY)
    batch.add(decided("c", changed(13)))
    assert log.append(batch.decisions).decisions == 1
    batch.commit_states()

    with pytest.raises(ValueError, match="thirteen"):
        history(log, states).fold(Picky, (COURSE,), ANY)


class Picky(Seen):
    def apply(self, event: Event) -> Self:
        if isinstance(event, CapacityChanged) and event.capacity == 13:
            raise ValueError("thirteen")
        return super().apply(event)


@dataclass(frozen=True)
class Budget:
    limit: Any
    unit: str = field(default="EUR", compare=False)
    events: int = 0

    def apply(self, event: Event) -> Self:
        return replace(self, events=self.events + 1)


class Spent(BaseModel):  # not frozen, and so without a hash
    limit: int
    events: int = 0

    def apply(self, event: Event) -> "Spent":
        return Spent(limit=self.limit, events=self.events + 1)


@pytest.mark.parametrize("together", [True, False], ids=["in a batch", "in later batches"])
def test_an_instance_is_an_initial_state_of_its_own_although_python_finds_another_one_equal(
    log: SqliteLog, together: bool
) -> None:
    equal = [Budget(limit) for limit in (Decimal("10.0"), Decimal("10.00"), 10, 10.0)] + [Budget(10, "USD")]
    assert len(set(equal)) == 1
    states = StateCache()
    batch = history(log, states)

    for initial in equal * 2:
        folded = batch.fold(initial, (COURSE,), ANY)
        assert repr(folded) == repr(replace(initial, events=1))
        if not together:
            batch.commit_states()
            batch = history(log, states)
    assert len(states) == len(equal)


def test_an_initial_state_without_a_hash_is_folded_from_the_log_and_the_batch(log: SqliteLog) -> None:
    states = StateCache()
    append(log, subscribed("s"))
    initials: list[Any] = [Spent(limit=3), Budget([3]), Budget(object())]  # the last one has a hash, and no value
    for initial in initials:
        batch = history(log, states)
        batch.add(decided("in batch", changed(2)))
        assert batch.fold(initial, (COURSE,), ANY).events == 3
        assert batch.fold(initial, (COURSE,), ANY).limit is initial.limit
    assert len(states) == 0


class Range(NamedTuple):
    low: Decimal
    high: Decimal


def test_an_initial_state_with_named_tuples_and_sets_is_cached(log: SqliteLog) -> None:
    states = StateCache()
    limits = [Range(Decimal(1), Decimal("2.0")), Range(Decimal(1), Decimal("2.00")), frozenset({Decimal(1)})]
    for limit in limits * 2:
        batch = history(log, states)
        assert batch.fold(Budget(limit), (COURSE,), ANY).limit is limit
        batch.commit_states()
    assert len(states) == len(limits)
