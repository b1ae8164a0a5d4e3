"""A subscription to the events of the log: nothing missed, nothing twice, whatever is killed meanwhile."""

import asyncio
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from dualbus import (
    App,
    AsyncClient,
    Client,
    ClientClosed,
    Event,
    EventRecord,
    Query,
    ReadOnlyTables,
    Rejected,
    Upcast,
)
from dualbus.client.calls import PendingCalls
from dualbus.client.events import Subscription
from dualbus.gateway.followers import HOLD_SECONDS
from dualbus.log.contract import GENESIS, Decision, LogError, NewEvent
from dualbus.log.latest import LatestLog
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.protocol.batches import batch, read_batch
from dualbus.protocol.codes import Code
from dualbus.protocol.feed import EVENTS, EVENTS_MAX
from dualbus.protocol.frames import MESSAGE_BYTES_MAX, REPLY
from dualbus.querybus.feed import EventFeed, Events
from dualbus.runtime.errors import ConfigError
from dualbus.testing import Cluster, until
from tests.clients.notes import Note
from tests.clients.seeing import events, held, order, under_way, unique
from tests.desk import QUERY_TYPES, Desk, command
from tests.raw import SECONDS, RawClient, query

Make = Callable[..., Any]


def numbers(texts: Iterator[Any], count: int) -> list[int]:
    return [record.position for record in islice(texts, count)]


def test_a_subscription_has_the_events_of_the_log_without_private_fields_and_then_new_events(
    make: Make, orders: Cluster
) -> None:
    client, first, second = make(orders.front), order(), order()
    with Client(orders.front) as writer:
        position = writer.command("PlaceOrder", first).position
        found = client.events(position - 1)

        assert next(found).payload == {"order": first["order"], "price": "9.90"}
        with ThreadPoolExecutor(1) as pool:
            following = pool.submit(next, found)
            until(lambda: under_way(orders) == 1)
            writer.command("PlaceOrder", second)
            record = following.result()

    recorded = events(orders)[-1]
    assert record == EventRecord(
        recorded.position, "OrderPlaced", {"order": second["order"], "price": "9.90"}, recorded.time, record.hash
    )
    assert len(record.hash) == 24


def test_a_subscription_may_be_to_some_types_or_to_a_tag(make: Make, orders: Cluster) -> None:
    client, placed, other = make(orders.front), order(), order()
    with Client(orders.front) as writer:
        start = writer.command("PlaceOrder", placed).position - 1
        writer.command("PlaceOrder", other)
        for number in range(3):
            writer.command("CancelOrder", {"order": placed["order"], "reason": str(number)})
            writer.command("CancelOrder", {"order": other["order"], "reason": "other"})

        tag = f"order:{placed['order']}"
        kinds = [record.type for record in islice(client.events(start, tag=tag), 4)]
        reasons = [record.payload["reason"] for record in islice(client.events(start, types=["OrderCancelled"]), 6)]
        both = client.events(start, types=["OrderCancelled"], tag=tag)
        assert [record.payload["reason"] for record in islice(both, 3)] == ["0", "1", "2"]

        # And what comes later has neither more nor less, though other events come before
        for _ in range(20):
            writer.command("PlaceOrder", order())
        writer.command("CancelOrder", {"order": placed["order"], "reason": "last"})
        assert next(both).payload["reason"] == "last"
    assert kinds == ["OrderPlaced"] + ["OrderCancelled"] * 3
    assert reasons == ["0", "other", "1", "other", "2", "other"]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"types": ["OrderPlaced", "Nothing"]}, "Nothing is not an event of the application"),
        ({"types": ["PlaceOrder"]}, "PlaceOrder is not an event of the application"),
        ({"tag": "email:ada@example.org"}, "Tag 'email' is private"),
        ({"tag": "colour:red"}, "Tag 'colour:red' is unknown: write name:value with one of these names: order"),
        ({"tag": "order"}, "write name:value"),
    ],
)
def test_an_unknown_type_and_a_private_tag_are_refused(make: Make, orders: Cluster, more: Any, why: str) -> None:
    with pytest.raises(Rejected) as caught:
        next(make(orders.front).events(**more))
    [problem] = caught.value.problems
    assert why in problem.text
    assert (problem.field, problem.code) == (next(iter(more)), "not_allowed")


def test_the_events_come_while_the_read_model_stands_still(make: Make, notes: Cluster) -> None:
    client = make(notes.front, timeout=SECONDS)
    with held(notes, "projector"), Client(notes.front) as writer:
        position = writer.command(Note(text=unique())).position
        assert next(client.events(position - 1)).position == position


@pytest.mark.parametrize("names", [["commandbus", "gateway"], ["querybus", "projector"]])
def test_nothing_is_missed_and_nothing_is_twice_though_processes_are_killed(
    make: Make, notes: Cluster, names: list[str]
) -> None:
    follower = make(notes.front)
    stopping, written = threading.Event(), itertools.count()

    def write() -> int:
        with Client(notes.front, timeout=SECONDS) as writer:
            while not stopping.is_set():
                position = writer.command(Note(text=f"kill {next(written)}")).position
        return position

    with Client(notes.front) as writer:
        start = writer.command(Note(text="first")).position
    found = follower.events(start)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        try:
            seen = numbers(found, 20)
            for name in names * 2:
                notes.kill(name)
                notes.start(name)
                seen += numbers(found, 20)
                # Another process resumes from the last position
                found = follower.events(seen[-1])
        finally:
            stopping.set()
        seen += numbers(found, writing.result() - seen[-1])

    assert seen == list(range(start + 1, seen[-1] + 1))


def test_a_slow_reader_holds_a_part_of_the_events_and_an_answer_is_bounded(make: Make, notes: Cluster) -> None:
    # Given more events than fit into an answer
    large = "x" * 50_000
    with Client(notes.front, timeout=SECONDS) as writer:
        start = writer.command(Note(text="before")).position
        for _ in range(60):
            end = writer.command(Note(text=large)).position
        with RawClient(notes.front) as raw:
            raw.send(query(EVENTS, 1, after=start, limit=EVENTS_MAX))
            [reply] = raw.wait_for([1])
        data = reply["body"]["data"]
        assert 1 < len(data["events"]) < 60
        assert sum(len(str(event)) for event in data["events"]) < MESSAGE_BYTES_MAX / 2
        assert data["position"] == data["events"][-1]["position"]
        assert data["head"] >= end

    # Then a reader has them all, in order, each once
    assert numbers(make(notes.front).events(start), 60) == list(range(start + 1, end + 1))


def test_an_event_of_the_largest_size_is_delivered(make: Make, notes: Cluster) -> None:
    text = "\U0001f511" * 200_000
    with Client(notes.front, timeout=SECONDS) as writer:
        position = writer.command(Note(text=text)).position
    assert next(make(notes.front).events(position - 1)).payload["text"] == text


def test_a_subscription_ends_when_its_client_is_closed(notes: Cluster) -> None:
    client = Client(notes.front)
    start = client.command(Note(text="a")).position
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(list, client.events(start))
        until(lambda: under_way(notes) == 1)
        client.close()
        assert following.result() == []
    with pytest.raises(ClientClosed):
        client.events()

    async def run() -> None:
        client = AsyncClient(notes.front)
        found = client.events(start - 1)
        assert (await anext(found)).position == start
        following = asyncio.create_task(anext(found, "the end"))
        await asyncio.sleep(0)
        await client.close()
        assert await following == "the end"
        with pytest.raises(ClientClosed):
            client.events()

    asyncio.run(run())


def test_a_position_that_is_none_is_refused(make: Make, notes: Cluster) -> None:
    with pytest.raises(ValueError, match="must be a position of the log"):
        next(make(notes.front).events("first"))


def test_an_application_with_a_query_of_this_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="Events is a query of dualbus itself: rename Events in the application"):
        App(queries=[answer_nothing])


def test_the_next_request_continues_after_the_events_and_not_after_the_read_model() -> None:
    calls = PendingCalls("tcp://127.0.0.1:1", "s", 5.0, lambda: 0.0, unique)
    subscription = Subscription(3, "h3", ["Noted"], None)
    sent = []
    for position in (5, 9):
        call, future = subscription.request(calls), Future[Any]()
        calls.add(call, future, 1.0)
        made = calls.next_batch(1.0)
        assert made
        [envelope] = read_batch([made.message])[1]
        params = envelope["body"]["params"]
        sent.append((envelope["after"], params["after"], params["after_hash"]))
        event: dict[str, Any] = {"position": position, "type": "Noted", "payload": {}, "time": "", "hash": ""}
        body: dict[str, Any] = {"type": "query_result", "in_reply_to": call.id}
        body["data"] = {"events": [event], "position": position, "hash": f"h{position}", "head": 100}
        calls.received([batch(REPLY, [{"position": 90, "body": body}])], 1.0)
        assert [record.position for record in subscription.received(future.result(0))] == [position]

    assert sent == [(3, 3, "h3"), (5, 5, "h5")]


@pytest.mark.parametrize(
    ("position", "head", "events", "paused"),
    [(3, 3, 0, True), (3, 9, 0, True), (5, 5, 0, True), (5, 9, 0, False), (5, 5, 1, False)],
)
def test_a_subscription_waits_after_a_reply_without_progress_or_at_the_end(
    position: int, head: int, events: int, paused: bool
) -> None:
    """The gateway does not hold a request if it knows a later position than the querybus."""
    subscription = Subscription(3, "", [], None)
    found = [{"position": position, "type": "Noted", "payload": {}, "time": "", "hash": ""}] * events
    subscription.received({"events": found, "position": position, "hash": "h", "head": head})
    assert subscription.paused is paused


# At the gateway.


def follow(msg_id: int, after: int, **more: Any) -> dict[str, Any]:
    body = {"type": EVENTS, "msg_id": msg_id, "params": {"after": after}}
    return {"src": "f", "dest": "querybus", "after": after, "body": body, **more}


def desk_at(position: int) -> Desk:
    desk = Desk()
    desk.greet("commandbus", b"c", position=position)
    desk.greet("querybus", b"q", position=0, types=[*QUERY_TYPES, EVENTS])
    return desk


def test_a_request_at_the_end_of_the_log_is_held_until_the_next_commit() -> None:
    desk = desk_at(7)
    desk.ask(follow(1, 7), follow(2, 6), command(3))
    assert sorted(desk.dispatched(), key=int) == [2, 3]
    assert desk.dispatched() == []

    desk.answer(b"c", position=8)
    assert desk.dispatched() == [1]
    desk.answer(b"q")
    assert sorted(desk.told()) == [(1, "ok"), (2, "ok"), (3, "ok")]


def test_a_held_request_is_answered_without_events_after_a_while_and_before_its_deadline() -> None:
    desk = desk_at(7)
    desk.ask(follow(1, 7), follow(2, 7, timeout_ms=400))

    desk.wait(0.2)
    assert desk.dispatched() == [2]
    desk.wait(HOLD_SECONDS)
    assert desk.dispatched() == [1]


def test_a_held_request_of_a_client_that_is_gone_is_dropped() -> None:
    desk = desk_at(7)
    desk.ask(follow(1, 7))
    desk.router.client_disconnected(desk.router.clients.of(b"client"))

    desk.wait(HOLD_SECONDS)
    assert desk.dispatched() == []
    assert len(desk.router.pending) == 0


def test_a_request_beyond_the_end_of_the_log_is_refused_and_not_held() -> None:
    desk = desk_at(7)
    desk.ask(follow(1, 8))
    desk.dispatch()
    assert desk.told() == [(1, Code.UNAVAILABLE)]


# From a log.


class Calendar(Query):
    """Becomes a query with the name of the built-in query."""


Calendar.__name__ = "Events"


class Renamed(Event):
    name: str


def answer_nothing(query: Calendar, tables: ReadOnlyTables) -> int:
    return 0


renaming = App(genesis=[Renamed(name="a")], upcasts={"Named": Upcast("Renamed")})


def test_old_events_have_their_current_type_and_a_replaced_log_is_opened_again(folder: Path) -> None:
    def write(place: Path, *events: NewEvent) -> None:
        log = SqliteLog(place, lambda secret: Decision(GENESIS, "2026-01-01T00:00:00.000000Z", events))
        log.close()

    old, new = NewEvent("Named", '{"name": "old"}', ()), NewEvent("Renamed", '{"name": "new"}', ())
    write(folder / "one", old, new, old)
    write(folder / "two", new)
    log = LatestLog(folder / "one")
    feed = EventFeed(renaming, log.open)

    found = feed.read(Events(types=["Renamed"]))
    assert [(event["type"], event["payload"]["name"]) for event in found["events"]] == [
        ("Renamed", "old"),
        ("Renamed", "new"),
        ("Renamed", "old"),
    ]
    assert (found["position"], found["head"]) == (3, 3)
    assert feed.read(Events(limit=2, after=1)) == {**found, "events": found["events"][1:]}
    first = found["events"][:1]
    assert feed.read(Events(limit=1)) == {"events": first, "position": 1, "hash": first[0]["hash"], "head": 3}

    os.replace(folder / "two" / "log.db", folder / "one" / "log.db")
    assert feed.read(Events())["head"] == 1
    # And a reader of the earlier log waits, whether or not it has a hash
    for hash_ in ("", found["hash"]):
        with pytest.raises(LogError, match="The log ends at position 1, before position 3"):
            feed.read(Events(after=3, after_hash=hash_))
    log.close()
