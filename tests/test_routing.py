"""The gateway without its sockets: who gets what, in which order, and what a client is told in the end."""

import pytest

from dualbus.log.identity import Identity
from dualbus.protocol.codes import Code
from tests.desk import FIRST_ID, LOG, Desk, command, query

REFUSED, UNKNOWN = Code.UNAVAILABLE, Code.TIMEOUT


def test_a_message_goes_to_its_dest_and_its_answer_to_its_client() -> None:
    desk = Desk()
    desk.greet_both()
    desk.ask(command(1), query(2, src="other"), client=b"a")
    desk.ask(query("three", src="b"), client=b"b")

    given = {(id_, work.body["msg_id"]): work for id_, work in desk.dispatch()}
    assert set(given) == {(b"c", 1), (b"q", 2), (b"q", "three")}
    assert given[b"c", 1].ms == 5000

    desk.answer(b"c")
    desk.answer(b"q")
    assert sorted(desk.told(b"a")) == [(1, "ok"), (2, "ok")]
    assert desk.told(b"b") == [("three", "ok")]


def test_clients_take_turns_whatever_one_of_them_has_queued() -> None:
    desk = Desk()
    desk.ask(*[query(number) for number in range(1000)], client=b"greedy")
    desk.ask(query(5000), query(5001), client=b"modest")

    desk.greet("querybus", b"q", credit=6)

    # then half of the credit of the worker stays free for the next request of the other
    assert desk.dispatched() == [0, 5000, 1, 5001, 2]


def test_while_clients_take_turns_a_worker_is_given_little_at_a_time_and_one_that_is_alone_all_of_its_credit() -> (
    None
):
    desk = Desk()
    desk.greet("querybus", b"q", credit=800)
    # given a client that sends alone, then beside another
    desk.ask(*[query(number) for number in range(5000)], client=b"greedy")
    assert len(desk.dispatched()) == 800
    desk.ask(query("modest"), client=b"modest")
    desk.answer(b"q", count=700)
    # then what is in flight shrinks to an eighth, so that the next of the other client waits for no more than that
    assert desk.dispatched() == []
    desk.answer(b"q", count=90)
    # and the first holds at most its share of that eighth
    assert len(desk.dispatched()) == 41
    assert len(desk.given[b"q"]) == 51
    desk.ask(query("modest again"), client=b"modest")
    assert desk.dispatched() == ["modest again"]
    # and when the other has been quiet for a while, the first has all of the credit again
    desk.wait(2)
    desk.dispatched()
    assert len(desk.given[b"q"]) == 800


def test_a_worker_is_never_given_more_than_its_credit() -> None:
    desk = Desk()
    desk.greet("querybus", b"q", credit=3)
    desk.ask(*[query(number) for number in range(10)])

    assert desk.dispatched() == [0, 1, 2]
    assert desk.dispatched() == []
    desk.answer(b"q", count=2)
    assert desk.dispatched() == [3, 4]


def test_a_request_answered_by_its_deadline_still_holds_its_credit() -> None:
    desk = Desk()
    desk.greet("querybus", b"q", credit=1)
    desk.ask(query(1, timeout_ms=50), query(2))
    assert desk.dispatched() == [1]

    desk.wait(1)

    assert desk.told() == [(1, UNKNOWN)]
    assert desk.dispatched() == []
    desk.answer(b"q")
    assert desk.dispatched() == [2]


def test_several_workers_of_a_bus_share_what_is_queued() -> None:
    desk = Desk()
    for id_ in (b"q1", b"q2", b"q3"):
        desk.greet("querybus", id_, credit=100)
    desk.ask(*[query(number) for number in range(9)])

    desk.dispatch()

    assert [len(desk.given[id_]) for id_ in (b"q1", b"q2", b"q3")] == [3, 3, 3]


def test_a_worker_of_another_log_is_given_nothing() -> None:
    desk = Desk()
    desk.greet("commandbus", b"c", identity=LOG)
    desk.greet("querybus", b"q", identity=Identity("log-2", "life-1"))
    desk.ask(query(1))

    assert desk.dispatch() == []
    desk.greet("querybus", b"ours", identity=LOG)
    assert [id_ for id_, _ in desk.dispatch()] == [b"ours"]


def test_a_leaving_worker_gets_nothing_more_and_goes_when_nobody_waits_for_it() -> None:
    desk = Desk()
    desk.greet("querybus", b"q")
    desk.ask(query(1))
    desk.dispatch()
    worker = desk.router.workers.worker(b"q")
    assert worker

    desk.router.workers.leave(worker)
    desk.ask(query(2))

    assert desk.dispatch() == []
    assert desk.router.pop_leaving() == []
    desk.answer(b"q")
    assert desk.router.pop_leaving() == [b"q"]


# Clients that go.


def test_what_a_client_that_is_gone_has_asked_is_dropped_and_the_others_go_on() -> None:
    desk = Desk()
    desk.ask(command(1), query(2), client=b"gone")
    desk.ask(command(3), client=b"here")

    desk.router.client_disconnected(desk.router.clients.of(b"gone"))
    desk.greet_both()

    assert desk.dispatched() == [3]
    assert len(desk.router.pending) == 1


def test_a_client_that_comes_back_under_its_old_name_is_served() -> None:
    desk = Desk()
    desk.ask(query(1), client=b"name")
    desk.router.client_disconnected(desk.router.clients.of(b"name"))

    desk.ask(query(2), client=b"name")
    desk.greet("querybus", b"q")

    assert desk.dispatched() == [2]
    assert desk.dispatched() == []


# Without a dest.


def test_a_message_without_a_dest_goes_by_its_type_once_that_is_announced() -> None:
    desk = Desk()
    desk.ask(command(1, dest=""), query(2, dest=""))
    assert desk.dispatch() == []

    desk.greet_both()

    assert desk.dispatched() == [1]
    desk.answer(b"c")
    assert desk.dispatched() == [2]


def test_a_command_without_a_dest_keeps_its_place_before_those_that_were_sent_after_it() -> None:
    desk = Desk()
    desk.ask(command(1, dest=""), command(2), command(3, dest=""))

    desk.greet("commandbus", b"c")

    assert desk.dispatched() == [1, 2, 3]


def test_a_type_that_nobody_announces_is_refused_when_both_buses_are_here() -> None:
    desk = Desk()
    unknown = {"body": {"type": "Nonsense", "msg_id": 1}}
    desk.ask(unknown)
    desk.greet("commandbus", b"c")
    assert desk.told() == []
    desk.greet("querybus", b"q")
    desk.ask(unknown)

    assert desk.told() == [(1, Code.NOT_SUPPORTED)] * 2


def test_a_type_that_is_gone_goes_to_commandbus_with_a_key_that_may_have_been_used() -> None:
    desk = Desk()
    desk.ask({"body": {"type": "Gone", "msg_id": 1, "idempotency_key": "k1"}})
    desk.greet("commandbus", b"c")
    assert desk.dispatched() == []  # it may be a query
    desk.greet("querybus", b"q")
    desk.ask({"body": {"type": "Gone", "msg_id": 2, "idempotency_key": "k2"}})

    assert desk.dispatched() == [1, 2]
    assert desk.told() == []


@pytest.mark.parametrize("dest", ["warehouse", "projector", "'; DROP TABLE users", "../..", "\0"])
def test_an_unknown_dest_is_refused_by_name(dest: str) -> None:
    desk = Desk()
    desk.ask(query(1, dest=dest))

    [reply] = desk.replies()
    assert reply["code"] == Code.UNKNOWN_DEST
    assert repr(dest) in reply["text"]


# The end.


def test_stopping_refuses_what_no_bus_has_seen_and_waits_for_the_rest() -> None:
    desk = Desk()
    desk.greet("commandbus", b"c", credit=1)
    desk.ask(command(1), command(2), query(3))
    desk.dispatch()

    desk.router.stop()
    desk.ask(command(4))

    assert desk.told() == [(2, REFUSED), (3, REFUSED), (4, REFUSED)]
    desk.answer(b"c")
    assert desk.told() == [(1, "ok")]
    assert len(desk.router.pending) == 0


def test_giving_up_answers_all_that_is_left_as_what_it_is() -> None:
    desk = Desk()
    desk.greet("commandbus", b"c", credit=1)
    desk.greet("querybus", b"q")
    desk.ask(command(1), command(2), query(3))
    desk.dispatch()

    desk.router.give_up()

    assert desk.told() == [(1, UNKNOWN), (2, REFUSED), (3, REFUSED)]


# Workers that die.


def test_what_a_dead_worker_had_is_sent_again_first_in_order_and_under_the_same_keys() -> None:
    desk = Desk()
    desk.greet("commandbus", b"c", credit=3)
    desk.ask(command(1), command(2, key="mine"), command(3), command(4))
    first = [work for _, work in desk.dispatch()]
    assert [work.key for work in first] == [f"made-{FIRST_ID}", "mine", f"made-{FIRST_ID + 2}"]

    desk.answer(b"c", count=1)
    desk.router.workers.lost(b"c", "is gone")
    desk.greet("commandbus", b"c2")

    again = [work for _, work in desk.dispatch()]
    assert [(work.key, work.body) for work in again[:2]] == [(w.key, w.body) for w in first[1:]]
    assert not {work.id for work in again} & {work.id for work in first}  # each sending has a number of its own
    assert [work.body["msg_id"] for work in again] == [2, 3, 4]


def test_what_several_dead_workers_had_is_sent_again_in_the_order_in_which_it_came() -> None:
    desk = Desk()
    desk.greet("querybus", b"one", credit=2)
    desk.greet("querybus", b"two", credit=2)
    desk.ask(*[query(number) for number in range(5)])
    desk.dispatch()

    for id_ in sorted(desk.given, key=lambda id_: desk.given[id_][0].id):
        desk.router.workers.lost(id_, "is gone")
    desk.greet("querybus", b"three")

    assert desk.dispatched() == [0, 1, 2, 3, 4]


def test_a_worker_whose_beats_are_overdue_keeps_the_query_that_holds_it_and_others_do_the_rest() -> None:
    desk = Desk(timeout_ms=60_000)
    desk.greet("querybus", b"silent")
    desk.ask(query(1), query(2))
    assert desk.dispatched() == [1, 2]
    held = desk.given[b"silent"][1]

    desk.now += 2
    desk.router.expire(desk.now)
    desk.greet("querybus", b"other")
    desk.ask(query(3))

    assert {(id_, work.body["msg_id"]) for id_, work in desk.dispatch()} == {(b"other", 2), (b"other", 3)}
    assert desk.router.workers.pop_cancelled() == [(b"silent", [held.id])]
    desk.answer(b"silent", count=1)
    assert desk.told() == [(1, "ok")]


def test_a_worker_that_is_silent_for_long_counts_as_dead() -> None:
    desk = Desk(timeout_ms=60_000)
    desk.greet("querybus", b"silent")
    desk.ask(query(1))
    desk.dispatch()

    desk.now += 31
    desk.router.expire(desk.now)
    desk.greet("querybus", b"other")

    assert [id_ for id_, _ in desk.dispatch()] == [b"other"]
    assert desk.router.workers.worker(b"silent") is None


def test_an_answer_to_an_earlier_sending_answers_no_later_one() -> None:
    desk = Desk()
    desk.greet("commandbus", b"c", instance_id="one")
    desk.ask(command(1))
    [(_, first)] = desk.dispatch()

    desk.router.workers.lost(b"c", "is gone")
    desk.greet("commandbus", b"c", instance_id="one", registration=2)
    [(_, second)] = desk.dispatch()
    desk.late_answer(b"c", [first])

    assert (first.registration, second.registration) == (1, 2)
    assert desk.told() == []
    assert desk.router.workers.counters["late_answers"] == 1
    desk.late_answer(b"c", [second])
    assert desk.told() == [(1, "ok")]


def test_a_message_that_its_workers_die_of_is_given_up_and_its_neighbours_are_not() -> None:
    desk = Desk()
    desk.ask(command(1))
    for instance_id in range(3):
        desk.greet("commandbus", b"c%d" % instance_id)
        assert desk.dispatched() == [1]
        desk.router.workers.lost(b"c%d" % instance_id, "is gone")

    desk.ask(command(2))
    desk.greet("commandbus", b"c9")

    assert desk.told() == [(1, Code.CRASH)]
    assert desk.dispatched() == [2]


def test_what_two_workers_died_of_gets_the_third_for_itself_whatever_lies_before_it() -> None:
    # Given a query that two workers died of, and before it one whose client is gone
    desk = Desk()
    desk.greet("querybus", b"q0", credit=1)
    desk.ask(query("gone"), client=b"a")
    desk.dispatch()
    desk.ask(query("bad"), client=b"b")
    for worker in (b"q1", b"q2"):
        desk.greet("querybus", worker, credit=1)
        assert desk.dispatched() == ["bad"]
        if worker == b"q2":
            desk.greet("querybus", b"busy", credit=2)
            desk.ask(query("neighbour"), client=b"c")
            assert desk.dispatched() == ["neighbour"]
        desk.router.workers.lost(worker, "is gone")
    desk.router.workers.lost(b"q0", "is gone")
    desk.router.client_disconnected(desk.router.clients.of(b"a"))

    # then it waits until a worker has nothing else
    assert desk.dispatched() == []
    desk.answer(b"busy")
    assert desk.dispatched() == ["bad"]


def test_the_answer_of_an_earlier_life_is_ignored() -> None:
    desk = Desk()
    desk.greet("commandbus", b"old", instance_id="one")
    desk.ask(command(1))
    [(_, work)] = desk.dispatch()
    desk.greet("commandbus", b"new", instance_id="two")

    desk.late_answer(b"old", [work])  # nobody of that name is known any more
    desk.late_answer(b"new", [work._replace(id=FIRST_ID - 1)])  # an id of an earlier gateway

    assert desk.told() == []
    assert desk.dispatched() == [1]
    desk.answer(b"new")
    desk.late_answer(b"new", [work])
    assert desk.told() == [(1, "ok")]
    assert desk.router.workers.counters["late_answers"] == 2


def test_a_worker_that_says_who_it_is_twice_loses_nothing() -> None:
    desk = Desk()
    desk.greet("commandbus", b"c", instance_id="one")
    desk.ask(command(1))
    desk.dispatch()

    for _ in range(4):
        assert desk.greet("commandbus", b"c", instance_id="one") is None

    assert desk.dispatched() == []
    desk.answer(b"c")
    assert desk.told() == [(1, "ok")]


def test_a_worker_that_comes_back_over_a_new_connection_gets_its_work_again() -> None:
    desk = Desk()
    desk.greet("querybus", b"before", instance_id="one")
    desk.ask(query(1))
    desk.dispatch()

    desk.greet("querybus", b"after", instance_id="one")

    assert [id_ for id_, _ in desk.dispatch()] == [b"after"]


def test_a_commandbus_with_another_log_is_turned_away_and_the_first_keeps_its_work() -> None:
    desk = Desk()
    desk.greet("commandbus", b"first")

    why = desk.greet("commandbus", b"second", identity=Identity("log-2", "life-1"))

    assert why == "Another commandbus, with another log, is registered at this gateway: stop one of the two."
    desk.ask(command(1))
    assert [id_ for id_, _ in desk.dispatch()] == [b"first"]


def test_a_worker_of_no_known_dest_is_turned_away() -> None:
    assert (
        Desk().greet("warehouse", b"w")
        == "Unknown dest 'warehouse': workers register as commandbus, querybus, projector or reactor."
    )
