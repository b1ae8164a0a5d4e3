"""Builds the read model from the log, and follows the log; a failing event is never skipped."""

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dualbus.application.app import App
from dualbus.log.contract import ReadableLog, RecordedEvent
from dualbus.readmodel.file import Damaged, NoRoom, ReadModelBusyError, create, file_name
from dualbus.readmodel.witness import check_checkpoint
from dualbus.readmodel.writer import ReadModelWriter
from dualbus.runtime.errors import DataError
from dualbus.runtime.files import sync_folder
from dualbus.worker.interrupt import Interrupt

from .applier import Applier, ProjectionFailed

CHUNK_EVENTS, CHUNK_SECONDS = 5000, 0.2  # of one transaction, so that a slow projection does not delay heartbeats
# After these numbers of events in a transaction, yield the processor to processes serving clients: without a yield,
# half a commit's events delay them for milliseconds. Beyond 1024 events the projector is catching up: no yield.
YIELD_AT = range(64, 1024, 64)
RETRY_SECONDS, RETRY_MAX_SECONDS = 0.1, 5.0
PROGRESS_LINE_SECONDS = 1.0
ROOM = "Check the free space of its disk."

logger = logging.getLogger(__name__)


class Applying(NamedTuple):
    """An event for the attendant, while its projections run."""

    event: RecordedEvent
    deadline: float = float("inf")  # none: no event is skipped
    id: int = 0

    @property
    def what(self) -> str:
        """The type of the event."""
        return self.event.type


class Model:
    """The read model of these projections. While `building`, the file has a temporary name and no readers."""

    def __init__(self, folder: Path, app: App, log: ReadableLog, interrupt: Interrupt) -> None:
        self.path = folder / file_name(app.projections)
        self.identity = log.identity
        self.failure: str | None = None  # the reason, while an event cannot be applied
        self._logged_failure = ""
        self._app = app
        self._log = log
        self._applier = Applier(app)
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
        """Return whether the log has more events, as of the last check."""
        return self.position < self._head

    @property
    def pause(self) -> float:
        """Seconds until the next attempt."""
        return max(0.0, self._retry_at - time.monotonic())

    def status(self) -> dict[str, Any]:
        """Return the position, the lag and the counters."""
        lag_s = round(time.monotonic() - self._caught_up_at, 3) if self.behind else 0.0
        lag = max(0, self._head - self.position)
        return {"position": self.position, "lag_events": lag, "lag_s": lag_s, **self._counters}

    def build(self) -> None:
        """Apply the next chunk of events; at the head of the log, rename the file to its final name."""
        self.check_head()
        self.catch_up()
        if self.behind:
            self._progress_line()
            return
        if self.pause:
            return
        building = self._writer.path
        try:
            self._writer.finish()
        except ReadModelBusyError as failure:
            self._failed(failure)
            return
        building.rename(self.path)
        for old in self.path.parent.glob("read-*.db*"):
            if not old.name.startswith(self.path.name):
                old.unlink()
        sync_folder(self.path.parent)
        self._writer = _opened(self.path)
        self.building = False

    def check_head(self) -> None:
        """Read the head of the log, and note the time if the read model has caught up."""
        if not self.behind:
            self._caught_up_at = time.monotonic()
        self._head = self._log.head().position

    def catch_up(self) -> None:
        """Apply the next chunk of events from the log, unless a retry is not due yet."""
        if self.behind and not self.pause:
            self._attempt(self._log.read(self.position, CHUNK_EVENTS))

    def note_gap(self) -> None:
        """Count a gap before a publication; the missing events are read from the log."""
        self._counters["gaps"] += 1
        self.check_head()

    def apply_published(self, events: Sequence[RecordedEvent]) -> None:
        """Apply published events after the checkpoint, unless the log lacks them."""
        self.check_head()
        if events[-1].position > self._head:
            self._counters["refused"] += 1
            logger.error("Position %d was published but is not in the log: refused.", events[-1].position)
        elif not self.pause:
            self._attempt(events)

    def replaced(self) -> bool:
        """Return whether the file was removed or replaced."""
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
            self.failure, self._logged_failure = None, ""
            self._retry_at, self._retry_seconds = 0.0, RETRY_SECONDS

    def _failed(self, failure: Exception) -> None:
        """Log a failure once, and increase the time until the next attempt."""
        self.failure = str(failure)
        if self._logged_failure != (details := f"{failure}: {failure.__cause__}"):
            self._logged_failure = details
            logger.error("%s. The read model stays at position %d until this is fixed.", failure, self.position)
            logger.error("The cause:", exc_info=failure.__cause__)
        self._retry_at = time.monotonic() + self._retry_seconds
        self._retry_seconds = min(RETRY_MAX_SECONDS, 2 * self._retry_seconds)

    def _apply(self, events: Sequence[RecordedEvent]) -> None:
        """Apply events for a while and move the checkpoint, in one transaction; stop before a failing event."""
        self._writer.begin()
        until = time.monotonic() + CHUNK_SECONDS
        try:
            for number, event in enumerate(events):
                if number in YIELD_AT:
                    os.sched_yield()
                self._interrupt.running = Applying(event)
                self._applier.apply(event, self._writer)
                if time.monotonic() > until:
                    break
        except ProjectionFailed as failed:
            self._writer.roll_back()
            if applicable := [event for event in events if event.position < failed.position]:
                self._apply(applicable)
            raise
        finally:
            self._interrupt.running = None
        self._writer.commit(event.position, event.hash)
        self._counters["applied"] += event.position - self.position
        self.position = event.position
        self._counters["commits"] += 1

    def _usable(self) -> ReadModelWriter | None:
        """Open an existing file of this log; return None if a new file must be built."""
        if not self.path.exists():
            return None
        try:
            writer = ReadModelWriter(self.path)
            checkpoint = writer.checkpoint()
        except NoRoom as full:
            raise DataError(f"{full} {ROOM}") from None
        except Damaged as damaged:
            logger.error("%s Building a new read model.", damaged)
            return None
        check_checkpoint(self._log, checkpoint)
        if self._log.hash_at(checkpoint.position) == checkpoint.hash:
            if checkpoint.identity != self.identity:
                writer.adopt(self.identity)
            return writer
        writer.close()
        logger.info("%s was built from an earlier incarnation of this log. Building a new read model.", self.path)
        return None

    def _new(self) -> ReadModelWriter:
        building = self.path.with_name("building-" + self.path.name)
        for leftover in building.parent.glob(building.name + "*"):
            leftover.unlink()
        for unusable in self.path.parent.glob(self.path.name + "*"):
            unusable.unlink()
        try:
            create(building, self._app.projections, self.identity)
        except ReadModelBusyError as problem:
            raise DataError(f"{problem}: {ROOM}") from None
        return _opened(building, building=True)

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
