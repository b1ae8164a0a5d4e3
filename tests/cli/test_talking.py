"""dualbus command, query, send, status, events --follow and backup, with a cluster that runs; and with none."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dualbus.testing import Cluster, until
from tests.cli.conftest import ROOT, Ran, Run
from tests.raw import STATUS, RawClient, create, query


def piped(cluster: Cluster, *arguments: str, told: str) -> Ran:
    """Run a command line as a process, and tell it something on standard input."""
    ran = subprocess.run(
        [sys.executable, "-m", "dualbus", *arguments],
        env=cluster.environ,
        cwd=ROOT,
        input=told,
        capture_output=True,
        text=True,
    )
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def test_the_command_line_uses_each_gateway_of_a_list(running: Cluster) -> None:
    """The first may be stopped or gone: then the state of the others is wanted most."""
    front, silent = running.front, f"ipc://{running.folder}/silent"
    (running.folder / "b").mkdir()
    with Cluster(running.folder / "b", cwd=ROOT, front=silent) as other:
        [gateway] = other.start("gateway")
        until((running.folder / "silent").exists)
        gateway.send(signal.SIGSTOP)
        for first in (silent, f"ipc://{running.folder}/nobody"):
            running.environ["DUALBUS_FRONT"] = f"{first},{front}"
            assert "commandbus" in piped(running, "status", told="").out
            done = piped(running, "command", "CreateUser", "name=Ada", "email=ada@example.org", told="")
            assert (done.code, "UserCreated" in done.out) == (0, True), done.err
            found = piped(running, "send", told=json.dumps(query("GetUser", user_id="user-123")))
            assert "John Doe" in found.out


@contextmanager
def written(cluster: Cluster) -> Iterator[Callable[[], int]]:
    """Have commands done all the while, from a thread; give a function that tells how many were acknowledged."""
    stop, done = threading.Event(), 0

    def write() -> None:
        nonlocal done
        with RawClient(cluster.front) as client:
            while not stop.is_set():
                done += len(client.ask(*(create(f"User {number}") for number in range(50))))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield lambda: done
    finally:
        stop.set()
        thread.join()


def lines(text: str) -> list[Any]:
    """Return what each line of JSON says."""
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One running cluster for the tests of this file; each of them makes its own users."""
    with Cluster(tmp_path_factory.mktemp("c"), cwd=ROOT) as cluster:
        cluster.start()
        with RawClient(cluster.front) as client:
            until(lambda: client.ask(query("GetUser", user_id="user-123"))[0]["type"] == "query_result")
        yield cluster


@pytest.fixture
def dualbus(shared: Cluster, run: Run) -> Run:
    """Call `dualbus` in this process, with the settings of the running cluster."""
    return partial(run, front=shared.front, data=shared.data)


def test_what_a_command_made_a_query_finds(dualbus: Run) -> None:
    made = dualbus("command", "CreateUser", "name=Ada", "email=ada@example.org")
    result = json.loads(made.out)
    [event] = result["events"]

    def ask() -> Ran:
        found = dualbus("query", "GetUser", f"user_id={event['payload']['id']}")
        assert found.out != "null\n"
        return found

    found = until(ask)  # another command line is another session: it sees the write soon, and not by promise
    listed = dualbus("query", "ListUsers", "limit=1", "after=user-122")

    assert (made.code, made.err) == (0, "")
    assert (event["type"], result["position"] >= 2) == ("UserCreated", True)
    assert (found.code, json.loads(found.out)) == (0, {"id": event["payload"]["id"], "name": "Ada"})
    assert json.loads(listed.out) == [{"id": "user-123", "name": "John Doe"}]


def test_a_refused_command_is_its_sentences_and_exit_1(dualbus: Run) -> None:
    assert dualbus("command", "CreateUser", "name= ", "email=x") == (
        1,
        "",
        "Name is required\nEmail must be an email address\n",
    )
    assert dualbus("query", "ListUsers", "limit=many") == (1, "", "Limit must be a whole number\n")


def test_a_command_with_a_key_is_done_once(dualbus: Run) -> None:
    said = ["command", "CreateUser", "name=Bob", "email=b@example.org", "--key", "bob-1"]

    assert dualbus(*said) == dualbus(*said)


def test_messages_are_sent_as_they_are_and_every_one_is_answered(
    dualbus: Run, shared: Cluster, tmp_path: Path
) -> None:
    pretty = json.dumps(create("Cleo", "first"), indent=2)
    several = f"{pretty}\nrubbish\n{json.dumps(create('Dan', 2))} {json.dumps(create('', 3))}\n"
    file = tmp_path / "messages.json"
    file.write_text(several)

    one = dualbus("send", pretty)
    fed = piped(shared, "send", told=several)
    read = dualbus("send", file)

    assert (one.code, one.err) == (0, "")
    assert [(reply["in_reply_to"], reply["success"]) for reply in lines(one.out)] == [("first", True)]
    for ran in (fed, read):
        by_id = {reply["in_reply_to"]: reply for reply in lines(ran.out)}
        assert (ran.code, ran.err, set(by_id)) == (1, "", {"first", 2, 3, None})
        assert by_id[2]["events"][0]["payload"]["name"] == "Dan"
        assert by_id[3]["errors"] == ["Name is required"]
        assert by_id[None]["code"] == 12


def test_many_messages_come_back_as_clean_lines(shared: Cluster) -> None:
    told = "".join(json.dumps(create(f"User {number}", number)) + "\n" for number in range(5000))

    ran = piped(shared, "send", told=told)

    assert (ran.code, ran.err) == (0, "")
    assert sorted(reply["in_reply_to"] for reply in lines(ran.out)) == list(range(5000))


def test_messages_of_one_id_are_each_answered_under_it(dualbus: Run) -> None:
    one, many = json.dumps(query("GetUser", "same", user_id="user-123")), "x" * 300

    ran = dualbus("send", f'{one}{one}{{"body": 5}}{{"body": {{"msg_id": "{many}"}}}}')

    assert ran.code == 1
    assert [(reply["in_reply_to"], reply.get("text")) for reply in lines(ran.out)[:2]] == [
        (None, "body must be an object."),
        (None, "msg_id is longer than 256 characters."),
    ]
    assert [(reply["in_reply_to"], reply["data"]["id"]) for reply in lines(ran.out)[2:]] == [("same", "user-123")] * 2


def test_a_gateway_that_is_lost_leaves_an_unknown_outcome_and_nothing_is_sent_twice(cluster: Cluster) -> None:
    # Given a gateway that holds a command, because there is no commandbus yet
    cluster.start("gateway")
    with subprocess.Popen(
        [sys.executable, "-m", "dualbus", "send", json.dumps(create("Eve"))],
        env=cluster.environ,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as sending:
        with RawClient(cluster.front) as observer:
            until(lambda: observer.ask(STATUS)[0]["data"]["gateway"]["under_way"] == 1)

        # When the gateway dies, and another one is started with the buses
        cluster.kill("gateway")
        said = sending.communicate()
    cluster.start()

    # Then the sender reports what it does not know
    assert said == (
        "",
        f"Lost the connection to the gateway at {cluster.front}: is it running? 1 messages have no reply; their "
        "commands may have been executed. Send them again: a command with an idempotency_key runs at most once.\n",
    )
    assert sending.returncode == 1
    with RawClient(cluster.front) as client:
        assert [user["id"] for user in client.ask(query("ListUsers"))[0]["data"]] == ["user-123"]


def test_status_shows_every_process(dualbus: Run, shared: Cluster) -> None:
    table, told = dualbus("status"), dualbus("status", "--json")

    assert (table.code, table.err) == (0, "")
    for process in shared.processes:
        assert re.search(rf"^ {process.name} +{process.pid} ", table.out, re.MULTILINE), table.out
    [status] = lines(told.out)
    assert {process["pid"] for process in status["processes"]} == {process.pid for process in shared.processes}
    # The read model may be on its way: a position is told with the next beat.
    until(lambda: lines(dualbus("status", "--json").out)[0]["read_model_position"] >= 1)
    assert status["log_position"] >= 1


def test_on_a_terminal_the_status_is_refreshed_until_it_is_interrupted(shared: Cluster) -> None:
    ours, theirs = pty.openpty()
    arguments = [sys.executable, "-m", "dualbus", "status", "--watch"]
    environ = {**shared.environ, "TERM": "xterm", "COLUMNS": "200"}
    with subprocess.Popen(arguments, env=environ, cwd=ROOT, stdout=theirs) as watching:
        shown = b""
        while shown.count(b"Log at position") < 2:
            shown += os.read(ours, 65536)
        watching.send_signal(signal.SIGINT)
        assert watching.wait() == 0
    os.close(ours)
    os.close(theirs)
    for process in shared.processes:
        assert f" {process.pid} ".encode() in shown


def test_events_are_followed_as_they_are_appended(dualbus: Run, shared: Cluster, tmp_path: Path) -> None:
    said = tmp_path / "said"
    with said.open("wb") as out:
        following = subprocess.Popen(
            [sys.executable, "-m", "dualbus", "events", "--follow", "--type", "UserRenamed"],
            env=shared.environ,
            cwd=ROOT,
            stdout=out,
        )
    dualbus("command", "RenameUser", "user_id=user-123", "name=Jane")
    until(lambda: '{"id": "user-123", "name": "Jane"}' in said.read_text(), what="the event is shown")

    following.send_signal(signal.SIGINT)

    assert following.wait() == 0


def test_the_log_is_proven_and_copied_while_it_is_written(dualbus: Run, shared: Cluster, tmp_path: Path) -> None:
    with written(shared) as count:
        until(lambda: count() > 0, what="it is written")
        before = count()
        proofs = [dualbus("verify") for _ in range(3)]
        copied = dualbus("backup", tmp_path / "b.db")
        refused = dualbus("restore", tmp_path / "b.db")
        assert count() > before  # it was written all the while

    for proof in proofs:
        assert (proof.code, proof.err) == (0, "")
        assert "is what the log gives" in proof.out
    assert copied.code == 0
    assert dualbus("restore", tmp_path / "b.db", data=tmp_path / "restored").code == 0
    assert dualbus("verify", data=tmp_path / "restored").code == 0
    assert refused.code == 1
    assert refused.err.startswith(f"Another commandbus writes the log in {shared.data}")


def read_by(cluster: Cluster, arguments: str, reader: str) -> tuple[list[str], str]:
    """Run dualbus with a reader behind it; return the lines that come through, and what was said at the end."""
    command = f'{{ "$0" -m dualbus {arguments}; echo "ended $?" >&2; }} | {reader}'
    ran = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable],
        env=cluster.environ,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return ran.stdout.splitlines(), ran.stderr


@pytest.mark.parametrize("arguments", ["export", "events --follow"])
def test_a_reader_that_has_read_enough_is_a_normal_end(shared: Cluster, arguments: str) -> None:
    lines, said = read_by(shared, arguments, "head -n 1")
    assert (len(lines), said) == (1, "ended 0\n")


@pytest.mark.parametrize("arguments", ["events --follow --from 1000000", "status --watch"])
def test_who_goes_on_and_on_ends_when_its_reader_has_although_nothing_new_comes(
    shared: Cluster, arguments: str
) -> None:
    assert read_by(shared, arguments, "true") == ([], "ended 0\n")


def test_no_cluster_is_said_in_a_sentence(run: Run, cluster: Cluster) -> None:
    for arguments in (["command", "CreateUser", "name=A", "email=a@b.org"], ["status"], ["send", "{}"]):
        ran = run(*arguments, front=cluster.front, timeout_ms=200)

        assert (ran.code, ran.out, len(ran.err.splitlines())) == (1, "", 1)
        assert f"gateway at {cluster.front}" in ran.err


def on_a_terminal(cluster: Cluster, *arguments: str, **settings: str) -> tuple[str, str]:
    """Run a command line whose stderr is a terminal; return what it writes to stdout, and there."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "dualbus", *arguments],
        env={**cluster.environ, "TERM": "xterm-256color", "COLUMNS": "100", **settings},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=theirs,
    ) as ran:
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 65536):  # all the while: a terminal that is full stops the writer
                shown += chunk
        except OSError:
            pass  # how a terminal says that nobody holds the other end any more
        os.close(ours)
        out, _ = ran.communicate()
    return out.decode(), shown.decode()


def test_a_terminal_shows_how_far_it_is_and_stdout_stays_clean(shared: Cluster) -> None:
    colour = re.compile(r"\x1b\[[0-9;]*\b3[0-9]")

    out, shown = on_a_terminal(shared, "verify")
    plain_out, plain = on_a_terminal(shared, "verify", NO_COLOR="1")

    assert out.startswith("The log is whole")
    assert out.count("\x1b") == plain_out.count("\x1b") == 0
    assert "Verifying" in shown and colour.search(shown)
    assert "Verifying" in plain and not colour.search(plain)


def test_controls_of_values_are_escaped_on_a_terminal_and_json_keeps_its_value(dualbus: Run, shared: Cluster) -> None:
    name = "x\x1b[2J\x9b1m\u2028\u202e\x7fx"
    made = json.loads(dualbus("command", "CreateUser", f"name={name}", "email=x@example.org").out)
    user_id = made["events"][0]["payload"]["id"]
    until(lambda: dualbus("query", "GetUser", f"user_id={user_id}").out != "null\n")

    def on_stdout(*arguments: str) -> str:
        ours, theirs = pty.openpty()
        subprocess.run([sys.executable, "-m", "dualbus", *arguments], env=shared.environ, cwd=ROOT, stdout=theirs)
        os.close(theirs)
        with os.fdopen(ours, "rb", 0) as shown:
            return shown.read(10_000).decode()

    answer = on_stdout("query", "GetUser", f"user_id={user_id}")
    events = on_stdout("events", "--tag", f"user:{user_id}")
    exported = dualbus("export").out
    refused = dualbus("backup", f"{name}/backup").err

    assert json.loads(answer)["name"] == json.loads(events.split(maxsplit=3)[3])["name"] == name
    assert [json.loads(line) for line in exported.splitlines()][-2]["data"]["name"] == name
    for text in (answer, events, exported, refused):
        assert r"\u009b1m\u2028\u202e\u007fx" in text
        assert not re.search(r"[^\r\n -~]", text)


def test_a_file_dot_env_says_where_the_gateway_is(shared: Cluster, tmp_path: Path) -> None:
    keys = os.environ["DUALBUS_KEYS"]
    (tmp_path / ".env").write_text(f"DUALBUS_FRONT={shared.front}\nDUALBUS_KEYS={keys}\n")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DUALBUS_")}
    environ["PYTHONPATH"] = str(ROOT)

    ran = subprocess.run(
        [sys.executable, "-m", "dualbus", "query", "GetUser", "user_id=user-123"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
    )

    assert (json.loads(ran.stdout)["id"], ran.stderr) == ("user-123", "")
