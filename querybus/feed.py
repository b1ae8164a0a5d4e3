"""Answers the built-in query Events from the log, opened read-only. Query functions cannot access the log."""

import time
from collections.abc import Callable
from hashlib import blake2b
from typing import Annotated, Any

from pydantic import Field

from dualbus.application import event_json
from dualbus.application.app import App
from dualbus.application.errors import Problem, log_restored
from dualbus.application.messages import Invalid, Query
from dualbus.log.contract import LogError, ReadableLog, RecordedEvent
from dualbus.protocol.feed import EVENTS_DEFAULT, EVENTS_MAX
from dualbus.protocol.frames import BATCH_BYTES

READ_EVENTS = 250  # at a time
READ_SECONDS = 0.02  # for one answer: other queries wait meanwhile


class Events(Query):
    """The events after a position: all, or those of some types, or with a tag."""

    after: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[int, Field(ge=1, le=EVENTS_MAX)] = EVENTS_DEFAULT
    types: Annotated[list[str], Field(max_length=EVENTS_MAX)] = Field(default_factory=list)
    tag: str | None = None  # "name:value"
    after_hash: str = ""  # of the event at the position `after`, as an earlier answer had it


class EventFeed:
    """Reads events of the log, without their private fields."""

    def __init__(self, app: App, open_log: Callable[[], ReadableLog]) -> None:
        self._app = app
        self._open = open_log  # for each request, because a restore may have replaced the log

    def _check(self, query: Events) -> None:
        """Raise Invalid for a type or a tag that the application does not have, and for a private tag."""
        problems = [
            Problem(f"{name} is not an event of the application", "types", "not_allowed")
            for name in query.types
            if name not in self._app.event_types
        ]
        if query.tag is not None:
            name, colon, value = query.tag.partition(":")
            public = sorted(self._app.tags - self._app.private_tags)
            if name in self._app.private_tags:
                problems.append(Problem(f"Tag {name!r} is private: choose another tag", "tag", "not_allowed"))
            elif name not in public or not colon or not value:
                known = ", ".join(public) or "none"
                text = f"Tag {query.tag!r} is unknown: write name:value with one of these names: {known}"
                problems.append(Problem(text, "tag", "not_allowed"))
        if problems:
            raise Invalid(problems)

    def read(self, query: Events) -> dict[str, Any]:
        """Return the next events, the last position read for them with its hash, and the head of the log.

        Events after this position are missing in the answer if there are too many, or if reading took too long.
        Raises Unreadable, LogError, also if the log ends before the position `after`, and Invalid, also if the log
        has another event at this position.
        """
        self._check(query)
        log = self._open()
        head = log.head().position
        if query.after > head:  # restored, and the gateway does not know it yet: no hash can be checked
            raise LogError(f"The log ends at position {head}, before position {query.after}. Retry later.")
        if query.after_hash and _hash_at(log, query.after) != query.after_hash:
            raise Invalid([log_restored(query.after)])
        types = {stored for stored, kind in self._app.stored_types.items() if kind.__name__ in query.types}
        position = query.after
        events: list[dict[str, Any]] = []
        size = 0
        until = time.monotonic() + READ_SECONDS
        while position < head and time.monotonic() < until:
            found = self._next(log, query.tag, types, position)
            for recorded in found:
                if not query.types or recorded.type in types:
                    size += len(recorded.data.encode())
                    if len(events) == query.limit or (events and size > BATCH_BYTES):
                        return _answer(log, events, position, max(head, recorded.position))
                    events.append(self._shown(recorded, log.secret))
                position = recorded.position
            if len(found) < READ_EVENTS:
                position = max(position, head)
        return _answer(log, events, position, max(head, position))

    def _next(self, log: ReadableLog, tag: str | None, types: set[str], after: int) -> list[RecordedEvent]:
        if tag is None:
            return log.read(after, READ_EVENTS)
        return log.history([tag], sorted(types), after, READ_EVENTS)

    def _shown(self, recorded: RecordedEvent, secret: bytes) -> dict[str, Any]:
        event = self._app.decode(recorded.type, recorded.data)
        shown = event_json.public(type(event), event_json.fields_of(event))
        hash_ = _public_hash(recorded.hash, secret)
        return {"position": recorded.position, "time": recorded.time, **shown, "hash": hash_}


def _answer(log: ReadableLog, events: list[dict[str, Any]], position: int, head: int) -> dict[str, Any]:
    return {"events": events, "position": position, "hash": _hash_at(log, position), "head": head}


def _hash_at(log: ReadableLog, position: int) -> str:
    """Return the hash of the event at a position as readers of events see it. Raises LogError beyond the head."""
    found = log.hash_at(position)
    if found is None:
        raise LogError(f"The log has no position {position}. Retry later.")
    return _public_hash(found, log.secret)


def _public_hash(hash_: bytes, secret: bytes) -> str:
    """Return the hash of an event with the log's secret: private fields cannot be guessed from it."""
    return blake2b(hash_, key=secret, digest_size=12).hexdigest()
