"""A worker's end of the line to the gateway: introduces itself, beats, takes work, gives answers."""

import logging
import os
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from dualbus.fault import Taken
from dualbus.peers import Job, read_work
from dualbus.poll import Poll
from dualbus.process import GRACE_SECONDS, Stop
from dualbus.sockets import Socket
from dualbus.wire import (
    ANNOUNCE,
    BEAT,
    BYE,
    LEAVING,
    READY,
    REFUSED,
    WORK,
    Beat,
    Done,
    Frames,
    Greeting,
    Identity,
    WireError,
    answer_batches,
    batch,
    unpack,
)

BEAT_SECONDS = 0.5  # where the gateway, which beats more often, is not heard
GATEWAY_SILENT_SECONDS = 1.0
# A wait that is this much longer than meant: the process was stopped. So soon after, what comes may be from then.
STOPPED_SECONDS = 0.05
CREDIT_MIN, CREDIT_FIRST, CREDIT_MAX = 2, 64, 1024
CREDIT_SECONDS = 0.1  # how much work we ask for: what is more waits at the gateway

logger = logging.getLogger(__name__)


class Link:
    """The line of one worker. `identity` and `position` are what it says of its log or read model."""

    def __init__(self, socket: Socket, dest: str, types: list[str]) -> None:
        self.socket = socket
        self.dest = dest
        self.identity: Identity | None = None
        self.position = 0
        self._released = False  # the gateway said BYE
        self._types = types
        self.parked = 0  # how many jobs wait for something else than us
        self._at_a_time = self._told_credit = CREDIT_FIRST
        self._seconds_each = 0.0
        self._life = uuid.uuid4().hex
        self._started = time.monotonic()
        self._next_beat = 0.0
        self._gateway_seen = float("-inf")
        self._ready = False
        self._unsent: list[Frames] = []
        self._here_since = self._started
        self._stopped_since = self._stopped_until = self._started
        self._leaving_at: float | None = None

    def announce(self) -> None:
        """Introduce this worker, at its start and whenever the gateway does not know it."""
        self._told_credit = credit = self._credit
        greeting = Greeting(self.dest, self._life, os.getpid(), self._types, credit, self.identity, self.position)
        self.socket.send(batch(READY, [greeting]))

    def wait(self, poll: Poll, seconds: float) -> set[Socket | int]:
        """Wait for something to do, and note since when what is there now can have been waiting.

        Deadlines travel as what is left of them, and the time a message spends in our queue while we are
        busy counts too. So what is there at once counts as here since the queue was last seen empty; what
        ends a wait has just come. A wait that took longer than it can says that this process was stopped, and so
        was what receives for it: what comes in the next moment may be as old.
        """
        began = ended = time.monotonic()
        ready = poll.wait(0)
        self._here_since = self.socket.empty_at
        if not ready and seconds > 0:
            ready = poll.wait(seconds)
            self._here_since = ended = time.monotonic()
        if ended - began > seconds + STOPPED_SECONDS:
            self._stopped_since, self._stopped_until = began, ended + STOPPED_SECONDS
        if ended < self._stopped_until:
            self._here_since = min(self._here_since, self._stopped_since)
        self._ready = self.socket in ready
        return ready

    def receive(self) -> list[Job]:
        """Return the work that has come, and see to what else the gateway says."""
        jobs: list[Job] = []
        for frames in self.socket.receive(ready=True) if self._ready else ():
            self._gateway_seen = time.monotonic()
            try:
                kind, items = frames[0], unpack(frames[1])
                if kind == WORK:
                    jobs += read_work(items, self._here_since)
                elif kind == BEAT:
                    self._next_beat = 0.0  # in answer to it: one wake for both
                elif kind == ANNOUNCE:  # another gateway than the one that may have said BYE
                    self._released = False
                    self._stopped_until = 0.0  # what it gives us from now on is new
                    self.announce()
                elif kind == BYE:
                    self._released = True
                elif kind == REFUSED:
                    raise Taken(str(items[0]))
            except (WireError, IndexError) as error:
                logger.warning("Dropped a message that is not of the protocol: %s", error)
        return jobs

    def answer(self, done: Sequence[Done]) -> None:
        """Send answers; what the queue has no room for waits here, bounded by the credit we gave."""
        self._unsent += answer_batches(done)
        while self._unsent and self.socket.send(self._unsent[0]):
            del self._unsent[0]

    def took(self, items: int, seconds: float) -> None:
        """Note how long work took us, and ask for as much at a time as we can do in a moment.

        What waits at the gateway waits its client's turn, and is refused at once when it would wait too long;
        what waits here does neither.
        """
        each = seconds / items
        self._seconds_each += (each - self._seconds_each) / 4 if self._seconds_each else each
        self._at_a_time = max(CREDIT_MIN, int(CREDIT_SECONDS / self._seconds_each))

    @property
    def _credit(self) -> int:
        return min(CREDIT_MAX, self._at_a_time + self.parked)

    def beat(self, status: Callable[[], dict[str, Any]], *, now: bool = False) -> None:
        """Say that we are alive, if it is time to; `now` where the gateway must know before our next answer."""
        time_now = time.monotonic()
        same_credit = self._told_credit / 2 < self._credit < self._told_credit * 2
        if time_now < self._next_beat and same_credit and not now:
            return
        self._next_beat = time_now + BEAT_SECONDS
        self._told_credit = self._credit
        told = {"pid": os.getpid(), "uptime_s": round(time_now - self._started, 1), **status()}
        self.socket.send(batch(BEAT, [Beat(self.identity, self.position, self._credit, told)]))
        self.answer(())

    def finished(self, stop: Stop) -> bool:
        """Tell whether to end: told to stop, and the gateway has all our answers, or is not there.

        The first time, ask the gateway for no more work; it says BYE when it waits for nothing from us.
        """
        if not stop.told:
            return False
        now = time.monotonic()
        if self._released or now - self._gateway_seen > GATEWAY_SILENT_SECONDS:
            self.socket.linger_ms = 0  # there is nobody to wait for
            return True
        if self._leaving_at is None:
            self._leaving_at = now
            self.socket.send(batch(LEAVING, []))
        return now - self._leaving_at > GRACE_SECONDS

    @property
    def seconds_to_beat(self) -> float:
        """How long there is until the next beat."""
        return max(0.0, self._next_beat - time.monotonic())
