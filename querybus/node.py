"""The process: receive queries, answer from one snapshot, defer queries for a later position."""

import logging
import os
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from dualbus.application.loader import load
from dualbus.application.tables import Interrupted
from dualbus.log.latest import LatestLog
from dualbus.protocol.batches import read_batch
from dualbus.protocol.codec import pack
from dualbus.protocol.codes import Code, WireError, error
from dualbus.protocol.feed import EVENTS
from dualbus.protocol.frames import Frames
from dualbus.protocol.records import NO_DETAILS, Job, Progress, Response, read_progress
from dualbus.readmodel.file import Checkpoint, Damaged, file_name
from dualbus.readmodel.reader import ReadModelReader
from dualbus.runtime.errors import EXIT_OK
from dualbus.runtime.files import make_folder
from dualbus.runtime.settings import Settings
from dualbus.runtime.signals import Stop
from dualbus.telemetry.tracing import Tracer, open_tracer
from dualbus.transport.keys import load_cluster_keys
from dualbus.transport.poller import Poll
from dualbus.transport.sockets import Socket, Sockets
from dualbus.worker.attendant import Attendant
from dualbus.worker.interrupt import Interrupt
from dualbus.worker.link import WorkerLink

from .feed import EventFeed
from .responder import Responder, behind

SNAPSHOT_SECONDS = 0.02  # of answering from one snapshot, before the answers are sent
SNAPSHOT_QUERIES = 512  # half of the credit: the gateway sends the other half meanwhile
DEFERRED_MAX = 64  # queries waiting here for the read model; further queries wait at the gateway
GIVE_UP_SECONDS = 5.0  # beyond its deadline, for an unstoppable query
NO_READ_MODEL = -1  # a position
PROJECTOR_SILENT_SECONDS = 2.0
STILL_SECONDS = 0.25  # after the request to stop, without progress of the read model
CHECK_SECONDS = 0.05  # between checks of the read model: position (for deferred queries) and file

logger = logging.getLogger(__name__)


def serve(settings: Settings, stop: Stop) -> int:
    """Run a query bus until a stop is requested."""
    app = load(settings.app)
    make_folder(settings.data)  # also checks the access rights of an existing folder
    with Sockets(load_cluster_keys(settings.keys)) as sockets:
        link = WorkerLink(sockets.dealer(settings.back), "querybus", sorted([*app.query_types, EVENTS]))
        path = settings.data / file_name(app.projections)
        logger.info("Answering from the read model %s (pid %d).", path, os.getpid())
        interrupt = Interrupt()
        progress = sockets.subscriber(settings.progress)
        with closing(LatestLog(settings.data)) as log:
            responder = Responder(app, EventFeed(app, log.open), interrupt)
            return QueryBus(responder, interrupt, path, progress, link).run(stop)


class QueryBus:
    """Answers queries from the read model, opened read-only."""

    def __init__(
        self, responder: Responder, interrupt: Interrupt, path: Path, progress: Socket, link: WorkerLink
    ) -> None:
        self._responder = responder
        self._interrupt = interrupt
        self._path = path
        self._progress = progress
        self._progress_frames: Frames = []  # the last received
        self._progress_at = float("-inf")
        self._link = link
        self._reader: ReadModelReader | None = None
        self._attendant = Attendant(
            link,
            interrupt,
            self._status,
            handler="query",
            returns=True,
            give_up_seconds=GIVE_UP_SECONDS,
            attend=self._return_deferred,
        )
        self._tracer = open_tracer("querybus", link.types)
        self._traced: list[tuple[Job, float, float]] = []  # answered, if spans are recorded
        self._deferred: list[Job] = []  # for a later position
        self._position = NO_READ_MODEL  # of the last snapshot
        self._still_at: int | None = None  # the position of the read model after the request to stop
        self._still_since = 0.0
        self._next_check = 0.0
        self._next_file_check = 0.0
        self._damage = ""  # the last logged damage of the file
        self._counters = {"answered": 0, "snapshots": 0, "late": 0}

    def run(self, stop: Stop) -> int:
        """Answer until a stop is requested."""
        link = self._link
        self._check_read_model()
        self._attendant.start()
        link.register()
        without_progress = Poll(link.socket, stop=stop, spins=True)
        with_progress = Poll(link.socket, self._progress, stop=stop, spins=True)
        while not link.finished(stop):
            link.wait(with_progress if self._deferred else without_progress, self._wait_seconds())
            link.receive()
            if link.cancelled:
                self._return_cancelled()
            if stop.requested and self._deferred:
                self._return_unreachable()
            if self._deferred:
                self._requeue_deferred()
            if link.jobs:
                self._process_queries()
            if not self._deferred:
                self._receive_progress()  # no query waits for a position
            if not link.seconds_to_heartbeat:
                self._check_read_model()
            link.credit.deferred = len(self._deferred)
            link.send_heartbeat(self._status)
        self._attendant.stop()
        if self._tracer:
            self._tracer.close()
        return EXIT_OK

    def _process_queries(self) -> None:
        """Answer queued queries from one snapshot."""
        link = self._link
        position = self._begin_snapshot()
        stopped: list[Job] = []
        with link.handling():
            answers = self._answer(position, stopped)
        link.credit.busy = False
        link.answer(answers)
        link.return_jobs(stopped, position)
        self._end_snapshot()  # after sending: clients do not wait for it
        if self._tracer:
            self._record_spans(self._tracer)

    def _record_spans(self, tracer: Tracer) -> None:
        for job, began, ended in self._traced:
            tracer.record("query", job.body["trace"], job.what, began, ended)
        self._traced.clear()

    def _return_cancelled(self) -> None:
        """Return the deferred queries cancelled by the gateway."""
        cancelled = self._link.cancelled
        returned = [job for job in self._deferred if job.id in cancelled]
        self._deferred = [job for job in self._deferred if job.id not in cancelled]
        cancelled.clear()
        self._link.return_jobs(returned, self._position)

    def _return_deferred(self) -> None:
        """Return the deferred queries behind a slow query, in the attendant's thread: the main thread may append."""
        returned = []
        while self._deferred:
            returned.append(self._deferred.pop(0))
        self._link.return_jobs(returned, self._position)
        self._link.credit.deferred = 0

    def _return_unreachable(self) -> None:
        """Return the deferred queries if the read model stands still: the projector is stopped before its cluster.

        If the whole cluster stops, the projector runs on until these queries are answered.
        """
        now = time.monotonic()
        if self._position != self._still_at:
            self._still_at, self._still_since = self._position, now
        elif now - self._still_since > STILL_SECONDS:
            self._link.return_jobs(self._deferred, self._position)
            self._deferred.clear()

    def _requeue_deferred(self) -> None:
        """Queue the deferred queries again if the read model may have moved."""
        now = time.monotonic()
        if self._receive_progress() or now >= self._next_check:
            self._next_check = now + CHECK_SECONDS
            current = self._link.registration
            self._link.jobs.extendleft(reversed([job for job in self._deferred if job.registration == current]))
            self._deferred.clear()

    def _receive_progress(self) -> bool:
        """Keep the last report of the projector; return whether there are new reports."""
        received = self._progress.receive()
        if received:
            self._progress_frames, self._progress_at = received[-1], time.monotonic()
        return bool(received)

    def _projector(self) -> Progress | None:
        """Return the last report of the projector, unless the projector is silent."""
        if time.monotonic() - self._progress_at > PROJECTOR_SILENT_SECONDS:
            return None
        try:
            return read_progress(read_batch(self._progress_frames)[1])
        except WireError:
            return None

    def _status(self) -> dict[str, Any]:
        queue = len(self._link.jobs) + len(self._deferred)
        deferred = self._link.credit.deferred
        return {"queue": queue, "deferred": deferred, **self._counters, **self._attendant.status()}

    def _wait_seconds(self) -> float:
        if self._link.jobs:
            return 0
        return (
            min(CHECK_SECONDS, self._link.seconds_to_heartbeat) if self._deferred else self._link.seconds_to_heartbeat
        )

    def _answer(self, position: int, stopped: list[Job]) -> list[Response]:
        """Answer queued queries from one snapshot; defer queries for a later position.

        Cancelled queries are added to `stopped`.
        """
        reader, link, interrupt = self._reader, self._link, self._interrupt
        jobs = link.jobs
        answers: list[Response] = []
        self._counters["snapshots"] += 1 if reader else 0
        began = now = time.monotonic()
        while jobs and len(answers) < SNAPSHOT_QUERIES and now < began + SNAPSHOT_SECONDS:
            try:
                job = jobs.popleft()
            except IndexError:  # the attendant has returned the others
                break
            if job.deadline <= now:
                answers.append(self._late(job, position))
            elif job.what != EVENTS and (reader is None or position < job.after):
                self._defer(job, stopped)
            else:
                if reader:
                    reader.deadline = job.deadline
                interrupt.running = job
                try:
                    answers.append((job.id, max(0, position), *self._responder.answer(job, reader)))
                    self._counters["answered"] += 1
                except Interrupted:
                    if job.id in link.cancelled:
                        stopped.append(job)
                    else:
                        answers.append(self._interrupted(job, position))
                if self._tracer and "trace" in job.body:
                    self._traced.append((job, now, time.monotonic()))
                if link.credit.busy:
                    break  # a slow query: the attendant has returned the others
            now = time.monotonic()
        interrupt.running = None
        if answers:
            link.credit.record(len(answers), now - began)
        return answers

    def _defer(self, job: Job, returned: list[Job]) -> None:
        """Keep a query until the read model has caught up; of too many, return the furthest ahead."""
        self._deferred.append(job)
        if len(self._deferred) > DEFERRED_MAX:
            with suppress(ValueError):  # the attendant has returned them
                furthest = max(list(self._deferred), key=lambda deferred: deferred.after)
                self._deferred.remove(furthest)
                returned.append(furthest)

    def _interrupted(self, job: Job, position: int) -> Response:
        text = "The query exceeded its deadline and was stopped: request less, or allow more time."
        return job.id, max(0, position), pack(error(job.body["msg_id"], Code.UNAVAILABLE, text)), NO_DETAILS

    def _check_read_model(self) -> None:
        """Read log identity and position of the read model for the next heartbeat.

        The gateway sends work only to workers with its log.
        """
        self._begin_snapshot()
        self._end_snapshot()

    def _begin_snapshot(self) -> int:
        """Begin a snapshot and return its position; NO_READ_MODEL without a readable file."""
        checkpoint = None
        try:
            self._open()
            if self._reader:
                checkpoint = self._reader.begin()
        except Damaged as damaged:
            if str(damaged) != self._damage:
                logger.error("%s Waiting for the projector to build a new one.", damaged)
            self._damage = str(damaged)
            self._close()
        self._report(checkpoint)
        self._position = checkpoint.position if checkpoint else NO_READ_MODEL
        return self._position

    def _end_snapshot(self) -> None:
        if self._reader:
            self._reader.end()

    def _late(self, job: Job, position: int) -> Response:
        """Answer a query after its deadline with an error, never with old rows."""
        self._counters["late"] += 1
        text = "The deadline passed before the query was answered: try again, or allow more time."
        if position < job.after:
            text = behind(position, job.after, self._path.name, self._projector())
        return job.id, max(0, position), pack(error(job.body["msg_id"], Code.UNAVAILABLE, text)), NO_DETAILS

    def _open(self) -> None:
        """Open the read model if the file exists, and again if the file was replaced; a removed file stays open."""
        now = time.monotonic()
        if self._reader and now < self._next_file_check:
            return
        self._next_file_check = now + CHECK_SECONDS
        if (self._reader is None or self._reader.replaced()) and self._path.exists():
            self._close()
            self._reader = ReadModelReader(self._path)

    def _close(self) -> None:
        if self._reader:
            self._reader.close()
        self._reader = None

    def _report(self, checkpoint: Checkpoint | None) -> None:
        """Report the log of the read model to the gateway, before the first answer from it."""
        known = self._link.identity
        self._link.identity = checkpoint.identity if checkpoint else None
        self._link.position = checkpoint.position if checkpoint else 0
        if self._link.identity != known:
            self._link.send_heartbeat(self._status, now=True)
