"""A worker's link to the gateway: registration, heartbeats, work and answers.

The main thread owns the link, except while running handlers (`with link.handling():`): then the attendant may use it.
"""

import logging
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dualbus.log.identity import Identity
from dualbus.protocol.batches import answer_batches, batch, read_batch
from dualbus.protocol.codes import WireError
from dualbus.protocol.frames import ANNOUNCE, BEAT, BYE, CANCEL, LEAVING, READY, REFUSED, RETURNED, WORK, Frames
from dualbus.protocol.records import Heartbeat, Job, Registration, Response, read_numbers, read_refusal, read_work
from dualbus.runtime.errors import AlreadyRunningError
from dualbus.runtime.signals import GRACE_SECONDS, Stop
from dualbus.telemetry.usage import usage
from dualbus.transport.poller import Poll
from dualbus.transport.sockets import Socket
from dualbus.worker.clock import ArrivalClock
from dualbus.worker.credit import Credit

HEARTBEAT_SECONDS = 0.5  # without heartbeats of the gateway, which are more frequent
GATEWAY_SILENT_SECONDS = 1.0

logger = logging.getLogger(__name__)


class WorkerLink:
    """The link of one worker. `identity` and `position` describe its log or read model.

    Registrations fence requests sent twice: a registering worker has discarded all queued work of its earlier
    registrations, and discards later arrivals. So when the gateway sends a request again under a new registration, no
    handler starts for an earlier sending.
    """

    def __init__(self, socket: Socket, dest: str, types: list[str], lock: str = "") -> None:
        self.socket = socket
        self._lock_name = lock
        self.dest = dest
        self.identity: Identity | None = None
        self.position = 0
        self.jobs: deque[Job] = deque()  # received, not started
        self.cancelled: set[int] = set()  # sendings cancelled by the gateway
        self.registration = 0
        self.credit = Credit()
        self.lock = threading.Lock()
        self.lock.acquire()
        self.clock = ArrivalClock(time.monotonic())
        self.types = types
        self._active_since: int | None = 0
        self._instance_id = uuid.uuid4().hex
        self._started = time.monotonic()
        self._next_heartbeat = 0.0
        self._gateway_seen = float("-inf")
        self._unsent: list[bytes] = []
        self._arrived_since = self._started
        self._ready = False
        self._leaving_at: float | None = None
        self._released = False  # the gateway sent BYE
        self._refused = ""

    @property
    def links(self) -> "list[WorkerLink]":
        """The links to all gateways: this one."""
        return [self]

    def report(self, identity: Identity, position: int) -> None:
        """Set the log and its position for the next heartbeats."""
        self.identity, self.position = identity, position

    def register(self, active_since: int | None = 0) -> None:
        """Register this worker, or a new role of a commandbus (see Registration)."""
        self._active_since = active_since
        self._register()

    def _register(self) -> None:
        """Register: at the start of the worker, at a change of the role, and on request of the gateway."""
        self.registration += 1
        self.jobs.clear()
        self.cancelled.clear()
        self._unsent.clear()
        self._released = False  # a BYE was for the earlier registration
        self.clock.registered(time.monotonic())
        credit = self.credit.announce()
        registration = Registration(
            self.dest,
            self._instance_id,
            self.registration,
            os.getpid(),
            self.types,
            credit,
            self.identity,
            self.position,
            self._active_since,
            self._lock_name,
        )
        self.socket.send([batch(READY, [registration])])

    @contextmanager
    def handling(self) -> Iterator[None]:
        """Surround the running of handlers: meanwhile the attendant may use the link."""
        self.lock.release()
        try:
            yield
        finally:
            self.lock.acquire()

    def wait(self, poll: Poll, seconds: float) -> set[Socket | int]:
        """Wait for messages up to some seconds, and record their earliest arrival time.

        Time in the socket's queue counts against the deadline: messages available without a wait count as arrived
        when the queue was last empty. A message ending a wait has just arrived.
        """
        began = ended = time.monotonic()
        ready = poll.wait(0)
        empty_at = self.socket.empty_at
        if not ready and seconds > 0:
            ready = poll.wait(seconds)
            empty_at = ended = time.monotonic()
        self.waited(ready, began, ended, seconds, empty_at)
        return ready

    def waited(self, ready: set[Socket | int], began: float, ended: float, seconds: float, empty_at: float) -> None:
        """Record the end of a wait for messages."""
        self.clock.record_wait(began, ended, seconds)
        self._arrived_since = self.clock.since(empty_at, ended)
        self._ready = self.socket in ready

    def receive(self) -> None:
        """Queue received work in `jobs`, and handle the other messages of the gateway."""
        if self._refused:
            raise AlreadyRunningError(self._refused)
        for frames in self.socket.receive(ready=True) if self._ready else ():
            self._handle(frames)
        if self._refused:
            raise AlreadyRunningError(self._refused)

    def receive_while_handling(self) -> None:
        """Receive from the attendant's thread."""
        self._arrived_since = self.clock.since(self.socket.empty_at, time.monotonic())
        for frames in self.socket.receive():
            self._handle(frames)

    def _handle(self, frames: Frames) -> None:
        self._gateway_seen = time.monotonic()
        try:
            kind, items = read_batch(frames)
            if kind == WORK:
                work = read_work(items, self._arrived_since)
                self.jobs += [job for job in work if job.registration == self.registration]
            elif kind == BEAT:
                self._next_heartbeat = 0.0  # answer at once: one wakeup for both heartbeats
            elif kind == CANCEL:
                self._cancel(read_numbers(items))
            elif kind == ANNOUNCE:
                if self.registration in read_numbers(items):  # else for an earlier registration
                    self._register()
            elif kind == BYE:
                self._released = True
            elif kind == REFUSED:
                self._refused = read_refusal(items)
        except WireError as error:
            logger.warning("Dropped an invalid message: %s", error)

    def _cancel(self, sendings: list[int]) -> None:
        self.cancelled |= set(sendings)
        queued = list(self.jobs)
        self.jobs.clear()
        self.jobs += [job for job in queued if job.id not in self.cancelled]
        self.return_jobs([job for job in queued if job.id in self.cancelled], self.position)

    def is_current(self, job: Job) -> bool:
        """Return whether a job belongs to the current registration."""
        return job.registration == self.registration

    def answer(self, responses: Sequence[Response], times: Sequence[int] | None = None) -> None:
        """Send answers, with the times of their commit from commandbus.

        Answers wait here while the socket's queue is full, bounded by the credit of this worker.
        """
        self._unsent += answer_batches(responses, times)
        while self._unsent and self.socket.send([self._unsent[0]]):
            del self._unsent[0]

    def return_jobs(self, jobs: Iterable[Job], position: int) -> None:
        """Return unstarted or stopped work to the gateway, with the position of the read model."""
        if numbers := [job.id for job in jobs]:
            self._unsent.append(batch(RETURNED, [position, *numbers]))
            self.answer(())

    def send_heartbeat(self, status: Callable[[], dict[str, Any]], *, now: bool = False, running: int = 0) -> None:
        """Send a heartbeat if due; `now` if the gateway must receive the status before the next answer."""
        time_now = time.monotonic()
        if time_now < self._next_heartbeat and self.credit.as_announced and not now:
            return
        self._next_heartbeat = time_now + HEARTBEAT_SECONDS
        credit = self.credit.announce()
        report = {"pid": os.getpid(), "uptime_s": round(time_now - self._started, 1), **usage(), **status()}
        heartbeat = Heartbeat(self.registration, running, self.identity, self.position, credit, report)
        self.socket.send([batch(BEAT, [heartbeat])])
        self.answer(())

    def finished(self, stop: Stop) -> bool:
        """Return whether to end: a stop was requested, and the gateway has all answers or is unreachable.

        The first call sends LEAVING: the gateway sends no more work, and BYE after the last answer.
        """
        if not stop.requested:
            return False
        now = time.monotonic()
        if self._released or now - self._gateway_seen > GATEWAY_SILENT_SECONDS:
            self.socket.linger_ms = 0  # the gateway needs no further message
            return True
        if self._leaving_at is None:
            self._leaving_at = now
            self.socket.send([batch(LEAVING, [])])
        return now - self._leaving_at > GRACE_SECONDS

    @property
    def seconds_to_heartbeat(self) -> float:
        """Seconds until the next heartbeat is due."""
        return max(0.0, self._next_heartbeat - time.monotonic())
