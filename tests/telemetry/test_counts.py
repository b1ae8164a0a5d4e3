"""What the cluster counts: each request once, by type and outcome; each commit, its events and its fsync."""

from pathlib import Path

import pytest

from dualbus.gateway.metrics import TYPES_MAX, Metrics
from dualbus.protocol.codec import pack
from dualbus.protocol.codes import Code, error
from dualbus.protocol.outcomes import outcome_of
from dualbus.telemetry.histogram import SECONDS, Histogram, quantile
from dualbus.testing import Cluster, until
from tests.desk import Desk, command, query
from tests.raw import RawClient, create
from tests.raw import query as query_of
from tests.telemetry.seeing import ask_gateway, counted, process


def test_each_request_counts_once_by_type_and_outcome(running: Cluster, client: RawClient) -> None:
    # When ten commands of which three are rejected, four queries and requests with errors are answered
    names = ["a", "", "b", "c", " ", "d", "e", "", "f", "g"]
    answers = client.ask(*(create(name) for name in names))
    client.ask(*[query_of("GetUser", user_id="user-123")] * 3, query_of("ListUsers"))
    client.ask(query_of("GetUser"))  # malformed
    client.ask({"src": "t", "dest": "commandbus", "body": {"type": "Nonsense"}})
    client.ask({"src": "t", "dest": "querybus", "body": {"type": "CreateUser"}})
    client.ask({"src": "t", "dest": "nowhere", "body": {"type": "CreateUser"}})
    assert sum(one["success"] for one in answers) == 7

    # Then the counters read exactly that, at once
    assert counted(client) == {
        ("commandbus", "CreateUser"): {"success": 7, "rejected": 3},
        ("commandbus", "unknown"): {"not_supported": 1},
        ("querybus", "GetUser"): {"success": 3, "malformed": 1},
        ("querybus", "ListUsers"): {"success": 1},
        ("querybus", "unknown"): {"not_supported": 1},
        ("unknown", "unknown"): {"unknown_dest": 1},
    }
    # and each accepted request has a duration
    durations = {
        (one["dest"], one["type"]): sum(one["duration_s"]["counts"])
        for one in ask_gateway(client, "Status")["requests"]
    }
    assert durations["commandbus", "CreateUser"] == 10
    assert durations["querybus", "GetUser"] == 4
    assert durations["unknown", "unknown"] == 0


def test_a_known_key_counts_as_a_further_success(running: Cluster, client: RawClient) -> None:
    client.ask(create("Ada", key="k"), create("Ada", key="k"), create("Bob", key="k"))

    assert counted(client) == {("commandbus", "CreateUser"): {"success": 2, "aborted": 1}}


def test_a_restart_of_commandbus_loses_no_count(running: Cluster, client: RawClient) -> None:
    client.ask(create("Ada"))
    running.restart("commandbus")
    client.ask(create("Bob"))

    assert counted(client) == {("commandbus", "CreateUser"): {"success": 2}}
    until(lambda: process(client, "commandbus").get("commits") == 1)  # of the process alone


def test_the_command_bus_reports_its_commits(running: Cluster, client: RawClient) -> None:
    # When three commands are committed one after another, and a refused one is not
    for name in ("a", "b", "c", ""):
        client.ask(create(name))

    until(lambda: process(client, "commandbus").get("commits") == 3)
    found = process(client, "commandbus")["histograms"]
    assert sum(found["fsync_s"]["counts"]) == 3
    assert found["fsync_s"]["sum"] > 0
    assert found["events_per_commit"]["sum"] == 3
    assert dict(zip(found["events_per_commit"]["le"], found["events_per_commit"]["counts"], strict=False))[1.0] == 3


def test_each_process_reports_its_memory_and_its_processor_time(running: Cluster, client: RawClient) -> None:
    def reported() -> bool:
        processes = ask_gateway(client, "Status")["processes"]
        reported = {one["name"] for one in processes if "memory_bytes" in one}  # with the first heartbeat
        assert reported == {"gateway", "commandbus", "projector", "querybus"}
        for one in processes:
            resident = Path(f"/proc/{one['pid']}/statm").read_text().split()[1]
            assert 0.5 < one["memory_bytes"] / (int(resident) * 4096) < 2
            assert one["cpu_s"] > 0
        return True

    until(reported)


# Without processes.


def test_a_timeout_counts_with_its_duration() -> None:
    desk = Desk(timeout_ms=3000)
    desk.greet_both()
    desk.ask(command(1))
    desk.dispatch()
    desk.ask(query(2, src="another"))
    desk.router.workers.metrics.now += 3.2
    desk.wait(3.2)
    desk.wait(0.2)

    assert desk.told() == [(2, Code.UNAVAILABLE), (1, Code.TIMEOUT)]
    found = {one["dest"]: one for one in desk.router.workers.metrics.as_list()}
    assert found["commandbus"]["outcomes"] == {"timeout": 1}
    assert found["querybus"]["outcomes"] == {"unavailable": 1}
    assert found["commandbus"]["duration_s"]["counts"][SECONDS.index(5.0)] == 1


def test_the_requests_of_a_disconnected_client_count_as_gone() -> None:
    desk = Desk()
    desk.greet_both()
    desk.ask(command(1), query(2))
    desk.dispatch()
    desk.router.client_disconnected(desk.router.clients.of(b"client"))

    assert [one["outcomes"] for one in desk.router.workers.metrics.as_list()] == [{"gone": 1}, {"gone": 1}]


def test_a_client_cannot_add_labels() -> None:
    desk = Desk()
    desk.greet_both()
    for number in range(100):
        desk.ask({"dest": f"bus-{number}", "body": {"type": f"Type{number}", "msg_id": number}})
        desk.ask({"dest": "commandbus", "body": {"type": f"Type{number}", "msg_id": number}})
        desk.ask({"body": {"type": f"Type{number}", "msg_id": number}})
    desk.dispatch()
    desk.answer(b"c")

    found = [(one["dest"], one["type"], one["outcomes"]) for one in desk.router.workers.metrics.as_list()]
    assert found == [
        ("commandbus", "unknown", {"success": 100}),
        ("unknown", "unknown", {"unknown_dest": 100, "not_supported": 100}),
    ]


def test_the_number_of_types_is_bounded() -> None:
    metrics = Metrics()
    metrics.register("commandbus", [f"Type{number}" for number in range(TYPES_MAX + 10)])
    assert len(metrics._by_type) == TYPES_MAX


@pytest.mark.parametrize("code", Code)
def test_the_outcome_of_an_error_is_its_code(code: Code) -> None:
    assert outcome_of(pack(error("success", code, "text"))) == code.name.lower()


def test_the_outcome_of_an_answer() -> None:
    success = {"type": "command_result", "in_reply_to": "success", "success": True, "events": [{"success": False}]}
    rejected = {"type": "command_result", "in_reply_to": 2**40, "success": False, "errors": ["error"]}
    assert outcome_of(pack(success)) == "success"
    assert outcome_of(pack(success)) == "success"
    assert outcome_of(pack(rejected)) == "rejected"
    assert outcome_of(pack({"type": "query_result", "in_reply_to": 1, "data": {"code": 3}})) == "success"


def test_a_bucket_includes_its_bound() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.0, 1.0, 1.5, 2.0, 2.1):
        histogram.observe(value)
    assert histogram.as_dict() == {"le": [1.0, 2.0], "counts": [2, 2, 1], "sum": 6.6}


def test_a_quantile_is_interpolated_in_its_bucket() -> None:
    assert quantile((1.0, 2.0), [0, 0, 0], 0.5) is None
    assert quantile((1.0, 2.0), [10, 0, 0], 0.5) == 0.5
    assert quantile((1.0, 2.0), [50, 50, 0], 0.99) == pytest.approx(1.98)
    assert quantile((1.0, 2.0), [1, 0, 9], 0.5) == 2.0
