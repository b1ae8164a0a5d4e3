"""What no worker, gateway or publisher should say: whoever hears it drops it, and goes on."""

import itertools
import random
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
import zmq

from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.testing import Cluster, until
from tests.faults.seeing import said, status, wait_ready
from tests.keyring import as_process, as_server
from tests.raw import SECONDS, RawClient, create, query, wire

Frames = list[bytes]
FROM_WORKERS = ("ready", "beat", "done", "returned", "leaving")
KINDS = (*FROM_WORKERS, "work", "cancel", "bye", "announce", "refused", "events", "progress")


def peer_frames(seed: int, log: list[str]) -> Iterator[Frames]:
    """Yield what a peer of the inside might say: every kind, with values far from right, then nearly right."""
    chance = random.Random(seed)
    scraps: list[Any] = [None, True, 0, -1, 2**63, 2**64 - 1, 1.5, "", "text", b"bytes", [], {}, [[]], {"a": 1}, log]
    scraps += [{"type": "CreateUser", "msg_id": 1}, "commandbus", "querybus", "projector", ["x"], "x" * 1000]
    yield from ([b""], [b"\x00", b"\x00"], [b"work", b"\x90"], [wire("work", b"\x91" * 2000)], [b"x" * 70_000])
    for kind in KINDS:
        yield [kind.encode()]
        yield from ([wire(kind, end)] for end in (b"", b"\xc1", b"\x90", b"\x91" * 3000 + b"\xc0"))
        yield from ([msgpack.packb([kind, value])] for value in scraps)
        yield from ([msgpack.packb([kind, [value]])] for value in scraps)
        for _ in range(60):
            yield [msgpack.packb([kind, [[chance.choice(scraps) for _ in range(chance.randrange(1, 8))]]])]
    yield from _nearly_right(log)


def _nearly_right(log: list[str]) -> Iterator[Frames]:
    """Yield items of which one value is wrong."""
    wrong: list[Any] = [None, True, -1, 2**63, 1.5, "text", b"bytes", [], {}, [1], [log], {"a": 1}]
    event = [1, "UserCreated", "{}", "now", "c", b"h" * 16]
    body: dict[str, Any] = {"type": "CreateUser", "msg_id": 1}
    right: dict[str, list[Any]] = {
        "ready": ["querybus", "life", 1, 7, ["GetUser"], 1024, ["another", "log"], 5, 0, ""],
        "beat": [1, 0, ["another", "log"], 5, 1024, {"queue": 1}],
        "done": [1, 5, msgpack.packb({"type": "x", "in_reply_to": 1}), b""],
        "work": [1, 1, "t", 1000, "key", 0, body],
        "events": [log, 0, [event], True],
        "progress": [log, 1, "read-1.db", ""],
    }
    for kind, item in right.items():
        first = [None] if kind == "done" else []  # no times of a commit
        for place, value in itertools.product(range(len(item)), wrong):
            yield [msgpack.packb([kind, [*first, [*item[:place], value, *item[place + 1 :]]]])]
    yield from ([wire(kind, b"\x91\x81\x90\x01")] for kind in KINDS)  # a map whose key is a list
    yield [msgpack.packb(["ready", [right["ready"]]])]
    yield [msgpack.packb(["returned", []])]
    for value in wrong:
        for place in range(len(event)):
            yield [msgpack.packb(["events", [[log, 0, [[*event[:place], value, *event[place + 1 :]]], True]]])]
        for name in ("type", "msg_id", "payload", "params", "idempotency_key", "unknown"):
            yield [msgpack.packb(["work", [[1, 1, "t", 1000, "key", 0, {**body, name: value}]]])]


def test_garbage_at_the_back_door_stops_nobody(running: Cluster, client: RawClient) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    wait_ready(client)
    # when strangers at the door for workers say anything at all
    everything = list(peer_frames(seed, ["log", "life"]))
    with zmq.Context() as context:
        for start in range(0, len(everything), 50):
            with context.socket(zmq.DEALER) as stranger:
                stranger.linger = 1000
                as_process(stranger)
                stranger.connect(running.addresses["back"])
                for frames in everything[start : start + 50]:
                    stranger.send_multipart(frames)
                # then the gateway goes on answering
                assert status(client)["log_position"] == 1
    # and the true workers are served as ever
    [created] = client.ask(create("Ada"))
    assert created["success"] is True
    [found] = client.ask(query("GetUser", user_id="user-123"))
    assert found["data"] == {"id": "user-123", "name": "John Doe"}
    assert all(process.running for process in running.processes)
    assert "Internal error in dualbus" not in said(running, "gateway")


@pytest.mark.parametrize("name", ["commandbus", "querybus", "projector"])
def test_garbage_from_what_stands_where_the_gateway_and_the_publisher_should_stops_nobody(
    cluster: Cluster, name: str
) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    cluster.start("commandbus")
    until(lambda: "Writing the log" in cluster.process("commandbus").stderr_text)
    log = SqliteLogReader(cluster.data)
    log.close()
    if name == "commandbus":
        cluster.kill("commandbus")
    # given a process whose gateway and whose publisher are somebody else
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router, context.socket(zmq.PUB) as publisher:
        router.linger = publisher.linger = 0
        as_server(router, publisher, context=context)
        for socket, end in ((router, "router"), (publisher, "publisher")):
            socket.bind(f"ipc://{cluster.folder}/{end}")
        cluster.environ["DUALBUS_BACK"] = f"ipc://{cluster.folder}/router"
        heard = {"projector": "EVENTS", "querybus": "PROGRESS"}.get(name)
        if heard:
            cluster.environ[f"DUALBUS_{heard}"] = f"ipc://{cluster.folder}/publisher"
        [process] = cluster.start(name)
        assert router.poll(SECONDS * 1000)
        identity = router.recv_multipart()[0]

        # when they say anything, except that this worker is to go
        for frames in peer_frames(seed, list(log.identity)):
            if not frames[0].startswith((wire("refused", b""), wire("bye", b""))):
                router.send_multipart([identity, *frames])
                publisher.send_multipart(frames)

        # and that it is not registered, whatever the number of its registration by now; a full queue drops it
        # then it lives, and greets them once more when it is asked to
        def greets() -> bool:
            assert process.running, process.stderr_text[-2000:]
            router.send_multipart([identity, msgpack.packb(["announce", list(range(100))])])
            while router.poll(100):
                if router.recv_multipart()[1].startswith(wire("ready", b"")):
                    return True
            return False

        until(greets, SECONDS)
        assert "Internal error in dualbus" not in process.stderr_text
