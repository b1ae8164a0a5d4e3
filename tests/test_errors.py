"""What a client is told when something is wrong, through ZeroMQ and through standard input alike."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from dualbus.testing import Cluster
from tests.raw import RawClient, command, create, query, wire

Body = dict[str, Any]
GET = query("GetUser", user_id="user-123")


class Doors:
    """Both ways into one gateway. Each message is answered before the next is sent."""

    def __init__(self, cluster: Cluster, client: RawClient) -> None:
        self.front = cluster.front
        self.client = client
        self.pipe = cluster.process("gateway").popen

    def by_zmq(self, message: Any) -> Body:
        """Send one message over ZeroMQ and return the body of the reply."""
        return self.by_frames(wire("send", msgpack.packb([message])))

    def by_frames(self, *frames: bytes) -> Body:
        """Send frames over ZeroMQ and return the body of the reply."""
        self.client.send_frames(*frames)
        [reply] = self.client.receive(10)
        body: Body = reply["body"]
        return body

    def by_pipe(self, line: str) -> Body:
        """Write one line to standard input and return the reply."""
        assert self.pipe.stdin and self.pipe.stdout
        self.pipe.stdin.write(line.encode("utf-8", "surrogatepass") + b"\n")
        self.pipe.stdin.flush()
        body: Body = json.loads(self.pipe.stdout.readline())
        return body

    def ask(self, message: Any) -> Body:
        """Send a message by both ways, see that the answers are the same, and return it."""
        answer = self.by_zmq(message)
        assert self.by_pipe(json.dumps(message)) == answer
        return answer


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    with Cluster(tmp_path_factory.mktemp("e"), cwd=Path(__file__).parents[1]) as cluster:
        cluster.start(stdin=subprocess.PIPE)
        with RawClient(cluster.front) as client:
            made = Doors(cluster, client)
            yield made
            # Whatever was sent, the rows are what they were, and every process lives.
            assert made.ask(query("ListUsers"))["data"] == [{"id": "user-123", "name": "John Doe"}]
            assert all(process.running for process in cluster.processes)
            assert not any("Traceback" in process.stderr_text for process in cluster.processes)


def body(type_: Any, msg_id: Any = 1, **rest: Any) -> Body:
    return {"src": "t", "dest": "commandbus", "body": {"type": type_, "msg_id": msg_id, **rest}}


def without(message: Body, *names: str) -> Body:
    return {name: value for name, value in message.items() if name not in names}


NESTED: list[Any] = []
for _ in range(40):
    NESTED = [NESTED]

REFUSED: dict[str, tuple[Any, int, str]] = {
    "an unknown dest": ({**GET, "dest": "nobody"}, 1, "There is no dest 'nobody'"),
    "a dest that is a path": ({**GET, "dest": "../../etc"}, 1, "There is no dest"),
    "a dest that is SQL": ({**GET, "dest": "x'; DROP TABLE users; --"}, 1, "There is no dest"),
    "the projector as a dest": ({**GET, "dest": "projector"}, 1, "There is no dest 'projector'"),
    "an unknown command": (command("Nothing"), 10, "no command 'Nothing'"),
    "an unknown query": (query("Nothing"), 10, "no query 'Nothing'"),
    "an unknown type and no dest": (without(command("Nothing"), "dest"), 10, "no query 'Nothing'"),
    "an event as a command": (command("UserCreated", id="x", name="x", email="x@x.xx"), 10, "no command"),
    "another letter case": (command("createuser"), 10, "no command 'createuser'"),
    "a query sent to commandbus": ({**GET, "dest": "commandbus"}, 10, "GetUser is a query: send it to querybus."),
    "a command sent to querybus": (
        {**create("Ada"), "dest": "querybus"},
        10,
        "CreateUser is a command: send it to commandbus.",
    ),
    "what the gateway does not answer": ({**GET, "dest": "gateway"}, 10, "The gateway answers Status"),
    "no type": ({**GET, "body": {"msg_id": 1}}, 12, "type is required"),
    "a type that is a number": (body(5), 12, "type must be text"),
    "a type that is empty": (body(""), 12, "type must not be empty"),
    "a type that is long": (body("x" * 300), 12, "type is longer than 256 characters"),
    "a src that is a number": ({**GET, "src": 5}, 12, "src must be text"),
    "a dest that is a list": ({**GET, "dest": []}, 12, "dest must be text"),
    "a dest that is long": ({**GET, "dest": "x" * 65_536}, 12, "dest is longer than 256 characters"),
    "an unknown field": ({**GET, "colour": "red"}, 12, "'colour'"),
    "an unknown field of the body": (body("CreateUser", payload={}, colour="red"), 12, "'colour'"),
    "a payload that is a list": (body("CreateUser", payload=[]), 12, "body.payload must be an object"),
    "a payload that is text": (body("CreateUser", payload="John"), 12, "body.payload must be an object"),
    "params that are a list": (
        {"src": "t", "dest": "querybus", "body": {"type": "GetUser", "msg_id": 1, "params": [1]}},
        12,
        "body.params must be an object",
    ),
    "a key that is a number": (body("CreateUser", idempotency_key=7), 12, "idempotency_key must be text"),
    "a timeout of nothing": ({**GET, "timeout_ms": 0}, 12, "timeout_ms must be a whole number from 1 to"),
    "a timeout that is text": ({**GET, "timeout_ms": "5"}, 12, "timeout_ms must be a whole number"),
    "a position before the first": ({**GET, "after": -1}, 12, "after must be a whole number from 0"),
    "a message nested too deep": (command("CreateUser", name=NESTED), 12, "nested more than 32 deep"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_message_that_cannot_be_answered_is_refused_with_a_code_and_a_sentence(doors: Doors, name: str) -> None:
    message, code, text = REFUSED[name]
    answer = doors.ask(message)
    assert answer.keys() == {"type", "in_reply_to", "code", "text"}
    assert (answer["type"], answer["in_reply_to"], answer["code"]) == ("error", 1, code)
    assert text in answer["text"]
    assert answer["text"].endswith(".")


NAMELESS: dict[str, tuple[Any, str]] = {
    "a list": ([], "A message is an object"),
    "no body": ({"src": "t", "dest": "querybus"}, "body must be an object"),
    "a body that is text": ({"src": "t", "dest": "querybus", "body": "GetUser"}, "body must be an object"),
    "a body that is null": ({"src": "t", "dest": "querybus", "body": None}, "body must be an object"),
    "no msg_id": ({**GET, "body": {"type": "GetUser"}}, "body.msg_id is required"),
    "a msg_id that is null": (body("CreateUser", None), "body.msg_id is required"),
    "a msg_id that is a fraction": (body("CreateUser", 1.5), "msg_id must be a whole number or text"),
    "a msg_id that is true": (body("CreateUser", True), "msg_id must be a whole number or text"),
    "a msg_id that is a list": (body("CreateUser", [1]), "msg_id must be a whole number or text"),
    "a msg_id that is empty": (body("CreateUser", ""), "msg_id must not be empty"),
    "a msg_id that is long": (body("CreateUser", "x" * 300), "msg_id is longer than 256 characters"),
}


@pytest.mark.parametrize("name", NAMELESS)
def test_a_message_that_has_no_id_to_answer_to_is_answered_12_to_nobody(doors: Doors, name: str) -> None:
    message, text = NAMELESS[name]
    answer = doors.by_zmq(message) if message == [] else doors.ask(message)
    assert (answer["type"], answer["in_reply_to"], answer["code"]) == ("error", None, 12)
    assert text in answer["text"]


PAYLOADS: dict[str, tuple[Any, list[str]]] = {
    "nothing": ({}, ["Name is required", "Email is required"]),
    "null": ({"name": None, "email": None}, ["Name is required", "Email is required"]),
    "blank": ({"name": "  \t", "email": ""}, ["Name is required", "Email is required"]),
    "one missing": ({"name": "John"}, ["Email is required"]),
    "wrong types": ({"name": 5, "email": "x"}, ["Name must be text", "Email must be an email address"]),
    "lists and objects": ({"name": ["J"], "email": {}}, ["Name must be text", "Email must be text"]),
    "true": ({"name": True, "email": "a@b.cd"}, ["Name must be text"]),
    "an unknown field": (
        {"name": "", "email": "a@b.cd", "age": 5},
        ["Name is required", "Age is not a field of CreateUser"],
    ),
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_all_problems_of_a_payload_are_told_at_once(doors: Doors, name: str) -> None:
    payload, errors = PAYLOADS[name]
    assert doors.ask(body("CreateUser", payload=payload)) == {
        "type": "command_result",
        "in_reply_to": 1,
        "success": False,
        "errors": errors,
    }


def test_a_payload_may_be_left_out_or_be_null(doors: Doors) -> None:
    assert doors.ask(body("CreateUser"))["errors"] == ["Name is required", "Email is required"]
    assert doors.ask(body("CreateUser", payload=None))["errors"] == ["Name is required", "Email is required"]


def test_a_refusal_looks_like_a_payload_that_is_wrong(doors: Doors) -> None:
    assert doors.ask(command("RenameUser", user_id="nobody", name="x")) == {
        "type": "command_result",
        "in_reply_to": 1,
        "success": False,
        "errors": ["User does not exist"],
    }


@pytest.mark.parametrize(
    ("message", "errors"),
    [
        (query("GetUser"), ["User id is required"]),
        (query("GetUser", user_id=None, name="x"), ["User id is required", "Name is not a field of GetUser"]),
        (query("ListUsers", limit=0, after=5), ["Limit must be at least 1", "After must be text"]),
        (query("ListUsers", limit=1001), ["Limit must be at most 1000"]),
        (query("ListUsers", limit="5"), ["Limit must be a whole number"]),
        (query("ListUsers", limit=5.5), ["Limit must be a whole number"]),
    ],
)
def test_a_query_with_wrong_params_is_answered_12_with_every_sentence(
    doors: Doors, message: Body, errors: list[str]
) -> None:
    answer = doors.ask(message)
    assert (answer["type"], answer["in_reply_to"], answer["code"]) == ("error", 1, 12)
    assert answer["errors"] == errors


@pytest.mark.parametrize("msg_id", [0, -1, 7, 2**63 - 1, -(2**63), "seven", "0", "é😀", "'; --", "\u0000", "x" * 256])
def test_a_msg_id_is_echoed_as_it_came(doors: Doors, msg_id: int | str) -> None:
    for message in (
        query("GetUser", msg_id, user_id="user-123"),
        command("CreateUser", msg_id),
        body("Nothing", msg_id),
    ):
        answer = doors.ask(message)
        assert answer["in_reply_to"] == msg_id
        assert type(answer["in_reply_to"]) is type(msg_id)


def test_a_message_without_dest_goes_by_its_type(doors: Doors) -> None:
    assert doors.ask(without(GET, "dest"))["data"] == {"id": "user-123", "name": "John Doe"}
    assert doors.ask(without(command("CreateUser"), "dest"))["errors"] == ["Name is required", "Email is required"]
    assert doors.ask({**GET, "dest": ""})["data"] == {"id": "user-123", "name": "John Doe"}
    assert doors.ask(without(GET, "dest", "src"))["type"] == "query_result"
    assert doors.by_zmq({"body": {"type": "Status", "msg_id": 1}})["type"] == "status_result"


def line(payload: str, msg_id: str = "1") -> str:
    return f'{{"dest": "commandbus", "body": {{"type": "CreateUser", "msg_id": {msg_id}, "payload": {payload}}}}}'


@pytest.mark.parametrize(
    ("text", "in_reply_to", "says"),
    [
        (line('{"name": NaN}'), 1, "not finite"),
        (line('{"name": Infinity}'), 1, "not finite"),
        (line('{"name": -Infinity}'), 1, "not finite"),
        (line('{"name": 1e999}'), 1, "not finite"),
        (line(f'{{"name": {2**63}}}'), 1, "does not fit in 64 bits"),
        (line(f'{{"name": {2**64}}}'), 1, "does not fit in 64 bits"),
        (line(f'{{"name": {-(2**63) - 1}}}'), 1, "does not fit in 64 bits"),
        (line(f'{{"name": {"9" * 5000}}}'), None, "too many digits"),
        (line("{}", msg_id=str(2**64)), None, "does not fit in 64 bits"),
        (line("{}", msg_id="NaN"), None, "msg_id must be"),
        (line('{"name": "A", "name": "B"}'), 1, "same key twice"),
        (line(r'{"name": "\ud800"}'), 1, "surrogates not allowed"),
        (line('{"name": "\ud800"}'), 1, "surrogates not allowed"),
        (line(r'{"\udfff": "x"}'), 1, "surrogates not allowed"),
        (line('{"name": "\t"}'), None, "control character"),
        (line("[" * 50_000 + "]" * 50_000), None, "too deep"),
        (line("{'name': 'A'}"), None, "not JSON"),
        (line('"' + "x" * (1 << 21) + '"'), None, "over 1048576 bytes"),
    ],
)
def test_json_that_a_log_cannot_hold_is_answered_12(
    doors: Doors, text: str, in_reply_to: int | None, says: str
) -> None:
    answer = doors.by_pipe(text)
    assert (answer["type"], answer["code"]) == ("error", 12)
    assert answer["in_reply_to"] == in_reply_to
    assert says in answer["text"]


def packed(payload: object) -> bytes:
    message: bytes = msgpack.packb([body("CreateUser", payload={"name": payload, "email": "a@b.cd"})])
    return message


BAD_FRAMES: dict[str, tuple[list[bytes], str]] = {
    "no array": ([b"send"], "is one frame"),
    "two frames": ([b"send", b"\x90"], "is one frame"),
    "three frames": ([wire("send", b"\x90"), b"\x90", b""], "is one frame"),
    "another kind": ([wire("done", b"\x90")], "is one frame"),
    "three items": ([b"\x93\xa4send\x90\x90"], "is one frame"),
    "a longer array": ([b"\xdc\x00\x02\xa4send\x90"], "shortest encoding"),
    "a longer text": ([b"\x92\xd9\x04send\x90"], "shortest encoding"),
    "no msgpack": ([wire("send", b"\xc1")], "not msgpack"),
    "an empty frame": ([wire("send", b"")], "not msgpack"),
    "bytes too many": ([wire("send", b"\x90\x90")], "not msgpack"),
    "half a message": ([wire("send", packed("John")[:-5])], "not msgpack"),
    "JSON": ([wire("send", json.dumps([GET]).encode())], "not msgpack"),
    "no list": ([wire("send", msgpack.packb(GET))], "list of messages"),
    "an extension": ([wire("send", packed(msgpack.ExtType(5, b"x")))], "extension types"),
    "a timestamp": ([wire("send", packed(msgpack.Timestamp(5)))], "has no place"),
    "bytes for text": ([wire("send", packed(b"John"))], "has no place"),
    "a number over 63 bits": ([wire("send", packed(2**64 - 1))], "does not fit in 64 bits"),
    "not a number": ([wire("send", packed(float("nan")))], "not finite"),
    "a key that is a number": ([wire("send", packed({5: "x"}))], "not msgpack"),
    "a key twice": ([wire("send", b"\x91\x82\xa1a\x01\xa1a\x02")], "same key twice"),
    "text that is not UTF-8": ([wire("send", b"\x91\xa2\xff\xfe")], "not msgpack"),
    "a length that lies": ([wire("send", b"\xdd\xff\xff\xff\xff")], "over the limit"),
    "a million lists": ([wire("send", b"\xdd\x00\x0f\x42\x40" + b"\x90" * 1_000_000)], "over the limit"),
    "a list of a million lists": (
        [wire("send", b"\x91\xdd\x00\x0f\x42\x40" + b"\x90" * 1_000_000)],
        "exceeds max_array_len",
    ),
    "a thousand lists of a hundred": (
        [wire("send", b"\x91\xdc\x03\xe8" + (b"\xdc\x00\x64" + b"\x90" * 100) * 1000)],
        "more than 20000 values",
    ),
    "depth": ([wire("send", b"\x91" * 100_000)], "not msgpack"),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_frames_that_are_not_of_the_protocol_are_answered_12(doors: Doors, name: str) -> None:
    frames, text = BAD_FRAMES[name]
    answer = doors.by_frames(*frames)
    assert (answer["type"], answer["code"]) == ("error", 12)
    assert text in answer["text"]


def test_a_message_of_over_a_megabyte_is_answered_12(doors: Doors) -> None:
    message = create("x" * (1 << 20))
    by_zmq, by_pipe = doors.by_zmq(message), doors.by_pipe(json.dumps(message))
    assert (by_zmq["code"], by_zmq["in_reply_to"]) == (12, 1)
    assert (by_pipe["code"], by_pipe["in_reply_to"]) == (12, None)  # nobody looked for its end
    assert "over 1048576 bytes" in by_zmq["text"]
    assert "over 1048576 bytes" in by_pipe["text"]


def test_a_frame_beyond_every_limit_cuts_off_who_sent_it_and_nobody_else(doors: Doors) -> None:
    with RawClient(doors.front) as flooder:
        flooder.send_frames(wire("send", bytes(8 << 20)))
        assert doors.ask(GET)["type"] == "query_result"
        assert flooder.receive(0.1) == []


def test_one_bad_message_of_a_batch_leaves_the_others_alone(doors: Doors) -> None:
    good, bad = query("GetUser", "good", user_id="user-123"), body("CreateUser", None)
    doors.client.replies.clear()
    doors.client.send(bad, good, {**bad, "dest": 5})
    [answer] = doors.client.wait_for(["good"])
    assert answer["body"]["data"] == {"id": "user-123", "name": "John Doe"}
