"""The gateway in a pipe: JSON on standard input, one reply a line on standard output, and nothing else there."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dualbus.testing import Cluster, until
from tests.raw import STATUS, Envelope, RawClient, command, create, query, wire

UUID = rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
EXAMPLE = b"""\
{
  "src": "client",
  "dest": "commandbus",
  "body": {
    "type": "CreateUser",
    "msg_id": 1,
    "payload": {
      "name": "John",
      "email": "john@example.com"
    }
  }
}
{"src": "client", "dest": "commandbus", "body": {"type": "CreateUser", "msg_id": 2, "payload": {"name": "John"}}}
{"src": "client", "dest": "querybus", "body": {"type": "GetUser", "msg_id": 3, "params": {"user_id": "user-123"}}}
"""
EXAMPLE_REPLIES = {
    b'{"type": "command_result", "in_reply_to": 1, "success": true, "events": [{"type": "UserCreated", '
    b'"payload": {"id": "<uuid>", "name": "John"}}]}\n',
    b'{"type": "command_result", "in_reply_to": 2, "success": false, "errors": ["Email is required"]}\n',
    b'{"type": "query_result", "in_reply_to": 3, "data": {"id": "user-123", "name": "John Doe"}}\n',
}


@pytest.fixture(scope="module")
def buses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose buses run; each test starts a gateway of its own."""
    with Cluster(tmp_path_factory.mktemp("b"), cwd=Path(__file__).parents[1]) as made:
        made.start("commandbus", "projector", "querybus")
        yield made


@pytest.fixture(autouse=True)
def gateways_end(buses: Cluster) -> Iterator[None]:
    """After a test that failed, the address is free for the next."""
    yield
    for process in buses.processes:
        if process.name == "gateway":
            process.end()


def open_pipe(cluster: Cluster) -> "subprocess.Popen[bytes]":
    """Start a gateway that is spoken to through a pipe."""
    return cluster.start("gateway", stdin=subprocess.PIPE)[0].popen


def redirect(monkeypatch: pytest.MonkeyPatch, cluster: Cluster, redirection: str) -> None:
    """Have the gateways of a test started by a shell that redirects their standard descriptors."""
    command = f"exec {shlex.quote(sys.executable)} -m dualbus.gateway {redirection}"
    monkeypatch.setitem(cluster.commands, "gateway", ["sh", "-c", command])


def piped(cluster: Cluster, text: bytes) -> list[bytes]:
    """Put a whole text through a gateway; return what it printed, once it has ended with exit 0."""
    gateway = open_pipe(cluster)
    printed, _ = gateway.communicate(text)
    assert gateway.returncode == 0
    return printed.splitlines(keepends=True)


def bodies(lines: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def as_lines(*envelopes: Envelope) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in envelopes)


def peak_megabytes(pid: int) -> float:
    [line] = [one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def test_the_example_is_answered_to_the_byte_and_nothing_else_is_printed(cluster: Cluster) -> None:
    # Given a cluster that begins, gateway first; when the example comes in and the input ends
    cluster.start(stdin=subprocess.PIPE)
    gateway = cluster.process("gateway").popen
    printed, _ = gateway.communicate(EXAMPLE)

    # Then these bytes come out, in whatever order they are ready, and the gateway ends well
    lines = printed.splitlines(keepends=True)
    assert {re.sub(UUID, b"<uuid>", line) for line in lines} == EXAMPLE_REPLIES
    assert len(lines) == 3
    assert gateway.returncode == 0


def test_the_same_john_twice_makes_two_users_and_who_is_not_there_is_null(buses: Cluster) -> None:
    lines = piped(buses, as_lines(create("John", 1), create("John", 2), query("GetUser", 3, user_id="nobody")))
    replies = {body["in_reply_to"]: body for body in bodies(lines)}
    first, second = (replies[n]["events"][0]["payload"]["id"] for n in (1, 2))
    assert first != second
    assert b'{"type": "query_result", "in_reply_to": 3, "data": null}\n' in lines


def test_messages_may_be_pretty_printed_and_several_on_a_line(buses: Cluster) -> None:
    envelopes = [create(f"P{number}", number) for number in range(8)]
    pretty = json.dumps(envelopes[0], indent=2) + json.dumps(envelopes[1], indent=4)
    one_line = "  ".join(json.dumps(one) for one in envelopes[2:5]) + "".join(map(json.dumps, envelopes[5:8]))
    text = f"\ufeff\r\n\r\n{pretty}\r\n{one_line}"  # as an editor on Windows saves it, and with no newline at the end

    replies = bodies(piped(buses, text.encode()))

    assert sorted(body["in_reply_to"] for body in replies) == list(range(8))
    assert all(body["success"] for body in replies)


GARBAGE = {
    "words": b"hello?\n",
    "other JSON": b"]]]] 17 null\n",
    "a comma too many": b'{"src": "c", "body": {"type": "CreateUser", "msg_id": 7,}}\n',
    "a broken object over lines": b'{\n  "src": "c",\n  "body": {oops\n  }\n}\n',
    "bytes": b"\x00\xff\xfe\x80\n",
    "UTF-16": '{"src": "c"}'.encode("utf-16") + b"\n",
    "braces": b"{" * 1_000_000 + b"\n",
    "depth": b'{"a":' * 200_000 + b"\n",
    "objects that break": b'{"a":1 ' * 150_000 + b"\n",
    "two megabytes": b'{"a": "' + b"x" * (1 << 21) + b'"}\n',
}


def test_garbage_is_answered_12_and_the_next_message_is_answered(buses: Cluster) -> None:
    gateway = open_pipe(buses)
    assert gateway.stdin and gateway.stdout
    for name, garbage in GARBAGE.items():
        gateway.stdin.write(
            as_lines(create("A", f"before {name}")) + garbage + as_lines(create("B", f"after {name}"))
        )
        gateway.stdin.flush()

        replies: dict[str | None, dict[str, Any]] = {}
        while not {f"before {name}", f"after {name}"} <= replies.keys():
            body = json.loads(gateway.stdout.readline())
            replies[body["in_reply_to"]] = body

        # The complaint about it answers nobody by name.
        assert replies[f"before {name}"]["success"] is replies[f"after {name}"]["success"] is True
        assert replies[None]["code"] == 12, name
        assert replies[None]["text"].endswith("."), name
    rest, _ = gateway.communicate()
    assert rest == b""
    assert gateway.returncode == 0


@pytest.mark.parametrize(
    "text",
    [
        # What follows could be a part of it, until the input ends.
        pytest.param(
            as_lines(create("A", 1)) + b'{"src": "c", "dest":\n' + as_lines(create("B", 2)), id="in the middle"
        ),
        pytest.param(as_lines(create("A", 1), create("B", 2)) + b'{"src": "c", "body": {', id="at the end"),
    ],
)
def test_an_object_that_never_ends_is_answered_12_and_the_others_are_answered(buses: Cluster, text: bytes) -> None:
    replies = {body["in_reply_to"]: body for body in bodies(piped(buses, text))}
    assert replies[None]["code"] == 12
    assert replies[1]["success"] is replies[2]["success"] is True
    assert len(replies) == 3


@pytest.mark.parametrize("line", [b"x\n", b"{\n"])
def test_garbage_on_every_line_is_answered_on_every_line(buses: Cluster, line: bytes) -> None:
    replies = bodies(piped(buses, line * 50_000))
    assert [body["code"] for body in replies] == [12] * 50_000


def test_an_input_that_is_empty_ends_at_once(buses: Cluster) -> None:
    assert piped(buses, b"") == []


def test_a_reply_is_printed_as_soon_as_it_is_there(buses: Cluster) -> None:
    gateway = open_pipe(buses)
    assert gateway.stdin and gateway.stdout
    for number in range(3):
        gateway.stdin.write(as_lines(create("Ada", number)))
        gateway.stdin.flush()
        assert json.loads(gateway.stdout.readline())["in_reply_to"] == number
    assert gateway.poll() is None
    rest, _ = gateway.communicate()
    assert rest == b""
    assert gateway.returncode == 0


def test_in_one_pipe_a_query_always_sees_the_command_before_it(buses: Cluster) -> None:
    # Given buses that are there, and renamings each followed by a query that would show it
    gateway = open_pipe(buses)
    assert gateway.stdin and gateway.stdout
    gateway.stdin.write(as_lines(create("Ada", "there"), query("GetUser", "too", user_id="user-123")))
    gateway.stdin.flush()
    assert [json.loads(gateway.stdout.readline())["in_reply_to"] for _ in range(2)] == ["there", "too"]
    envelopes = []
    for number in range(1000):
        name = f"John {number}"
        envelopes.append(command("RenameUser", f"c{number}", user_id="user-123", name=name))
        envelopes.append(query("GetUser", f"q{number}", user_id="user-123"))

    printed, _ = gateway.communicate(as_lines(*envelopes))

    # Then each query shows it, or a later one, for what was sent after it may have been decided with it
    replies = {body["in_reply_to"]: body for body in bodies(printed.splitlines())}
    assert all(replies[f"c{number}"]["success"] for number in range(1000))
    seen = [int(replies[f"q{number}"]["data"]["name"].removeprefix("John ")) for number in range(1000)]
    assert all(seen[number] >= number for number in range(1000))
    # And what is printed never goes back, in whatever order a busy querybus has answered
    printed_names = [body["data"]["name"] for body in replies.values() if body["type"] == "query_result"]
    shown = [int(name.removeprefix("John ")) for name in printed_names]
    assert shown == sorted(shown)


@pytest.mark.timeout(600)
def test_a_hundred_thousand_messages_are_all_answered_in_little_memory(cluster: Cluster) -> None:
    # Given three kinds of messages, of which a tenth is wrong, poured in as fast as the pipe takes them
    def envelope(number: int) -> Envelope:
        if number % 10 == 0:
            return command("CreateUser", number, name="")
        return create(f"U{number}", number) if number % 2 else query("GetUser", number, user_id="user-123")

    total = 100_000
    cluster.start(stdin=subprocess.PIPE)
    gateway = cluster.process("gateway").popen
    assert gateway.stdin and gateway.stdout
    text = as_lines(*map(envelope, range(total)))
    pour = threading.Thread(target=gateway.stdin.write, args=(text,))
    pour.start()

    # When they are answered
    replies = [json.loads(gateway.stdout.readline()) for _ in range(total)]
    peaks = {process.name: peak_megabytes(process.pid) for process in cluster.processes}
    pour.join()
    rest, _ = gateway.communicate()

    # Then each is, once, as it should be, and no process has grown
    assert rest == b""
    assert gateway.returncode == 0
    assert sorted(body["in_reply_to"] for body in replies) == list(range(total))
    for body in replies:
        number = body["in_reply_to"]
        if number % 10 == 0:
            assert body["errors"] == ["Name is required", "Email is required"]
        elif number % 2:
            assert body.get("success"), body
            assert body["events"][0]["payload"]["name"] == f"U{number}"
        else:
            assert body.get("data") == {"id": "user-123", "name": "John Doe"}, body
    assert all(peak < 150 for peak in peaks.values()), peaks


def test_a_reply_stays_on_its_line_when_the_log_goes_into_the_same_pipe(
    buses: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a gateway whose standard output and error are one pipe, as honcho gives it
    total = 5000
    redirect(monkeypatch, buses, "2>&1")
    gateway = open_pipe(buses)
    assert gateway.stdin and gateway.stdout
    text = as_lines(*(query("GetUser", number, user_id="user-123") for number in range(total)))
    pour = threading.Thread(target=gateway.stdin.write, args=(text,))
    pour.start()

    # When it has something to log all the time while it prints replies
    replies = 0
    with RawClient(buses.addresses["back"]) as stranger:
        while replies < total:
            line = gateway.stdout.readline()

            # Then every line is one or the other
            if not re.match(rb"\S+Z [A-Z]+ gateway: ", line):
                assert json.loads(line)["data"]["id"] == "user-123"
                replies += 1
                if replies % 10 == 0:
                    stranger.send_frames(wire("ready", b"\xc1"))
    pour.join()
    gateway.communicate()
    assert gateway.returncode == 0


def test_a_slow_reader_gets_every_reply(buses: Cluster) -> None:
    # Given an input far beyond what a pipe holds, and nobody who reads
    gateway = open_pipe(buses)
    assert gateway.stdin and gateway.stdout
    total = 20_000
    text = as_lines(*(query("GetUser", number, user_id="user-123") for number in range(total)))
    pour = threading.Thread(target=lambda: (gateway.stdin.write(text), gateway.stdin.close()))  # type: ignore[union-attr]
    pour.start()
    with RawClient(buses.front) as client:
        until(lambda: client.ask(STATUS)[0]["data"]["gateway"]["answered"] > 5000)

        # When somebody reads at last, then all replies are there, and meanwhile others were served
        assert client.ask(create("Ada"))[0]["success"] is True
    replies = bodies(gateway.stdout.readlines())
    pour.join()
    assert [body["in_reply_to"] for body in replies] == list(range(total))
    assert gateway.wait() == 0


def test_a_reader_that_goes_away_ends_the_gateway(buses: Cluster) -> None:
    gateway = open_pipe(buses)
    assert gateway.stdin and gateway.stdout
    gateway.stdout.close()
    gateway.stdin.write(as_lines(create("Ada", 1)))
    gateway.stdin.flush()
    assert gateway.wait() == 0
    assert "Traceback" not in buses.process("gateway").stderr_text


@pytest.mark.parametrize("redirection", ["</dev/null", "<&-", "<&- >&- 2>&-"])
def test_without_an_input_it_serves_on_until_it_is_stopped(
    buses: Cluster, monkeypatch: pytest.MonkeyPatch, redirection: str
) -> None:
    redirect(monkeypatch, buses, redirection)
    gateway = open_pipe(buses)
    with RawClient(buses.front) as client:
        assert [body["success"] for body in client.ask(create("Ada"), create("Bob"))] == [True, True]
    # Nothing of ours has taken the place of what was closed.
    assert os.readlink(f"/proc/{gateway.pid}/fd/0") == "/dev/null"
    assert gateway.poll() is None
    gateway.send_signal(signal.SIGTERM)
    assert gateway.communicate()[0] == b""
    assert gateway.returncode == 0


def test_a_person_at_a_terminal_is_greeted_on_standard_error(buses: Cluster) -> None:
    ours, theirs = os.openpty()
    with os.fdopen(ours, "wb", 0) as keyboard, os.fdopen(theirs, "rb", 0) as terminal:
        gateway = buses.start("gateway", stdin=terminal)[0]
        until(lambda: "Ctrl-D" in gateway.stderr_text)
        said = gateway.stderr_text
        assert str(buses.data) in said

        # What the greeting proposes to paste is answered.
        keyboard.write("".join(line + "\n" for line in said.splitlines() if line.startswith("{")).encode())
        assert gateway.popen.stdout
        replies = bodies([gateway.popen.stdout.readline() for _ in range(2)])
        assert sorted(body["in_reply_to"] for body in replies) == [1, 2]

        keyboard.write(b"\x04")
        assert gateway.wait() == 0
