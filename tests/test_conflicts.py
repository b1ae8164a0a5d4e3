"""A command bus beside another writer of its log: conflicting commands are decided again, and none twice."""

import itertools
import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from dualbus.application.event_json import to_text
from dualbus.commandbus.node import CONFLICTS_MAX, CommandBus
from dualbus.commandbus.publisher import Publisher
from dualbus.commandbus.state_cache import StateCache
from dualbus.log.commits import OutcomeUnknown
from dualbus.log.commits import SharedLog as LogOfMachines
from dualbus.log.contract import GENESIS, Appended, Decision, Log, LogError, LogUnavailable, NewEvent
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.protocol.batches import read_batch
from dualbus.protocol.codec import unpack
from dualbus.protocol.codes import Code
from dualbus.protocol.frames import DONE, EVENTS, Frames
from dualbus.protocol.records import Job
from dualbus.transport.sockets import Socket
from dualbus.worker.link import WorkerLink
from tests.drain import NOW, Paid, app, new_event, said

NUMBERS = itertools.count(1)


class SharedLog:
    """A log with another writer, which appends an event before each append of commandbus for which one is planned."""

    def __init__(self, log: SqliteLog) -> None:
        self._log = log
        self.planned: Iterator[NewEvent | None] = iter(())
        self.problem: LogError | None = None  # of the next append

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def append(self, decisions: Sequence[Decision]) -> Appended:
        if self.problem:
            raise self.problem
        if event := next(self.planned, None):
            self.append_other(event)
        return self._log.append(decisions)

    def append_other(self, event: NewEvent) -> None:
        """Append an event as the other writer."""
        assert self._log.append([Decision(f"other-{next(NUMBERS)}", NOW, [event])]).decisions == 1


class RecordingSocket:
    """A socket that records frames."""

    def __init__(self) -> None:
        self.sent: list[Frames] = []

    def send(self, frames: Frames) -> bool:
        self.sent.append(frames)
        return True

    def items(self, kind: str) -> list[Any]:
        """Return the items of all messages of a kind."""
        batches = [read_batch(frames) for frames in self.sent]
        return [item for found, items in batches if found == kind for item in items]


class Node:
    """A command bus on a shared log, without a gateway."""

    def __init__(self, log: SharedLog, *, machines: bool = False) -> None:
        self.log = log
        self._events, self._back = RecordingSocket(), RecordingSocket()
        self._link = WorkerLink(cast("Socket", self._back), "commandbus", [])
        shared = cast("Log", log)
        publisher = Publisher(cast("Socket", self._events), shared)
        several = cast("LogOfMachines", log) if machines else None
        self._bus = CommandBus(app, shared, publisher, self._link, StateCache(), several)

    def send(self, *bodies: dict[str, Any]) -> list[dict[str, Any]]:
        """Process commands until each has its answer; return the answers, each with its position."""
        first = next(NUMBERS) * 1000
        for number, body in enumerate(bodies, first):
            key = body.get("idempotency_key") or f"made-{number}"
            self._link.jobs.append(Job(number, 0, float("inf"), key, 0, {"msg_id": number, **body}))
        while self._link.jobs:
            self._bus._process_batch()
        done = [item for item in self._back.items(DONE) if len(item) == 4]  # without the times of commits
        answers = [item for item in done if first <= item[0] < first + len(bodies)]
        # then each command has exactly one answer, in the order of the commands
        assert [id_ for id_, *_ in answers] == list(range(first, first + len(bodies)))
        return [{**unpack(body), "position": position} for _, position, body, _ in answers]

    @property
    def retaken(self) -> int:
        return int(self._bus._status()["retaken"])

    @property
    def published(self) -> list[int]:
        """The positions of all published events."""
        return [event[0] for _, _, events, _ in self._events.items(EVENTS) for event in events]

    @property
    def paid(self) -> list[tuple[int, str]]:
        """The positions of all payments, with their data."""
        return [(one.position, one.data) for one in self.log.read(0, 10_000) if one.type == "Paid"]


@pytest.fixture
def log(folder: Path) -> Iterator[SqliteLog]:
    genesis = Decision(GENESIS, NOW, [new_event(app.genesis[0])])
    with closing(SqliteLog(folder, lambda secret: genesis)) as found:
        yield found


@pytest.fixture
def node(log: SqliteLog) -> Node:
    return Node(SharedLog(log))


def paid(amount: int, account: str = "bank") -> NewEvent:
    return NewEvent("Paid", to_text(Paid(account=account, amount=amount)), (f"account:{account}",))


def pay(amount: int, account: str = "bank", key: str | None = None) -> dict[str, Any]:
    return said("Pay", key, account=account, amount=amount)


def balance(node: Node, account: str = "bank") -> int:
    """Return the balance of an account, as a refusal of commandbus shows it."""
    [answer] = node.send(pay(-10_000, account))
    return int(answer["errors"][1].removeprefix("There is only "))


def test_after_a_conflict_commands_are_decided_again_on_the_events_of_the_other_writer(node: Node) -> None:
    node.log.planned = iter([paid(1)])

    first, second, nonsense = node.send(pay(-1), pay(-1), said("Nonsense"))

    # then the first command has the balance of the other writer, and the second has none left
    assert (first["success"], first["position"]) == (True, 3)
    assert (second["errors"][1], second["position"]) == ("There is only 0", 3)
    assert nonsense["code"] == Code.NOT_SUPPORTED
    assert node.paid == [(2, paid(1).data), (3, paid(-1).data)]
    assert node.retaken >= 1  # a slow machine splits the batch
    assert node.published == [3]


def test_commands_before_a_conflict_are_answered_at_once_with_their_positions_in_the_log(node: Node) -> None:
    node.log.planned = iter([paid(1)])

    opened, again, payment = node.send(said("Open", "k", owner="Ada"), said("Open", "k", owner="Ada"), pay(-1))

    assert (opened["success"], opened["position"]) == (True, 3)
    assert (again["events"], again["position"]) == (opened["events"], 3)
    assert (payment["success"], payment["position"]) == (True, 4)
    assert (node.retaken, node.published) == (1, [3, 4])


def test_an_event_of_the_other_writer_reaches_states_that_the_batch_did_not_read(node: Node) -> None:
    node.send(pay(5))  # cached
    node.log.planned = iter([paid(1)])

    [opened] = node.send(said("Open", owner="Ada"))

    assert (opened["position"], node.retaken) == (4, 0)
    assert balance(node) == 6


def test_an_event_of_the_other_writer_between_two_batches_reaches_the_states(node: Node) -> None:
    node.send(pay(5))
    node.log.append_other(paid(1))

    assert balance(node) == 6


def test_after_many_conflicts_a_command_is_refused_and_nothing_of_it_is_in_the_log(node: Node) -> None:
    node.log.planned = itertools.repeat(paid(1), CONFLICTS_MAX + 1)

    refused, payment = node.send(pay(100, key="k"), pay(3))

    assert (refused["code"], "nothing was written" in refused["text"]) == (Code.UNAVAILABLE, True)
    assert (payment["success"], payment["position"]) == (True, CONFLICTS_MAX + 3)
    assert node.log.outcomes(["k"]) == {}
    assert balance(node) == CONFLICTS_MAX + 1 + 3


@pytest.mark.parametrize("seed", range(20))
def test_with_another_writer_at_any_time_each_command_has_one_effect_and_its_answer(node: Node, seed: int) -> None:
    rng = random.Random(seed)
    accounts = ["bank", "a", "b"]
    node.log.planned = (
        rng.choice([None, None, paid(rng.randrange(5), rng.choice(accounts))]) for _ in itertools.count()
    )
    bodies = [
        rng.choice([pay, pay, give])(rng.randrange(-9, 9), rng.choice(accounts), f"key-{number}")
        for number in range(60)
    ]

    answers: list[dict[str, Any]] = []
    for first in range(0, 60, 12):
        answers += node.send(*bodies[first : first + 12])

    # then the log holds each command once, at the position of its answer
    outcomes = node.log.outcomes([body["idempotency_key"] for body in bodies])
    for body, answer in zip(bodies, answers, strict=True):
        outcome = outcomes[body["idempotency_key"]]
        assert (outcome.events, outcome.errors) == (len(answer.get("events", [])), answer.get("errors", []))
        assert outcome.position == answer["position"] or outcome.errors
    ours = [one.position for one in node.log.read(0, 10_000) if one.command_id.startswith("key-")]
    assert node.published == ours
    # and every decision is right for the history before it
    for body, answer in zip(bodies, answers, strict=True):
        if body["type"] == "Pay":
            account, amount = body["payload"]["account"], body["payload"]["amount"]
            before = total(node, account, answer["position"] - len(answer.get("events", [])))
            assert answer["success"] == (before is not None and before + amount >= 0)
    # and sent again, the commands have the same answers and no further effect
    head = node.log.head()
    again = node.send(*bodies)
    assert [without_id(answer) for answer in again] == [without_id(answer) for answer in answers]
    assert node.log.head() == head


def give(amount: int, account: str, key: str) -> dict[str, Any]:
    return said("Give", key, account=account, amount=amount)


def total(node: Node, account: str, position: int) -> int | None:
    """Return the balance of an account at a position; None if it has no event."""
    events = [one for one in node.log.history([f"account:{account}"]) if one.position <= position]
    amounts = [getattr(app.decode(one.type, one.data), "amount", 0) for one in events]
    return sum(amounts) if amounts else None


def without_id(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name not in ("in_reply_to", "position")}


@pytest.mark.parametrize("problem", [LogUnavailable("The disk is full."), OutcomeUnknown("No majority answers.")])
def test_an_answer_that_needs_no_commit_has_no_position_of_a_failed_commit(node: Node, problem: LogError) -> None:
    """A session that had it would wait for this position."""
    [first] = node.send(pay(1, key="k"))
    node.log.problem = problem

    lost, used, repeated = node.send(pay(2), pay(3, key="k"), pay(1, key="k"))

    assert (lost["type"], lost["position"]) == ("error", 0)
    assert (used["code"], used["position"]) == (Code.ABORTED, first["position"])
    assert (repeated["success"], repeated["position"]) == (True, first["position"])


class StandbyLog(SharedLog):
    """A log of several machines that lacks the commits of the active writer, because no server answers its reads."""

    since: int | None = None

    def append(self, decisions: Sequence[Decision]) -> Appended:
        return Appended(0, [])


def test_a_standby_refuses_no_command_that_the_active_writer_may_have_executed(log: SqliteLog) -> None:
    node = Node(StandbyLog(log), machines=True)
    node._link.jobs.append(Job(1, 0, float("inf"), "key", 0, {"msg_id": 1, **pay(1)}))

    for _ in range(CONFLICTS_MAX + 2):
        node._bus._process_batch()

    assert node._back.items(DONE) == []
    assert [job.key for job in node._link.jobs] == ["key"]
