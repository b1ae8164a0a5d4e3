"""The load: sessions that write, read and pipeline under a seed, and record all they send and are told."""

import itertools
import random
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import msgpack
import zmq

from dualbus.testing import until
from tests.faults.judge import Answer, Operation
from tests.keyring import as_client
from tests.raw import SECONDS, Envelope, command, query

INDEFINITE = (0, 13)
UNAVAILABLE = 11
REST_SECONDS = 0.05  # after being told that it is
PATIENCE_SECONDS = 2.0  # beyond the deadline, until a session takes the gateway for dead and connects anew
AGAIN_KEPT = 200  # commands that a session may send again
AGAIN_AT_END = 20  # acknowledged commands that each session sends again at the end
SLOW_MS = (50, 200, 800, 2000)  # how long a slow handler lasts


class Mix(NamedTuple):
    """What is mixed into the load, beside quick commands and queries that all have the same time."""

    timeouts_ms: tuple[int, int] | None = None  # between these, for half of the commands
    again: float = 0.0  # the share of messages that are commands answered before, sent again under their keys
    slow: float = 0.0  # the share of messages whose handlers last; the application is tests.faults.apps.sleepy


class Session:
    """One src, and one connection at a time."""

    def __init__(
        self, name: str, context: "zmq.Context[Any]", front: str, chance: random.Random, load: "Load"
    ) -> None:
        self.name = name
        self.open: dict[int, Operation] = {}  # by msg_id: sent and not answered
        self.again: list[Envelope] = []  # to be sent again under its key: nobody knows what became of it
        self._context, self._fronts = context, deque(front.split(","))
        self._chance = chance
        self._load = load
        self._ids = itertools.count(1)
        self._sent: dict[int, Envelope] = {}
        self._users = ["user-123"]  # those that we know of; user-123 is everybody's
        self._seen = 0
        self._resumed = False  # this connection is not the first: the gateway is told what the session has seen
        self._rest_until = 0.0
        self._acknowledged: deque[Envelope] = deque(maxlen=AGAIN_KEPT)  # commands with keys
        self._refused_for_now: deque[Envelope] = deque(maxlen=AGAIN_KEPT)
        self._keys: set[str] = set()  # of the acknowledged commands
        self.connect()

    def connect(self) -> None:
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.linger = 0
        as_client(self.socket)
        self.socket.connect(self._fronts[0])

    def reconnect(self) -> None:
        """Give up on a connection: what was open on it will never be answered."""
        self.socket.close(0)
        for msg_id in list(self.open):
            self._not_known(msg_id)
        self._resumed = True
        if len(self._fronts) > 1:  # to either of the others, so that the sessions do not all meet at a gateway
            self._fronts.rotate(-self._chance.randrange(1, len(self._fronts)))
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
            sent = {**message, "timeout_ms": self._timeout_ms(message), "body": {**message["body"], "msg_id": msg_id}}
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
            self.socket.send(msgpack.packb(["send", batch]))

    def _timeout_ms(self, message: Envelope) -> int:
        mixed = self._load.mix.timeouts_ms
        if mixed is None or message["dest"] == "querybus" or self._chance.random() < 0.5:
            return self._load.timeout_ms
        return self._chance.randint(*mixed)

    def send_again_at_end(self) -> None:
        """Send some of the acknowledged commands again, to see that their answers are the first ones."""
        count = min(AGAIN_AT_END, len(self._acknowledged))
        self.again += self._chance.sample(list(self._acknowledged), count)

    def _new(self) -> Envelope:
        if self._load.mix.again and self._chance.random() < self._load.mix.again:
            # Most refused commands are never sent again: those must not be in the log at the end.
            before = self._refused_for_now if self._chance.random() < 0.2 else self._acknowledged
            if before:
                return self._chance.choice(before)
        slow_ms = 0
        if self._load.mix.slow and self._chance.random() < self._load.mix.slow:
            slow_ms = self._chance.choice(SLOW_MS)
        kind = self._chance.random()
        user = self._chance.choice(self._users[-20:])
        if kind < 0.4:
            if slow_ms:
                return query("Nap", src=self.name, user_id=user, ms=slow_ms)
            return query("GetUser", src=self.name, user_id=user)
        mark = f"{self.name}.{next(self._load.marks)}"
        key = mark if self._chance.random() < 0.7 else None  # where there is none, the gateway makes one
        if slow_ms:
            return command("Dawdle", src=self.name, key=key, name=mark, email="load@example.com", ms=slow_ms)
        if kind < 0.7:
            return command("CreateUser", src=self.name, key=key, name=mark, email="load@example.com")
        return command("RenameUser", src=self.name, key=key, user_id=user, name=mark)

    def receive(self) -> None:
        """Take what is there."""
        while self.socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            kind, replies = msgpack.unpackb(self.socket.recv(zmq.NOBLOCK))
            assert kind == "reply"
            now = time.monotonic()
            for reply in replies:
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
        self._load.slow += message["body"]["type"] in ("Nap", "Dawdle")
        if operation.query:
            return
        if operation.key in self._keys:
            self._load.sent_again += 1
            return
        self._keys.add(operation.key)
        if "idempotency_key" in message["body"]:
            self._acknowledged.append(message)
        if message["body"]["type"] != "RenameUser":
            self._users.append(body["events"][0]["payload"]["id"])

    def _refused(self, operation: Operation, message: Envelope, body: Envelope) -> None:
        operation.answer, operation.code = Answer.REFUSED, body.get("code")
        self._load.refusals.append(body)
        if body.get("code") == UNAVAILABLE:
            self._rest_until = time.monotonic() + REST_SECONDS
            if operation.key in self._load.unknown:
                self.again.append(message)  # this time it did not happen; an earlier time it may have
            elif "idempotency_key" in message["body"] and operation.key not in self._keys:
                self._refused_for_now.append(message)
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
        self,
        front: str,
        seed: int,
        sessions: int = 4,
        timeout_ms: int = 2000,
        settle_seconds: float = 20,
        mix: Mix = Mix(),  # noqa: B008 - it cannot change
        name: str = "s",  # of the sessions, different for each load of a cluster
    ) -> None:
        self.history: list[Operation] = []
        self.refusals: list[dict[str, Any]] = []  # the bodies of definite errors and refusals
        self.acknowledged = 0
        self.sent_again = 0  # how many acknowledged commands were sent again and acknowledged again
        self.slow = 0  # how many slow commands and queries were acknowledged
        self.mix = mix
        self.unknown: set[str] = set()  # keys that were sent, and nobody knows what they came to
        self.timeout_ms = timeout_ms
        self.stopping = False
        self.marks = itertools.count(1)
        self._front = front
        self._name = name
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
                Session(
                    f"{self._name}{number}", context, self._front_of(number), random.Random(chance.random()), self
                )
                for number in range(self._count)
            ]
            at_end = bool(self.mix.again)
            for _ in self._turns():
                self._turn(sessions)
                if self.stopping and not any(one.open or one.again for one in sessions):
                    if not at_end:
                        break
                    at_end = False
                    for session in sessions:
                        session.send_again_at_end()
        except BaseException as failure:
            self._failure = failure
        finally:
            context.destroy(0)

    def _front_of(self, number: int) -> str:
        """Return the gateways of a session, of which the first is another for each session."""
        fronts = deque(self._front.split(","))
        fronts.rotate(-number)
        return ",".join(fronts)

    def _turns(self) -> Iterator[None]:
        give_up = float("inf")
        while time.monotonic() < give_up:
            if self.stopping and give_up == float("inf"):
                give_up = time.monotonic() + self._settle_seconds
            yield

    def _turn(self, sessions: list[Session]) -> None:
        longest_ms = max((self.timeout_ms, *(self.mix.timeouts_ms or ())))
        poller = zmq.Poller()
        for session in sessions:
            poller.register(session.socket, zmq.POLLIN)
        poller.poll(20)
        for session in sessions:
            session.receive()
            oldest = min((one.sent for one in session.open.values()), default=float("inf"))
            if time.monotonic() - oldest > longest_ms / 1000 + PATIENCE_SECONDS:
                session.reconnect()
            if len(session.open) < 8:
                session.send()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self.stopping = True
        if kind:
            self._settle_seconds = 0
        self._thread.join()
        if self._failure and not kind:
            raise self._failure
