"""The pure half of a gateway with workers played by the test: what each was given, what each client was told."""

from typing import Any

from dualbus.gateway.router import Router
from dualbus.log.identity import Identity
from dualbus.protocol.codec import pack, unpack
from dualbus.protocol.records import NO_DETAILS, Heartbeat, Registration, Work

LOG = Identity("log-1", "life-1")
COMMAND_TYPES, QUERY_TYPES = ["CreateUser", "RenameUser"], ["GetUser", "ListUsers"]
FIRST_ID = 1000
Envelope = dict[str, Any]


def command(msg_id: int | str, src: str = "s", key: str | None = None, **envelope: Any) -> Envelope:
    """Make a command for commandbus; `dest=""` leaves the type to tell."""
    body = {"type": "CreateUser", "msg_id": msg_id} | ({} if key is None else {"idempotency_key": key})
    return {"src": src, "dest": "commandbus", "body": body, **envelope}


def query(msg_id: int | str, src: str = "s", **envelope: Any) -> Envelope:
    """Make a query for querybus."""
    return {"src": src, "dest": "querybus", "body": {"type": "GetUser", "msg_id": msg_id}, **envelope}


class Desk:
    """A gateway without sockets; `now` is its clock. Unless it is `new`, it has heard of the log before."""

    def __init__(self, timeout_ms: int = 5000, *, new: bool = False) -> None:
        self.now = 100.0
        self.router = Router(timeout_ms, FIRST_ID, lambda id_: f"made-{id_}", self.now)
        self.router.workers.identity = None if new else LOG
        self.given: dict[bytes, list[Work]] = {}  # by worker: what it has and did not answer

    def greet(
        self,
        dest: str,
        id_: bytes,
        *,
        instance_id: str | None = None,
        registration: int = 1,
        credit: int = 100,
        identity: Identity | None = LOG,
        position: int = 0,
        types: list[str] | None = None,
        active_since: int | None = 0,
    ) -> str | None:
        """Have a worker introduce itself; return why it is not wanted."""
        known = {"commandbus": COMMAND_TYPES, "querybus": QUERY_TYPES}.get(dest, [])
        greeting = Registration(
            dest,
            instance_id or id_.decode(),
            registration,
            1,
            known if types is None else types,
            credit,
            identity,
            position,
            active_since,
        )
        return self.router.register(id_, greeting, self.now)

    def greet_both(self, position: int = 0) -> None:
        """Have a commandbus "c" and a querybus "q" introduce themselves."""
        self.greet("commandbus", b"c", position=position)
        self.greet("querybus", b"q", position=position)

    def ask(self, *messages: Envelope, client: bytes = b"client") -> None:
        """Have a client send messages."""
        unread: list[Any] = list(messages)
        while unread:
            unread = self.router.accept(client, unread, self.now)

    def dispatch(self) -> list[tuple[bytes, Work]]:
        """Let the gateway give out what it can now, and keep it in `given`."""
        given = [(id_, Work(*unpack(one))) for id_, part in self.router.dispatch(self.now) for one in part]
        for id_, work in given:
            self.given.setdefault(id_, []).append(work)
        return given

    def dispatched(self) -> list[int | str]:
        """Let the gateway give out what it can now; return the message ids, in order."""
        return [work.body["msg_id"] for _, work in self.dispatch()]

    def answer(self, id_: bytes, position: int = 0, count: int | None = None) -> None:
        """Have a worker answer what it has, or the first few of it."""
        works = self.given.get(id_, [])[:count]
        self.given[id_] = self.given.get(id_, [])[len(works) :]
        self.late_answer(id_, works, position)

    def late_answer(self, id_: bytes, works: list[Work], position: int = 0) -> None:
        """Have a worker answer work that the test kept, as that worker would."""
        worker = self.router.workers.worker(id_)
        if worker is not None:
            bodies = [pack({"type": "ok", "in_reply_to": work.body["msg_id"]}) for work in works]
            done = [(work.id, position, body, NO_DETAILS) for work, body in zip(works, bodies, strict=True)]
            self.router.workers.done(worker, done, self.now)

    def beat(self, id_: bytes, position: int = 0, running: int = 0, identity: Identity = LOG) -> None:
        """Have a worker send a heartbeat, which may name the sending of a long-running handler."""
        worker = self.router.workers.worker(id_)
        if worker is not None:
            heartbeat = Heartbeat(worker.registration, running, identity, position, worker.credit, {})
            self.router.workers.heartbeat(worker, heartbeat, self.now)

    def wait(self, seconds: float) -> None:
        """Let time pass; the workers beat meanwhile."""
        self.now += seconds
        for bus in self.router.workers.buses.values():
            for worker in bus.workers.values():
                worker.last_seen = self.now
        self.router.expire(self.now)

    def replies(self, client: bytes = b"client") -> list[dict[str, Any]]:
        """Take out the bodies of what a client was told since it was last asked."""
        outbox = self.router.clients.of(client).outbox
        return [unpack(self.router.clients.of(client).pop_reply())["body"] for _ in range(len(outbox))]

    def told(self, client: bytes = b"client") -> list[tuple[int | str, int | str]]:
        """Take out a client's replies: of each its message id, and its error code or its type."""
        return [(body["in_reply_to"], body.get("code", body["type"])) for body in self.replies(client)]
