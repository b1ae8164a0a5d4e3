"""Workers with another log than the gateway, or with an old view of its end; and a worker kept for a lost request."""

from dualbus.gateway.bus import Bus
from dualbus.log.identity import Identity
from dualbus.protocol.codes import Code
from dualbus.protocol.records import Heartbeat
from tests.desk import LOG, Desk, command, query

RESTORED = Identity("log-1", "life-2")


def test_an_answer_from_the_log_before_a_restore_is_read_again_and_moves_no_position() -> None:
    # Given a query in flight when an earlier log is restored
    desk = Desk()
    desk.greet_both(position=1000)
    desk.ask(query(1), client=b"old")
    desk.dispatch()
    desk.router.workers.lost(b"c", "disconnected")
    desk.greet("commandbus", b"c2", identity=RESTORED, position=500)
    # When the querybus answers from the old read model
    desk.answer(b"q", position=1000)
    assert desk.told(b"old") == []
    # Then the next querybus answers, and later clients need no position that the log does not have
    desk.greet("querybus", b"q2", identity=RESTORED, position=500)
    desk.ask(query(2), client=b"new")
    worker = desk.router.workers.worker(b"q2")
    assert worker
    desk.router.workers.heartbeat(worker, Heartbeat(1, 0, RESTORED, 500, 100, {}), desk.now)
    assert [(id_, work.after) for id_, work in desk.dispatch()] == [(b"q2", 500), (b"q2", 500)]
    desk.answer(b"q2", position=500)
    assert [desk.told(b"old"), desk.told(b"new")] == [[(1, "ok")], [(2, "ok")]]
    desk.router.client_disconnected(desk.router.clients.of(b"old"))
    assert desk.router.clients.floor == 500


def test_a_query_that_waits_for_a_position_of_the_log_before_a_restore_is_answered_after_it() -> None:
    # Given two queries that a querybus has returned, as its read model is behind
    desk = Desk()
    desk.greet_both(position=10)
    desk.router.clients.raise_floor(100)
    desk.ask(query(1), query(2, src="t", after=90))
    works = [work for _, work in desk.dispatch()]
    worker = desk.router.workers.worker(b"q")
    assert worker
    desk.router.workers.returned(worker, 10, [work.id for work in works])
    desk.ask(query(3), query(4, after=100))
    assert desk.dispatched() == []

    # When an earlier log is restored, and its read model is at the end
    desk.router.workers.lost(b"c", "disconnected")
    desk.greet("commandbus", b"c2", identity=RESTORED, position=50)
    desk.beat(b"q", position=50, identity=RESTORED)

    # Then they are answered, except those for a position that the log does not have
    assert [(work.body["msg_id"], work.after) for _, work in desk.dispatch()] == [(1, 50), (3, 50)]
    assert desk.told() == [(2, Code.UNAVAILABLE), (4, Code.UNAVAILABLE)]


def test_the_end_of_the_log_is_not_known_from_a_projector_in_a_slow_projection() -> None:
    # Given a new gateway without commandbus
    desk = Desk(new=True)
    desk.greet("projector", b"p", position=100, types=[])
    desk.greet("querybus", b"q", position=100)
    worker = desk.router.workers.worker(b"p")
    assert worker
    status = {"lag_events": 5}
    # When the projector reports during a slow projection, before which it read the end of the log
    desk.wait(2)
    desk.router.workers.heartbeat(worker, Heartbeat(1, 101, LOG, 100, 10, dict(status)), desk.now)
    desk.ask(query(1))
    # Then no query is sent before the next report
    assert desk.dispatched() == []
    desk.router.workers.heartbeat(worker, Heartbeat(1, 0, LOG, 100, 10, {"lag_events": 50}), desk.now)
    assert [work.after for _, work in desk.dispatch()] == [150]


def test_a_querybus_is_not_kept_for_a_slow_request_that_is_gone() -> None:
    # Given the only querybus, kept for a slow request while it answers a quick one
    desk = Desk()
    desk.greet_both()
    bus: Bus = desk.router.workers.buses["querybus"]
    bus.slow_types.add("ListUsers")
    desk.ask(query(1))
    assert desk.dispatched() == [1]
    slow = query(2, timeout_ms=100)
    slow["body"]["type"] = "ListUsers"
    desk.ask(slow)
    assert desk.dispatched() == []
    # When the slow request reaches its deadline, and the quick one is answered
    desk.wait(0.5)
    desk.answer(b"q")
    assert {id_ for id_, _ in desk.told()} == {1, 2}
    # Then quick requests are sent again
    desk.ask(query(3))
    assert desk.dispatched() == [3]


def test_a_command_that_was_sent_is_not_refused_for_its_position_after_a_restore() -> None:
    # Given a command in flight, and one behind it, both of a session at the end of the log
    desk = Desk()
    desk.greet("commandbus", b"c", credit=1, position=100)
    desk.ask(command(1, key="k", after=100), command(2, after=100))
    assert desk.dispatched() == [1]

    # When an earlier log is restored
    desk.router.workers.lost(b"c", "disconnected")
    desk.greet("commandbus", b"c2", identity=RESTORED, position=50)

    # Then only the command that no commandbus has received is refused; the other is sent again under its key
    assert [(work.body["msg_id"], work.key) for _, work in desk.dispatch()] == [(1, "k")]
    assert desk.told() == [(2, Code.UNAVAILABLE)]
    desk.answer(b"c2", position=51)
    assert desk.told() == [(1, "ok")]
