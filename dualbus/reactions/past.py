"""The `Past` of a reaction: the history up to and including the event, for the same result in every run."""

from collections import OrderedDict
from collections.abc import Iterator
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple, cast
from uuid import UUID

from dualbus.application.app import App
from dualbus.application.messages import Event
from dualbus.application.past import S, applied, folded_types, initial, read_of
from dualbus.application.recorded import time_of
from dualbus.application.state_keys import Key, Tags, Types, key_of
from dualbus.application.tags import TagValue
from dualbus.log.contract import ReadableLog, RecordedEvent
from dualbus.log.tags import Tagger

STATES_MAX = 10_000
CHUNK_EVENTS = 256


class _Folded(NamedTuple):
    """A state with all matching events up to a position."""

    position: int
    state: Any


class Histories:
    """Reads the log for reactions, and caches the last folded states."""

    def __init__(self, app: App, log: ReadableLog) -> None:
        self.app = app
        self.tagger = Tagger(app.private_tags, log.secret)
        self._log = log
        self._states: OrderedDict[Key, _Folded] = OrderedDict()

    def events(self, tags: Tags, types: Types, after: int, until: int) -> Iterator[Event]:
        """Yield the events of these types with all tags, after a position and up to another.

        A reaction that is behind reads few of the later events, of which a tag may have many.
        """
        while found := self._log.history(tags, types, after, CHUNK_EVENTS):
            for event in found:
                if event.position > until:
                    return
                yield self.app.decode(event.type, event.data)
            after = found[-1].position
            if len(found) < CHUNK_EVENTS:
                return

    def fold(self, start: Any, tags: Tags, types: Types, until: int) -> Any:
        """Return the state of the events up to a position, from an initial state or its class."""
        key = key_of(start, tags, types)  # None: a state that may change is not cached
        found = self._states.pop(key, None) if key else None
        if found is None or found.position > until:
            found = _Folded(0, initial(start))
        state: Any = applied(found.state, self.events(tags, types, found.position, until))
        if key is None:
            return state
        self._states[key] = _Folded(until, state)
        if len(self._states) > STATES_MAX:
            self._states.popitem(last=False)
        return state


class ReactionPast:
    """The `Past` of a run of a reaction. Time and ids derive from the event and the key; a reaction has no actor."""

    actor: str | None = None

    def __init__(self, histories: Histories, event: RecordedEvent, key: str) -> None:
        self._histories = histories
        self._event = event
        self._key = key
        self._ids = 0

    def events(self, *tags: TagValue, of: Any = Event) -> list[Any]:
        """Return the events with all tags, oldest first."""
        return list(self._histories.events(*self._read(tags, of), 0, self._event.position))

    def fold(self, state: type[S] | S, *tags: TagValue) -> S:
        """Return the state of the events with all tags."""
        kind = state if isinstance(state, type) else type(state)
        read, types = self._read(tags, folded_types(kind))
        return cast("S", self._histories.fold(state, read, types, self._event.position))

    def new_id(self) -> str:
        """Return a UUIDv7 of the event's time: every run of the reaction returns the same ids."""
        self._ids += 1
        chance = sha256(f"{self._event.hash.hex()}/{self._key}/{self._ids}".encode()).digest()
        milliseconds = int(self.now().timestamp() * 1000)
        bits = milliseconds << 80 | int.from_bytes(chance[:10], "big")
        bits = bits & ~(0xF << 76) | 7 << 76
        bits = bits & ~(0x3 << 62) | 2 << 62
        return str(UUID(int=bits))

    def now(self) -> datetime:
        """Return the recorded time of the event."""
        return time_of(self._event.time)

    def _read(self, tags: tuple[TagValue, ...], of: Any) -> tuple[tuple[str, ...], frozenset[str]]:
        app, tagger = self._histories.app, self._histories.tagger
        read = read_of(tags, of, app.tags, app.event_types.values())
        return tagger.tags(read.tags), app.stored_names(read.types)
