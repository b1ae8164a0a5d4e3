"""The workers of the gateway, and their requests in flight. No socket, no clock: callers pass the time.

Each sending of a request has a number, and an answer belongs to one sending: the answer to an earlier sending never
answers a later one. docs/guarantees.md explains why definite answers are true.
"""

import logging
from collections.abc import Iterable
from typing import Any, Protocol

from dualbus.log.identity import Identity
from dualbus.protocol.codec import packed_work
from dualbus.protocol.codes import Code, error
from dualbus.protocol.records import Heartbeat, Registration, Response

from .bus import COMMANDS, PROJECTOR, QUERIES, SLOW_SECONDS, Bus
from .clients import Client
from .deferred import Deferred
from .request import TRIES_MAX, Request
from .worker import Worker

SILENT_SECONDS = 1.5  # without a beat: a worker is sent nothing more
HUNG_SECONDS = 30.0  # without a heartbeat on a live connection, until the worker counts as lost

logger = logging.getLogger(__name__)


class Answers(Protocol):
    """The receiver of answers: the router."""

    def answer(self, request: Request, body: dict[str, Any]) -> None: ...
    def deliver(self, request: Request, position: int, body: bytes) -> None: ...
    def time_out(self, request: Request) -> None: ...


class Workers:
    """All buses with their workers. `first_sending` keeps sendings apart from those of an earlier gateway."""

    def __init__(self, answers: Answers, first_sending: int, now: float) -> None:
        self.buses = {COMMANDS: Bus(COMMANDS), QUERIES: Bus(QUERIES), PROJECTOR: Bus(PROJECTOR)}
        self.identity: Identity | None = None
        self.head = 0  # the highest position of the log reported by any worker
        self.deferred = Deferred()
        self.counters = {"sent_again": 0, "late_answers": 0, "lost_workers": 0}
        self.began = now
        self._answers = answers
        self._sendings = first_sending
        self._cancelled: dict[bytes, list[int]] = {}
        self._leaving = False  # some worker

    # Messages of workers.

    def welcome(self, id_: bytes, greeting: Registration, now: float) -> str | None:
        """Register a worker; or return a sentence with the reason for refusing it."""
        bus = self.buses.get(greeting.dest)
        if bus is None:
            return f"There is no place for a {greeting.dest!r} at this gateway."
        worker = Worker(id_, greeting, now)
        known = bus.workers.get(id_)
        if known and (known.instance_id, known.registration) == (worker.instance_id, worker.registration):
            return None  # the same READY, twice
        for other in list(bus.workers.values()):
            if other.instance_id == worker.instance_id or other.id == id_:
                self._lose(other, "registered again")
            elif greeting.dest == COMMANDS and other.identity != worker.identity:
                return "Another commandbus, with another log, is at this gateway: stop one of the two."
            elif greeting.dest == COMMANDS:
                # The lock on the log permits one commandbus: the new one holds it, so the other has ended.
                self._lose(other, "was replaced")
        bus.workers[id_] = worker
        bus.types = set(greeting.types)
        logger.info("%s is here (pid %d).", greeting.dest, greeting.pid)
        return None

    def worker(self, id_: bytes) -> Worker | None:
        """Return the registered worker of a connection, if any."""
        for bus in self.buses.values():
            if worker := bus.workers.get(id_):
                return worker
        return None

    def beat(self, worker: Worker, beat: Heartbeat, now: float) -> None:
        """Note a worker's beat."""
        worker.beat(beat, now)
        if worker.identity == self.identity:
            self.head = max(self.head, worker.position)
            if worker.dest == QUERIES:
                self._reached(worker.position)
        if beat.running and worker.dest == QUERIES:
            self.buses[QUERIES].note_slow(worker, beat.running, now)

    def done(self, worker: Worker, answers: Iterable[Response], now: float) -> None:
        """Deliver a worker's answers. Answers to sendings no longer in flight are dropped."""
        worker.seen = now
        bus, in_flight = self.buses[worker.dest], worker.in_flight
        before = len(in_flight)
        highest = 0
        for id_, position, body in answers:
            if id_ == worker.slow:
                self._end_slow(bus, worker, now)
            request = in_flight.pop(id_, None)
            if request is None:
                self.counters["late_answers"] += 1
                continue
            if position > highest:
                highest = position
            if position > request.session.position:
                request.session.position = position
            if not request.answered:
                self._answers.deliver(request, position, body)
        count = before - len(in_flight)
        bus.in_flight -= count
        self.head = max(self.head, highest)
        if self.deferred and worker.dest == QUERIES and highest:
            self._reached(highest)
        bus.count(count, now)

    def returned(self, worker: Worker, position: int, sendings: Iterable[int]) -> None:
        """Queue again, or defer, requests returned by a worker; `position` is that of its read model."""
        bus = self.buses[worker.dest]
        self.deferred.position = position
        again: list[Request] = []
        for sending in sendings:
            request = worker.remove(sending)
            if request is None:
                continue
            bus.in_flight -= 1
            if not request.answered:
                request.sent = False
                (self.deferred.add if request.needs > position else again.append)(request)
        bus.put_again(again)

    def lost(self, id_: bytes, why: str) -> None:
        """Remove a lost worker: others receive the requests, commands under the same key."""
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
                text = f"{worker.dest} was lost {TRIES_MAX} times with this message. The outcome is not known."
                self._answers.answer(request, error(request.msg_id, Code.CRASH, text))
        self.counters["sent_again"] += len(again)
        bus.put_again(again)

    def _end_slow(self, bus: Bus, worker: Worker, now: float) -> None:
        """End the exclusive use of a worker by a slow request."""
        request = worker.in_flight.get(worker.slow)
        if request and now - worker.slow_since < SLOW_SECONDS:
            bus.note_quick(request)
        worker.slow, worker.cancelling = 0, False

    def _reached(self, position: int) -> None:
        """Queue the deferred queries that the read model's position now satisfies."""
        bus = self.buses[QUERIES]
        for query in self.deferred.reached(position):
            bus.put(query)

    # Messages to workers.

    def dispatch(self, now: float, *, blind: bool) -> list[tuple[bytes, list[bytes]]]:
        """Send requests as far as workers have room: worker ids, each with packed Work. No queries while `blind`."""
        sent = []
        for dest in (COMMANDS,) if blind else (COMMANDS, QUERIES):
            bus = self.buses[dest]
            if bus.queued:
                bus.note_turns(now)
                while assigned := bus.assign(self.identity):
                    worker, requests = assigned
                    if work := self._work(bus, worker, requests, now):
                        sent.append((worker.id, work))
            if bus.slow_types:
                for worker in bus.to_cancel(self.identity):
                    worker.cancelling = True
                    self._cancel(worker, [worker.slow])
            if bus.pace.counting or bus.queued:
                bus.count(0, now)
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
            if after > self.head:
                self._answers.answer(request, error(request.msg_id, Code.UNAVAILABLE, self._beyond(after)))
                continue
            if request.session.position > after:
                after = request.session.position
            if self.deferred and after > self.deferred.position and bus.dest == QUERIES:
                self.deferred.add(request)
                continue
            self._sendings = sending = self._sendings + 1
            request.sent = True
            worker.in_flight[sending] = request
            if request.type in slow_types:
                worker.slow, worker.slow_since = sending, now
            head = (sending, worker.registration, request.src, ms, request.key, after)
            work.append(packed_work(head, request.body))
        bus.in_flight += len(work)
        return work

    def _beyond(self, after: int) -> str:
        return (
            f"The log has not reached position {after}: it ends at {self.head}. Send as `after` a position that an "
            "answer of this cluster had."
        )

    def cancelled(self) -> list[tuple[bytes, list[int]]]:
        """Remove and return the sendings that workers must drop or stop."""
        cancelled, self._cancelled = self._cancelled, {}
        return list(cancelled.items())

    def _cancel(self, worker: Worker, sendings: list[int]) -> None:
        if sendings:
            self._cancelled.setdefault(worker.id, []).extend(sendings)

    def cancel_client(self, client: Client) -> None:
        """Drop the queued queries of a disconnected client, and cancel those in flight."""
        for worker in self.buses[QUERIES].workers.values():
            self._cancel(worker, [id_ for id_, request in worker.in_flight.items() if request.client is client])
        for bus in self.buses.values():
            bus.drop_client(client)

    # Silent and leaving workers.

    def check_silence(self, now: float) -> None:
        """Send nothing more to workers with overdue heartbeats, and remove hung ones."""
        for bus in self.buses.values():
            for worker in list(bus.workers.values()):
                silence = now - worker.seen
                waited_for = any(not request.answered for request in worker.in_flight.values())
                if silence > HUNG_SECONDS or (silence > SILENT_SECONDS and not waited_for):
                    self._lose(worker, f"has been silent for {silence:.1f} s")
                elif silence > SILENT_SECONDS and not worker.silent:
                    worker.silent = True
                    logger.warning("%s (pid %d) sends no beats, and its connection holds: it is sent nothing more.",
                                   worker.dest, worker.pid)  # fmt: skip
                    self._rescue(bus, worker)

    def _rescue(self, bus: Bus, worker: Worker) -> None:
        """Move the queries behind a blocking one from a silent worker to others."""
        if bus.dest == QUERIES:
            waiting = list(worker.in_flight)[1:]
            self.returned(worker, self.deferred.position, waiting)
            self._cancel(worker, waiting)

    def leave(self, worker: Worker) -> None:
        """Send nothing more to a worker that is leaving."""
        worker.leaving = self._leaving = True

    def dismissed(self, *, idle: bool) -> list[bytes]:
        """Remove leaving workers with nothing in flight; a projector once the gateway is idle."""
        if not self._leaving:
            return []
        going = []
        for bus in self.buses.values():
            for worker in list(bus.workers.values()):
                waited_for = not idle if bus.dest == PROJECTOR else bool(worker.in_flight)
                if worker.leaving and not waited_for:
                    del bus.workers[worker.id]
                    going.append(worker.id)
        self._leaving = any(worker.leaving for bus in self.buses.values() for worker in bus.workers.values())
        return going

    def drop_answered(self) -> None:
        """Drop requests answered while queued or deferred."""
        for bus in self.buses.values():
            bus.drop_answered()
        if self.deferred:
            self.deferred.drop_answered()
