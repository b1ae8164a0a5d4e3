"""A worker's connection to the gateway: registers, sends heartbeats, receives requests, sends answers.

The main thread owns the socket, except during handlers (`with link.handling():`), when the attendant may use it.
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
from dualbus.protocol.batches import answer_batches, batch
from dualbus.protocol.codec import unpack
from dualbus.protocol.codes import WireError
from dualbus.protocol.frames import ANNOUNCE, BEAT, BYE, CANCEL, LEAVING, READY, REFUSED, RETURNED, WORK, Frames
from dualbus.protocol.records import Heartbeat, Job, Registration, Response, read_numbers, read_work
from dualbus.runtime.errors import AlreadyRunningError
from dualbus.runtime.signals import GRACE_SECONDS, Stop
from dualbus.transport.poller import Poll
from dualbus.transport.sockets import Socket
from dualbus.worker.clock import ArrivalClock
from dualbus.worker.credit import Credit

BEAT_SECONDS = 0.5  # where the gateway, which beats more often, is not heard
GATEWAY_SILENT_SECONDS = 1.0

logger = logging.getLogger(__name__)


class WorkerLink:
    """The connection of a worker. `identity` and `position` are those of its log or read model.

    A registration fences off duplicate work: a registering worker has discarded, unhandled, all work of its earlier
    registrations, and discards such work on arrival. So once the gateway sends a request again under a new
    registration, no earlier sending of the request can start.
    """

    def __init__(self, socket: Socket, dest: str, types: list[str]) -> None:
        self.socket = socket
        self.dest = dest
        self.identity: Identity | None = None
        self.position = 0
        self.jobs: deque[Job] = deque()  # received and not begun
        self.cancelled: set[int] = set()  # sendings whose answers are not needed
        self.registration = 0
        self.credit = Credit()
        self.lock = threading.Lock()
        self.lock.acquire()
        self.clock = ArrivalClock(time.monotonic())
        self._types = types
        self._instance_id = uuid.uuid4().hex
        self._started = time.monotonic()
        self._next_beat = 0.0
        self._gateway_seen = float("-inf")
        self._unsent: list[Frames] = []
        self._here_since = self._started
        self._ready = False
        self._leaving_at: float | None = None
        self._released = False  # the gateway sent BYE
        self._refused = ""

    def announce(self) -> None:
        """Register this worker: at its start, and whenever the gateway does not know it."""
        self.registration += 1
        self.jobs.clear()
        self.cancelled.clear()
        self._unsent.clear()
        self._released = False  # the BYE may have been another gateway's
        self.clock.registered()
        credit = self.credit.announced()
        greeting = Registration(
            self.dest,
            self._instance_id,
            self.registration,
            os.getpid(),
            self._types,
            credit,
            self.identity,
            self.position,
        )
        self.socket.send(batch(READY, [greeting]))

    @contextmanager
    def handling(self) -> Iterator[None]:
        """Surround the running of handlers: meanwhile the attendant may use the line."""
        self.lock.release()
        try:
            yield
        finally:
            self.lock.acquire()

    def wait(self, poll: Poll, seconds: float) -> set[Socket | int]:
        """Wait for messages or time, and note since when the received messages can have been waiting.

        Time in the queue of a busy process counts: a message present at once counts from the moment of the last empty
        queue. A message that ends a wait has just arrived.
        """
        began = ended = time.monotonic()
        ready = poll.wait(0)
        empty_at = self.socket.empty_at
        if not ready and seconds > 0:
            ready = poll.wait(seconds)
            empty_at = ended = time.monotonic()
        self.clock.waited(began, ended, seconds)
        self._here_since = self.clock.since(empty_at, ended)
        self._ready = self.socket in ready
        return ready

    def receive(self) -> None:
        """Receive: put work into `jobs`, and handle the gateway's other messages."""
        if self._refused:
            raise AlreadyRunningError(self._refused)
        for frames in self.socket.receive(ready=True) if self._ready else ():
            self._handle(frames)
        if self._refused:
            raise AlreadyRunningError(self._refused)

    def receive_while_handling(self) -> None:
        """Do the same from the attendant."""
        self._here_since = self.clock.since(self.socket.empty_at, time.monotonic())
        for frames in self.socket.receive():
            self._handle(frames)

    def _handle(self, frames: Frames) -> None:
        self._gateway_seen = time.monotonic()
        try:
            kind, items = frames[0], unpack(frames[1])
            if kind == WORK:
                work = read_work(items, self._here_since)
                self.jobs += [job for job in work if job.registration == self.registration]
            elif kind == BEAT:
                self._next_beat = 0.0  # in reply to the gateway's, with one wake-up for both
            elif kind == CANCEL:
                self._cancel(read_numbers(items))
            elif kind == ANNOUNCE:
                if self.registration in read_numbers(items):  # otherwise the message concerns an earlier registration
                    self.announce()
            elif kind == BYE:
                self._released = True
            elif kind == REFUSED:
                self._refused = str(items[0])
        except (WireError, IndexError) as error:
            logger.warning("Dropped a message that is not of the protocol: %s", error)

    def _cancel(self, sendings: list[int]) -> None:
        self.cancelled |= set(sendings)
        waiting = list(self.jobs)
        self.jobs.clear()
        self.jobs += [job for job in waiting if job.id not in self.cancelled]
        self.give_back([job for job in waiting if job.id in self.cancelled], self.position)

    def answer(self, done: Sequence[Response]) -> None:
        """Send answers; unsent answers wait here, bounded by the credit of this worker."""
        self._unsent += answer_batches(done)
        while self._unsent and self.socket.send(self._unsent[0]):
            del self._unsent[0]

    def give_back(self, jobs: Iterable[Job], position: int) -> None:
        """Return requests not started, or stopped, with the position of the read model."""
        if numbers := [job.id for job in jobs]:
            self._unsent.append(batch(RETURNED, [position, *numbers]))
            self.answer(())

    def beat(self, status: Callable[[], dict[str, Any]], *, now: bool = False, running: int = 0) -> None:
        """Send a heartbeat if due; `now` if the gateway must know before the next answer."""
        time_now = time.monotonic()
        if time_now < self._next_beat and self.credit.as_announced and not now:
            return
        self._next_beat = time_now + BEAT_SECONDS
        credit = self.credit.announced()
        shown = {"pid": os.getpid(), "uptime_s": round(time_now - self._started, 1), **status()}
        beat = Heartbeat(self.registration, running, self.identity, self.position, credit, shown)
        self.socket.send(batch(BEAT, [beat]))
        self.answer(())

    def finished(self, stop: Stop) -> bool:
        """Tell whether to end: a stop is requested, and the gateway has all answers or is unreachable.

        The first call requests no more work from the gateway, which sends BYE once it waits for nothing from here.
        """
        if not stop.told:
            return False
        now = time.monotonic()
        if self._released or now - self._gateway_seen > GATEWAY_SILENT_SECONDS:
            self.socket.linger_ms = 0  # no peer to wait for
            return True
        if self._leaving_at is None:
            self._leaving_at = now
            self.socket.send(batch(LEAVING, []))
        return now - self._leaving_at > GRACE_SECONDS

    @property
    def seconds_to_beat(self) -> float:
        """Return the seconds until the next heartbeat."""
        return max(0.0, self._next_beat - time.monotonic())
