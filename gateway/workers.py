"""The registered workers and their requests in flight. Pure: no socket, and callers pass the time.

Each sending of a request has its own number, and an answer belongs to one sending: the answer to an earlier sending
never answers a request that was sent again. docs/guarantees.md explains when an answer is definite.
"""

import logging
from collections.abc import Iterable
from typing import Any, Protocol

from dualbus.log.identity import Identity
from dualbus.protocol.codec import packed_work
from dualbus.protocol.codes import Code, error
from dualbus.protocol.outcomes import ERROR, outcome_of
from dualbus.protocol.records import CommitTimes, Heartbeat, Registration, Response, read_transactions

from .answered import AnsweredBatch
from .bus import SLOW_SECONDS, Bus
from .clients import Client
from .deferred import Deferred
from .metrics import Metrics
from .request import TRIES_MAX, Request
from .timeline import Timeline
from .worker import COMMANDS, PROJECTOR, QUERIES, REACTOR, Worker

SILENT_SECONDS = 1.5  # without a heartbeat: the worker receives no more requests
HUNG_SECONDS = 30.0  # without a heartbeat: the worker counts as lost, even if still connected

logger = logging.getLogger(__name__)


class Answers(Protocol):
    """The receiver of answers: the router."""

    def answer(self, request: Request, body: dict[str, Any]) -> None: ...
    def deliver(self, request: Request, position: int, body: bytes, details: bytes) -> None: ...
    def time_out(self, request: Request) -> None: ...


class Workers:
    """All buses with their workers. A random `first_sending` separates sendings from those of an earlier gateway."""

    def __init__(self, answers: Answers, first_sending: int, now: float) -> None:
        self.buses = {dest: Bus(dest) for dest in (COMMANDS, QUERIES, PROJECTOR, REACTOR)}
        self.types: set[str] = set()  # of all messages that the workers have registered
        self.identity: Identity | None = None
        self.head = 0  # the highest position of the log reported by any worker
        self.shared = False  # several machines share the log, and other gateways may know later positions
        self.deferred = Deferred()
        self.counters = {"sent_again": 0, "late_answers": 0, "lost_workers": 0}
        self.started = now
        self.metrics = Metrics()
        self.timeline = Timeline()
        self._answers = answers
        self._sendings = first_sending
        self._cancelled: dict[bytes, list[int]] = {}
        self._any_leaving = False
        self._latest_claim: tuple[Identity | None, int] = (None, 0)  # also of a commandbus that is gone

    # Messages from workers.

    def register(self, id_: bytes, registration: Registration, now: float) -> str | None:
        """Register a worker, or return the reason for a refusal."""
        dest = registration.dest
        bus = self.buses.get(dest)
        if bus is None:
            return f"Unknown dest {dest!r}: workers register as commandbus, querybus, projector or reactor."
        worker = Worker(id_, registration, now)
        known = bus.worker(id_)
        if known and (known.instance_id, known.registration) == (worker.instance_id, worker.registration):
            return None  # a duplicate READY
        if self._has_earlier_claim(worker):
            worker.active_since = None  # until its next registration: its next commit will fail
        for other in bus.registered:
            if other.instance_id == worker.instance_id or other.id == id_:
                self._lose(other, "registered again", counts=not other.active_since)  # perhaps with another role
            elif dest == COMMANDS and other.identity != worker.identity:
                return "Another commandbus, with another log, is registered at this gateway: stop one of the two."
            elif dest == COMMANDS and worker.lock and other.lock and other.lock != worker.lock:
                return (
                    "Another commandbus, with this log in another folder, is registered at this gateway: one of the "
                    "folders is a copy. Stop one of the two."
                )
            elif dest == COMMANDS and other.active_since is not None and worker.active_since is not None:
                # On one machine, only one live commandbus can hold the lock on the log, so the other has ended.
                self._lose(other, "was replaced", counts=not other.active_since)  # a claim is no fault of a request
        bus.add(worker)
        bus.types = set(registration.types)
        self.types |= bus.types
        self.metrics.register(dest, registration.types)
        if dest == COMMANDS:
            written = self.timeline.written if worker.identity == self.identity else 0  # a standby may be behind
            self.timeline.written = max(written, registration.position)
            if worker.active_since:
                self._latest_claim = worker.identity, worker.active_since
        logger.info("%s registered (pid %d).", dest, registration.pid)
        return None

    def _has_earlier_claim(self, worker: Worker) -> bool:
        """Return whether another commandbus has claimed the same log after the claim of this one."""
        identity, latest = self._latest_claim
        return worker.identity == identity and 0 < (worker.active_since or 0) < latest

    def worker(self, id_: bytes) -> Worker | None:
        """Return the registered worker of a connection, or None."""
        for bus in self.buses.values():
            if worker := bus.worker(id_):
                return worker
        return None

    def heartbeat(self, worker: Worker, heartbeat: Heartbeat, now: float) -> None:
        """Update a worker from its heartbeat."""
        self.timeline.projected(read_transactions(heartbeat.status.pop("transactions", [])))
        worker.update(heartbeat, now)
        if worker.identity == self.identity:
            self.head = max(self.head, worker.position)
            if worker.dest == QUERIES:
                self._queue_deferred(worker.position)
        if heartbeat.running and worker.dest == QUERIES:
            self.buses[QUERIES].mark_slow(worker, heartbeat.running, now)

    def done(
        self, worker: Worker, responses: Iterable[Response], now: float, times: CommitTimes | None = None
    ) -> None:
        """Deliver a worker's responses, except responses to sendings that are no longer in flight."""
        worker.last_seen = self.metrics.now = now
        if self._is_outdated(worker):
            self.returned(worker, self.deferred.position, [id_ for id_, *_ in responses])
            return
        bus, in_flight = self.buses[worker.dest], worker.in_flight
        before, slow_before = len(in_flight), worker.slow
        batch = AnsweredBatch()
        requests, positions, slow_types = batch.requests, batch.positions, bus.slow_types
        highest = 0
        for id_, position, body, details in responses:
            request = worker.remove(id_)
            if request is None:
                self.counters["late_answers"] += 1
                continue
            if request.type in slow_types and now - request.sent_at < SLOW_SECONDS:
                bus.mark_quick(request)
            if position > highest:
                highest = position
            if position > request.session.position:
                request.session.position = position
            requests.append(request)
            positions.append(position)
            if details or body[1:12] == ERROR:
                batch.outcomes[request.id] = outcome_of(body)
            if request.answered:
                batch.late.add(request.id)
            else:
                self._answers.deliver(request, position, body, details)
        if highest > worker.position and worker.dest == QUERIES:
            worker.position = highest
        self.metrics.answered(worker.dest, batch)
        if times:
            self.timeline.record(batch, now, times)
        self.head = max(self.head, highest)
        if self.deferred and worker.dest == QUERIES and highest:
            self._queue_deferred(highest)
        slow = 1 if slow_before and not worker.slow else 0  # the worker has run it alone
        bus.record_answers(before - len(in_flight) - slow, slow, now)

    def returned(self, worker: Worker, position: int, sendings: Iterable[int]) -> None:
        """Requeue or defer the requests that a worker returned unanswered, by the `position` of its read model."""
        bus = self.buses[worker.dest]
        if not self._is_outdated(worker):
            self.deferred.position = position
        again: list[Request] = []
        for sending in sendings:
            request = worker.remove(sending)
            if request is None:
                continue
            if not request.answered:
                request.sent = False
                (self.deferred.add if request.needs > self.deferred.position else again.append)(request)
        bus.requeue(again)

    def _is_outdated(self, worker: Worker) -> bool:
        """Return whether a querybus still has the read model of an earlier log, such as before a restore."""
        return (
            worker.dest == QUERIES
            and None not in (worker.identity, self.identity)
            and worker.identity != self.identity
        )

    def lost(self, id_: bytes, reason: str) -> None:
        """Remove a lost worker and requeue its requests; commands keep their idempotency keys."""
        if worker := self.worker(id_):
            self._lose(worker, reason)

    def _lose(self, worker: Worker, reason: str, *, counts: bool = True) -> None:
        bus = self.buses[worker.dest]
        bus.remove(worker)
        self.counters["lost_workers"] += 1
        logger.warning("%s (pid %d) %s with %d in flight.", worker.dest, worker.pid, reason, len(worker.in_flight))
        again = []
        for request in worker.in_flight.values():
            if request.answered:
                continue
            request.tries += counts
            if request.tries < TRIES_MAX:
                again.append(request)
            else:
                text = f"{worker.dest} was lost {TRIES_MAX} times with this message. The outcome is not known."
                self._answers.answer(request, error(request.msg_id, Code.CRASH, text))
        self.counters["sent_again"] += len(again)
        bus.requeue(again)

    def _queue_deferred(self, position: int) -> None:
        """Queue the deferred queries that need no later position of the read model."""
        bus = self.buses[QUERIES]
        for query in self.deferred.advance(position):
            bus.put(query)

    def follow(self, identity: Identity | None, position: int) -> None:
        """Follow another log. The deferred queries need positions of this log now, which their sessions have got."""
        self.identity, self.head = identity, position
        self.timeline.clear()
        for query in self.deferred.clear():
            self.buses[QUERIES].put(query)

    # Messages to workers.

    def dispatch(self, now: float, *, blind: bool) -> list[tuple[bytes, list[bytes]]]:
        """Assign queued requests to workers; return worker ids with packed Work. If `blind`, send no queries."""
        sent = []
        for dest in (COMMANDS,) if blind else (COMMANDS, QUERIES):
            bus = self.buses[dest]
            if bus.queued:
                bus.update_shared(now)
                while assigned := bus.assign(self.identity):
                    worker, requests = assigned
                    if work := self._work(bus, worker, requests, now):
                        sent.append((worker.id, work))
            if bus.slow_types:
                for worker in bus.to_cancel(self.identity):
                    worker.cancelling = True
                    self._cancel(worker, [worker.slow])
            if bus.measuring:
                bus.record_answers(0, 0, now)
        return sent

    def _work(self, bus: Bus, worker: Worker, requests: list[Request], now: float) -> list[bytes]:
        """Put requests in flight at a worker; return the packed Work."""
        work: list[bytes] = []
        slow_types = bus.slow_types
        for request in requests:
            ms = int((request.deadline - now) * 1000)
            if ms <= 0:
                self._answers.time_out(request)
                continue
            after = request.after
            # A command that was sent before has perhaps been executed: another sending under its key finds out.
            if after > self.head and not self.shared and not (request.sent and request.key):
                self._answers.answer(request, error(request.msg_id, Code.UNAVAILABLE, beyond(after, self.head)))
                continue
            if request.session.position > after:
                after = request.session.position
            # While no query is deferred, the read model keeps up, and a short wait in a querybus has less delay. A
            # suspect would wait alone.
            may_wait = bus.dest == QUERIES and (self.deferred or request.suspect)
            if may_wait and request.needs > self.deferred.position:
                self.deferred.add(request)
                continue
            slow = request.type in slow_types and request.needs <= worker.position  # another is slow once it runs
            if slow or request.suspect:
                self._cancel(worker, list(worker.in_flight))  # queries for a later position: it runs alone
            self._sendings = sending = self._sendings + 1
            request.sent = True
            request.sent_at = now
            worker.in_flight[sending] = request
            if slow:
                worker.slow, worker.slow_since = sending, now
            head = (sending, worker.registration, request.src, ms, request.key, after)
            work.append(packed_work(head, request.body))
        return work

    def pop_cancelled(self) -> list[tuple[bytes, list[int]]]:
        """Remove and return the sendings that workers must drop or stop."""
        cancelled, self._cancelled = self._cancelled, {}
        return list(cancelled.items())

    def _cancel(self, worker: Worker, sendings: list[int]) -> None:
        if sendings:
            self._cancelled.setdefault(worker.id, []).extend(sendings)

    def cancel_client(self, client: Client) -> None:
        """Cancel the queries of a disconnected client that are in flight, and drop all its queued requests."""
        for worker in self.buses[QUERIES].workers.values():
            self._cancel(worker, [id_ for id_, request in worker.in_flight.items() if request.client is client])
        for bus in self.buses.values():
            bus.drop_client(client)

    # Silent and leaving workers.

    def check_silence(self, now: float) -> None:
        """Mark workers with overdue heartbeats as silent, and remove hung and idle silent workers."""
        for bus in self.buses.values():
            for worker in bus.registered:
                silence = now - worker.last_seen
                busy = any(not request.answered for request in worker.in_flight.values())
                if silence > HUNG_SECONDS or (silence > SILENT_SECONDS and not busy):
                    self._lose(worker, f"has been silent for {silence:.1f} s")
                elif silence > SILENT_SECONDS and not worker.silent:
                    worker.silent = True
                    logger.warning("%s (pid %d) is connected but sends no heartbeats: it receives no more requests.",
                                   worker.dest, worker.pid)  # fmt: skip
                    self._requeue_blocked(bus, worker)

    def _requeue_blocked(self, bus: Bus, worker: Worker) -> None:
        """Requeue the queries of a silent worker, except the first: the probable cause of the silence."""
        if bus.dest == QUERIES:
            blocked = list(worker.in_flight)[1:]
            self.returned(worker, self.deferred.position, blocked)
            self._cancel(worker, blocked)

    def leave(self, worker: Worker) -> None:
        """Send no more requests to a worker that is shutting down."""
        worker.leaving = self._any_leaving = True

    def pop_leaving(self, *, idle: bool) -> list[bytes]:
        """Remove and return the leaving workers with nothing in flight; a projector only if the gateway is idle."""
        if not self._any_leaving:
            return []
        removed = []
        for bus in self.buses.values():
            for worker in bus.registered:
                busy = not idle if bus.dest == PROJECTOR else bool(worker.in_flight)
                if worker.leaving and not busy:
                    bus.remove(worker)
                    removed.append(worker.id)
        self._any_leaving = any(worker.leaving for bus in self.buses.values() for worker in bus.registered)
        return removed

    def drop_answered(self) -> None:
        """Drop queued and deferred requests that have been answered, e.g. timed out."""
        for bus in self.buses.values():
            bus.drop_answered()
        if self.deferred:
            self.deferred.drop_answered()


def beyond(after: int, head: int) -> str:
    """Return the refusal of a position beyond the end of the log."""
    return (
        f"The log has not reached position {after}: it ends at {head}. Send a position from a reply of this cluster; "
        "after a restore of an earlier log, create a new client."
    )
