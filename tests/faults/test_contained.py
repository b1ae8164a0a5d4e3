"""A bad event, worker, client or neighbour stops nobody else, and shows."""

import random
import shutil
import signal
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from dualbus.testing import Cluster, until
from tests.conftest import ROOT
from tests.faults.apps import slow
from tests.faults.judge import judge
from tests.faults.load import Load
from tests.faults.seeing import fields, memory_mb, not_caught_up, process_status, rows, said, status, wait_ready
from tests.raw import RawClient, command, create, query

EXIT_UNAVAILABLE = 69


def add(name: str) -> dict[str, object]:
    return command("Add", name=name)


def test_an_event_whose_projection_raises_stops_the_projector_there_and_nobody_else(folder: Path) -> None:
    with Cluster(folder, "tests.faults.apps.stumbling:app", cwd=ROOT) as cluster:
        cluster.environ["STUMBLING_MENDED"] = str(folder / "mended")
        cluster.start()
        with RawClient(cluster.front) as client, RawClient(cluster.front) as other:
            client.ask(add("before"), query("Names"))
            # when an event comes that its projection cannot take
            assert all(body["success"] for body in client.ask(add("poison"), add("after")))

            # then Status shows at which position and which one, and the projector's log the sentence of the author
            where = (
                "Projection things raised ValueError at position 2 (Added); the log of the projector has the details"
            )
            until(lambda: process_status(client, "projector").get("state") == where)
            assert process_status(client, "projector")["position"] == 1
            assert where in said(cluster, "projector")
            assert "ValueError: cannot show poison" in said(cluster, "projector")

            # and commands are done, old rows are there for those who may see them, and are shown to no others
            assert other.ask(query("Names"))[0]["data"] == ["before"]
            until(lambda: not_caught_up(client, query("Names")))
            assert client.ask(add("later"))[0]["success"]

            # and when the projection is mended, everything comes, once
            (folder / "mended").touch()
            assert client.ask(query("Names"))[0]["data"] == ["before", "poison", "after", "later"]
            until(lambda: process_status(client, "projector")["state"] == "following")


def test_a_command_that_makes_the_application_raise_is_aborted_and_its_neighbours_are_not(folder: Path) -> None:
    with Cluster(folder, "tests.faults.apps.stumbling:app", cwd=ROOT) as cluster:
        cluster.start()
        with RawClient(cluster.front) as client:
            bodies = client.ask(
                add("one"), add("a rule that raises"), add("two"), add("a decision that raises"), add("three")
            )
            assert [body.get("success") for body in bodies] == [True, None, True, None, True]
            assert [body.get("code") for body in bodies] == [None, 14, None, 14, None]
            assert [one["name"] for one in fields(cluster.data)] == ["one", "two", "three"]
            assert cluster.process("commandbus").running


def test_a_query_that_kills_its_worker_is_given_up_and_its_neighbours_are_answered(folder: Path) -> None:
    with Cluster(folder, "tests.faults.apps.stumbling:app", cwd=ROOT) as cluster:
        # given four querybuses, and a query that kills whoever answers it
        cluster.start("gateway", "commandbus", "projector", *["querybus"] * 4)
        with RawClient(cluster.front) as client:
            client.ask(add("here"))
            until(lambda: [one["name"] for one in status(client)["processes"]].count("querybus") == 4)
            bodies = client.ask(*[query("Names")] * 20, query("Names", crash=True), *[query("Names")] * 20)
            # then it is tried three times, and what was in flight beside it goes to the others
            assert (bodies[20]["code"], "was lost 3 times" in bodies[20]["text"]) == (13, True)
            assert all(body.get("data") == ["here"] for body in bodies[:20] + bodies[21:])
            assert sum(process.running for process in cluster.processes if process.name == "querybus") == 1


def free_ports() -> list[str]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(4)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"tcp://127.0.0.1:{one.getsockname()[1]}" for one in sockets]


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_a_second_one_of_anything_says_so_and_exits_and_the_first_keeps_all_traffic(
    folder: Path, transport: str
) -> None:
    names = ("front", "back", "events", "progress")
    settings = dict(zip(names, free_ports(), strict=True)) if transport == "tcp" else {}
    with Cluster(folder, cwd=ROOT) as cluster:
        cluster.environ |= {f"DUALBUS_{name.upper()}": address for name, address in settings.items()}
        first = cluster.start()
        with RawClient(cluster.front) as client:
            wait_ready(client)
            elsewhere = str(folder / "elsewhere")
            # when a second gateway, commandbus and projector come, on the same data or the same addresses
            seconds = {
                "gateway": cluster.start("gateway")[0],
                "the same log": cluster.start("commandbus")[0],
                "the same events": cluster.start("commandbus", DUALBUS_DATA=elsewhere)[0],
                "the same read model": cluster.start("projector")[0],
                "the same progress": cluster.start("projector", DUALBUS_DATA=elsewhere)[0],
            }
            # then each says so and exits
            assert {name: one.wait() for name, one in seconds.items()} == dict.fromkeys(seconds, EXIT_UNAVAILABLE)
            listening = "listens on" if transport == "ipc" else "cannot be listened on"
            assert listening in seconds["gateway"].stderr_text
            assert f"Another commandbus writes the log in {cluster.data}" in seconds["the same log"].stderr_text
            assert listening in seconds["the same events"].stderr_text
            assert (
                f"Another projector writes the read model in {cluster.data}"
                in seconds["the same read model"].stderr_text
            )
            assert listening in seconds["the same progress"].stderr_text
            # and those that were there first serve on, old clients and new
            assert all(process.running for process in first)
            with RawClient(cluster.front) as newcomer:
                for one in (client, newcomer):
                    created, found = one.ask(create("Ada"), query("GetUser", user_id="user-123"))
                    assert created["success"] and found["data"]
            assert len(fields(cluster.data)) == 3


def test_another_commandbus_with_another_log_is_turned_away_at_the_gateway(
    running: Cluster, client: RawClient
) -> None:
    wait_ready(client)
    log = status(client)["log"]
    # when a commandbus comes with a log and an address of its own, and our gateway
    data, road = str(running.folder / "other"), f"ipc://{running.folder}/other-events"
    [stranger] = running.start("commandbus", DUALBUS_DATA=data, DUALBUS_EVENTS=road)
    # then it is told so, and all commands go where they went
    assert stranger.wait() == EXIT_UNAVAILABLE
    assert (
        "Another commandbus, with another log, is registered at this gateway: stop one of the two."
        in stranger.stderr_text
    )
    assert client.ask(create("Ada"))[0]["success"]
    assert status(client)["log"] == log
    assert len(fields(running.data)) == 2
    assert len(fields(running.folder / "other")) == 1


def test_a_commandbus_on_a_copy_of_the_folder_is_turned_away_at_the_gateway(
    running: Cluster, client: RawClient
) -> None:
    """Both would acknowledge commands, in turn, each in a log of its own."""
    assert client.ask(create("Ada"))[0]["success"]
    data, road = running.folder / "copy", f"ipc://{running.folder}/copy-events"
    shutil.copytree(running.data, data)
    [stranger] = running.start("commandbus", DUALBUS_DATA=str(data), DUALBUS_EVENTS=road)

    assert stranger.wait() == EXIT_UNAVAILABLE
    assert "with this log in another folder, is registered at this gateway" in stranger.stderr_text
    assert client.ask(create("Bob"))[0]["success"]
    assert (len(fields(running.data)), len(fields(data))) == (3, 2)
    running.restart("commandbus")
    assert client.ask(create("Cleo"))[0]["success"]


def test_100_requests_in_flight_at_a_worker_that_is_killed_are_answered_by_the_others(folder: Path) -> None:
    with Cluster(folder, "tests.faults.apps.slow:app", cwd=ROOT) as cluster:
        cluster.start("gateway", "commandbus", "projector", "querybus")
        with RawClient(cluster.front) as client:
            client.ask(query("Look"))
            # given 100 slow queries and 100 slow commands in flight
            looks = [query("Look", f"look {number}", ms=5) for number in range(100)]
            works = [command("Work", f"work {number}", src="w", name=f"n{number}", ms=5) for number in range(100)]
            client.send(*looks, *works)
            client.wait_for(["look 3", "work 3"])
            # when their workers are killed, and others come
            cluster.restart("querybus")
            cluster.restart("commandbus")
            # then every one of them is answered as if nothing had been, and every command was done once
            replies = client.wait_for([f"look {number}" for number in range(100)])
            assert all(reply["body"]["type"] == "query_result" for reply in replies)
            replies = client.wait_for([f"work {number}" for number in range(100)])
            assert all(reply["body"]["success"] for reply in replies)
            assert sorted(one["name"] for one in fields(cluster.data)) == sorted(
                f"n{number}" for number in range(100)
            )
            client.ask(query("Look", src="w", ms=0))
            assert rows(cluster.data, slow.app, "SELECT count(*) AS n FROM done") == (100, [{"n": 100}])


def test_clients_that_vanish_or_never_read_cost_nobody_an_answer_and_the_gateway_little(
    running: Cluster, client: RawClient
) -> None:
    wait_ready(client)
    # given rows enough for an answer of some weight, and clients that take no answers
    client.ask(*[create("x" * 1000)] * 50)
    gateway = running.process("gateway")
    asked = [query("ListUsers", msg_id) for msg_id in range(100)]
    with ExitStack() as stack:
        deaf = [stack.enter_context(RawClient(running.front)) for _ in range(2)]
        for one in deaf:
            one.socket.rcvhwm = 1

        def be_rude(times: int) -> float:
            """Ask for 15 MB a time: some never take it, and some are gone before it comes."""
            for _ in range(times):
                for one in deaf:
                    one.send(*asked)
                with RawClient(running.front) as fleeting:
                    fleeting.send(*asked)
                    until(lambda: fleeting.socket.poll(10))
                # then everybody else is served
                created, found = client.ask(create("Ada"), query("GetUser", user_id="user-123"))
                assert created["success"] and found["data"]
            return memory_mb(gateway.pid)

        sizes = [be_rude(8) for _ in range(3)]
        print(sizes)
        # and what is kept for the rude ones has an end
        assert sizes[2] - sizes[1] < 16
        assert status(client)["gateway"]["dropped_replies"] > 0


def test_a_commandbus_stopped_past_its_heartbeat_and_continued_does_nothing_twice(running: Cluster) -> None:
    commandbus = running.process("commandbus")
    with Load(running.front, seed=random.randrange(1 << 30)) as load:
        load.more(200)
        # when it stands still for longer than the gateway waits for a beat, and then goes on with what it had
        commandbus.send(signal.SIGSTOP)
        until(lambda: "in flight" in said(running, "gateway"))
        commandbus.send(signal.SIGCONT)
        load.more(200)
    # then every promise holds
    assert judge(load.history, running.data) == []
    assert commandbus.running and not load.unknown


def test_a_gateway_killed_under_load_and_started_again_breaks_no_promise(running: Cluster) -> None:
    with Load(running.front, seed=random.randrange(1 << 30), timeout_ms=500) as load:
        load.more(200)
        running.restart("gateway")
        load.more(200)
    assert judge(load.history, running.data) == []


def test_after_a_restart_of_the_gateway_a_new_session_sees_all_that_was_acknowledged(running: Cluster) -> None:
    with RawClient(running.front) as client:
        client.ask(query("GetUser", user_id="user-123"))
        # given an acknowledged command that the read model does not have yet
        running.process("projector").send(signal.SIGSTOP)
        [created] = client.ask(create("Ada"))
        asked = query("GetUser", user_id=created["events"][0]["payload"]["id"])

        # when the gateway is killed and started again, and the querybuses find it before commandbus does
        running.process("commandbus").send(signal.SIGSTOP)
        running.restart("gateway")
        until(lambda: "querybus registered" in running.process("gateway").stderr_text)

        # then a new session is shown the user or told to wait, and never that there is none
        with RawClient(running.front) as newcomer:
            newcomer.send({**asked, "body": {**asked["body"], "msg_id": "mine"}})
            until(lambda: status(newcomer)["gateway"]["under_way"])
            running.process("commandbus").send(signal.SIGCONT)
            running.process("projector").send(signal.SIGCONT)
            [reply] = newcomer.wait_for(["mine"])
            assert reply["body"]["data"]["name"] == "Ada"
