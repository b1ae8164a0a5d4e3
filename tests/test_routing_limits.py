"""What the gateway does when there is too much, or too little time: refuses, times out, lets go."""

import pytest

from dualbus.gateway import clients, deadlines
from dualbus.gateway.access import CLUSTER, Holder
from dualbus.gateway.router import Router
from dualbus.protocol.codes import Code
from dualbus.protocol.frames import BATCH_BYTES, BATCH_ITEMS_MAX
from dualbus.protocol.permissions import EVERYTHING
from tests.desk import FIRST_ID, Desk, Envelope, command, query

REFUSED, UNKNOWN = Code.UNAVAILABLE, Code.TIMEOUT


def test_what_no_bus_has_seen_by_its_deadline_is_definitely_not_done() -> None:
    desk = Desk()
    desk.ask(command(1, timeout_ms=100), command(2))

    desk.wait(0.2)

    [reply] = desk.replies()
    assert (reply["in_reply_to"], reply["code"]) == (1, REFUSED)
    assert reply["text"] == "commandbus is not running. Start it, then retry."
    desk.greet("commandbus", b"c")
    assert desk.dispatched() == [2]


def test_what_a_bus_has_seen_is_unknown_at_its_deadline() -> None:
    desk = Desk()
    desk.greet("commandbus", b"c")
    desk.ask(command(1, timeout_ms=100))
    desk.dispatch()

    desk.wait(0.15)
    assert desk.told() == []  # a bus that was just in time is heard
    desk.wait(0.1)

    assert desk.told() == [(1, UNKNOWN)]


def test_what_was_sent_to_a_worker_that_died_stays_unknown() -> None:
    desk = Desk()
    desk.greet("commandbus", b"c")
    desk.ask(command(1, timeout_ms=100))
    desk.dispatch()
    desk.router.workers.lost(b"c", "is gone")

    desk.wait(1)

    assert desk.told() == [(1, UNKNOWN)]
    desk.greet("commandbus", b"c2")
    assert desk.dispatched() == []


def test_the_remaining_time_travels_with_the_work() -> None:
    desk = Desk()
    desk.ask(query(1, timeout_ms=1000), query(2))

    desk.wait(0.75)
    desk.greet("querybus", b"q")

    assert [work.ms for _, work in desk.dispatch()] == [250, 4250]


def test_overload_is_refused_at_once_and_ends_with_the_queue() -> None:
    desk = Desk()
    desk.greet("commandbus", b"c", credit=10)
    desk.ask(*[command(number) for number in range(500)])
    for _ in range(12):  # ten every 50 ms: 200 a second
        desk.dispatch()
        desk.wait(0.05)
        desk.answer(b"c")
    desk.told()

    desk.ask(command(1001, timeout_ms=500), command(1002))
    assert desk.told() == [(1001, REFUSED)]

    while len(desk.router.pending):
        desk.dispatch()
        desk.answer(b"c")
    desk.wait(1)
    desk.dispatch()
    desk.ask(command(1003, timeout_ms=500))
    assert 1003 not in dict(desk.told())


def test_the_slow_queries_of_a_client_do_not_refuse_the_quick_queries_of_others() -> None:
    def slow(msg_id: int, timeout_ms: int = 3_600_000) -> Envelope:
        return {"dest": "querybus", "timeout_ms": timeout_ms, "body": {"type": "ListUsers", "msg_id": msg_id}}

    # Given two query buses, and a client that keeps slow queries queued, which one of the two runs
    desk = Desk()
    desk.greet("querybus", b"q1")
    desk.greet("querybus", b"q2")
    for number in range(20):
        desk.ask(slow(2 * number), slow(2 * number + 1), client=b"slow")
        for id_, work in desk.dispatch():
            desk.beat(id_, running=work.id)
        desk.wait(1.5)
        desk.answer(b"q1")
        desk.answer(b"q2")
    desk.dispatch()
    # so that a further slow query cannot be served in time
    desk.ask(slow(200, timeout_ms=1000), client=b"late")
    assert desk.told(b"late") == [(200, REFUSED)]

    # When another client sends quick queries
    desk.ask(*[query(number) for number in range(100, 120)], client=b"quick")

    # Then all of them are sent to the other query bus
    assert desk.told(b"quick") == []
    assert desk.dispatched() == list(range(100, 120))


def test_a_bus_that_was_not_there_is_not_taken_for_a_slow_one() -> None:
    desk = Desk()
    desk.ask(*[command(number) for number in range(5000)])
    for _ in range(30):
        desk.dispatch()
        desk.wait(0.1)
    desk.greet("commandbus", b"c", credit=1000)
    desk.dispatch()
    desk.answer(b"c")
    desk.told()

    desk.ask(command(6000))

    assert desk.told() == []


# Bounds.


@pytest.mark.parametrize(("sent", "taken"), [(deadlines.REQUESTS_MAX + 5, deadlines.REQUESTS_MAX)])
def test_a_client_may_have_so_many_requests_under_way_and_another_is_not_held_back(sent: int, taken: int) -> None:
    desk = Desk()
    desk.ask(*[query(number) for number in range(sent)], client=b"greedy")
    desk.ask(query(1), client=b"modest")

    assert [code for _, code in desk.told(b"greedy")] == [REFUSED] * (sent - taken)
    assert desk.told(b"modest") == []
    assert len(desk.router.pending) == taken + 1


def test_a_client_may_have_so_many_bytes_under_way() -> None:
    desk = Desk()
    large = "x" * 1_000_000
    for number in range(20):
        body = {"type": "GetUser", "msg_id": number, "params": {"user_id": large}}
        desk.ask({"dest": "querybus", "body": body})

    refused = desk.told()

    assert [number for number, _ in refused] == [17, 18, 19]  # at 16 MiB it may still finish one
    assert desk.router.pending.bytes <= deadlines.REQUEST_BYTES_MAX + len(large) + 100


def test_the_connections_of_a_named_key_share_one_limit() -> None:
    desk = Desk()
    named = Holder("shop", EVERYTHING)
    desk.router = Router(
        5000, FIRST_ID, lambda id_: f"made-{id_}", desk.now, lambda id_: named if id_[:1] == b"n" else CLUSTER
    )
    for connection in (b"n1", b"n2", b"c1", b"c2"):
        for number in range(10):
            large = {"type": "GetUser", "msg_id": number, "params": {"user_id": "x" * 1_000_000}}
            desk.ask({"dest": "querybus", "body": large}, client=connection)

    assert [len(desk.told(connection)) for connection in (b"n1", b"n2", b"c1", b"c2")] == [0, 3, 0, 0]
    # And a closed connection returns its part
    desk.router.client_disconnected(desk.router.clients.of(b"n1"))
    desk.ask(query(99), client=b"n2")
    assert desk.told(b"n2") == []


def test_all_clients_together_may_have_so_many_requests_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "ALL_REQUESTS_MAX", 10)
    desk = Desk()
    for number in range(12):
        desk.ask(query(number), client=b"client-%d" % number)

    assert desk.told(b"client-9") == []
    assert desk.told(b"client-10") == [(10, REFUSED)]


def test_what_has_timed_out_lies_in_no_queue() -> None:
    desk = Desk()
    for _ in range(5):
        desk.ask(command(1), query(2), query(3, src="x"), command(4, dest=""), client=b"a")
        desk.wait(10)

    held = [
        *desk.router.clients.of(b"a").sessions.of("s").deferred,
    ]
    assert held == []
    assert desk.router.workers.buses["commandbus"].queued == desk.router.workers.buses["querybus"].queued == 0
    assert (len(desk.router.pending), desk.router.pending.bytes) == (0, 0)


def test_a_client_that_takes_nothing_loses_its_oldest_replies_and_that_is_counted() -> None:
    desk = Desk()
    for _ in range(clients.REPLIES_MAX + 3):
        desk.router.malformed(b"deaf", "no", None)

    assert len(desk.replies(b"deaf")) == clients.REPLIES_MAX
    assert desk.router.counters["dropped_replies"] == 3


def test_clients_that_do_not_receive_leave_the_replies_of_others_their_room() -> None:
    """Also thousands of connections of one hostile client."""
    found, reply = clients.Clients(lambda id_: CLUSTER), bytes(1 << 20)
    hostile = [found.of(b"h%d" % number) for number in range(2000)]
    for each in hostile:
        for _ in range(9):
            each.enqueue_reply(reply)
        each.stall(1.0)
    assert max(each.outbox_bytes for each in hostile) <= clients.REPLY_BYTES_MAX
    assert sum(each.outbox_bytes for each in hostile) <= clients.ALL_REPLY_BYTES_MAX

    honest = found.of(b"honest")

    assert [honest.enqueue_reply(reply) for _ in range(8)] == [0] * 8
    assert honest.stall(1.0) == 8  # it may wait to be sent only in the room that is left


def test_an_attempt_to_send_to_a_client_that_does_not_receive_costs_one_message_and_becomes_rare() -> None:
    desk = Desk()
    for _ in range(clients.REPLIES_MAX):
        desk.router.malformed(b"deaf", "no", None)
    deaf = desk.router.clients.of(b"deaf")
    attempts = []
    while desk.now < 110:  # turn after turn
        if desk.now >= deaf.stalled_until:
            part = deaf.next_part()
            attempts.append(len(part))
            deaf.stall(desk.now)
        desk.now += 0.01

    assert len(attempts) < 20
    assert all(0 < count <= BATCH_ITEMS_MAX for count in attempts)
    assert sum(map(len, part)) <= BATCH_BYTES
    # And once the socket accepts a message, the next attempt is soon
    deaf.sent(len(part))
    deaf.stall(desk.now)
    assert (len(deaf.outbox), deaf.stalled_until) == (clients.REPLIES_MAX - len(part), desk.now + 0.02)
    # And in the end each reply was sent once, in order
    replies: list[bytes] = []
    while part := deaf.next_part():
        replies += part
        deaf.sent(len(part))
    assert (len(replies), deaf.outbox_bytes) == (clients.REPLIES_MAX - attempts[-1], 0)
