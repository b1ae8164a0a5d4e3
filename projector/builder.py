"""The read model, from its creation to the head of the log. No event is skipped: a failing one stops it."""

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dualbus.application.app import App
from dualbus.log.contract import RecordedEvent
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.readmodel.file import Damaged, NoRoom, ReadModelBusyError, create, file_name
from dualbus.readmodel.witness import check_checkpoint
from dualbus.readmodel.writer import ReadModelWriter
from dualbus.runtime.errors import DataError
from dualbus.runtime.files import sync_folder
from dualbus.worker.interrupt import Interrupt

from .applier import Applier, ProjectionFailed

CHUNK_EVENTS, CHUNK_SECONDS = 5000, 0.2  # of one transaction: a slow projection must not delay heartbeats
# After so many events of a transaction the projector yields the processor to processes answering clients: half a
# commit's events at once would delay them for milliseconds. A projector far behind continues.
GIVE_WAY_AT = range(64, 1024, 64)
RETRY_SECONDS, RETRY_MAX_SECONDS = 0.1, 5.0
PROGRESS_LINE_SECONDS = 1.0
ROOM = "See whether there is room on its disk."

logger = logging.getLogger(__name__)


class Applying(NamedTuple):
    """An event while its projections run."""

    event: RecordedEvent
    deadline: float = float("inf")  # a projection is never interrupted
    id: int = 0

    @property
    def what(self) -> str:
        """The type of the event."""
        return self.event.type


class Model:
    """The file of these projections. While `building`, the file has another name, and no readers."""

    def __init__(self, folder: Path, app: App, log: SqliteLogReader, interrupt: Interrupt) -> None:
        self.path = folder / file_name(app.projections)
        self.identity = log.identity
        self.failure: str | None = None  # the reason for standing still
        self._logged = ""
        self._app = app
        self._log = log
        self._projecting = Applier(app)
        self._interrupt = interrupt
        self._retry_at = 0.0
        self._retry_seconds = RETRY_SECONDS
        self._caught_up_at = time.monotonic()
        self._next_line = time.monotonic() + PROGRESS_LINE_SECONDS
        self._counters = {"applied": 0, "commits": 0, "gaps": 0, "refused": 0}
        self._head = log.head().position
        found = self._usable()
        self.building = found is None
        self._writer = found or self._new()
        self.position = self._writer.checkpoint().position

    @property
    def behind(self) -> bool:
        """Tell whether the log is known to have more events."""
        return self.position < self._head

    @property
    def pause(self) -> float:
        """Seconds until the next attempt."""
        return max(0.0, self._retry_at - time.monotonic())

    def status(self) -> dict[str, Any]:
        """Return the position and the counters for Status."""
        lag_s = round(time.monotonic() - self._caught_up_at, 3) if self.behind else 0.0
        lag = max(0, self._head - self.position)
        return {"position": self.position, "lag_events": lag, "lag_s": lag_s, **self._counters}

    def build(self) -> None:
        """Apply the next chunk; at the head, rename the file for its readers."""
        self.look()
        self.catch_up()
        if self.behind:
            self._progress_line()
            return
        if self.pause:
            return
        making = self._writer.path
        try:
            self._writer.finish()
        except ReadModelBusyError as failure:
            self._failed(failure)
            return
        making.rename(self.path)
        for older in self.path.parent.glob("read-*.db*"):
            if not older.name.startswith(self.path.name):
                older.unlink()
        sync_folder(self.path.parent)
        self._writer = _opened(self.path)
        self.building = False

    def look(self) -> None:
        """See how far the log is, and until when we were as far."""
        if not self.behind:
            self._caught_up_at = time.monotonic()
        self._head = self._log.head().position

    def catch_up(self) -> None:
        """Apply the next chunk of the log, unless none is left or a retry is not due."""
        if self.behind and not self.pause:
            self._attempt(self._log.read(self.position, CHUNK_EVENTS))

    def gap(self) -> None:
        """Note a gap between the checkpoint and a publication: the log has the missing events."""
        self._counters["gaps"] += 1
        self.look()

    def take(self, events: Sequence[RecordedEvent]) -> None:
        """Apply published events after the checkpoint, unless the log does not have them."""
        self.look()
        if events[-1].position > self._head:
            self._counters["refused"] += 1
            logger.error("Position %d was published and is not in the log: refused.", events[-1].position)
        elif not self.pause:
            self._attempt(events)

    def replaced(self) -> bool:
        """Tell whether the file was removed or replaced."""
        return self._writer.replaced()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()

    def _attempt(self, events: Sequence[RecordedEvent]) -> None:
        try:
            self._apply(events)
        except (ProjectionFailed, ReadModelBusyError) as failure:
            self._failed(failure)
        else:
            self.failure, self._logged = None, ""
            self._retry_at, self._retry_seconds = 0.0, RETRY_SECONDS

    def _failed(self, failure: Exception) -> None:
        """Log a failure once, and double the pause before the next attempt."""
        self.failure = str(failure)
        if self._logged != (details := f"{failure}: {failure.__cause__}"):
            self._logged = details
            logger.error("%s. The read model stays at %d until this is put right.", failure, self.position)
            logger.error("The cause:", exc_info=failure.__cause__)
        self._retry_at = time.monotonic() + self._retry_seconds
        self._retry_seconds = min(RETRY_MAX_SECONDS, 2 * self._retry_seconds)

    def _apply(self, events: Sequence[RecordedEvent]) -> None:
        """Apply events and move the checkpoint in one transaction; stop after a while, or before a failing event."""
        self._writer.begin()
        until = time.monotonic() + CHUNK_SECONDS
        try:
            for number, event in enumerate(events):
                if number in GIVE_WAY_AT:
                    os.sched_yield()
                self._interrupt.running = Applying(event)
                self._projecting.apply(event, self._writer)
                if time.monotonic() > until:
                    break
        except ProjectionFailed as failed:
            self._writer.roll_back()
            if before := [event for event in events if event.position < failed.position]:
                self._apply(before)
            raise
        finally:
            self._interrupt.running = None
        self._writer.commit(event.position, event.hash)
        self._counters["applied"] += event.position - self.position
        self.position = event.position
        self._counters["commits"] += 1

    def _usable(self) -> ReadModelWriter | None:
        """Open the file if present and built from this log; None to build it again."""
        if not self.path.exists():
            return None
        try:
            writer = ReadModelWriter(self.path)
            seen = writer.checkpoint()
        except NoRoom as full:
            raise DataError(f"{full} {ROOM}") from None
        except Damaged as damaged:
            logger.error("%s It is made anew.", damaged)
            return None
        check_checkpoint(self._log, seen)
        if self._log.hash_at(seen.position) == seen.hash:
            if seen.identity != self.identity:
                writer.adopt(self.identity)
            return writer
        writer.close()
        logger.info("%s followed an earlier life of this log. It is made anew.", self.path)
        return None

    def _new(self) -> ReadModelWriter:
        making = self.path.with_name("building-" + self.path.name)
        for leftover in making.parent.glob(making.name + "*"):
            leftover.unlink()
        for unusable in self.path.parent.glob(self.path.name + "*"):
            unusable.unlink()
        try:
            create(making, self._app.projections, self.identity)
        except ReadModelBusyError as problem:
            raise DataError(f"{problem}: {ROOM}") from None
        return _opened(making, building=True)

    def _progress_line(self) -> None:
        if time.monotonic() >= self._next_line and not self.failure:
            self._next_line = time.monotonic() + PROGRESS_LINE_SECONDS
            percent = 100 * self.position // self._head
            logger.info("Building the read model: %d of %d events (%d %%).", self.position, self._head, percent)


def _opened(path: Path, *, building: bool = False) -> ReadModelWriter:
    """Open a new file."""
    try:
        return ReadModelWriter(path, building=building)
    except Damaged as problem:
        raise DataError(f"{problem} {ROOM}") from None
