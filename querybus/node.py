"""The sockets of the query bus, and its loop: receive, answer from one snapshot, park the rest."""

import logging
import time
from pathlib import Path
from typing import Any

from dualbus.application.loader import load
from dualbus.application.tables import Interrupted
from dualbus.protocol.codec import pack
from dualbus.protocol.codes import Code, error
from dualbus.protocol.records import Job, Response
from dualbus.readmodel.file import Checkpoint, Damaged, file_name
from dualbus.readmodel.reader import ReadModelReader
from dualbus.runtime.errors import EXIT_OK
from dualbus.runtime.files import make_folder
from dualbus.runtime.settings import Settings
from dualbus.runtime.signals import Stop
from dualbus.transport.poller import Poll
from dualbus.transport.sockets import Socket, Sockets
from dualbus.worker.attendant import Attendant
from dualbus.worker.interrupt import Interrupt
from dualbus.worker.link import WorkerLink

from .responder import Responder

SNAPSHOT_SECONDS = 0.02  # of answering from one snapshot before the answers are sent
SNAPSHOT_QUERIES = 512  # per snapshot: half of the maximal credit, so that the other half can arrive meanwhile
PARKED_MAX = 64  # how many queries wait here for the read model; the others wait at the gateway, in nobody's way
GIVE_UP_SECONDS = 5.0  # past its deadline, for a query that cannot be stopped
NO_READ_MODEL = -1  # a position
LOOK_SECONDS = 0.05  # between checks of the read model's position and file

logger = logging.getLogger(__name__)


def serve(settings: Settings, stop: Stop) -> int:
    """Run a query bus until a stop is requested."""
    app = load(settings.app)
    make_folder(settings.data)  # creates the folder, or checks the permissions
    with Sockets() as sockets:
        link = WorkerLink(sockets.dealer(settings.back), "querybus", sorted(app.query_types))
        path = settings.data / file_name(app.projections)
        interrupt = Interrupt()
        return QueryBus(Responder(app, interrupt), interrupt, path, sockets.subscriber(settings.progress), link).run(
            stop
        )


class QueryBus:
    """Answers queries from the read model through a read-only handle."""

    def __init__(
        self, answering: Responder, interrupt: Interrupt, path: Path, progress: Socket, link: WorkerLink
    ) -> None:
        self._answering = answering
        self._interrupt = interrupt
        self._path = path
        self._progress = progress
        self._link = link
        self._reader: ReadModelReader | None = None
        self._attendant = Attendant(
            link, interrupt, self._status, handler="query", returns=True, give_up_seconds=GIVE_UP_SECONDS
        )
        self._parked: list[Job] = []  # for a later position
        self._position = NO_READ_MODEL  # of the last snapshot
        self._next_look = 0.0
        self._next_stat = 0.0
        self._damage = ""  # the last logged error about the file
        self._counters = {"answered": 0, "snapshots": 0, "late": 0}

    def run(self, stop: Stop) -> int:
        """Answer until a stop is requested."""
        link = self._link
        self._look()
        self._attendant.start()
        link.announce()
        alone = Poll(link.socket, stop=stop, spins=True)
        with_parked = Poll(link.socket, self._progress, stop=stop, spins=True)
        while not link.finished(stop):
            link.wait(with_parked if self._parked else alone, self._patience())
            link.receive()
            if link.cancelled:
                self._cancel()
            if self._parked:
                self._take_up()
            if link.jobs:
                self._serve()
            if not self._parked:
                self._progress.receive()  # no query waits for a position: only empty the queue
            if not link.seconds_to_beat:
                self._look()
            link.beat(self._status)
        self._attendant.stop()
        return EXIT_OK

    def _serve(self) -> None:
        """Answer queries from one snapshot."""
        link = self._link
        position = self._begin_snapshot()
        stopped: list[Job] = []
        with link.handling():
            answers = self._answer(position, stopped)
        link.credit.busy = False
        link.answer(answers)
        link.give_back(stopped, position)
        link.credit.parked = len(self._parked)
        self._end_snapshot()  # the answers are on their way: no client waits for the rest

    def _cancel(self) -> None:
        """Return the parked queries cancelled by the gateway."""
        cancelled = self._link.cancelled
        self._parked, parked = [], self._parked
        gone: list[Job] = []
        for job in parked:
            (gone if job.id in cancelled else self._parked).append(job)
        cancelled.clear()
        self._link.give_back(gone, self._position)

    def _take_up(self) -> None:
        """Queue parked queries again, if the position may have changed."""
        now = time.monotonic()
        if self._progress.receive() or now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            current = self._link.registration
            self._link.jobs.extendleft(reversed([job for job in self._parked if job.registration == current]))
            self._parked.clear()

    def _status(self) -> dict[str, Any]:
        queue = len(self._link.jobs) + len(self._parked)
        return {"queue": queue, **self._counters, **self._attendant.status()}

    def _patience(self) -> float:
        if self._link.jobs:
            return 0
        return min(LOOK_SECONDS, self._link.seconds_to_beat) if self._parked else self._link.seconds_to_beat

    def _answer(self, position: int, stopped: list[Job]) -> list[Response]:
        """Answer queries from one snapshot; park queries for later positions.

        A query stopped at the gateway's request is added to `stopped`.
        """
        reader, link, interrupt = self._reader, self._link, self._interrupt
        jobs = link.jobs
        answers: list[Response] = []
        self._counters["snapshots"] += 1 if reader else 0
        began = now = time.monotonic()
        while jobs and len(answers) < SNAPSHOT_QUERIES and now < began + SNAPSHOT_SECONDS:
            try:
                job = jobs.popleft()
            except IndexError:  # the attendant has returned the rest
                break
            if job.deadline <= now:
                answers.append(self._late(job, position))
            elif reader is None or position < job.after:
                self._park(job, stopped)
            else:
                reader.deadline = job.deadline
                interrupt.running = job
                try:
                    answers.append((job.id, position, self._answering.answer(job, reader)))
                    self._counters["answered"] += 1
                except Interrupted:
                    if job.id in link.cancelled:
                        stopped.append(job)
                    else:
                        answers.append(self._interrupted(job, position))
                if link.credit.busy:
                    break  # after a slow query the gateway decides the order of the rest
            now = time.monotonic()
        interrupt.running = None
        if answers:
            link.credit.record(len(answers), now - began)
        return answers

    def _park(self, job: Job, returned: list[Job]) -> None:
        """Park a query until the read model has caught up; beyond the maximum, return the furthest query."""
        self._parked.append(job)
        if len(self._parked) > PARKED_MAX:
            furthest = max(self._parked, key=lambda one: one.after)
            self._parked.remove(furthest)
            returned.append(furthest)

    def _interrupted(self, job: Job, position: int) -> Response:
        text = "The query ran into its deadline: ask for less, or give it more time."
        return job.id, position, pack(error(job.body["msg_id"], Code.UNAVAILABLE, text))

    def _look(self) -> None:
        """Report the identity and position of the read model: the gateway sends queries only for the current log."""
        self._begin_snapshot()
        self._end_snapshot()

    def _begin_snapshot(self) -> int:
        """Return the position of all answers until the snapshot ends; -1 without a readable read model."""
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
        self._position = checkpoint.position if checkpoint else NO_READ_MODEL
        return self._position

    def _end_snapshot(self) -> None:
        if self._reader:
            self._reader.end()

    def _late(self, job: Job, position: int) -> Response:
        """Refuse a query past its deadline: never answer with stale rows."""
        self._counters["late"] += 1
        text = "The deadline passed before the query was answered: try again, or give it more time."
        if position < job.after:
            where = f"at position {position}" if position >= 0 else "being built"
            text = f"The read model has not caught up: it is {where}, and you have seen {job.after}. Try again."
        return job.id, max(0, position), pack(error(job.body["msg_id"], Code.UNAVAILABLE, text))

    def _open(self) -> None:
        """Open the read model, if present, and open a replaced file again."""
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
        """Report the identity of the answers' log to the gateway, before the first of them."""
        known = self._link.identity
        self._link.identity = checkpoint.identity if checkpoint else None
        self._link.position = checkpoint.position if checkpoint else 0
        if self._link.identity != known:
            self._link.beat(self._status, now=True)
