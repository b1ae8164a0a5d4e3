"""What no client should send: each is answered or dropped, and nothing falls over."""

import json
import random
import subprocess
from typing import Any

from dualbus.testing import Cluster
from tests.faults import bad_frames, bad_json
from tests.faults.seeing import events, fields, memory_mb, status, wait_ready
from tests.raw import SECONDS, RawClient, create, query, wire

MiB = 1 << 20


def test_bad_messages_are_answered_12_each_and_the_good_ones_between_them_are_answered_well(
    running: Cluster,
) -> None:
    seed = random.randrange(1 << 30)
    cases = list(bad_frames.cases())
    print(f"seed {seed}, {len(cases)} bad messages")
    with RawClient(running.front) as client, RawClient(running.front) as neighbour:
        wait_ready(client)
        before = len(events(running.data))
        memory = memory_mb(running.process("gateway").pid)
        for name, bad in random.Random(seed).sample(cases, len(cases)):
            # when somebody sends what is no message, then it is told so, once
            client.send_frames(*bad)
            replies = client.receive(SECONDS)
            assert [one["body"]["code"] for one in replies] == [12], name
            assert replies[0]["body"]["type"] == "error" and replies[0]["body"]["text"].endswith("."), name
        # and its neighbour is served, nothing was written, nothing was kept
        [served] = neighbour.ask(create("Grace"))
        assert served["success"]
        assert len(events(running.data)) == before + 1
        assert status(client)["gateway"]["malformed"] == len(cases)
        assert memory_mb(running.process("gateway").pid) - memory < 64


def test_a_pipe_of_bad_lines_is_answered_12_a_line_and_the_good_lines_between_them_are_answered_well(
    cluster: Cluster,
) -> None:
    # given a gateway that is spoken to through a pipe
    bad_lines = list(bad_json.lines())
    [gateway] = cluster.start("gateway", stdin=subprocess.PIPE)
    assert gateway.popen.stdin and gateway.popen.stdout
    memory = 0.0
    for number, bad in enumerate(bad_lines):
        # when a line is no message, and the next line is one
        good = {"src": "t", "dest": "gateway", "body": {"type": "Status", "msg_id": number}}
        gateway.popen.stdin.write(bad + b"\n" + json.dumps(good).encode() + b"\n")
        gateway.popen.stdin.flush()
        # then the first is answered with an error, and the second as if nothing had been
        answers = [json.loads(gateway.popen.stdout.readline()) for _ in range(2)]
        assert [one["type"] for one in answers] == ["error", "status_result"], bad[:80]
        assert answers[0]["code"] == 12, bad[:80]
        assert answers[1]["in_reply_to"] == number, bad[:80]
        memory = memory or memory_mb(gateway.pid)
    assert memory_mb(gateway.pid) - memory < 64
    gateway.popen.stdin.close()
    assert gateway.popen.stdout.read() == b""
    assert gateway.wait() == 0


def test_a_batch_too_large_to_be_read_costs_its_sender_the_connection_and_nobody_else_anything(
    client: RawClient, running: Cluster
) -> None:
    memory = memory_mb(running.process("gateway").pid)
    for _ in range(10):
        with RawClient(running.front) as rude:
            rude.send_frames(wire("send", b"\x00" * (8 * MiB)))
            assert client.ask(create("Ada"))[0]["success"]
    assert memory_mb(running.process("gateway").pid) - memory < 64


def hostile_names() -> list[str]:
    return [
        *("'; DROP TABLE events; --", '" OR 1=1', "users; DELETE FROM users", "../../etc/passwd", "..", "/", "a/b"),
        *("nul\x00", "\x00", "\n", "\r\n", "\x1b[2J", "%s%n", "{0}", "${HOME}", "`id`", "$(id)", "__class__", " "),
        *("Command", "Event", "UserCreated", "dualbus_checkpoint", "gateway", "projector", "é", "\u202e", "💥" * 50),
        "x" * 256,
    ]


def test_hostile_names_get_a_definite_error_and_make_nothing(running: Cluster, client: RawClient) -> None:
    wait_ready(client)
    before = len(events(running.data))
    tree = sorted(path.name for path in running.folder.rglob("*"))
    for name in hostile_names():
        body: dict[str, Any] = {"type": "CreateUser", "payload": {"name": "Ada", "email": "a@example.org"}}
        answers = client.ask(
            {"src": "t", "dest": name, "body": body},
            {"src": "t", "dest": "commandbus", "body": {**body, "type": name}},
            {"src": "t", "dest": "querybus", "body": {"type": name, "params": {}}},
            {"src": "t", "body": {"type": name}},
            {"src": "t", "dest": "gateway", "body": {"type": name}},
            {"src": "t", "dest": "commandbus", "body": {**body, "payload": {**body["payload"], name: 1}}},
            {"src": "t", "dest": "querybus", "body": {"type": "GetUser", "params": {name: 1, "user_id": "user-123"}}},
        )
        assert [one["type"] for one in answers[:5]] == ["error"] * 5, name
        assert [one["code"] for one in answers[:5]] == [10 if name == "gateway" else 1, 10, 10, 10, 10], name
        assert answers[5]["success"] is False, name
        assert answers[6]["code"] == 12, name
    for where in ("src", "dest"):
        [refused] = client.ask({**create("Ada"), where: "x" * 65_536})
        assert refused["code"] == 12
    assert len(events(running.data)) == before
    assert sorted(path.name for path in running.folder.rglob("*")) == tree


def test_hostile_ids_are_ids_like_any_other(running: Cluster, client: RawClient) -> None:
    for name in hostile_names():
        # when src, msg_id, key and the values are hostile
        sent = create(name, msg_id=name, src=name, key=name)
        client.send(sent, sent)
        replies = [*client.receive(SECONDS)]
        while len(replies) < 2:
            replies += client.receive(SECONDS)
        # then they come back as they were, and the same key has one effect
        assert [one["dest"] for one in replies] == [name] * 2
        assert [one["body"]["in_reply_to"] for one in replies] == [name] * 2
        assert replies[0]["body"] == replies[1]["body"]
        stripped = name.strip()
        assert replies[0]["body"]["success"] is bool(stripped)
        [found] = client.ask(query("GetUser", user_id=name))
        assert found.get("data") is None
    wanted = [name.strip() for name in hostile_names() if name.strip()]
    assert [one["name"] for one in fields(running.data)[1:]] == wanted
