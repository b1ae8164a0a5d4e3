"""The process: wait for the log, build the read model, follow the log."""

import logging
import os
import sys
import time
from contextlib import suppress
from typing import Any

from dualbus.application.loader import load
from dualbus.log.contract import ReadableLog
from dualbus.log.engine import log_exists, open_reader
from dualbus.protocol.batches import batch, read_batch
from dualbus.protocol.codes import WireError
from dualbus.protocol.frames import EVENTS, PROGRESS, Frames
from dualbus.protocol.records import Progress, Published, Transaction, read_published
from dualbus.readmodel.builder import Builder, discard
from dualbus.readmodel.checkpoints import check_log_is_complete
from dualbus.readmodel.file import Damaged, file_name
from dualbus.readmodel.folder import lock_writer
from dualbus.readmodel.updater import Updater
from dualbus.runtime.errors import EXIT_OK, AlreadyRunningError, DataError
from dualbus.runtime.files import Lock, lock_data, make_folder
from dualbus.runtime.settings import Settings
from dualbus.runtime.signals import Stop
from dualbus.telemetry.tracing import open_tracer
from dualbus.transport.keys import load_cluster_keys
from dualbus.transport.poller import Poll
from dualbus.transport.sockets import Sockets
from dualbus.worker.attendant import Attendant
from dualbus.worker.interrupt import Interrupt
from dualbus.worker.link import WorkerLink

from .follower import Follower
from .spans import record_spans

HEAD_POLL_SECONDS = 1.0  # between reads of the log's head, in case publications do not arrive
PROGRESS_SECONDS = 0.5
TRANSACTIONS_MAX = 1000  # reported in a heartbeat
BUILT_ELSEWHERE = "waiting for `dualbus build`"

logger = logging.getLogger(__name__)


def serve(settings: Settings, stop: Stop) -> int:
    """Run the projector until a stop is requested."""
    _use_batch_scheduling()
    make_folder(settings.data)
    lock = lock_data(settings.data, "projector", "projector writes the read model")
    try:
        with Sockets(load_cluster_keys(settings.keys)) as sockets:
            return Projector(settings, sockets, stop).run()
    finally:
        lock.release()


def _use_batch_scheduling() -> None:
    """Do not interrupt other processes, which serve clients, on a wakeup. The share of processor time stays equal."""
    if sys.platform == "linux":
        with suppress(OSError):  # if not permitted: only slightly slower
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


class Projector:
    """Applies the log to the read model, and publishes its position."""

    def __init__(self, settings: Settings, sockets: Sockets, stop: Stop) -> None:
        self._folder = settings.data
        self._app = load(settings.app)
        self._path = settings.data / file_name(self._app.projections)
        self._stop = stop
        self._events = sockets.subscriber(settings.events)
        self._progress = sockets.publisher(settings.progress)
        self._link = WorkerLink(sockets.dealer(settings.back), "projector", [])
        self._poll = Poll(self._events, self._link.socket, stop=stop)
        self._interrupt = Interrupt()
        self._attendant = Attendant(self._link, self._interrupt, self._status, handler="projection of")
        self._updater: Updater | None = None
        self._received: list[Frames] = []  # from the publisher, in this turn
        self._transactions: list[Transaction] = []  # since the last heartbeat
        self._tracer = open_tracer("projector", self._app.command_types)
        self._state = "starting"
        self._next_head_poll = 0.0
        self._next_progress = 0.0

    def run(self) -> int:
        """Project until a stop is requested."""
        self._attendant.start()
        self._link.register()
        log = self._wait_for_log()
        if log:
            check_log_is_complete(self._folder, log)
            self._app.check_stored(log.types())
        lock = self._lock_read_model() if log else None
        while log and lock and self._turn(0):
            if updater := self._open(log):
                self._follow(updater)
            if self._updater:
                self._updater.writer.close()
        if lock:
            lock.release()
        self._attendant.stop()
        if self._tracer:
            self._tracer.close()
        return EXIT_OK

    def _turn(self, seconds: float) -> bool:
        """Wait, exchange messages with the gateway, send a heartbeat; return False at the end."""
        ready = self._link.wait(self._poll, min(seconds, self._link.seconds_to_heartbeat))
        self._received = self._events.receive(ready=True) if self._events in ready else []
        self._link.receive()
        self._link.send_heartbeat(self._status)
        return not self._link.finished(self._stop)

    def _status(self) -> dict[str, Any]:
        transactions, self._transactions = self._transactions, []
        status = self._updater.status() if self._updater else {}
        return {"state": self._state, **status, **self._attendant.status(), "transactions": transactions}

    def _wait_for_log(self) -> ReadableLog | None:
        if not log_exists(self._folder):
            logger.info("Waiting for commandbus to create the log in %s (pid %d).", self._folder, os.getpid())
        self._state = "waiting for the log"
        while self._turn(0.05):  # publications are ignored: the log has their events
            if log_exists(self._folder):
                return open_reader(self._folder)
        return None

    def _lock_read_model(self) -> Lock | None:
        """Wait until `dualbus build` has built the read model; return None if a stop is requested."""
        while self._turn(0.05):
            try:
                return lock_writer(self._path)
            except AlreadyRunningError as running:
                if self._state != BUILT_ELSEWHERE:
                    logger.info("Waiting until the read model is built: %s", running)
                self._state = BUILT_ELSEWHERE
        return None

    def _open(self, log: ReadableLog) -> Updater | None:
        """Open the read model, or build it; return None if a stop is requested."""
        builder = Builder(self._path, self._app, log, self._interrupt)
        self._updater = builder.updater
        exists = builder.done
        while not builder.done:
            self._state = builder.failure or "building"
            if not self._turn(builder.pause):
                return None
            with self._link.handling():
                builder.build()
            self._updater = builder.updater
            if time.monotonic() >= self._next_progress:
                self._publish(Progress(log.identity, builder.position, self._path.name, builder.failure or ""))
        if self._updater:
            if not exists:
                self._record(0, self._updater.position)
            logger.info(
                "The read model %s is at position %d (pid %d).", self._path, self._updater.position, os.getpid()
            )
        return self._updater

    def _follow(self, updater: Updater) -> None:
        """Apply publications, and read the log after a gap."""
        follower = Follower(updater)
        self._announce(updater)
        while self._turn(updater.pause if updater.behind else PROGRESS_SECONDS):
            before = updater.position
            publications = self._publications(updater.log)
            if time.monotonic() >= self._next_head_poll:
                self._next_head_poll = time.monotonic() + HEAD_POLL_SECONDS
                updater.check_head()
                if updater.writer.replaced():
                    logger.error(
                        "The read model %s was removed or replaced; building a new one.", updater.writer.path
                    )
                    return
            began = time.monotonic()
            try:
                with self._link.handling():
                    follower.follow(publications)
            except Damaged as damaged:
                discard(updater.writer, damaged)
                return
            if updater.position != before:
                self._record(before, updater.position)
            if updater.position != before or time.monotonic() >= self._next_progress:
                self._announce(updater)
            if self._tracer and updater.position != before:
                record_spans(self._tracer, updater.log, before, updater.position, began)
            self._state = updater.failure or "following"

    def _record(self, before: int, after: int) -> None:
        """Record a transaction for the next heartbeat."""
        if len(self._transactions) < TRANSACTIONS_MAX:
            self._transactions.append(Transaction(before, after, time.time_ns() // 1000))

    def _publications(self, log: ReadableLog) -> list[Published]:
        publications: list[Published] = []
        for frames in self._received:
            try:
                kind, items = read_batch(frames)
                if kind == EVENTS:
                    publications += read_published(items)
            except WireError as error:
                logger.warning("Dropped an invalid publication: %s", error)
        for published in publications:
            if published.identity != log.identity:
                raise DataError(
                    f"The log in {self._folder} is {log.identity}, but the published events are of the log "
                    f"{published.identity}: set the same DUALBUS_DATA for commandbus and projector."
                )
        return publications

    def _announce(self, updater: Updater) -> None:
        self._link.identity, self._link.position = updater.log.identity, updater.position
        self._publish(Progress(updater.log.identity, updater.position, self._path.name, updater.failure or ""))

    def _publish(self, progress: Progress) -> None:
        self._progress.send([batch(PROGRESS, [progress])])
        self._next_progress = time.monotonic() + PROGRESS_SECONDS
