"""Applies events of the log to a read model, a transaction at a time; a failing event is never skipped."""

import logging
import os
import time
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, Protocol

from dualbus.application.app import App
from dualbus.application.causes import own_traceback
from dualbus.log.contract import ReadableLog, RecordedEvent
from dualbus.readmodel.applier import Applier, ProjectionFailed
from dualbus.readmodel.file import ReadModelBusyError
from dualbus.readmodel.writer import ReadModelWriter

CHUNK_EVENTS, CHUNK_SECONDS = 5000, 0.2  # of one transaction, so that a slow projection does not delay heartbeats
# After these numbers of events in a transaction, yield the processor to processes serving clients: without a yield,
# half a commit's events delay them for milliseconds. Beyond 1024 events the projector is catching up: no yield.
YIELD_AT = range(64, 1024, 64)
RETRY_SECONDS, RETRY_MAX_SECONDS = 0.1, 5.0

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


class Watch(Protocol):
    """Shows the running event to the attendant."""

    running: object | None


class Updater:
    """Moves a read model towards the head of the log; `failure` has the reason while an event cannot be applied."""

    def __init__(
        self,
        writer: ReadModelWriter,
        app: App,
        log: ReadableLog,
        watch: Watch,
        *,
        exclude: Collection[str] = (),  # projections with later rows already
    ) -> None:
        self.writer = writer
        self.log = log
        self.position = writer.checkpoint().position
        self.head = log.head().position
        self.failure: str | None = None
        self.counters = {"applied": 0, "commits": 0, "gaps": 0, "refused": 0}
        self._logged_failure = ""
        self._app = app
        self._applier = Applier(app, log, exclude)
        self._watch = watch
        self._retry_at = 0.0
        self._retry_seconds = RETRY_SECONDS
        self._caught_up_at = time.monotonic()

    @property
    def behind(self) -> bool:
        """Return whether the log has more events, as of the last check."""
        return self.position < self.head

    @property
    def pause(self) -> float:
        """Seconds until the next attempt."""
        return max(0.0, self._retry_at - time.monotonic())

    def status(self) -> dict[str, Any]:
        """Return the position, the lag and the counters."""
        lag_s = round(time.monotonic() - self._caught_up_at, 3) if self.behind else 0.0
        lag = max(0, self.head - self.position)
        failed = int(self.failure is not None)
        return {"position": self.position, "lag_events": lag, "lag_s": lag_s, "failed": failed, **self.counters}

    def check_head(self) -> None:
        """Read the head of the log, and note the time if the read model has caught up."""
        if not self.behind:
            self._caught_up_at = time.monotonic()
        self.head = self.log.head().position

    def apply_to_all(self) -> None:
        """Apply further events to all projections."""
        self._applier = Applier(self._app, self.log)

    def catch_up(self, until: int | None = None) -> None:
        """Apply the next chunk of events from the log, up to a position, unless a retry is not due yet."""
        if self.behind and not self.pause:
            limit = CHUNK_EVENTS if until is None else min(CHUNK_EVENTS, until - self.position)
            self.attempt(self.log.read(self.position, limit))

    def attempt(self, events: Sequence[RecordedEvent]) -> None:
        """Apply the events after the position, or note the failure."""
        try:
            self._apply(events)
        except (ProjectionFailed, ReadModelBusyError) as failure:
            self.failed(failure)
        else:
            self.failure, self._logged_failure = None, ""
            self._retry_at, self._retry_seconds = 0.0, RETRY_SECONDS

    def failed(self, failure: Exception) -> None:
        """Log a failure once, and increase the time until the next attempt."""
        self.failure = str(failure)
        if self._logged_failure != (details := f"{failure}: {own_traceback(failure.__cause__ or failure)}"):
            self._logged_failure = details
            text = self.failure.removesuffix(".")
            logger.error("%s. The read model stays at position %d until this is fixed.", text, self.position)
            if failure.__cause__:
                logger.error("The cause:", exc_info=failure.__cause__)
        self._retry_at = time.monotonic() + self._retry_seconds
        self._retry_seconds = min(RETRY_MAX_SECONDS, 2 * self._retry_seconds)

    def _apply(self, events: Sequence[RecordedEvent]) -> None:
        """Apply events for a while and move the checkpoint, in one transaction; stop before a failing event."""
        self.writer.begin()
        until = time.monotonic() + CHUNK_SECONDS
        try:
            self._applier.prepare(events)
            for number, event in enumerate(events):
                if number in YIELD_AT:
                    os.sched_yield()
                self._watch.running = Applying(event)
                self._applier.apply(event, self.writer)
                if time.monotonic() > until:
                    break
        except ProjectionFailed as failed:
            self.writer.roll_back()
            if applicable := [event for event in events if event.position < failed.position]:
                self._apply(applicable)
            raise
        finally:
            self._watch.running = None
        self.writer.commit(event.position, event.hash)
        self.counters["applied"] += event.position - self.position
        self.position = event.position
        self.counters["commits"] += 1
