"""The events of the log as people see them: newest first, by filters, without private fields."""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dualbus.application import event_json
from dualbus.application.app import App
from dualbus.application.causes import Unreadable
from dualbus.log.contract import LogError, Outcome, ReadableLog, RecordedEvent
from dualbus.log.latest import LatestLog

CHUNK_EVENTS = 250
WINDOW_EVENTS_MAX = 2000  # with a tag, in one read
SEARCH_SECONDS = 0.25  # of one request: a further search continues where this search stopped
SHORT_CHARS = 160  # of an event in a list
TAGS_MAX = 10  # of an event, with neighbours
POSITION_MAX = 2**63 - 1


class Filter(NamedTuple):
    """The events that a list shows: each condition is optional."""

    types: tuple[str, ...] = ()
    tag: str = ""  # name:value
    text: str = ""  # in the public fields
    since: str = ""  # a time in UTC, as in the log, or its beginning
    until: str = ""  # excluded
    before: int | None = None  # a position


class ShownEvent(NamedTuple):
    """An event for people."""

    position: int
    time: str
    type: str
    data: dict[str, Any]  # the public fields
    hidden: tuple[str, ...]  # the names of the private fields
    tags: tuple[str, ...]
    command_id: str
    unreadable: str  # the reason why the application cannot read the event

    @property
    def text(self) -> str:
        """The public fields as JSON."""
        return json.dumps(self.data, ensure_ascii=False)

    @property
    def short(self) -> str:
        """The beginning of the text."""
        text = ", ".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in self.data.items())
        return text if len(text) <= SHORT_CHARS else f"{text[:SHORT_CHARS]}…"


class Found(NamedTuple):
    """The newest events of a filter, down to the position `searched`; there are older events if `more`."""

    events: list[ShownEvent]
    head: int
    searched: int
    more: bool


class History:
    """Reads the log. All methods belong to one thread; they raise LogError."""

    def __init__(self, app: App, folder: Path) -> None:
        self._app = app
        self.open = LatestLog(folder).open

    def head(self) -> int | None:
        """Return the last position; None without a readable log."""
        try:
            return self.open().head().position
        except LogError:
            return None

    def newest(self, wanted: Filter, limit: int, after: int = 0) -> Found:
        """Return the newest events of a filter, after a position."""
        log = self.open()
        head = log.head().position
        high = head if wanted.before is None else min(head, wanted.before - 1)
        if wanted.until:
            high = min(high, self._position_before(log, wanted.until, head))
        low = max(after, self._position_before(log, wanted.since, head) if wanted.since else 0)
        stop_at = time.monotonic() + SEARCH_SECONDS
        events: list[ShownEvent] = []
        for recorded, searched in self._backwards(log, wanted, low, high):
            high = searched
            if recorded and self._matches(shown := self.shown(recorded), wanted):
                events.append(shown)
            if len(events) == limit or time.monotonic() > stop_at:
                break
        return Found(events, head, high + 1, high > low)

    def one(self, position: int) -> ShownEvent | None:
        """Return the event at a position."""
        found = self.open().read(position - 1, 1) if 0 < position <= POSITION_MAX else []
        return self.shown(found[0]) if found and found[0].position == position else None

    def neighbours(self, event: ShownEvent) -> list[tuple[str, ShownEvent | None, ShownEvent | None]]:
        """Return for the first tags of an event the previous and the next event with each tag."""
        log = self.open()
        found = []
        for tag in event.tags[:TAGS_MAX]:
            wanted = Filter(tag=tag)
            before = next((one for one, _ in self._backwards(log, wanted, 0, event.position - 1) if one), None)
            after = log.history([tag], after=event.position, limit=1)
            found.append((tag, before and self.shown(before), self.shown(after[0]) if after else None))
        return found

    def of(self, outcome: Outcome, limit: int) -> list[ShownEvent]:
        """Return the first events of a command."""
        count = min(outcome.events, limit)
        return [self.shown(each) for each in self.open().read(outcome.first - 1, count)] if count else []

    def shown(self, recorded: RecordedEvent) -> ShownEvent:
        """Return an event for people: without private fields, and without fields that the application cannot read."""
        position, type_, data, when, command_id, _ = recorded
        try:
            event = self._app.decode(type_, data)
        except Unreadable as error:
            return ShownEvent(position, when, type_, {}, (), (), command_id, str(error.cause))
        kind = type(event)
        fields = event_json.fields_of(event)
        public = event_json.public(kind, fields)["payload"]
        hidden = tuple(name for name in fields if name not in public)
        tags = tuple(f"{name}:{text}" for name, text in event_json.tags(event) if name not in self._app.private_tags)
        return ShownEvent(position, when, kind.__name__, public, hidden, tags, command_id, "")

    def _matches(self, event: ShownEvent, wanted: Filter) -> bool:
        return (not wanted.types or event.type in wanted.types) and wanted.text.lower() in event.text.lower()

    def _stored(self, types: Sequence[str]) -> set[str]:
        return {stored for stored, kind in self._app.stored_types.items() if kind.__name__ in types}

    def _backwards(
        self, log: ReadableLog, wanted: Filter, low: int, high: int
    ) -> Iterator[tuple[RecordedEvent | None, int]]:
        """Yield events from `high` down to `low`, excluded, each with the next position to search.

        A chunk without an event yields None. The types are conditions of the index if there is a tag.
        """
        stored = self._stored(wanted.types)
        size = CHUNK_EVENTS
        while high > low:
            start = max(low, high - size)
            if wanted.tag:
                chunk = log.history([wanted.tag], sorted(stored), start, WINDOW_EVENTS_MAX)
                if len(chunk) == WINDOW_EVENTS_MAX and chunk[-1].position < high and size > CHUNK_EVENTS:
                    size //= 2  # too many events for one read
                    continue
                size *= 2
            else:
                chunk = log.read(start, high - start)
            for recorded in reversed(chunk):
                if recorded.position <= high and (not stored or recorded.type in stored):
                    yield recorded, recorded.position - 1
            high = start
            yield None, high

    def _position_before(self, log: ReadableLog, when: str, head: int) -> int:
        """Return the last position with an earlier time: times in the log never decrease."""
        low, high = 0, head
        while low < high:
            middle = (low + high + 1) // 2
            found = log.read(middle - 1, 1)
            low, high = (middle, high) if found and found[0].time < when else (low, middle - 1)
        return low
