"""The router: accepts requests, and answers each exactly once. Pure: no socket, and callers pass the time.

A request is queued by client, sent to a worker with capacity, and answered by the worker, or by the router after the
deadline. The router's answer is definite only if no worker can have executed the request.
"""

from collections.abc import Callable, Iterable
from typing import Any

from dualbus.log.identity import Identity
from dualbus.protocol.codec import pack, packed_reply
from dualbus.protocol.codes import Code, MessageId, error
from dualbus.protocol.feed import EVENTS
from dualbus.protocol.records import Registration

from .access import CLUSTER, HolderOf, forbidden
from .clients import CONSOLE, Client, Clients
from .deadlines import PendingRequests
from .envelope import BadEnvelope, read_request
from .followers import Followers
from .metrics import GONE
from .rates import Rates
from .reports import STATUS, report
from .request import Request
from .scheduler import Scheduler
from .worker import COMMANDS, PROJECTOR, QUERIES
from .workers import SILENT_SECONDS, Workers

GATEWAY = "gateway"
SILENCE_CHECK_SECONDS = 0.05  # between two checks for silent workers


class Router:
    """The state of the gateway. A random `first_id` separates its requests from those of an earlier gateway."""

    def __init__(
        self,
        timeout_ms: int,
        first_id: int,
        make_key: Callable[[int], str],
        now: float = 0.0,
        holder_of: HolderOf = lambda id_: CLUSTER,
    ) -> None:
        self.clients = Clients(holder_of)
        self.workers = Workers(self, first_id, now)
        self.stopping = False
        self._next_silence_check = now
        self.counters = {"accepted": 0, "answered": 0, "refused": 0, "timed_out": 0, "malformed": 0}
        self.counters |= {"dropped_replies": 0, "clients_gone": 0}
        self._timeout_ms = timeout_ms
        self._next_id = first_id
        self.pending = PendingRequests()
        self.rates = Rates()
        self.traced: list[Request] | None = None  # if spans are recorded: the answered requests of this turn
        self._scheduler = Scheduler(self.workers, make_key)
        self.followers = Followers()

    # Messages from clients.

    def accept(self, client_id: bytes, messages: Iterable[Any], now: float) -> list[Any]:
        """Accept or refuse the messages of a client; return those after a report, which takes as long as many."""
        client = self.clients.of(client_id)
        self.workers.metrics.now = now
        unread = iter(messages)
        for message in unread:
            try:
                request = read_request(message, client.holder)
            except BadEnvelope as problem:
                self.malformed(client_id, str(problem), problem.msg_id, message)
                continue
            if not request.dest:
                request.dest = GATEWAY if request.type == STATUS else self._scheduler.find_dest(request)
            request.client = client
            if refusal := forbidden(request) or (request.dest != GATEWAY and self._refusal(request)):
                self.counters["refused"] += 1
                self.workers.metrics.of(request).count(refusal[0].name.lower())
                self._enqueue_reply(client, request.src, GATEWAY, 0, pack(error(request.msg_id, *refusal)))
            elif request.dest == GATEWAY:
                self._enqueue_reply(client, request.src, GATEWAY, 0, pack(report(self, request, now)))
                return list(unread)
            else:
                self._accept(request, now)
        return []

    def malformed(self, client_id: bytes, text: str, msg_id: MessageId | None, message: Any = None) -> None:
        """Reply to an invalid message."""
        self.counters["malformed"] += 1
        src = message.get("src") if isinstance(message, dict) else None
        to = src if isinstance(src, str) and src.isprintable() and len(src) < 100 else ""
        self._enqueue_reply(self.clients.of(client_id), to, GATEWAY, 0, pack(error(msg_id, Code.MALFORMED, text)))

    def _refusal(self, request: Request) -> tuple[Code, str] | None:
        """Return the code and text of a refusal, or None to accept the request."""
        client, dest = request.client, request.dest
        if dest not in (COMMANDS, QUERIES, ""):
            text = f"There is no dest {dest!r}: send commands to commandbus and queries to querybus."
            return Code.UNKNOWN_DEST, text
        if not dest and self._scheduler.complete:
            return Code.NOT_SUPPORTED, _unrouted_type(request.type)
        if self.stopping:
            return Code.UNAVAILABLE, "The gateway is shutting down. Retry later."
        if self.pending.full(client):
            return Code.UNAVAILABLE, "Too many requests are pending. Receive some replies, then retry."
        if not dest or client.id == CONSOLE:  # the console limits its pending requests itself
            return None
        # Half of the timeout: the estimate is optimistic, and a refused client still has time to retry.
        seconds = (request.timeout_ms or self._timeout_ms) / 2000
        if not self.workers.buses[dest].can_serve(request.type, client, seconds):
            text = f"{dest} is overloaded: the request would miss its deadline. Retry later."
            return Code.UNAVAILABLE, text
        return None

    def _accept(self, request: Request, now: float) -> None:
        request.id = self._next_id
        self._next_id += 1
        request.session = request.client.sessions.of(request.src)
        request.arrived = now
        request.deadline = now + (request.timeout_ms or self._timeout_ms) / 1000
        self.counters["accepted"] += 1
        self.pending.add(request)
        held = request.type == EVENTS and self.followers.hold(request, self.workers.head, now)
        if not held:
            self._scheduler.enqueue(request)

    # Messages from workers.

    def register(self, id_: bytes, registration: Registration, now: float) -> str | None:
        """Register a worker, or return the reason for a refusal."""
        if refusal := self.workers.register(id_, registration, now):
            return refusal
        if id_ in self.workers.buses[COMMANDS].workers:
            self._follow_log(registration.identity, registration.position)
        for request in self._scheduler.route_deferred():
            unrouted = Code.NOT_SUPPORTED, _unrouted_type(request.type)
            self.answer(request, error(request.msg_id, *(forbidden(request) or unrouted)))
        return None

    def _follow_log(self, identity: Identity | None, position: int) -> None:
        """Start new sessions at the log's position, as sessions of an earlier gateway may have read up to there."""
        workers = self.workers
        if identity == workers.identity:
            self.clients.raise_floor(position)
            workers.head = max(workers.head, position)
        else:
            self.clients.reset(position)
            workers.follow(identity, position)

    # Deadlines and sending.

    def dispatch(self, now: float) -> list[tuple[bytes, list[bytes]]]:
        """Assign queued requests to workers; return worker ids with packed Work."""
        self.workers.metrics.now = now
        self.expire(now)  # first: an expired command may release deferred queries
        for request in self.followers.pop_ready(self.workers.head, now):
            self._scheduler.enqueue(request)
        return self.workers.dispatch(now, blind=self._blind(now))

    def _blind(self, now: float) -> bool:
        """Check whether the gateway does not know the log's position yet.

        Clients of an earlier gateway may have read later positions than the read model has reached, so an answer
        could be older. Commandbus reports the log's position on registration; without commandbus, use the projector's
        report, unless the log is shared: the replica of a projector may be behind.
        """
        workers = self.workers
        if workers.identity is None and not workers.shared and now - workers.started >= SILENT_SECONDS:
            for projector in workers.buses[PROJECTOR].workers.values():
                if projector.identity and projector.log_position is not None:
                    self._follow_log(projector.identity, projector.log_position)
        return workers.identity is None

    def expire(self, now: float) -> None:
        """Answer requests whose deadline has passed, and check for silent workers."""
        if now >= self._next_silence_check:
            self._next_silence_check = now + SILENCE_CHECK_SECONDS
            self.workers.check_silence(now)
        if late := self.pending.late(now):
            for request in late:
                self.time_out(request)
            self._scheduler.drop(late, len(self.pending))

    def time_out(self, request: Request) -> None:
        """Answer a request whose deadline has passed; the answer is definite only if the request was never sent."""
        self.counters["timed_out"] += 1
        code = Code.TIMEOUT if request.sent else Code.UNAVAILABLE
        self.answer(request, error(request.msg_id, code, self._timeout_text(request)))

    def _timeout_text(self, request: Request) -> str:
        if request.sent:
            outcome = "The outcome is not known." if request.key else "Retry later."
            return f"{request.dest} did not answer before the deadline. {outcome}"
        dest, workers = request.dest or f"The bus for {request.type!r}", self.workers
        bus = workers.buses.get(request.dest)
        if not (bus and bus.workers):
            return f"{dest} is not running. Start it, then retry."
        if workers.identity is None:
            return "The gateway does not know the log's position yet. Start commandbus or projector, then retry."
        if request.dest == QUERIES and workers.deferred and request.needs > workers.deferred.position:
            at = workers.deferred.position
            state = f"at position {at}" if at >= 0 else "being built"
            return f"The read model is {state}, and the query needs position {request.needs}. Retry later."
        return f"The deadline passed while the request was queued for {dest}. Retry later."

    def stop(self) -> None:
        """Refuse new requests, and answer requests that were never sent."""
        self.stopping = True
        text = "The gateway is shutting down; the request was not executed. Retry later."
        for request in self.pending:
            if not request.sent:
                self.answer(request, error(request.msg_id, Code.UNAVAILABLE, text))

    def give_up(self) -> None:
        """Time out the pending commands; refuse the pending queries, which clients send to another gateway."""
        text = "The gateway is shutting down, and the query was not answered. Retry later."
        for request in self.pending:
            if request.dest == QUERIES:
                self.answer(request, error(request.msg_id, Code.UNAVAILABLE, text))
            else:
                self.time_out(request)

    def pop_leaving(self) -> list[bytes]:
        """Remove and return the leaving workers with nothing in flight."""
        return self.workers.pop_leaving(idle=not self.pending)

    def sample(self, now: float, time: float) -> None:
        """Add a point to the rates, if due."""
        self.rates.sample(self, now, time)

    # Messages to clients.

    def update_holders(self) -> None:
        """Apply changed keys: disconnect the clients whose key was removed."""
        for client in self.clients.update_holders():
            self.client_disconnected(client)

    def client_disconnected(self, client: Client) -> None:
        """Drop the requests of a disconnected client; a command in flight is executed nevertheless."""
        self.counters["clients_gone"] += 1
        self.workers.cancel_client(client)
        requests = [request for request in self.pending if request.client is client]
        for request in requests:
            self.workers.metrics.of(request).count(GONE)
            self._complete(request)
        self._scheduler.drop(requests)
        self.clients.forget(client)

    def answer(self, request: Request, body: dict[str, Any]) -> None:
        """Answer a request with an error of the gateway."""
        self.workers.metrics.failed(request, Code(body["code"]).name.lower())
        self._enqueue_reply(request.client, request.src, request.dest or GATEWAY, 0, pack(body))
        self._complete(request)

    def deliver(self, request: Request, position: int, body: bytes, details: bytes) -> None:
        """Answer a request with body and details of a worker's response."""
        self._enqueue_reply(request.client, request.src, request.dest, position, body, details)
        self._complete(request)

    def _complete(self, request: Request) -> None:
        self.pending.remove(request)
        if self.traced is not None:
            self.traced.append(request)
        self._scheduler.complete_request(request)

    def _enqueue_reply(
        self, client: Client, to: str, src: str, position: int, body: bytes, details: bytes = b""
    ) -> None:
        self.counters["answered"] += 1
        if dropped := client.enqueue_reply(packed_reply(src, to, position, body, details)):
            self.counters["dropped_replies"] += dropped
        self.clients.with_unsent_replies[client.id] = client


def _unrouted_type(type_: str) -> str:
    return f"There is no command and no query {type_!r} in this application."
