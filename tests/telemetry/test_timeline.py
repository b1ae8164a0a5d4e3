"""The stages of a recent command, and the rates of the last minutes."""

import signal
from typing import Any

import pytest

from dualbus.gateway.rates import INTERVAL_SECONDS, POINTS_MAX
from dualbus.gateway.timeline import COMMANDS_MAX, Timeline
from dualbus.protocol.codes import WireError
from dualbus.protocol.records import CommitTimes, Transaction, read_done, read_transactions
from dualbus.testing import Cluster, until
from tests.desk import Desk, command, query
from tests.raw import RawClient, create
from tests.telemetry.seeing import ask_gateway, process

STAGES = ["accepted", "sent", "deciding", "decided", "committed", "answered", "projected"]


def timeline(client: RawClient, **params: Any) -> Any:
    """Return the timeline of a command whose events are in the read model."""

    def projected() -> Any:
        found = ask_gateway(client, "Timeline", **params)
        return found and found["stages"]["projected"] and found

    return until(projected)


def test_the_timeline_of_a_command_has_all_stages_in_their_order(running: Cluster, client: RawClient) -> None:
    # Given three commands, the second of them rejected
    client.ask(create("Ada", key="ada"))
    client.ask(create("", key="nobody"))
    client.ask(create("Bob", key="bob"), create("Eve", key="eve"))

    # Then the timeline of each is found by its key and by its position
    for key, position in (("ada", 2), ("bob", 3), ("eve", 4)):
        found = timeline(client, key=key)
        assert (found["type"], found["outcome"]) == ("CreateUser", "success")
        assert key not in str(found)  # only the client of the command knows its key
        assert (found["first"], found["position"], found["late"], found["tries"]) == (position, position, False, 1)
        assert timeline(client, position=position) == found
        stages = found["stages"]
        assert list(stages) == STAGES
        assert stages["accepted"] == 0
        assert stages["sent"] < stages["deciding"] < stages["decided"] < stages["committed"] < stages["answered"]
        assert stages["committed"] < stages["projected"]

    # and of a rejected command, there is nothing to project
    rejected = ask_gateway(client, "Timeline", key="nobody")
    assert (rejected["outcome"], rejected["first"], rejected["position"]) == ("rejected", None, 2)
    assert rejected["stages"]["projected"] is None
    assert rejected["stages"]["decided"] > rejected["stages"]["deciding"]
    assert rejected["stages"]["committed"] is None


def test_the_timeline_of_an_unknown_command_is_null(running: Cluster, client: RawClient) -> None:
    client.ask(create("Ada", key="ada"))

    assert ask_gateway(client, "Timeline", key="Ada") is None
    assert ask_gateway(client, "Timeline", position=1) is None  # genesis has no gateway
    assert ask_gateway(client, "Timeline", position=3) is None
    wrong: tuple[dict[str, Any], ...] = ({}, {"key": 1}, {"position": "1"}, {"key": "k", "position": 1}, {"more": 1})
    for params in wrong:
        [body] = client.ask({"dest": "gateway", "body": {"type": "Timeline", "params": params}})
        assert (body["type"], body["code"]) == ("error", 12), params


def test_the_timeline_shows_where_a_command_has_waited(running: Cluster, client: RawClient) -> None:
    # Given a command that arrives while commandbus is stopped
    client.ask(create("Ada"))
    running.process("commandbus").send(signal.SIGSTOP)
    client.send(create("Bob", 77, key="bob"))
    until(lambda: process(client, "commandbus")["in_flight"] == 1)
    until(lambda: process(client, "commandbus")["seen_s"] > 1)
    running.process("commandbus").send(signal.SIGCONT)
    client.wait_for([77])

    # Then its time before the decision is longer than its time after it
    stages = timeline(client, key="bob")["stages"]
    assert stages["deciding"] > stages["answered"] - stages["deciding"]


def test_the_answer_to_a_command_that_has_timed_out_is_late(running: Cluster, client: RawClient) -> None:
    client.ask(create("Ada"))
    running.process("commandbus").send(signal.SIGSTOP)
    late = {**create("Bob", 77, key="bob"), "timeout_ms": 300}
    client.send(late)
    [reply] = client.wait_for([77])
    assert reply["body"]["code"] == 0
    running.process("commandbus").send(signal.SIGCONT)

    # Then the timeline shows what became of it, and the client's outcome counts
    found = until(lambda: ask_gateway(client, "Timeline", key="bob"))
    assert found["late"] is True
    [counted] = ask_gateway(client, "Status")["requests"]
    assert counted["outcomes"] == {"success": 1, "timeout": 1}


def test_a_command_is_found_by_any_of_its_positions() -> None:
    desk = Desk()
    desk.greet_both(position=10)
    # Three events, a rejection, a copy of a command at position 12, two events
    for number, position in ((1, 13), (2, 13), (9, 12), (3, 15)):
        desk.ask(command(number, key=f"k{number}"))
        desk.dispatch()
        answer(desk, position)

    found = {position: desk.router.workers.timeline.find(None, position) for position in range(10, 17)}
    ranges = {position: one and (one["first"], one["position"]) for position, one in found.items()}
    first, third = (11, 13), (14, 15)
    assert ranges == {10: None, 11: first, 12: first, 13: first, 14: third, 15: third, 16: None}
    rejected = desk.router.workers.timeline.find("k2", None)
    assert rejected is not None
    assert (rejected["first"], rejected["position"]) == (None, 13)


def test_a_search_visits_the_commands_of_no_other_batch() -> None:
    desk = Desk()
    desk.greet_both()
    for number in range(100):
        desk.ask(command(number, key=f"k{number}"))
        desk.dispatch()
        answer(desk, 2 * number + 2)
    kept = desk.router.workers.timeline
    kept.find("none", None)  # the first search makes the keys of each batch
    for batch in list(kept._batches)[:70] + list(kept._batches)[71:]:
        batch.commands = batch.positions = None  # type: ignore[assignment]

    assert kept.find("none", None) is None
    for found in (kept.find("k70", None), kept.find(None, 141), kept.find(None, 142)):
        assert found is not None
        assert (found["first"], found["position"]) == (141, 142)


def answer(desk: Desk, position: int) -> None:
    """Have commandbus answer its only command at a position."""
    [work] = desk.given.pop(b"c")
    worker = desk.router.workers.worker(b"c")
    assert worker is not None
    body = b"\x81\xa4type\xa2ok"
    times = CommitTimes(1, 2, 3, 4)
    desk.router.workers.done(worker, [(work.id, position, body, b"")], desk.now, times)


def test_the_last_commands_are_kept_and_no_more() -> None:
    desk = Desk()
    desk.greet_both()
    for number in range(COMMANDS_MAX + 1):
        desk.ask(command(number, key=f"k{number}"))
        desk.dispatch()
        answer(desk, number + 1)

    kept = desk.router.workers.timeline
    assert kept.find("k0", None) is None
    assert kept.find("k1", None) is not None


def test_another_log_has_another_timeline() -> None:
    desk = Desk()
    desk.greet_both()
    desk.ask(command(1, key="k"))
    desk.dispatch()
    answer(desk, 1)
    desk.router.workers.lost(b"c", "ended")
    desk.greet("commandbus", b"d", identity=desk.router.workers.identity._replace(incarnation="life-2"))  # type: ignore[union-attr]

    assert desk.router.workers.timeline.find("k", None) is None


def test_a_position_that_no_transaction_covers_has_no_time() -> None:
    kept = Timeline()
    kept.projected([Transaction(0, 5, 100), Transaction(9, 12, 200)])  # the projector was restarted in between
    assert [kept._projected_at(position) for position in (1, 5, 6, 9, 10, 12, 13)] == [
        100, 100, None, None, 200, 200, None,
    ]  # fmt: skip


@pytest.mark.parametrize("items", [[], [1, 2], [1, 2, "3"], [1, 2, 3, 4], {"a": 1}, 7])
def test_invalid_times_of_a_worker_are_refused(items: Any) -> None:
    with pytest.raises(WireError):
        read_done([items], 0)
    if items:
        with pytest.raises(WireError):
            read_transactions([items])


def test_the_rates_of_an_interval() -> None:
    desk = Desk()
    desk.greet_both()
    router = desk.router
    router.sample(desk.now, 1000.0)

    # When within two seconds eight commands take 300 ms, and two queries 3 ms
    desk.ask(*(command(number, src=f"s{number}") for number in range(8)))
    desk.dispatch()
    desk.now += 0.3
    desk.answer(b"c")
    desk.ask(query(8), query(9))
    desk.dispatch()
    desk.now += 0.003
    desk.answer(b"q")
    desk.now = 100.0 + INTERVAL_SECONDS
    router.sample(desk.now, 1002.0)

    # Then the point of the interval shows these
    rates = router.rates.as_dict()
    assert rates["time"] == [1002.0]
    assert (rates["commands_per_s"], rates["queries_per_s"], rates["failed_per_s"]) == ([4.0], [1.0], [0.0])
    assert 0.2 < rates["commands_p50_s"][0] < rates["commands_p99_s"][0] <= 0.5
    assert 0.002 < rates["queries_p50_s"][0] <= 0.005

    # and the next interval, in which nothing happens, has no percentiles
    router.sample(desk.now + 1, 1003.0)  # not due
    router.sample(desk.now + INTERVAL_SECONDS, 1004.0)
    rates = router.rates.as_dict()
    assert rates["time"] == [1002.0, 1004.0]
    assert (rates["commands_per_s"], rates["commands_p99_s"][1]) == ([4.0, 0.0], None)


def test_subscriptions_have_no_part_in_the_rates() -> None:
    # Given a request for events that the gateway holds for its time
    desk = Desk()
    desk.greet_both()
    desk.greet("querybus", b"q", registration=2, types=["Events"])
    desk.router.sample(desk.now, 1000.0)
    desk.ask({"dest": "querybus", "body": {"type": "Events", "msg_id": 1}})
    desk.wait(1.1)
    desk.dispatch()
    desk.answer(b"q")
    assert desk.told() == [(1, "ok")]

    desk.router.sample(desk.now + INTERVAL_SECONDS, 1002.0)
    assert (desk.router.rates.as_dict()["queries_per_s"], desk.router.rates.as_dict()["queries_p99_s"]) == (
        [0.0],
        [None],
    )


def test_ten_minutes_of_rates_are_kept() -> None:
    desk = Desk()
    desk.greet_both()
    for number in range(POINTS_MAX + 5):
        desk.router.sample(desk.now + number * INTERVAL_SECONDS, float(number))

    rates = desk.router.rates.as_dict()
    assert {len(column) for name, column in rates.items() if name != "interval_s"} == {POINTS_MAX}
    assert rates["time"][-1] == POINTS_MAX + 4


def test_the_rates_of_the_reactor_are_not_negative_after_its_restart() -> None:
    desk = Desk()
    desk.greet("reactor", b"r")
    [worker] = desk.router.workers.buses["reactor"].workers.values()
    for number, (finished, commands) in enumerate([(10, 6), (30, 10), (2, 0)]):
        worker.status = {"finished": finished, "commands": commands}
        desk.router.sample(desk.now + number * INTERVAL_SECONDS, float(number))

    rates = desk.router.rates.as_dict()
    assert rates["reacted_per_s"] == [20 / INTERVAL_SECONDS, 0]
    assert rates["caused_per_s"] == [4 / INTERVAL_SECONDS, 0]


def test_the_rates_of_a_running_cluster(running: Cluster, client: RawClient) -> None:
    until(lambda: ask_gateway(client, "Status")["read_model_position"] == 1)
    until(lambda: ask_gateway(client, "Rates")["time"])
    client.ask(*(create(name) for name in "abcdef"))

    def seen() -> bool:
        rates = ask_gateway(client, "Rates")
        for name in ("commands_per_s", "written_per_s", "applied_per_s"):
            assert sum(rates[name]) * rates["interval_s"] == pytest.approx(6, rel=0.1), name
        assert rates["lag_events"][-1] == 0
        return True

    until(seen)
