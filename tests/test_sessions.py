"""A session sees its own writes: what a query waits for, and the position it carries."""

from dualbus.gateway import clients, sessions
from dualbus.log.identity import Identity
from dualbus.protocol.codes import Code
from dualbus.protocol.records import Heartbeat
from tests.desk import LOG, Desk, command, query


def after(desk: Desk) -> dict[int | str, int]:
    """Dispatch; return by message id the position that each answer must have reached."""
    return {work.body["msg_id"]: work.after for _, work in desk.dispatch()}


def test_a_query_waits_for_the_commands_its_session_sent_before_it_and_carries_their_position() -> None:
    desk = Desk()
    desk.greet_both()
    desk.ask(command(1), command(2), query(3), command(4))

    assert desk.dispatched() == [1, 2, 4]
    desk.answer(b"c", position=7, count=1)
    assert desk.dispatched() == []
    desk.answer(b"c", position=8, count=1)

    assert after(desk) == {3: 8}


def test_a_query_of_another_session_or_another_client_waits_for_nobody() -> None:
    desk = Desk()
    desk.greet_both()
    desk.ask(command(1, src="s"), query(2, src="other"), client=b"a")
    desk.ask(query(3, src="s"), client=b"b")

    assert sorted(desk.dispatched(), key=int) == [1, 2, 3]


def test_a_query_is_let_go_in_the_turn_in_which_its_command_has_timed_out() -> None:
    desk = Desk()
    desk.greet_both()
    desk.ask(command(1, timeout_ms=100), query(2))
    desk.dispatch()

    desk.now += 1

    assert desk.dispatched() == [2]
    assert desk.told() == [(1, Code.TIMEOUT)]


def test_a_query_that_timed_out_while_it_waited_is_never_asked() -> None:
    desk = Desk()
    desk.greet_both()
    desk.ask(command(1), query(2, timeout_ms=100))
    desk.dispatch()

    desk.wait(1)
    desk.answer(b"c", position=1)

    assert desk.dispatched() == []


def test_a_query_behind_a_command_that_is_sent_again_still_waits() -> None:
    desk = Desk()
    desk.greet_both()
    desk.ask(command(1), query(2))
    desk.dispatch()

    desk.router.workers.lost(b"c", "is gone")
    assert desk.dispatched() == []
    desk.greet("commandbus", b"c2")
    assert desk.dispatched() == [1]
    desk.answer(b"c2", position=5)

    assert after(desk) == {2: 5}


def test_what_a_query_has_shown_is_not_taken_back_by_the_next() -> None:
    desk = Desk()
    desk.greet("commandbus", b"c")
    desk.greet("querybus", b"ahead")
    desk.ask(query(1))
    desk.dispatch()
    desk.answer(b"ahead", position=9)
    desk.router.workers.head = 12  # that others have seen

    desk.ask(query(2), query(3, after=12), query(4, after=3))

    assert after(desk) == {2: 9, 3: 12, 4: 9}


def test_an_answer_that_came_too_late_still_counts_for_what_follows() -> None:
    desk = Desk()
    desk.greet_both()
    desk.ask(command(1, timeout_ms=100))
    desk.dispatch()
    desk.wait(1)
    assert desk.told() == [(1, 0)]

    desk.answer(b"c", position=6)
    desk.ask(query(2))

    assert after(desk) == {2: 6}
    assert desk.told() == []


def test_a_message_without_a_dest_holds_back_later_queries_until_it_is_known_what_it_is() -> None:
    desk = Desk()
    desk.ask(query(1, dest=""), query(2), command(3, dest=""), query(4))
    desk.greet("querybus", b"q")
    assert desk.dispatched() == [1, 2]

    desk.greet("commandbus", b"c")

    assert desk.dispatched() == [3]
    desk.answer(b"c", position=4)
    assert after(desk) == {4: 4}


def test_a_query_that_was_not_known_to_be_one_keeps_its_place_before_later_commands() -> None:
    desk = Desk()
    desk.greet("commandbus", b"c")
    desk.ask(command(1), query(2, dest=""), command(3), query(4))
    assert desk.dispatched() == [1, 3]
    desk.greet("querybus", b"q")

    desk.answer(b"c", position=1, count=1)

    assert after(desk) == {2: 1}


# Where a session begins.


def test_whoever_comes_after_a_commandbus_has_greeted_sees_what_the_log_held_then() -> None:
    desk = Desk(new=True)
    desk.ask(query(1), client=b"early")
    desk.greet_both(position=40)
    desk.ask(query(2), client=b"later")

    assert after(desk) == {1: 40, 2: 40}


def test_a_commandbus_that_comes_back_raises_where_others_begin() -> None:
    desk = Desk()
    desk.greet_both(position=3)
    desk.router.workers.lost(b"c", "is gone")
    desk.greet("commandbus", b"c2", position=5)

    desk.ask(query(1))

    assert after(desk) == {1: 5}


def test_another_log_begins_all_sessions_anew() -> None:
    desk = Desk()
    desk.greet("commandbus", b"c", position=500)
    desk.ask(command(1), client=b"a")
    desk.dispatch()
    desk.answer(b"c", position=501)
    desk.router.workers.lost(b"c", "is gone")
    restored = Identity(LOG.log, "life-2")

    desk.greet("commandbus", b"c2", identity=restored, position=20)
    desk.greet("querybus", b"q", identity=restored)
    desk.ask(query(2), client=b"a")
    desk.ask(query(3), client=b"b")

    assert after(desk) == {2: 20, 3: 20}


def test_a_forgotten_session_starts_again_no_lower_than_it_was() -> None:
    desk = Desk()
    desk.greet_both()
    desk.ask(command(1, src="first"))
    desk.dispatch()
    desk.answer(b"c", position=77)

    desk.ask(*[query(number, src=f"s{number}") for number in range(sessions.SESSIONS_MAX + 1)])
    while desk.dispatch():
        desk.answer(b"q")
    desk.ask(query(9999, src="first"))

    assert after(desk) == {9999: 77}


def test_a_session_with_a_query_under_way_is_not_forgotten() -> None:
    desk = Desk()
    desk.greet_both()
    desk.ask(query(1, src="first"))
    [(_, first)] = desk.dispatch()
    del desk.given[b"q"]
    for number in range(2, sessions.SESSIONS_MAX + 10):
        desk.ask(query(number, src=f"s{number}"))
        desk.dispatch()
        desk.answer(b"q")

    desk.late_answer(b"q", [first], position=8)
    desk.ask(query(9999, src="first"))

    assert after(desk) == {9999: 8}


def test_a_new_session_beside_a_thousand_busy_ones_keeps_its_own_writes() -> None:
    desk = Desk()
    desk.greet("querybus", b"q", credit=10_000)
    desk.greet("commandbus", b"c", credit=10_000)
    desk.ask(*[command(number, src=f"s{number}") for number in range(sessions.SESSIONS_MAX)])
    desk.ask(command(5000, src="new"), query(5001, src="new"))

    assert 5001 not in desk.dispatched()
    desk.answer(b"c", position=2000)
    assert after(desk) == {5001: 2000}


def test_a_forgotten_client_starts_again_no_lower_than_it_was() -> None:
    desk = Desk()
    desk.greet_both()
    desk.ask(command(1), client=b"a")
    desk.dispatch()
    desk.answer(b"c", position=30)
    desk.router.client_disconnected(desk.router.clients.of(b"a"))

    desk.ask(query(2), client=b"a")

    assert after(desk) == {2: 30}


def test_a_new_client_beside_as_many_busy_ones_as_are_kept_is_answered() -> None:
    desk = Desk()
    desk.greet("querybus", b"q", credit=100_000)
    for number in range(clients.CLIENTS_MAX):
        desk.ask(query(number), client=b"client-%d" % number)
    desk.ask(query(1), client=b"new")
    desk.dispatch()

    desk.answer(b"q")

    assert desk.told(b"new") == [(1, "ok")]


def test_a_query_never_carries_a_key_and_a_command_always_does() -> None:
    desk = Desk()
    desk.greet_both()
    body = {"type": "GetUser", "msg_id": 2, "idempotency_key": "k"}
    desk.ask(command(1), {"src": "x", "dest": "querybus", "body": body})

    keys = {work.body["msg_id"]: work.key for _, work in desk.dispatch()}

    assert keys[1]
    assert keys[2] is None


def test_a_new_gateway_answers_no_query_until_it_knows_how_far_the_log_is() -> None:
    desk = Desk(new=True)
    desk.greet("querybus", b"q", position=3)
    desk.ask(query(1))

    assert desk.dispatched() == []
    desk.wait(2)
    assert desk.dispatched() == []
    desk.greet("commandbus", b"c", position=7)

    assert after(desk) == {1: 7}


def test_where_there_is_no_commandbus_the_projector_says_how_far_the_log_is() -> None:
    desk = Desk(new=True)
    desk.greet("querybus", b"q", position=3)
    desk.greet("projector", b"p", position=3)
    projector = desk.router.workers.worker(b"p")
    assert projector is not None
    projector.update(Heartbeat(1, 0, LOG, 3, 1, {"lag_events": 4}), desk.now)
    desk.ask(query(1))

    assert desk.dispatched() == [], "commandbus may still come, and knows better"
    desk.wait(2)

    assert after(desk) == {1: 7}
