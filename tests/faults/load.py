"""The load: sessions that write, read and pipeline under a seed, and record all they send and are told."""

import itertools
import random
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import msgpack
import zmq

from dualbus.testing import until
from tests.faults.judge import Answer, Operation
from tests.raw import SECONDS, Envelope, command, query

INDEFINITE = (0, 13)
UNAVAILABLE = 11
REST_SECONDS = 0.05  # after being told that it is
PATIENCE_SECONDS = 2.0  # beyond the deadline, until a session takes the gateway for dead and connects anew


class Session:
    """One src, and one connection at a time."""

    def __init__(
        self, name: str, context: "zmq.Context[Any]", front: str, chance: random.Random, load: "Load"
    ) -> None:
        self.name = name
        self.open: dict[int, Operation] = {}  # by msg_id: sent and not answered
        self.again: list[Envelope] = []  # to be sent again under its key: nobody knows what became of it
        self._context, self._front = context, front
        self._chance = chance
        self._load = load
        self._ids = itertools.count(1)
        self._sent: dict[int, Envelope] = {}
        self._users = ["user-123"]  # those that we know of; user-123 is everybody's
        self._seen = 0
        self._resumed = False  # this connection is not the first: the gateway is told what the session has seen
        self._rest_until = 0.0
        self.connect()

    def connect(self) -> None:
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect(self._front)

    def reconnect(self) -> None:
        """Give up on a connection: what was open on it will never be answered."""
        self.socket.close(0)
        for msg_id in list(self.open):
            self._not_known(msg_id)
        self._resumed = True
        self.connect()

    def send(self) -> None:
        """Send something new, or again what is not known: a burst of up to eight messages in one batch."""
        if time.monotonic() < self._rest_until:
            return
        burst = [self.again.pop(0) for _ in range(min(len(self.again), 8))]
        if not burst and not self._load.stopping:
            burst = [self._new() for _ in range(self._chance.choice((1, 1, 2, 8)))]
        batch = []
        for message in burst:
            msg_id = next(self._ids)
            self._sent[msg_id] = message
            sent = {**message, "timeout_ms": self._load.timeout_ms, "body": {**message["body"], "msg_id": msg_id}}
            if message["dest"] == "querybus" and self._resumed:
                sent["after"] = self._seen
            batch.append(sent)
        now = time.monotonic()
        for sent in batch:
            body = sent["body"]
            asks = sent["dest"] == "querybus"
            key = body["params"]["user_id"] if asks else body["payload"]["name"]
            self.open[body["msg_id"]] = Operation(self.name, key, asks, now)
        self._load.history += [self.open[sent["body"]["msg_id"]] for sent in batch]
        if batch:
            self.socket.send_multipart([b"send", msgpack.packb(batch)])

    def _new(self) -> Envelope:
        kind = self._chance.random()
        user = self._chance.choice(self._users[-20:])
        if kind < 0.4:
            return query("GetUser", src=self.name, user_id=user)
        mark = f"{self.name}.{next(self._load.marks)}"
        key = mark if self._chance.random() < 0.7 else None  # where there is none, the gateway makes one
        if kind < 0.7:
            return command("CreateUser", src=self.name, key=key, name=mark, email="load@example.com")
        return command("RenameUser", src=self.name, key=key, user_id=user, name=mark)

    def receive(self) -> None:
        """Take what is there."""
        while self.socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            kind, packed = self.socket.recv_multipart(zmq.NOBLOCK)
            assert kind == b"reply"
            now = time.monotonic()
            for reply in msgpack.unpackb(packed):
                self._take(reply, now)

    def _take(self, reply: Envelope, now: float) -> None:
        body = reply["body"]
        operation = self.open.get(body["in_reply_to"])
        if operation is None:
            return
        operation.answered, operation.position = now, reply["position"]
        self._seen = max(self._seen, operation.position)
        if body["type"] == "error" and body["code"] in INDEFINITE:
            self._not_known(body["in_reply_to"])
            return
        del self.open[body["in_reply_to"]]
        message = self._sent.pop(body["in_reply_to"])
        if body["type"] == "error" or body.get("success") is False:
            self._refused(operation, message, body)
            return
        operation.answer = Answer.ACKNOWLEDGED
        self._load.acknowledged += 1
        self._load.unknown.discard(operation.key)
        operation.shown = body["data"] if operation.query else body["events"]
        if message["body"]["type"] == "CreateUser":
            self._users.append(body["events"][0]["payload"]["id"])

    def _refused(self, operation: Operation, message: Envelope, body: Envelope) -> None:
        operation.answer = Answer.REFUSED
        self._load.refusals.append(body)
        if body.get("code") == UNAVAILABLE:
            self._rest_until = time.monotonic() + REST_SECONDS
            if operation.key in self._load.unknown:
                self.again.append(message)  # this time it did not happen; an earlier time it may have
        else:
            self._load.unknown.discard(operation.key)

    def _not_known(self, msg_id: int) -> None:
        operation = self.open.pop(msg_id)
        message = self._sent.pop(msg_id)
        if not operation.query and "idempotency_key" in message["body"]:
            self._load.unknown.add(operation.key)
            self.again.append(message)


class Load:
    """Sessions at work in a thread of their own, until the end of the `with`.

    At the end nothing new is sent; what is open is waited for, and what is not known is sent again until it
    is: with a cluster that runs, every operation that has a key is acknowledged or refused.
    """

    def __init__(
        self, front: str, seed: int, sessions: int = 4, timeout_ms: int = 2000, settle_seconds: float = 20
    ) -> None:
        self.history: list[Operation] = []
        self.refusals: list[dict[str, Any]] = []  # the bodies of definite errors and refusals
        self.acknowledged = 0
        self.unknown: set[str] = set()  # keys that were sent, and nobody knows what they came to
        self.timeout_ms = timeout_ms
        self.stopping = False
        self.marks = itertools.count(1)
        self._front = front
        self._seed = seed
        self._count = sessions
        self._settle_seconds = settle_seconds
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="load")
        print(f"load: seed {seed}")

    def more(self, operations: int, seconds: float = SECONDS) -> None:
        """Wait until that many more operations are acknowledged."""
        goal = self.acknowledged + operations

        def enough() -> bool:
            if self._failure:
                raise RuntimeError("The load has failed.") from self._failure
            return self.acknowledged >= goal

        until(enough, seconds, f"{operations} more acknowledged operations")

    def _run(self) -> None:
        context: zmq.Context[Any] = zmq.Context()
        try:
            chance = random.Random(self._seed)
            sessions = [
                Session(f"s{number}", context, self._front, random.Random(chance.random()), self)
                for number in range(self._count)
            ]
            for _ in self._turns():
                self._turn(sessions)
                if self.stopping and not any(one.open or one.again for one in sessions):
                    break
        except BaseException as failure:
            self._failure = failure
        finally:
            context.destroy(0)

    def _turns(self) -> Iterator[None]:
        give_up = float("inf")
        while time.monotonic() < give_up:
            if self.stopping and give_up == float("inf"):
                give_up = time.monotonic() + self._settle_seconds
            yield

    def _turn(self, sessions: list[Session]) -> None:
        poller = zmq.Poller()
        for session in sessions:
            poller.register(session.socket, zmq.POLLIN)
        poller.poll(20)
        for session in sessions:
            session.receive()
            oldest = min((one.sent for one in session.open.values()), default=float("inf"))
            if time.monotonic() - oldest > self.timeout_ms / 1000 + PATIENCE_SECONDS:
                session.reconnect()
            if len(session.open) < 8:
                session.send()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping = True
        if kind:
            self._settle_seconds = 0
        self._thread.join()
        if self._failure and not kind:
            raise self._failure
