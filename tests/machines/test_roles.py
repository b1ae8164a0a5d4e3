"""The gateway and command buses of several machines: who receives work, and from whom the position comes."""

from dualbus.log.identity import Identity
from dualbus.protocol.codes import Code
from tests.desk import Desk, command, query


def workers_of(desk: Desk) -> list[bytes]:
    """Return the workers that received the work that the gateway has now."""
    return [id_ for id_, _ in desk.dispatch()]


def test_a_standby_receives_no_work() -> None:
    desk = Desk()
    desk.greet("commandbus", b"standby", active_since=None, credit=100)
    desk.ask(command(1))
    assert workers_of(desk) == []

    desk.greet("commandbus", b"active", active_since=7)
    desk.greet("commandbus", b"other", active_since=None, credit=100)
    desk.ask(command(2), command(3))

    assert workers_of(desk) == [b"active"] * 3


def test_a_claim_takes_the_work_of_the_commandbus_before() -> None:
    desk = Desk()
    desk.greet("commandbus", b"first", active_since=7)
    desk.ask(command(1), command(2))
    assert workers_of(desk) == [b"first"] * 2

    desk.greet("commandbus", b"second", active_since=9)
    desk.ask(command(3))

    assert workers_of(desk) == [b"second"] * 3
    desk.answer(b"first")  # too late
    assert desk.told() == []
    desk.answer(b"second")
    assert desk.told() == [(1, "ok"), (2, "ok"), (3, "ok")]


def test_a_commandbus_with_an_earlier_claim_receives_no_work() -> None:
    desk = Desk()
    desk.greet("commandbus", b"second", active_since=9)
    desk.greet("commandbus", b"first", active_since=7)  # stopped for a while, and not yet aware of the claim
    desk.ask(command(1))

    assert workers_of(desk) == [b"second"]


def test_a_commandbus_with_an_earlier_claim_receives_no_work_after_the_later_one_is_gone() -> None:
    desk = Desk()
    desk.greet("commandbus", b"first", active_since=7)
    desk.greet("commandbus", b"second", active_since=9)
    desk.router.workers.lost(b"second", "died")
    desk.greet("commandbus", b"first", active_since=7, registration=2)
    desk.ask(command(1))
    assert workers_of(desk) == []

    desk.greet("commandbus", b"first", active_since=11, registration=3)
    assert workers_of(desk) == [b"first"]


def test_the_claims_of_another_log_or_of_several_machines_do_not_count_for_the_next_log() -> None:
    desk = Desk()
    desk.greet("commandbus", b"first", active_since=9)
    desk.router.workers.lost(b"first", "died")
    desk.greet("commandbus", b"one", active_since=0)  # the log has moved back to one machine
    desk.ask(command(1))
    assert workers_of(desk) == [b"one"]

    desk.router.workers.lost(b"one", "died")
    desk.greet("commandbus", b"restored", active_since=2, identity=Identity("log-1", "life-2"))
    assert workers_of(desk) == [b"restored"]


def test_a_commandbus_that_stands_by_returns_its_work_for_the_next() -> None:
    desk = Desk()
    desk.greet("commandbus", b"one", active_since=7)
    desk.ask(command(1))
    assert workers_of(desk) == [b"one"]
    for number in range(2, 12, 2):  # more often than a request may lose its worker
        desk.greet("commandbus", b"one", active_since=None, registration=number)
        assert workers_of(desk) == []
        desk.greet("commandbus", b"one", active_since=7 + number, registration=number + 1)
        assert workers_of(desk) == [b"one"]

    desk.given[b"one"] = desk.given[b"one"][-1:]
    desk.answer(b"one")
    assert desk.told() == [(1, "ok")]


def test_queries_wait_for_the_position_of_the_active_commandbus() -> None:
    desk = Desk(new=True)
    desk.router.workers.shared = True
    desk.greet("querybus", b"q", position=5)
    desk.greet("projector", b"p", position=5)
    desk.greet("commandbus", b"standby", active_since=None, position=5)
    for worker in desk.router.workers.buses["projector"].workers.values():
        worker.status = {"lag_events": 0}
    desk.ask(query(1))
    desk.wait(2.0)
    assert workers_of(desk) == []

    desk.greet("commandbus", b"active", active_since=7, position=8)

    [(id_, work)] = desk.dispatch()
    assert (id_, work.after) == (b"q", 8)


def test_a_position_of_another_gateway_is_waited_for() -> None:
    desk = Desk()
    desk.greet_both(position=5)
    desk.ask(query(1, after=9))
    assert workers_of(desk) == []
    assert desk.told() == [(1, Code.UNAVAILABLE)]  # on one machine, no such position exists

    desk.router.workers.shared = True
    desk.ask(query(2, after=9))
    [(id_, work)] = desk.dispatch()
    assert (id_, work.after) == (b"q", 9)
