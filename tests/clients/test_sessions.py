"""The sessions of a client: a position and an order for each, and names that the gateway never has many of."""

import asyncio
import gc
import random
import signal
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from dualbus import AsyncClient, Client, DeadlineExceeded, Unavailable
from dualbus.client.call import Call
from dualbus.client.calls import PendingCalls
from dualbus.client.sessions import NAMES_KEPT, SessionState
from dualbus.gateway.sessions import SESSIONS_MAX
from dualbus.protocol.batches import batch, read_batch
from dualbus.protocol.codec import pack, unpack
from dualbus.protocol.frames import REPLY
from dualbus.protocol.records import NO_DETAILS, Work
from dualbus.testing import Cluster, until
from tests.clients.notes import CountNotes, Note
from tests.clients.seeing import held, under_way, unique
from tests.desk import Desk
from tests.faults.seeing import stopped
from tests.raw import SECONDS

Make = Callable[..., Any]


class Exchange:
    """The calls of one client, and a gateway whose workers answer when the test has them do so."""

    def __init__(self) -> None:
        self.calls = PendingCalls("tcp://127.0.0.1:1", "web", 60.0, lambda: 0.0, unique)
        self.calls.connected = True
        self.desk = Desk(timeout_ms=60_000)
        self.desk.greet("commandbus", b"c", credit=100_000)
        self.desk.greet("querybus", b"q", credit=100_000)
        self.head = 0
        self.sent: dict[int, Call] = {}

    def command(self, session: SessionState) -> "Future[Any]":
        return self._add(self.calls.command("CreateUser", {}, None, None).in_session(session, 0))

    def query(self, session: SessionState, after: int = 0) -> "Future[Any]":
        return self._add(self.calls.query("GetUser", {}, None).in_session(session, after))

    def _add(self, call: Call) -> "Future[Any]":
        future: Future[Any] = Future()
        self.calls.add(call, future, self.desk.now)
        self.sent[call.id] = call
        return future

    def send(self) -> list[Work]:
        """Send what is queued; return the work that the gateway gives out now."""
        while made := self.calls.next_batch(self.desk.now):
            self.desk.ask(*read_batch([made.message])[1])
        return [work for _, work in self.desk.dispatch()]

    def answer(self, work: Work) -> None:
        """Have a bus answer: a command at the next position, a query at the position that it needs."""
        command = work.key is not None
        if command:
            self.head += 1
        name, position = (b"c", self.head) if command else (b"q", work.after)
        worker = self.desk.router.workers.worker(name)
        assert worker
        body: dict[str, Any] = {"in_reply_to": work.body["msg_id"]}
        body |= (
            {"type": "command_result", "success": True, "events": []}
            if command
            else {"type": "query_result", "data": work.after}
        )
        self.desk.router.workers.done(worker, [(work.id, position, pack(body), NO_DETAILS)], self.desk.now)
        outbox = self.desk.router.clients.of(b"client")
        replies = [unpack(outbox.pop_reply()) for _ in range(len(outbox.outbox))]
        self.calls.received([batch(REPLY, replies)], self.desk.now)

    def finish(self) -> None:
        """Answer all work, until nothing is left."""
        while work := self.send():
            for one in work:
                self.answer(one)


def test_a_session_carries_its_position_and_no_other() -> None:
    exchange = Exchange()
    writer, reader = SessionState(), SessionState(3)
    exchange.head = 6
    exchange.desk.router.workers.head = 6
    exchange.command(writer)
    exchange.finish()

    asked = [exchange.query(writer), exchange.query(reader), exchange.query(exchange.calls.session)]
    exchange.finish()

    assert [one.result(0) for one in asked] == [7, 3, 0]
    assert [writer.position, reader.position, exchange.calls.session.position] == [7, 3, 0]


def test_a_query_waits_for_the_commands_of_its_own_session_only() -> None:
    exchange = Exchange()
    slow, other = SessionState(), SessionState()
    command, own = exchange.command(slow), exchange.query(slow)
    free = exchange.query(other)

    given = exchange.send()
    for work in given:
        if work.key is None:
            exchange.answer(work)
    assert free.done()
    assert not own.done()

    for work in given:
        if work.key:
            exchange.answer(work)
    exchange.finish()
    assert (command.result(0).position, own.result(0)) == (1, 1)


@pytest.mark.slow
def test_100_000_sessions_leave_nothing_in_the_client_and_few_names_at_the_gateway() -> None:
    exchange = Exchange()
    for _ in range(1000):
        for _ in range(100):
            exchange.query(SessionState())
        exchange.finish()
        exchange.sent.clear()

    gc.collect()
    assert sum(isinstance(one, SessionState) for one in gc.get_objects()) < 200
    client = exchange.desk.router.clients.of(b"client")
    assert client.sessions._totals.sessions <= 2 * NAMES_KEPT + 1 < SESSIONS_MAX


def test_a_name_is_reused_by_another_session_only_after_many_others() -> None:
    exchange = Exchange()
    names = []
    for _ in range(3 * NAMES_KEPT):
        exchange.command(SessionState())
        [work] = exchange.send()
        names.append(next(iter(exchange.sent.values())).session.name)
        exchange.sent.clear()
        exchange.answer(work)

    assert names[NAMES_KEPT : 2 * NAMES_KEPT] == names[:NAMES_KEPT]
    assert len(set(names)) == NAMES_KEPT


def test_whatever_the_order_of_calls_and_answers_a_session_sees_its_writes_and_nothing_older_than_seen() -> None:
    chance = random.Random(seed := random.randrange(2**32))
    print(f"seed {seed}")
    exchange = Exchange()
    sessions = [SessionState() for _ in range(30)]
    given: list[Work] = []
    asked: list[tuple[SessionState, Future[Any], list[Future[Any]], int]] = []
    commands: dict[int, list[Future[Any]]] = {}
    for _ in range(4000):
        number = chance.randrange(len(sessions))
        session = sessions[number]
        match chance.randrange(5):
            case 0:
                commands.setdefault(id(session), []).append(exchange.command(session))
            case 1 | 2:
                before = list(commands.get(id(session), ()))
                asked.append((session, exchange.query(session), before, session.position))
            case 3:
                given += exchange.send()
                chance.shuffle(given)
                while given and chance.random() < 0.8:
                    exchange.answer(given.pop())
            case _:  # another process continues the session from its position
                if chance.random() < 0.1:
                    sessions[number] = SessionState(session.position)
    for work in given:
        exchange.answer(work)
    exchange.finish()

    assert len(asked) > 1000
    for _, answer, before, position in asked:
        assert answer.result(0) >= max([position, *(one.result(0).position for one in before)])


# Through a cluster.


def test_a_slow_command_of_a_session_holds_up_nobody_else(notes: Cluster) -> None:
    async def run() -> None:
        async with AsyncClient(notes.front, timeout=SECONDS) as client:
            text = unique()
            await client.query(CountNotes(text=text))
            one, other = client.session(), client.session()
            with held(notes, "commandbus"):
                command = asyncio.create_task(one.command(Note(text=text)))
                own = asyncio.create_task(one.query(CountNotes(text=text)))
                assert await other.query(CountNotes(text=text)) == 0
                assert await client.query(CountNotes(text=text)) == 0
                assert not command.done()
                assert not own.done()
            assert await own == 1
            assert one.position >= (await command).position

    asyncio.run(run())


def test_a_session_continues_in_another_process_from_its_position(make: Make, notes: Cluster) -> None:
    first, second, text = make(notes.front), make(notes.front, timeout=SECONDS), unique()
    assert second.query(CountNotes(text=text)) == 0
    projector = notes.process("projector")
    projector.send(signal.SIGSTOP)
    try:
        until(lambda: stopped(projector.pid))
        # Given a write that the read model does not have
        session = first.session()
        written = session.command(Note(text=text))
        assert session.position == written.position
        assert second.session().query(CountNotes(text=text)) == 0

        # When another client has its position, it is not answered with older rows
        for ask in (second.session(written.position).query, partial(second.query, after=written.position)):
            with pytest.raises((Unavailable, DeadlineExceeded)):
                ask(CountNotes(text=text), timeout=0.3)
        assert second.query(CountNotes(text=text)) == 0
    finally:
        projector.send(signal.SIGCONT)

    # Then it sees the write
    assert second.session(written.position).query(CountNotes(text=text)) == 1
    assert second.query(CountNotes(text=text), after=written.position) == 1
    assert second.position >= written.position


def test_threads_with_a_session_for_each_request_see_their_own_writes(notes: Cluster) -> None:
    with Client(notes.front, timeout=SECONDS) as client, ThreadPoolExecutor(32) as pool:

        def request(number: int) -> int:
            session, text = client.session(), f"request {number} {name}"
            session.command(Note(text=text))
            count: int = session.query(CountNotes(text=text))
            return count

        name = unique()
        assert list(pool.map(request, range(2000))) == [1] * 2000
    until(lambda: under_way(notes) == 0)


def test_sessions_survive_a_new_gateway(make: Make, notes: Cluster) -> None:
    client = make(notes.front, timeout=SECONDS)
    sessions = [client.session() for _ in range(10)]
    texts = [unique() for _ in sessions]
    for session, text in zip(sessions, texts, strict=True):
        session.command(Note(text=text))
    notes.kill("gateway")
    notes.start("gateway")
    for session, text in zip(sessions, texts, strict=True):
        assert session.query(CountNotes(text=text)) == 1


@pytest.mark.parametrize("after", [-1, "cursor", 1.5, True, 2**63])
def test_a_position_that_is_none_is_refused_and_a_field_of_that_name_goes_into_a_mapping(
    make: Make, notes: Cluster, after: Any
) -> None:
    client = make(notes.front)
    for call in (client.session, lambda after: client.query("CountNotes", text="a", after=after)):
        with pytest.raises(ValueError, match="must be a position of the log"):
            call(after=after)
