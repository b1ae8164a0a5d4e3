"""Processes that start, stop, stand in each other's way and come back, as their operator sees them."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dualbus.testing import Cluster, until
from tests.conftest import ROOT
from tests.faults.seeing import not_caught_up
from tests.raw import SECONDS, STATUS, Envelope, RawClient, command, create, query

SLOW_APP = """\
import time
from pathlib import Path
from dualbus import App, Command, Event, Projection, Query, Text

class Say(Command):
    word: Text

class Said(Event):
    word: str

class Words(Query):
    pass

def say(command: Say, past) -> list[Said]:
    for _ in range(900):
        yield Said(word=command.word)

def write_down(event: Said, tables):
    time.sleep(0 if Path("quick").exists() else 0.01)
    tables.execute("INSERT INTO words VALUES (?)", (event.word,))

def words(query: Words, tables):
    return tables.one("SELECT count(*) AS number FROM words")

TABLE = "CREATE TABLE words (word TEXT)"
app = App(
    commands=[say],
    projections=[Projection("words", version=1, tables=TABLE, on=[write_down])],
    queries=[words],
)
"""


def stop_all(cluster: Cluster, number: signal.Signals = signal.SIGTERM) -> None:
    """Tell all that run at once, as honcho does; each ends, and well."""
    running = [process for process in cluster.processes if process.running]
    for process in running:
        process.send(number)
    codes = {process.name: process.wait() for process in running}
    assert set(codes.values()) == {0}, [(one.name, codes[one.name], one.stderr_text[-500:]) for one in running]


def names(client: RawClient) -> list[str]:
    """The names of all users."""
    found: list[str] = []
    after = ""
    while page := client.ask(query("ListUsers", limit=1000, after=after))[0]["data"]:
        found += [row["name"] for row in page]
        after = page[-1]["id"]
    return found


@pytest.mark.parametrize("dest", [True, False], ids=["with dest", "without dest"])
def test_what_is_sent_before_the_buses_are_up_waits_for_them(cluster: Cluster, dest: bool) -> None:
    # Given a gateway alone, and messages in it
    cluster.start("gateway")
    with RawClient(cluster.front) as client:
        sent: list[Envelope] = [create("Ada", 1), query("ListUsers", 2), command("Nothing", 3)]
        client.send(*(one if dest else {"src": "t", "body": one["body"]} for one in sent))
        client.send({"body": {"type": "Status", "msg_id": 4}})
        assert client.wait_for([4])[0]["body"]["data"]["gateway"]["under_way"] == 3

        # When the buses come, then they are answered, and the query sees the command before it
        cluster.start("querybus", "commandbus", "projector")
        created, listed, unknown = (reply["body"] for reply in client.wait_for([1, 2, 3]))
        assert created["success"] is True
        assert {row["name"] for row in listed["data"]} == {"John Doe", "Ada"}
        assert (unknown["type"], unknown["code"]) == ("error", 10)


def test_without_a_bus_the_deadline_is_answered_11(cluster: Cluster) -> None:
    cluster.start("gateway")
    with RawClient(cluster.front) as client:
        sent = [create("A"), query("ListUsers"), {"body": query("ListUsers")["body"]}]
        answers = client.ask(*({**one, "timeout_ms": 50} for one in sent))
    assert [answer["code"] for answer in answers] == [11, 11, 11]
    absent = [answer["text"].split(" is not running")[0] for answer in answers]
    assert absent == ["commandbus", "querybus", "The bus for 'ListUsers'"]


def test_processes_start_in_any_order_and_find_what_was_there_when_they_stopped(cluster: Cluster) -> None:
    orders = [
        ("querybus", "projector", "commandbus", "gateway"),
        ("commandbus", "gateway", "querybus", "projector"),
    ]
    expected = ["John Doe"]
    for order in orders:
        # Given processes started one after another, each once the one before it is awake
        for name in order:
            [process] = cluster.start(name)
            until(lambda process=process: f"pid {process.pid}" in process.stderr_text)  # type: ignore[misc]

        # When a user is added, then all are there
        with RawClient(cluster.front) as client:
            assert client.ask(create(f"From {order[0]}"))[0]["success"] is True
            expected.append(f"From {order[0]}")
            assert sorted(names(client)) == sorted(expected)
        stop_all(cluster)


def test_three_querybuses_share_the_queries_and_each_sees_a_sessions_writes(running: Cluster) -> None:
    running.start("querybus", "querybus")
    with RawClient(running.front) as client:
        until(lambda: len(processes(client, "querybus")) == 3)
        for number in range(50):
            name = f"John {number}"
            renamed = command("RenameUser", user_id="user-123", name=name)
            _, *found = client.ask(renamed, *[query("GetUser", user_id="user-123")] * 6)
            assert [answer["data"]["name"] for answer in found] == [name] * 6
        until(lambda: sum(one["answered"] for one in processes(client, "querybus")) == 300)
        assert all(one["answered"] > 0 for one in processes(client, "querybus"))


def processes(client: RawClient, name: str) -> list[Envelope]:
    """What Status says of the processes of a name."""
    [answer] = client.ask(STATUS)
    return [{"answered": 0, **one} for one in answer["data"]["processes"] if one["name"] == name]


def test_a_read_model_that_is_deleted_is_rebuilt_and_nobody_sees_it_half_built(running: Cluster) -> None:
    # Given many users
    with RawClient(running.front) as client:
        client.ask(*(create(f"U{number}") for number in range(5000)))
        [created] = client.ask(create("Ada"))
        who = {"id": created["events"][0]["payload"]["id"], "name": "Ada"}
        projector = running.process("projector")

        # When the read model is deleted while everything runs
        for path in running.data.glob("read-*"):
            path.unlink()

        # Then whoever asks, sees all or is told to wait; and after a while it is there again
        answers = []
        while "building a new one" not in projector.stderr_text or not list(running.data.glob("read-*.db")):
            answers += client.ask(query("GetUser", user_id=who["id"]))
        answers += client.ask(query("GetUser", user_id=who["id"]))
        assert answers[-1]["data"] == who
        assert all(answer.get("data") == who or answer.get("code") == 11 for answer in answers)
        stop_all(running)

        # When it is deleted while nothing runs, then it is rebuilt as well
        for path in running.data.glob("read-*"):
            path.unlink()
        running.start()
        assert client.ask(query("GetUser", user_id=who["id"]))[0]["data"] == who
        assert len(names(client)) == 5002


def test_a_querybus_waits_while_there_is_only_a_file_that_cannot_be_read(cluster: Cluster) -> None:
    # Given a file that is no read model, in its place, and nobody who makes it anew
    cluster.start("gateway", "commandbus", "projector")
    [path] = until(lambda: list(cluster.data.glob("read-*.db")))
    cluster.stop("projector")
    for one in cluster.data.glob("read-*"):
        one.unlink()
    path.write_bytes(b"no read model" * 1000)
    [querybus] = cluster.start("querybus")

    with RawClient(cluster.front) as client:
        # Then whoever asks has no answer, and querybus says why, once, and is there for the next
        until(lambda: "Waiting for the projector to build a new one" in querybus.stderr_text)
        for _ in range(3):
            assert client.ask({**query("ListUsers"), "timeout_ms": 300})[0]["type"] == "error"
        assert querybus.stderr_text.count("Waiting for the projector to build a new one") == 1

        # And when the projector has made it anew, all is as it was
        cluster.start("projector")
        assert names(client) == ["John Doe"]
        assert querybus.running


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut"])
def test_a_log_is_restored_while_gateway_and_querybus_run_and_they_go_on_with_it(running: Cluster, cut: bool) -> None:
    def dualbus(*arguments: str | Path) -> None:
        subprocess.run([sys.executable, "-m", "dualbus", *arguments], env=running.environ, cwd=ROOT, check=True)

    with RawClient(running.front) as client:
        client.ask(create("Ada"), create("Bob"))
        backup = running.folder / "backup.db"
        dualbus("backup", backup, *(("--to", "2") if cut else ()))
        assert names(client) == ["Ada", "Bob", "John Doe"]
        running.stop("commandbus")
        running.stop("projector")
        for path in running.data.glob("log.db*"):
            path.unlink()

        dualbus("restore", backup)
        running.start("commandbus", "projector")

        assert client.ask(create("Eve"))[0]["success"]
        assert names(client) == ["Ada", *([] if cut else ["Bob"]), "Eve", "John Doe"]


def test_a_long_rebuild_says_how_far_it_is_and_a_query_says_that_it_is_not_caught_up(folder: Path) -> None:
    # Given a log that takes twenty seconds to project, and no read model
    (folder / "slow.py").write_text(SLOW_APP)
    with Cluster(folder, "slow:app", cwd=folder) as cluster, RawClient(cluster.front) as client:
        cluster.start("gateway", "commandbus")
        assert [one["success"] for one in client.ask(*[command("Say", word="hello")] * 2)] == [True, True]

        # When it is built, then the projector says how far it is, and a query waits as long as it may
        cluster.start("projector", "querybus")
        until(lambda: not_caught_up(client, query("Words")))
        until(lambda: "Building the read model: " in cluster.process("projector").stderr_text)
        assert "of 1800 events" in cluster.process("projector").stderr_text

        # It ends in time in the middle of it, and begins where the log is when it is back.
        assert cluster.stop("projector") == 0
        assert not list(cluster.data.glob("read-*.db"))
        (folder / "quick").touch()
        cluster.start("projector")
        assert client.ask(query("Words"))[0]["data"] == {"number": 1800}


def test_every_signal_ends_the_cluster_in_time_and_what_was_in_flight_is_answered(cluster: Cluster) -> None:
    acknowledged = 0
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        # Given a cluster with a lot in flight
        cluster.start()
        with RawClient(cluster.front) as client:
            assert client.ask(create("Here"), query("ListUsers"))[0]["success"] is True
            acknowledged += 1
            commands = [create("Ada", f"c{index}") for index in range(2000)]
            queries = [query("GetUser", f"q{index}", src="other", user_id="user-123") for index in range(2000)]
            client.send(*(one for pair in zip(commands, queries, strict=True) for one in pair))
            client.receive(SECONDS)

            # When it is told to stop, then it does, with exit 0, and each message has one answer
            stop_all(cluster, number)
            replies = client.wait_for([one["body"]["msg_id"] for one in commands + queries])
        bodies = [reply["body"] for reply in replies]
        assert all(body.get("success") or "data" in body or body.get("code") == 11 for body in bodies)
        acknowledged += sum(body.get("success", False) for body in bodies)
        assert acknowledged > 0

    # What was acknowledged is there, and what was refused for certain is not.
    cluster.start()
    with RawClient(cluster.front) as client:
        assert len(names(client)) == acknowledged + 1


def test_a_gateway_ends_in_time_and_answers_though_a_bus_hangs_and_a_client_does_not_read(cluster: Cluster) -> None:
    # Given a client that takes nothing of what it is owed, and a querybus that hangs with a query
    cluster.start(stdin=subprocess.PIPE)
    gateway = cluster.process("gateway").popen
    assert gateway.stdin
    with RawClient(cluster.front) as deaf, RawClient(cluster.front) as client:
        deaf.socket.disconnect(cluster.front)
        deaf.socket.rcvhwm = 1
        deaf.socket.connect(cluster.front)
        long = {"src": "t", "dest": "nobody", "body": {"type": "x" * 200, "msg_id": "x" * 200}}
        deaf.send(*[long] * 9000)
        client.ask(query("GetUser", user_id="user-123"))
        cluster.process("querybus").send(signal.SIGSTOP)
        asked = {**query("GetUser", 7, user_id="user-123"), "timeout_ms": 600_000}
        gateway.stdin.write(json.dumps(asked).encode() + b"\n")
        gateway.stdin.flush()
        until(lambda: processes(client, "querybus")[0]["in_flight"] == 1)

        # When it is told to stop, then it does before the deadline, and the query is answered all the same
        gateway.send_signal(signal.SIGTERM)
        printed, _ = gateway.communicate()
    assert gateway.returncode == 0
    [reply] = printed.splitlines()
    assert (json.loads(reply)["in_reply_to"], json.loads(reply)["code"]) == (7, 11)


def marked(cluster: Cluster) -> set[int]:
    """The processes on this machine that carry the cluster's settings."""
    mark = f"DUALBUS_DATA={cluster.data}\0".encode()
    found = set()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes():
                found.add(int(path.parent.name))
        except OSError:
            continue
    return found


HONCHO = [sys.executable, "-m", "honcho"]


def with_this_python(cluster: Cluster) -> dict[str, str]:
    """Return an environment in which `python` is the one that runs this test."""
    return {**cluster.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def test_under_honcho_a_file_is_answered_and_no_process_is_left(cluster: Cluster) -> None:
    messages = [
        command("RenameUser", f"c{number}", user_id="user-123", name=f"John {number}") for number in range(100)
    ]
    messages += [query("GetUser", "last", user_id="user-123"), create("", "bad")]
    text = "\n".join(map(json.dumps, messages))

    # When a file is its input, and there are three querybuses
    done = subprocess.run(
        [*HONCHO, "start", "--no-prefix", "-c", "querybus=3"],
        cwd=ROOT,
        env=with_this_python(cluster),
        input=text,
        capture_output=True,
        text=True,
    )

    # Then every message is answered, honcho ends well, and so has everything that it started
    replies = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"type"')]
    assert {reply["in_reply_to"] for reply in replies} == {one["body"]["msg_id"] for one in messages}
    assert next(one for one in replies if one["in_reply_to"] == "last")["data"]["name"] == "John 99"
    assert done.returncode == 0
    assert marked(cluster) == set()


def test_a_signal_to_honcho_ends_the_cluster(cluster: Cluster) -> None:
    environ = with_this_python(cluster)
    with (cluster.folder / "honcho.log").open("wb") as log:
        started = subprocess.Popen([*HONCHO, "start"], cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=log)
    try:
        with RawClient(cluster.front) as client:
            assert client.ask(create("Ada"))[0]["success"] is True
        assert len(marked(cluster)) >= 5
        started.send_signal(signal.SIGINT)
        started.wait()
        assert marked(cluster) == set()
    finally:
        for pid in marked(cluster):
            os.kill(pid, signal.SIGKILL)
        started.wait()


def test_a_second_of_what_may_be_there_once_says_so_and_exits_69(running: Cluster, client: RawClient) -> None:
    assert client.ask(create("Ada"))[0]["success"] is True
    until(lambda: list(running.data.glob("read-*.db")))
    first = {process.name: process for process in running.processes}
    for name in ("commandbus", "projector", "gateway"):
        [second] = running.start(name)
        assert second.wait() == 69
        assert f"(pid {first[name].pid}): stop it first." in second.stderr_text
        assert "Traceback" not in second.stderr_text

    # The first ones keep all traffic.
    assert client.ask(create("Bob"))[0]["success"] is True
    assert sorted(names(client)) == ["Ada", "Bob", "John Doe"]
    assert all(process.running for process in first.values())

    # So it is with an address of TCP, and with the data of a cluster under another gateway.
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        [second] = running.start("gateway", DUALBUS_FRONT=address)
        assert second.wait() == 69
        assert f"{address} cannot be listened on (Address already in use" in second.stderr_text
    elsewhere = f"ipc://{running.folder}/elsewhere"
    [second] = running.start("commandbus", DUALBUS_BACK=elsewhere, DUALBUS_EVENTS=elsewhere)
    assert second.wait() == 69
    [second] = running.start("projector", DUALBUS_BACK=elsewhere, DUALBUS_PROGRESS=elsewhere)
    assert second.wait() == 69


def test_files_are_their_owners_alone_whatever_the_umask(cluster: Cluster) -> None:
    before = os.umask(0)
    try:
        cluster.start()
    finally:
        os.umask(before)
    with RawClient(cluster.front) as client:
        assert client.ask(create("Ada"), query("ListUsers"))[0]["success"] is True
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in cluster.data.rglob("*")}
    assert stat.S_IMODE(cluster.data.stat().st_mode) == 0o700
    assert {"log.db", "log.db-wal", "projector.lock"} <= modes.keys()
    assert set(modes.values()) == {0o600}, modes
