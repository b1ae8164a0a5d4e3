"""Where a message goes, and what becomes of it. No socket, no clock: time is handed in.

A request is queued by client, sent to a worker of its bus that has room, and answered once: by the bus, or,
when its deadline has passed, from here. Never definite when the bus may have acted on it.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any

from dualbus.wire import Code, Done, Greeting, Identity, MessageId, error, pack, packed_reply, packed_work
from gateway.buses import COMMANDS, PROJECTOR, QUERIES, SILENT_SECONDS, Bus, Worker
from gateway.clients import CONSOLE, Client, Clients
from gateway.envelope import BadEnvelope, read_request
from gateway.pending import Pending
from gateway.placing import Placing
from gateway.request import TRIES_MAX, Request
from gateway.status import status

GATEWAY, STATUS = "gateway", "Status"
LOOK_SECONDS = 0.05  # how often to look whether a worker is silent

logger = logging.getLogger(__name__)


class Routing:
    """The state of the gateway. `first_id` keeps its requests apart from those of an earlier life."""

    def __init__(self, timeout_ms: int, first_id: int, make_key: Callable[[int], str], now: float = 0.0) -> None:
        self.clients = Clients()
        self.buses = {COMMANDS: Bus(COMMANDS), QUERIES: Bus(QUERIES), PROJECTOR: Bus(PROJECTOR)}
        self.identity: Identity | None = None
        self.stopping = False
        self._leaving = False  # some worker
        self._next_look = now
        self.began = now
        self.counters = {"accepted": 0, "answered": 0, "refused": 0, "timed_out": 0, "malformed": 0}
        self.counters |= {"sent_again": 0, "late_answers": 0, "dropped_replies": 0, "lost_workers": 0}
        self._timeout_ms = timeout_ms
        self._next_id = first_id
        self._pending = Pending()
        self._placing = Placing(self.buses, make_key)

    # What clients say.

    def accept(self, client_id: bytes, messages: Iterable[Any], now: float) -> None:
        """Take on messages of a client, or answer them at once."""
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
                self._owe(client, request.src, GATEWAY, 0, pack(error(request.msg_id, *refusal)))
            else:
                self._take(request, now)

    def malformed(self, client_id: bytes, text: str, msg_id: MessageId | None, message: Any = None) -> None:
        """Answer what is not a message."""
        self.counters["malformed"] += 1
        src = message.get("src") if isinstance(message, dict) else None
        to = src if isinstance(src, str) and src.isprintable() and len(src) < 100 else ""
        self._owe(self.clients.of(client_id), to, GATEWAY, 0, pack(error(msg_id, Code.MALFORMED, text)))

    def _refusal(self, request: Request) -> tuple[Code, str] | None:
        """Say why a request cannot be taken on now, if it cannot."""
        client, dest = request.client, request.dest
        if dest not in (COMMANDS, QUERIES, ""):
            text = f"There is no dest {dest!r}: send commands to commandbus and queries to querybus."
            return Code.UNKNOWN_DEST, text
        if not dest and self._placing.complete:
            return Code.NOT_SUPPORTED, _homeless(request.type)
        if self.stopping:
            return Code.UNAVAILABLE, "The gateway is stopping: try again when it is back."
        if self._pending.full(client):
            return Code.UNAVAILABLE, "Too much is waiting: take some answers first, then try again."
        if not dest or client.id == CONSOLE:  # which rests by itself while much of it is unanswered
            return None
        # Half of the time: the pace is the best one seen, and what is refused can still be tried elsewhere.
        if not self.buses[dest].serves(client, (request.timeout_ms or self._timeout_ms) / 2000):
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

    # What workers say.

    def announced(self, id_: bytes, greeting: Greeting, now: float) -> str | None:
        """Welcome a worker; or return a sentence why it is not wanted."""
        bus = self.buses.get(greeting.dest)
        if bus is None:
            return f"There is no place for a {greeting.dest!r} at this gateway."
        worker = Worker(id_, greeting, now)
        known = bus.workers.get(id_)
        if known and known.life == worker.life:
            return None  # it was asked twice who it is
        for other in list(bus.workers.values()):
            if other.life == worker.life or other.id == id_:
                self._lose(other, "came back over a new connection")
            elif greeting.dest == COMMANDS and other.identity != worker.identity:
                return "Another commandbus, with another log, is at this gateway: stop one of the two."
            elif greeting.dest == COMMANDS:
                # The lock on the log lets only one live: this one has it, so the other is gone.
                self._lose(other, "was replaced")
        bus.workers[id_] = worker
        bus.types = set(greeting.types)
        if greeting.dest == COMMANDS:
            self._follow_log(worker.identity, worker.position)
        for request in self._placing.place_again():
            self._answer(request, error(request.msg_id, Code.NOT_SUPPORTED, _homeless(request.type)))
        logger.info("%s is here (pid %d).", greeting.dest, greeting.pid)
        return None

    def _follow_log(self, identity: Identity | None, position: int) -> None:
        """Whoever comes from now on sees at least what the log holds now: also after our own restart."""
        if identity == self.identity:
            self.clients.raise_floor(position)
        else:
            self.clients.reset(position)
            self.identity = identity

    def worker(self, id_: bytes) -> Worker | None:
        """Return the worker of a connection, if we know it."""
        for bus in self.buses.values():
            if worker := bus.workers.get(id_):
                return worker
        return None

    def done(self, worker: Worker, answers: Iterable[Done], now: float) -> None:
        """Pass on a worker's answers. What is late, or of an earlier life, is dropped."""
        worker.seen = now
        bus, in_flight = self.buses[worker.dest], worker.in_flight
        before = len(in_flight)
        for id_, position, body in answers:
            request = in_flight.pop(id_, None)
            if request is None:
                self.counters["late_answers"] += 1
                continue
            if position > request.session.position:
                request.session.position = position
            if not request.answered:
                self._owe(request.client, request.src, request.dest, position, body)
                self._settle(request)
        count = before - len(in_flight)
        bus.in_flight -= count
        bus.count(count, now)

    def lost(self, id_: bytes, why: str) -> None:
        """A worker is gone: what it had goes to another, commands under the same key."""
        if worker := self.worker(id_):
            self._lose(worker, why)

    def _lose(self, worker: Worker, why: str) -> None:
        bus = self.buses[worker.dest]
        del bus.workers[worker.id]
        bus.in_flight -= len(worker.in_flight)
        self.counters["lost_workers"] += 1
        logger.warning("%s (pid %d) %s with %d in flight.", worker.dest, worker.pid, why, len(worker.in_flight))
        again = []
        for request in worker.in_flight.values():
            if request.answered:
                continue
            request.tries += 1
            if request.tries < TRIES_MAX:
                again.append(request)
            else:
                text = f"{worker.dest} died {TRIES_MAX} times with this message. The outcome is not known."
                self._answer(request, error(request.msg_id, Code.CRASH, text))
        self.counters["sent_again"] += len(again)
        bus.put_again(again)

    # What time does.

    def dispatch(self, now: float) -> list[tuple[bytes, list[bytes]]]:
        """Give out what there is room for: worker ids, each with packed Work."""
        self.expire(now)  # first, so that what it lets go does not wait for another turn
        given = []
        for dest in (COMMANDS,) if self._blind(now) else (COMMANDS, QUERIES):
            bus = self.buses[dest]
            while bus.queued and (worker := bus.least_busy(self.identity)):
                if work := self._work(bus, worker, now):
                    given.append((worker.id, work))
            bus.count(0, now)
        return given

    def _blind(self, now: float) -> bool:
        """Tell whether we do not know how far the log is.

        Clients may have seen more through an earlier life of ours than the read model has: an answer now could
        be older. A commandbus that lives tells; after the time in which it would have, the projector does.
        """
        if self.identity is None and now - self.began >= SILENT_SECONDS:
            for projector in self.buses[PROJECTOR].workers.values():
                if projector.identity and projector.log_position is not None:
                    self._follow_log(projector.identity, projector.log_position)
        return self.identity is None

    def _work(self, bus: Bus, worker: Worker, now: float) -> list[bytes]:
        """Fill a worker's room, or its share of what is queued when there are others."""
        share = -(-bus.queued // len(bus.workers))
        work: list[bytes] = []
        for request in bus.take(min(worker.room, share)):
            ms = int((request.deadline - now) * 1000)
            if ms <= 0:
                self._time_out(request)
                continue
            after = max(request.after, request.session.position)
            request.sent = True
            worker.in_flight[request.id] = request
            work.append(packed_work((request.id, request.src, ms, request.key, after), request.body))
        bus.in_flight += len(work)
        return work

    def expire(self, now: float) -> None:
        """Answer what has passed its deadline, and give up on workers that are silent."""
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            for bus in self.buses.values():
                for worker in [one for one in bus.workers.values() if now - one.seen > SILENT_SECONDS]:
                    self._lose(worker, "has been silent")
        if late := self._pending.late(now):
            for request in late:
                self._time_out(request)
            self._placing.drop(late)

    def seconds_to_deadline(self, now: float) -> float:
        """How long until `expire` has something to do."""
        return self._pending.seconds_to_deadline(now)

    def _time_out(self, request: Request) -> None:
        self.counters["timed_out"] += 1
        if request.sent:
            what = "The outcome is not known" if request.key else "It may be tried again"
            text = f"{request.dest} did not answer before the deadline. {what}."
            self._answer(request, error(request.msg_id, Code.TIMEOUT, text))
            return
        dest = request.dest or "The bus for it"
        bus = self.buses.get(request.dest)
        if bus and bus.workers and self.identity is None:
            text = (
                "Nobody has said how far the log is: start commandbus, or the projector, and send the message again."
            )
        elif bus and bus.workers:
            text = f"The deadline passed before {dest} got to it: try again later."
        else:
            text = f"{dest} is not there: start it, and send the message again."
        self._answer(request, error(request.msg_id, Code.UNAVAILABLE, text))

    def stop(self) -> None:
        """Take on nothing more, and answer what no bus has seen."""
        self.stopping = True
        text = "The gateway is stopping: nothing was done. Try again when it is back."
        for request in self._pending:
            if not request.sent:
                self._answer(request, error(request.msg_id, Code.UNAVAILABLE, text))

    def give_up(self) -> None:
        """Answer all that is left: buses had their time."""
        for request in self._pending:
            self._time_out(request)

    @property
    def under_way(self) -> int:
        """How many requests are not answered."""
        return len(self._pending)

    @property
    def bytes_under_way(self) -> int:
        """How many bytes they have."""
        return self._pending.bytes

    def leave(self, worker: Worker) -> None:
        """A worker wants to leave: give it nothing more."""
        worker.leaving = self._leaving = True

    def dismissed(self) -> list[bytes]:
        """Take out the workers that wanted to leave and that nobody waits for any more."""
        if not self._leaving:
            return []
        going = []
        for bus in self.buses.values():
            for worker in list(bus.workers.values()):
                waited_for = bool(self._pending) if bus.dest == PROJECTOR else bool(worker.in_flight)
                if worker.leaving and not waited_for:
                    del bus.workers[worker.id]
                    going.append(worker.id)
        self._leaving = any(worker.leaving for bus in self.buses.values() for worker in bus.workers.values())
        return going

    # What clients are told.

    def client_gone(self, client: Client) -> None:
        """Drop what a client that is gone has asked and no bus has seen."""
        for request in self._pending:
            if request.client is client:
                self._settle(request)
        for bus in self.buses.values():
            bus.drop_client(client)
        self.clients.forget(client)

    def _answer(self, request: Request, body: dict[str, Any]) -> None:
        self._owe(request.client, request.src, request.dest or GATEWAY, 0, pack(body))
        self._settle(request)

    def _settle(self, request: Request) -> None:
        self._pending.remove(request)
        self._placing.settled(request)

    def _owe(self, client: Client, to: str, src: str, position: int, body: bytes) -> None:
        self.counters["answered"] += 1
        if dropped := client.owe(packed_reply(src, to, position, body)):
            self.counters["dropped_replies"] += dropped
        self.clients.with_replies[client.id] = client

    def _status(self, request: Request, now: float) -> None:
        if request.type == STATUS:
            body = {"type": "status_result", "in_reply_to": request.msg_id, "data": status(self, now)}
        else:
            self.counters["refused"] += 1
            text = f"The gateway answers Status, and nothing of type {request.type!r}."
            body = error(request.msg_id, Code.NOT_SUPPORTED, text)
        self._owe(request.client, request.src, GATEWAY, 0, pack(body))


def _homeless(type_: str) -> str:
    return f"There is no command and no query {type_!r} in this application."
