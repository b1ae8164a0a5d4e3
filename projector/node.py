"""The sockets of the projector, and its loop: wait for the log, catch up, follow."""

import logging
import os
import sys
import time
from contextlib import suppress
from typing import Any

from dualbus.application.loader import load
from dualbus.log.contract import RecordedEvent
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.log.sqlite.schema import FILE_NAME
from dualbus.protocol.batches import batch
from dualbus.protocol.codec import unpack
from dualbus.protocol.codes import WireError
from dualbus.protocol.frames import EVENTS, PROGRESS, Frames
from dualbus.protocol.records import Progress, Published, read_published
from dualbus.readmodel.witness import check_witnesses
from dualbus.runtime.errors import EXIT_OK, DataError
from dualbus.runtime.files import is_there, lock_data, make_folder
from dualbus.runtime.settings import Settings
from dualbus.runtime.signals import Stop
from dualbus.transport.poller import Poll
from dualbus.transport.sockets import Sockets
from dualbus.worker.attendant import Attendant
from dualbus.worker.interrupt import Interrupt
from dualbus.worker.link import WorkerLink

from .applier import fresh
from .builder import Model

LOOK_SECONDS = 1.0  # between checks of the log itself, in case the publisher is unreachable
PROGRESS_SECONDS = 0.5

logger = logging.getLogger(__name__)


def serve(settings: Settings, stop: Stop) -> int:
    """Run the projector until a stop is requested."""
    _let_others_first()
    make_folder(settings.data)
    lock = lock_data(settings.data, "projector", "projector writes the read model")
    try:
        with Sockets() as sockets:
            return Projector(settings, sockets, stop).run()
    finally:
        lock.release()


def _let_others_first() -> None:
    """Schedule the process as a batch process: a wake-up then interrupts no process that is answering a client."""
    if sys.platform == "linux":
        with suppress(OSError):  # without permission, queries are only a little slower
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


class Projector:
    """Applies the log to the read model, and reports its position."""

    def __init__(self, settings: Settings, sockets: Sockets, stop: Stop) -> None:
        self._folder = settings.data
        self._app = load(settings.app)
        self._stop = stop
        self._events = sockets.subscriber(settings.events)
        self._progress = sockets.publisher(settings.progress)
        self._link = WorkerLink(sockets.dealer(settings.back), "projector", [])
        self._poll = Poll(self._events, self._link.socket, stop=stop)
        self._interrupt = Interrupt()
        self._attendant = Attendant(self._link, self._interrupt, self._status, handler="projection of")
        self._model: Model | None = None
        self._heard: list[Frames] = []  # from the publisher, in this turn
        self._state = "starting"
        self._next_look = 0.0
        self._next_progress = 0.0

    def run(self) -> int:
        """Project until a stop is requested."""
        self._attendant.start()
        self._link.announce()
        log = self._wait_for_log()
        if log:
            check_witnesses(self._folder, log)
            self._app.check_stored(log.types())
        while log and self._turn(0):
            self._model = Model(self._folder, self._app, log, self._interrupt)
            if self._build(self._model):
                self._follow(self._model, log)
            self._model.close()
        self._attendant.stop()
        return EXIT_OK

    def _turn(self, seconds: float) -> bool:
        """Wait, exchange messages with the gateway, publish the position; False once the projector should end."""
        ready = self._link.wait(self._poll, min(seconds, self._link.seconds_to_beat))
        self._heard = self._events.receive(ready=True) if self._events in ready else []
        self._link.receive()
        self._link.beat(self._status)
        return not self._link.finished(self._stop)

    def _status(self) -> dict[str, Any]:
        return {"state": self._state, **(self._model.status() if self._model else {}), **self._attendant.status()}

    def _wait_for_log(self) -> SqliteLogReader | None:
        self._state = "waiting for the log"
        while self._turn(0.05):  # publications missed here are in the log
            if is_there(self._folder / FILE_NAME):
                return SqliteLogReader(self._folder)
        return None

    def _build(self, model: Model) -> bool:
        """Build a read model up to the head of the log; False if a stop is requested first."""
        while model.building:
            self._state = model.failure or "building"
            if not self._turn(model.pause):
                return False
            with self._link.handling():
                model.build()
        logger.info("The read model %s is at position %d.", model.path, model.position)
        return True

    def _follow(self, model: Model, log: SqliteLogReader) -> None:
        """Apply publications, and read missing events from the log."""
        self._announce(model)
        while self._turn(model.pause if model.behind else PROGRESS_SECONDS):
            before = model.position
            self._take_in(model, log)
            if time.monotonic() >= self._next_look:
                self._next_look = time.monotonic() + LOOK_SECONDS
                model.look()
                if model.replaced():
                    logger.error("The read model %s was taken away; making it anew.", model.path)
                    return
            with self._link.handling():
                model.catch_up()
            if model.position != before or time.monotonic() >= self._next_progress:
                self._announce(model)
            self._state = model.failure or "following"

    def _take_in(self, model: Model, log: SqliteLogReader) -> None:
        """Apply the publications after the checkpoint, in one transaction."""
        following: list[RecordedEvent] = []
        for published in self._publications(log):
            position = model.position + len(following)
            events = fresh(position, published.before, published.events)
            if events is None:
                model.gap()
            else:
                following += events
        if following and not model.behind:
            with self._link.handling():
                model.take(following)

    def _publications(self, log: SqliteLogReader) -> list[Published]:
        found: list[Published] = []
        for frames in self._heard:
            try:
                if frames[0] == EVENTS:
                    found += read_published(unpack(frames[1]))
            except (WireError, IndexError) as error:
                logger.warning("Dropped a publication that is not of the protocol: %s", error)
        for published in found:
            if published.identity != log.identity:
                raise DataError(
                    f"The log in {self._folder} is {log.identity.log}, and what is published comes from another "
                    f"({published.identity[0]}): give commandbus and projector the same DUALBUS_DATA."
                )
        return found

    def _announce(self, model: Model) -> None:
        self._link.identity, self._link.position = model.identity, model.position
        self._progress.send(batch(PROGRESS, [Progress(model.identity, model.position)]))
        self._next_progress = time.monotonic() + PROGRESS_SECONDS
