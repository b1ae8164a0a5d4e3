"""The sockets of the query bus, and its loop: take what is there, answer it from one snapshot, park the rest."""

import logging
import time
from collections import deque
from pathlib import Path
from typing import Any

from dualbus.app import load
from dualbus.fault import EXIT_OK
from dualbus.files import make_folder
from dualbus.link import Link
from dualbus.peers import Job
from dualbus.poll import Poll
from dualbus.process import Stop
from dualbus.read_model import Checkpoint, Damaged, ReadModelReader, file_name
from dualbus.settings import Settings
from dualbus.sockets import Socket, Sockets
from dualbus.wire import Code, Done, error, pack
from querybus.answering import Answering

SNAPSHOT_SECONDS = 0.02  # how long one snapshot may serve before the answers are sent
SNAPSHOT_QUERIES = 512  # and how many: half of what we are given, so that the other half can come meanwhile
LOOK_SECONDS = 0.05  # how often to look at the read model for those who wait, and whether it is still the same file

logger = logging.getLogger(__name__)


def serve(settings: Settings, stop: Stop) -> int:
    """Run a query bus until it is told to stop."""
    app = load(settings.app)
    make_folder(settings.data)  # if it is the first to start, and else to see that it can be used
    with Sockets() as sockets:
        link = Link(sockets.dealer(settings.back), "querybus", sorted(app.query_types))
        path = settings.data / file_name(app.projections)
        return QueryBus(Answering(app), path, sockets.subscriber(settings.progress), link).run(stop)


class QueryBus:
    """Answers from the read model, and has no handle that could write."""

    def __init__(self, answering: Answering, path: Path, progress: Socket, link: Link) -> None:
        self._answering = answering
        self._path = path
        self._progress = progress
        self._link = link
        self._reader: ReadModelReader | None = None
        self._queue: deque[Job] = deque()
        self._parked: list[Job] = []  # for a later position; bounded by the credit given
        self._next_look = 0.0
        self._next_stat = 0.0
        self._damage = ""  # what was said of a file that cannot be read
        self._counters = {"answered": 0, "snapshots": 0, "late": 0}

    def run(self, stop: Stop) -> int:
        """Answer until told to stop."""
        self._look()
        self._link.announce()
        alone = Poll(self._link.socket, stop=stop, spins=True)
        with_parked = Poll(self._link.socket, self._progress, stop=stop, spins=True)
        while not self._link.finished(stop):
            self._link.wait(with_parked if self._parked else alone, self._patience())
            self._queue.extend(self._link.receive())
            if self._parked:
                self._take_up()
            if self._queue:
                self._link.answer(self._answer())
                self._end_snapshot()  # the answers are on their way: nobody waits for this
            if not self._parked:
                self._progress.receive()  # nor for what is announced, and it must not pile up
            if not self._link.seconds_to_beat:
                self._look()
            self._link.beat(self._status)
        return EXIT_OK

    def _take_up(self) -> None:
        """Queue again those who wait for a later position, if it may have come."""
        now = time.monotonic()
        if self._progress.receive() or now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            self._queue.extendleft(reversed(self._parked))
            self._parked.clear()

    def _status(self) -> dict[str, Any]:
        return {"queue": len(self._queue) + len(self._parked), **self._counters}

    def _patience(self) -> float:
        if self._queue:
            return 0
        return min(LOOK_SECONDS, self._link.seconds_to_beat) if self._parked else self._link.seconds_to_beat

    def _answer(self) -> list[Done]:
        """Answer from one snapshot what can be answered from it; park what needs a later position."""
        position = self._begin_snapshot()
        reader = self._reader
        answers: list[Done] = []
        self._counters["snapshots"] += 1 if reader else 0
        began = now = time.monotonic()
        while self._queue and len(answers) < SNAPSHOT_QUERIES and now < began + SNAPSHOT_SECONDS:
            job = self._queue.popleft()
            if job.deadline <= now:
                answers.append(self._late(job, position))
            elif reader is None or position < job.after:
                self._parked.append(job)
            else:
                reader.deadline = job.deadline
                answers.append((job.id, position, self._answering.answer(job, reader)))
                self._counters["answered"] += 1
            now = time.monotonic()
        if answers:
            self._link.took(len(answers), now - began)
        self._link.parked = len(self._parked)
        return answers

    def _look(self) -> None:
        """Say in the next beat which log is in the read model, and how far: the gateway asks only who has its log."""
        self._begin_snapshot()
        self._end_snapshot()

    def _begin_snapshot(self) -> int:
        """Return the position of all answers until the snapshot ends; -1 if there is nothing that can be read."""
        checkpoint = None
        try:
            self._open()
            if self._reader:
                checkpoint = self._reader.begin()
        except Damaged as damaged:
            if str(damaged) != self._damage:
                logger.error("%s Waiting for the projector to make it anew.", damaged)
            self._damage = str(damaged)
            self._close()
        self._tell(checkpoint)
        return checkpoint.position if checkpoint else -1

    def _end_snapshot(self) -> None:
        if self._reader:
            self._reader.end()

    def _late(self, job: Job, position: int) -> Done:
        """Answer a query whose deadline has passed: never with old rows."""
        self._counters["late"] += 1
        text = "The deadline passed before the query was answered: try again, or give it more time."
        if position < job.after:
            where = f"at position {position}" if position >= 0 else "being built"
            text = f"The read model has not caught up: it is {where}, and you have seen {job.after}. Try again."
        return job.id, max(0, position), pack(error(job.body["msg_id"], Code.UNAVAILABLE, text))

    def _open(self) -> None:
        """Open the read model, if there is one, and again if another file has taken its place."""
        now = time.monotonic()
        if self._reader and now < self._next_stat:
            return
        self._next_stat = now + LOOK_SECONDS
        if self._reader and self._reader.replaced():
            self._close()
        if self._reader is None and self._path.exists():
            self._reader = ReadModelReader(self._path)

    def _close(self) -> None:
        if self._reader:
            self._reader.close()
        self._reader = None

    def _tell(self, checkpoint: Checkpoint | None) -> None:
        """Let the gateway know which log the answers come from, before the first of them."""
        known = self._link.identity
        self._link.identity = checkpoint.identity if checkpoint else None
        self._link.position = checkpoint.position if checkpoint else 0
        if self._link.identity != known:
            self._link.beat(self._status, now=True)
