"""PUB is the fast road and the log is the truth: whatever the road does, the read model comes to the log."""

import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import msgpack
import pytest
import zmq

from dualbus.commandbus.node import genesis
from dualbus.log.contract import Decision, NewEvent
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.testing import Cluster, until
from tests.faults.seeing import events, fields, memory_mb, not_caught_up, process_status, rows, wait_ready
from tests.keyring import as_process, as_server
from tests.raw import RawClient, create, query
from users import app

Frames = list[bytes]
Fault = Callable[[random.Random, list[Frames]], list[Frames]]


def duplicated(chance: random.Random, messages: list[Frames]) -> list[Frames]:
    return [copy for message in messages for copy in [message] * chance.choice((1, 2, 5))] + messages[:1]


def reordered(chance: random.Random, messages: list[Frames]) -> list[Frames]:
    return chance.sample(messages, len(messages))


def dropped(chance: random.Random, messages: list[Frames]) -> list[Frames]:
    return [message for message in messages if chance.random() >= 0.3]


def without_events(chance: random.Random, messages: list[Frames]) -> list[Frames]:
    """Let the repeated head through, and nothing that says what happened."""
    return [message for message in messages if not msgpack.unpackb(message[0])[1][0][2]]


def untouched(chance: random.Random, messages: list[Frames]) -> list[Frames]:
    return messages


class BadRoad(threading.Thread):
    """Between the publisher and the projector: takes what is published, and passes on what its fault leaves."""

    def __init__(self, cluster: Cluster, fault: Fault, seed: int, gather: int = 1) -> None:
        super().__init__(name="bad road")
        self.address = f"ipc://{cluster.folder}/road"
        self.fault = fault
        self.passed = 0
        self._events = cluster.addresses["events"]
        self._chance = random.Random(seed)
        self._gather = gather  # how many messages meet before the fault comes over them
        self._ended = False
        print(f"bad road: seed {seed}")

    def run(self) -> None:
        with zmq.Context() as context, context.socket(zmq.SUB) as source, context.socket(zmq.PUB) as sink:
            source.linger = sink.linger = 0
            source.subscribe(b"")
            as_process(source)
            as_server(sink, context=context)
            source.connect(self._events)
            sink.bind(self.address)
            gathered: list[Frames] = []
            while not self._ended:
                if source.poll(20):
                    gathered.append(source.recv_multipart())
                if len(gathered) >= self._gather:
                    for message in self.fault(self._chance, gathered):
                        sink.send_multipart(message)
                        self.passed += 1
                    gathered = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended = True
        self.join()


@contextmanager
def running_over(cluster: Cluster, road: BadRoad) -> Iterator[RawClient]:
    """Start a cluster whose projector hears the publisher over a bad road only."""
    with road, RawClient(cluster.front) as client:
        cluster.start("gateway", "commandbus", "querybus")
        cluster.start("projector", DUALBUS_EVENTS=road.address)
        wait_ready(client)
        until(lambda: process_status(client, "projector").get("state") == "following")
        until(lambda: road.passed, what="the road is open")
        yield client


def read_model_is_the_log(cluster: Cluster) -> bool:
    """Tell whether the rows are those of all the events in the log, each exactly once."""
    said = fields(cluster.data)
    position, found = rows(cluster.data, app, "SELECT id, name FROM users ORDER BY id")
    assert position <= len(said)
    made = sorted((one["id"], one["name"]) for one in said[: max(0, position)])
    assert made == [(row["id"], row["name"]) for row in found]
    return position == len(said)


@pytest.mark.parametrize(("fault", "gather"), [(duplicated, 1), (reordered, 6), (dropped, 1)])
def test_the_read_model_is_the_log_whatever_happens_to_what_is_published(
    cluster: Cluster, fault: Fault, gather: int
) -> None:
    with running_over(cluster, BadRoad(cluster, fault, seed=random.randrange(1 << 30), gather=gather)) as client:
        # given many small commits, each published on its own
        for _ in range(60):
            assert all(body["success"] for body in client.ask(*[create("Ada")] * 3))
        # when nothing more is written, then
        until(lambda: read_model_is_the_log(cluster))
        # and the session that wrote sees it all
        [listed] = client.ask(query("ListUsers", limit=1000))
        assert len(listed["data"]) == 181


def test_a_lost_last_message_is_noticed_by_the_repeated_head(cluster: Cluster) -> None:
    with running_over(cluster, BadRoad(cluster, untouched, seed=0)) as client:
        client.ask(create("first"))
        until(lambda: read_model_is_the_log(cluster))
        assert process_status(client, "projector")["gaps"] == 0

        # when the last message of a burst is lost, a few times over
        road = next(thread for thread in threading.enumerate() if isinstance(thread, BadRoad))
        road.fault = without_events
        for number in range(4):
            client.ask(create(f"lost {number}"))
            until(lambda: read_model_is_the_log(cluster))

        # then the head has told of it: the projector's own look at the log, once a second, came later
        until(lambda: process_status(client, "projector")["gaps"] > 0)


def test_a_subscriber_that_comes_after_100_000_events_catches_up_while_more_come(cluster: Cluster) -> None:
    # given a long log that no projector has ever seen
    log = SqliteLog(cluster.data, lambda secret: genesis(app, secret))
    for part in range(100):
        news = [
            NewEvent("UserCreated", f'{{"id":"u-{part:02}-{number:03}","name":"n","email":"n@example.org"}}', ())
            for number in range(1000)
        ]
        log.append([Decision(f"part {part}", "2026-01-01T00:00:00.000000Z", news)])
    log.close()

    # when it comes late, and commands go on
    cluster.start("gateway", "commandbus", "querybus")
    with RawClient(cluster.front) as client:
        [before] = client.ask(create("before"))
        cluster.start("projector")
        created = [body["events"][0]["payload"] for _ in range(50) for body in client.ask(create("while"))]
        ids = [before["events"][0]["payload"]["id"], *(payload["id"] for payload in created)]

        # then each of them is seen by the session that wrote it, and nothing is missing
        seen = client.ask(*(query("GetUser", user_id=id_) for id_ in ids))
        assert [one["data"]["id"] for one in seen] == ids
        until(lambda: read_model_is_the_log(cluster))
        assert len(events(cluster.data)) == 1 + 100_000 + 51


def test_a_stopped_projector_costs_the_publisher_no_memory_and_nobody_a_stale_answer(cluster: Cluster) -> None:
    # given a projector that has found its publisher
    cluster.start("gateway", "commandbus", "querybus")
    with RawClient(cluster.front) as client:
        client.ask(create("first"))
        cluster.start("projector")
        until(lambda: process_status(client, "projector").get("state") == "following")
        client.ask(create("second"), query("GetUser", user_id="user-123"))
        commandbus, projector = cluster.process("commandbus"), cluster.process("projector")

        # which then takes nothing, and a publisher that has more to say than its queue may hold
        projector.send(signal.SIGSTOP)
        big = create("x" * 20_000)

        def publish(commits: int) -> dict[str, Any]:
            for _ in range(commits):
                bodies = client.ask(*[big] * 5)
                assert all(body["success"] for body in bodies)
            return bodies[-1]

        publish(320)
        full = memory_mb(commandbus.pid)
        [last] = publish(320)["events"]
        assert memory_mb(commandbus.pid) - full < 16  # of 32 MB more

        # when a session that wrote asks meanwhile, then it is told to wait rather than shown old rows
        asked = query("GetUser", user_id=last["payload"]["id"])
        until(lambda: not_caught_up(client, asked))

        # and when the projector goes on, it catches up without a gap, and the answer is there
        projector.send(signal.SIGCONT)
        [found] = client.ask(asked)
        assert found["data"]["id"] == last["payload"]["id"]
        until(lambda: read_model_is_the_log(cluster))
