"""Applies events to tables. No socket, no clock, no driver."""

from collections.abc import Collection, Sequence

from dualbus.application.app import App
from dualbus.application.causes import Unreadable, cause
from dualbus.application.immutable import own_event
from dualbus.application.recorded import Origins
from dualbus.log.contract import ReadableLog, RecordedEvent
from dualbus.readmodel.file import Damaged
from dualbus.readmodel.memory import ModelInMemory
from dualbus.readmodel.writer import ReadModelWriter
from dualbus.runtime.errors import application_errors


class ProjectionFailed(Exception):
    """An event cannot be applied. Status shows the text, without values of the event and without the cause's text."""

    def __init__(self, recorded: RecordedEvent, what: str) -> None:
        super().__init__(
            f"{what} at position {recorded.position} ({recorded.type}); the log of the projector has the details"
        )
        self.position = recorded.position


class Applier:
    """Applies each event to the tables of all projections subscribed to its type, without the excluded ones."""

    def __init__(self, app: App, log: ReadableLog | None = None, exclude: Collection[str] = ()) -> None:
        self._decode = app.decode
        self._origins = Origins(log)
        self._on = {
            stored: [one for one in app.subscribers[kind] if one.projection not in exclude]
            for stored, kind in app.stored_types.items()
        }
        self._reads_origins = any(one.wants_recorded for on in self._on.values() for one in on)

    def prepare(self, events: Sequence[RecordedEvent]) -> None:
        """Read the records that the functions for these events need, at once."""
        if self._reads_origins:
            self._origins.read(events)

    def apply(self, recorded: RecordedEvent, tables: ReadModelWriter | ModelInMemory) -> None:
        """Apply an event. On ProjectionFailed, the caller must roll back; Damaged is raised for a damaged file."""
        on = self._on.get(recorded.type)
        if on is None:
            raise ProjectionFailed(recorded, "The event cannot be read (the application has no such event any more)")
        if not on:
            return
        try:
            event = self._decode(recorded.type, recorded.data)
        except Unreadable as error:
            raise ProjectionFailed(recorded, f"The event cannot be read ({error.cause})") from error
        for subscriber in on:
            tables.projection = subscriber.projection
            try:
                own = own_event(event) if len(on) > 1 else event
                subscriber.apply(own, tables, recorded, self._origins)
                tables.check_applied()
            except Damaged:
                raise
            except application_errors() as error:
                raise ProjectionFailed(
                    recorded, f"Projection {subscriber.projection} raised {cause(error)}"
                ) from error
