"""Routes requests and answers them. No socket, no clock: callers pass the time.

A request is queued by client, sent to a worker with room, and answered once: by the bus, or, after its
deadline, by the gateway. The gateway's answer is definite only if no bus can have acted on the request.
"""

from collections.abc import Callable, Iterable
from typing import Any

from dualbus.log.identity import Identity
from dualbus.protocol.codec import pack, packed_reply
from dualbus.protocol.codes import Code, MessageId, error
from dualbus.protocol.records import Heartbeat, Registration

from .bus import COMMANDS, PROJECTOR, QUERIES
from .clients import CONSOLE, Client, Clients
from .deadlines import PendingRequests
from .envelope import BadEnvelope, read_request
from .request import Request
from .scheduler import Scheduler
from .status import status
from .worker import Worker
from .workers import SILENT_SECONDS, Workers

GATEWAY, STATUS = "gateway", "Status"
CHECK_SECONDS = 0.05  # how often to check whether a worker is silent


class Router:
    """The state of the gateway. `first_id` separates its requests from those of an earlier gateway."""

    def __init__(self, timeout_ms: int, first_id: int, make_key: Callable[[int], str], now: float = 0.0) -> None:
        self.clients = Clients()
        self.workers = Workers(self, first_id, now)
        self.stopping = False
        self._next_check = now
        self.counters = {"accepted": 0, "answered": 0, "refused": 0, "timed_out": 0, "malformed": 0}
        self.counters |= {"dropped_replies": 0, "clients_gone": 0}
        self._timeout_ms = timeout_ms
        self._next_id = first_id
        self._pending = PendingRequests()
        self._placing = Scheduler(self.workers, make_key)

    # Messages of clients.

    def accept(self, client_id: bytes, messages: Iterable[Any], now: float) -> None:
        """Accept messages of a client, or refuse them at once."""
        client = self.clients.of(client_id)
        for message in messages:
            try:
                request = read_request(message)
            except BadEnvelope as bad:
                self.malformed(client_id, str(bad), bad.msg_id, message)
                continue
            if not request.dest:
                request.dest = GATEWAY if request.type == STATUS else self._placing.dest_of(request)
            request.client = client
            if request.dest == GATEWAY:
                self._status(request, now)
            elif refusal := self._refusal(request):
                self.counters["refused"] += 1
                self._enqueue_reply(client, request.src, GATEWAY, 0, pack(error(request.msg_id, *refusal)))
            else:
                self._take(request, now)

    def malformed(self, client_id: bytes, text: str, msg_id: MessageId | None, message: Any = None) -> None:
        """Reply to a malformed message."""
        self.counters["malformed"] += 1
        src = message.get("src") if isinstance(message, dict) else None
        to = src if isinstance(src, str) and src.isprintable() and len(src) < 100 else ""
        self._enqueue_reply(self.clients.of(client_id), to, GATEWAY, 0, pack(error(msg_id, Code.MALFORMED, text)))

    def _refusal(self, request: Request) -> tuple[Code, str] | None:
        """Return the code and the reason for refusing a request, or None."""
        client, dest = request.client, request.dest
        if dest not in (COMMANDS, QUERIES, ""):
            text = f"There is no dest {dest!r}: send commands to commandbus and queries to querybus."
            return Code.UNKNOWN_DEST, text
        if not dest and self._placing.complete:
            return Code.NOT_SUPPORTED, _unrouted_type(request.type)
        if self.stopping:
            return Code.UNAVAILABLE, "The gateway is stopping: try again when it is back."
        if self._pending.full(client):
            return Code.UNAVAILABLE, "Too much is waiting: take some answers first, then try again."
        if not dest or client.id == CONSOLE:  # which pauses by itself at its bound
            return None
        # Half of the deadline: the estimate is the best rate seen, and a refused request can be retried elsewhere.
        if not self.workers.buses[dest].serves(client, (request.timeout_ms or self._timeout_ms) / 2000):
            text = f"{dest} is overloaded: the deadline would pass before it gets there. Try again later."
            return Code.UNAVAILABLE, text
        return None

    def _take(self, request: Request, now: float) -> None:
        request.id = self._next_id
        self._next_id += 1
        request.session = request.client.sessions.of(request.src)
        request.deadline = now + (request.timeout_ms or self._timeout_ms) / 1000
        self.counters["accepted"] += 1
        self._pending.add(request)
        self._placing.place(request)

    # Reports of workers.

    def announced(self, id_: bytes, greeting: Registration, now: float) -> str | None:
        """Register a worker; or return a sentence with the reason for refusing it."""
        if unwanted := self.workers.welcome(id_, greeting, now):
            return unwanted
        if greeting.dest == COMMANDS:
            self._follow_log(greeting.identity, greeting.position)
        for request in self._placing.route_deferred():
            self.answer(request, error(request.msg_id, Code.NOT_SUPPORTED, _unrouted_type(request.type)))
        return None

    def beat(self, worker: Worker, beat: Heartbeat, now: float) -> None:
        """Note a worker's beat."""
        self.workers.beat(worker, beat, now)

    def _follow_log(self, identity: Identity | None, position: int) -> None:
        """Raise the position of new clients to the end of the log: also after a restart of the gateway."""
        workers = self.workers
        if identity == workers.identity:
            self.clients.raise_floor(position)
            workers.head = max(workers.head, position)
        else:
            self.clients.reset(position)
            workers.identity, workers.head = identity, position

    # Time.

    def dispatch(self, now: float) -> list[tuple[bytes, list[bytes]]]:
        """Return the messages for workers: worker ids, each with packed Work."""
        self.expire(now)  # first, so that released requests leave in the same turn
        return self.workers.dispatch(now, blind=self._blind(now))

    def _blind(self, now: float) -> bool:
        """Tell whether the end of the log is unknown to the gateway.

        Clients may have seen more through an earlier gateway than the read model holds: an answer could be stale. A
        running commandbus reports the position; later, the projector's report counts too.
        """
        workers = self.workers
        if workers.identity is None and now - workers.began >= SILENT_SECONDS:
            for projector in workers.buses[PROJECTOR].workers.values():
                if projector.identity and projector.log_position is not None:
                    self._follow_log(projector.identity, projector.log_position)
        return workers.identity is None

    def expire(self, now: float) -> None:
        """Answer requests past their deadlines, and remove hung workers."""
        if now >= self._next_check:
            self._next_check = now + CHECK_SECONDS
            self.workers.check_silence(now)
        if late := self._pending.late(now):
            for request in late:
                self.time_out(request)
            self._placing.drop(late)

    def seconds_to_deadline(self, now: float) -> float:
        """Return the seconds until `expire` has work."""
        return self._pending.seconds_to_deadline(now)

    def time_out(self, request: Request) -> None:
        """Answer a request past its deadline: definite only if no bus can have acted."""
        self.counters["timed_out"] += 1
        code = Code.TIMEOUT if request.sent else Code.UNAVAILABLE
        self.answer(request, error(request.msg_id, code, self._why_late(request)))

    def _why_late(self, request: Request) -> str:
        if request.sent:
            what = "The outcome is not known" if request.key else "It may be tried again"
            return f"{request.dest} did not answer before the deadline. {what}."
        dest, workers = request.dest or "The bus for it", self.workers
        bus = workers.buses.get(request.dest)
        if not (bus and bus.workers):
            return f"{dest} is not there: start it, and send the message again."
        if workers.identity is None:
            return (
                "Nobody has said how far the log is: start commandbus, or the projector, and send the message again."
            )
        if request.dest == QUERIES and workers.deferred and request.needs > workers.deferred.position:
            at = workers.deferred.position
            where = f"at position {at}" if at >= 0 else "being built"
            return f"The read model has not caught up: it is {where}, and you have seen {request.needs}. Try again."
        return f"The deadline passed before {dest} got to it: try again later."

    def stop(self) -> None:
        """Accept no more requests, and answer those that no bus has received."""
        self.stopping = True
        text = "The gateway is stopping: nothing was done. Try again when it is back."
        for request in self._pending:
            if not request.sent:
                self.answer(request, error(request.msg_id, Code.UNAVAILABLE, text))

    def give_up(self) -> None:
        """Answer all remaining requests at the end of the grace period."""
        for request in self._pending:
            self.time_out(request)

    @property
    def under_way(self) -> int:
        """How many requests are not answered."""
        return len(self._pending)

    @property
    def bytes_under_way(self) -> int:
        """How many bytes they have."""
        return self._pending.bytes

    def dismissed(self) -> list[bytes]:
        """Remove leaving workers without requests in flight."""
        return self.workers.dismissed(idle=not self._pending)

    # Replies to clients.

    def client_gone(self, client: Client) -> None:
        """Drop the requests of a disconnected client; commands already sent are still executed."""
        self.counters["clients_gone"] += 1
        self.workers.cancel_client(client)
        gone = [request for request in self._pending if request.client is client]
        for request in gone:
            self._settle(request)
        self._placing.drop(gone)
        self.clients.forget(client)

    def answer(self, request: Request, body: dict[str, Any]) -> None:
        """Answer a request from here."""
        self._enqueue_reply(request.client, request.src, request.dest or GATEWAY, 0, pack(body))
        self._settle(request)

    def deliver(self, request: Request, position: int, body: bytes) -> None:
        """Answer a request with a worker's answer."""
        self._enqueue_reply(request.client, request.src, request.dest, position, body)
        self._settle(request)

    def _settle(self, request: Request) -> None:
        self._pending.remove(request)
        self._placing.settled(request)

    def _enqueue_reply(self, client: Client, to: str, src: str, position: int, body: bytes) -> None:
        self.counters["answered"] += 1
        if dropped := client.enqueue_reply(packed_reply(src, to, position, body)):
            self.counters["dropped_replies"] += dropped
        self.clients.with_unsent_replies[client.id] = client

    def _status(self, request: Request, now: float) -> None:
        if request.type == STATUS:
            body = {"type": "status_result", "in_reply_to": request.msg_id, "data": status(self, now)}
        else:
            self.counters["refused"] += 1
            text = f"The gateway answers Status, and nothing of type {request.type!r}."
            body = error(request.msg_id, Code.NOT_SUPPORTED, text)
        self._enqueue_reply(request.client, request.src, GATEWAY, 0, pack(body))


def _unrouted_type(type_: str) -> str:
    return f"There is no command and no query {type_!r} in this application."
