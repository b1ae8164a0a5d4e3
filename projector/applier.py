"""Events in, rows out, and the order of publications. No socket, no clock, no driver."""

from collections.abc import Callable, Sequence
from typing import Any

from dualbus.application.app import App
from dualbus.application.causes import Unreadable, cause
from dualbus.application.tables import Tables
from dualbus.log.contract import RecordedEvent
from dualbus.runtime.errors import RAISED


class ProjectionFailed(Exception):
    """A projection failed on an event. Status shows the text, which holds no value of the event or of the cause."""

    def __init__(self, recorded: RecordedEvent, what: str) -> None:
        super().__init__(
            f"{what} at position {recorded.position} ({recorded.type}); the log of the projector has the details"
        )
        self.position = recorded.position


def fresh(checkpoint: int, before: int, events: Sequence[RecordedEvent]) -> Sequence[RecordedEvent] | None:
    """Return the published events after the checkpoint, or None if events before them are missing.

    Subscribe, catch up, follow (zguide, chapter 5, "Clone"): skip events up to the checkpoint, apply the next
    events, and at a gap read the log.
    """
    if before > checkpoint:
        return None
    return events[checkpoint - before :]


class Applier:
    """Applies events to the tables of every projection on them."""

    def __init__(self, app: App) -> None:
        self._decode = app.decode
        self._on: dict[str, list[tuple[str, Callable[[Any, Any], None]]]] = {
            stored: [(one.name, one.on[kind]) for one in app.projections if kind in one.on]
            for stored, kind in app.stored_types.items()
        }

    def apply(self, recorded: RecordedEvent, tables: Tables) -> None:
        """Apply an event. Raises ProjectionFailed; the caller rolls back."""
        on = self._on.get(recorded.type)
        if on is None:
            raise ProjectionFailed(recorded, "The event cannot be read (the application has no such event any more)")
        if not on:
            return
        try:
            event = self._decode(recorded.type, recorded.data)
        except Unreadable as error:
            raise ProjectionFailed(recorded, f"The event cannot be read ({error.cause})") from error
        except KeyboardInterrupt as error:  # which no Ctrl-C raises in a process
            raise ProjectionFailed(recorded, f"The event cannot be read ({cause(error)})") from error
        for name, function in on:
            try:
                function(event, tables)
            except RAISED as error:
                raise ProjectionFailed(recorded, f"Projection {name} raised {cause(error)}") from error
