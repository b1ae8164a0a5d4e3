"""The history for the decisions of one command batch: the log, then the uncommitted events of the batch."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from dualbus.application.app import App
from dualbus.application.immutable import own_event
from dualbus.application.messages import Event
from dualbus.application.past import S, applied, folded_types, initial, read_of
from dualbus.application.recorded import time_of
from dualbus.application.state_keys import Initial, Key, Tags, Types, key_of
from dualbus.application.tags import TagValue
from dualbus.log.contract import AppendCondition, Decision, Log, NewEvent, RecordedEvent
from dualbus.log.tags import Tagger
from dualbus.runtime.errors import application_errors
from dualbus.worker.interrupt import Interrupt

from .state_cache import CachedState, StateCache

if TYPE_CHECKING:
    from datetime import datetime

logger = logging.getLogger(__name__)


class _InBatch:
    """The uncommitted events of some types that carry some tags."""

    __slots__ = ("events", "position", "scanned")

    def __init__(self, position: int) -> None:
        self.events: list[Event] = []
        self.position = position  # of the last event, or before the batch
        self.scanned = 0  # entries of the index


class _Folded(NamedTuple):
    """A state during the batch."""

    state: Any
    applied: int  # number of uncommitted events
    position: int  # of the log when the state was read
    unsaved: int  # number of committed events that are not in the file of the state


class History:
    """Events and states by tags and types, including the decisions of the batch up to now."""

    def __init__(
        self,
        app: App,
        log: Log,
        states: StateCache,
        now: str,
        new_id: Callable[[], str],
        interrupt: Interrupt,
    ) -> None:
        self.now = now
        self.new_id = new_id
        self.app = app
        self.tagger = Tagger(app.private_tags, log.secret)
        self.decisions: list[Decision] = []
        self.start = self.position = log.head().position  # before and after the decisions of the batch
        self.shield = interrupt.shield  # after an interrupted read, the next decision would read the history again
        self._log = log
        self._states = states
        self._folded: dict[Key, _Folded] = {}
        self._in_batch: dict[tuple[Tags, Types], _InBatch] = {}
        self._nothing_in_batch = _InBatch(self.start)
        self._index: dict[str, list[tuple[int, NewEvent]]] = {}  # by tag, the events of the first decisions
        self._indexed, self._indexed_position = 0, self.start
        self._decoded: dict[int, Event] = {}  # by position
        states.begin(self.position)

    def add(self, decision: Decision) -> None:
        """Add a decision to the batch: later decisions see its events."""
        self.position += len(decision.events)
        self.decisions.append(decision)

    def events(self, tags: Tags, types: Types) -> list[Event]:
        """Return the events of these types that carry all tags, oldest first."""
        committed = [self.decode(recorded) for recorded in self._log.history(tags, types)]
        return committed + self._own_uncommitted(tags, types)

    def fold(self, state: type[S] | S, tags: Tags, types: Types) -> S:
        """Return the state of the events of these types that carry all tags."""
        key = key_of(state, tags, types)
        if key is None:
            return applied(initial(state), self.events(tags, types))
        folded = self._folded.get(key) or self._committed_state(key)
        if new := self._own_uncommitted(tags, types, folded.applied):
            applied_now = folded.applied + len(new)
            folded = _Folded(applied(folded.state, new), applied_now, folded.position, folded.unsaved)
        self._folded[key] = folded
        return cast("S", folded.state)

    def read_position(self, tags: Tags, types: Types) -> int:
        """Return the position of the last matching event in the batch, else of the log before the batch.

        Not the current position: if another writer appends events before the batch, its own events move.
        """
        return self._uncommitted(tags, types).position

    def decode(self, recorded: NewEvent | RecordedEvent) -> Event:
        """Return an event of the log or of the batch as the application's object."""
        return self.app.decode(recorded.type, recorded.data)

    def commit_states(self) -> None:
        """Cache the states with the events of the batch: the log holds the whole batch, and no event in between."""
        for key, folded in self._folded.items():
            try:
                new = self._own_uncommitted(key.tags, key.types, folded.applied)
                state = applied(folded.state, new)
            except application_errors():
                logger.exception(
                    "The events of %s cannot be folded into %s; decisions that read them are aborted.",
                    key.tags,
                    key.name,
                )
                self._states.remove(key)
            else:
                position = max(folded.position, self.position)
                self._states.put(key, CachedState(position, state, folded.unsaved + folded.applied + len(new)))
        tags = (tag for decision in self.decisions for new in decision.events for tag in new.tags)
        self._states.committed(tags, self.position)

    def _committed_state(self, key: Key) -> _Folded:
        """Return a state at the position of the log before the batch: of the cache, and later events."""
        found = self._states.get(key)
        if found and self._states.is_current(key, found.position):
            return _Folded(found.state, 0, found.position, found.unsaved)
        after, state, unsaved = found or (0, _initial(key), 0)
        events = self._log.history(key.tags, key.types, after)
        folded = applied(state, map(self.decode, events))
        position = max(self.start, events[-1].position if events else 0)
        unsaved += len(events)
        self._states.put(key, CachedState(position, folded, unsaved))
        return _Folded(folded, 0, position, unsaved)

    def _own_uncommitted(self, tags: Tags, types: Types, after: int = 0) -> list[Event]:
        """Return the matching events in the decisions of the batch, without the first ones, for a function alone."""
        return list(map(own_event, self._uncommitted(tags, types).events[after:]))

    def _uncommitted(self, tags: Tags, types: Types) -> _InBatch:
        """Return the matching events in the decisions of the batch.

        Decoded on demand: most batches never read them, and keeping every event object costs more than the decisions.
        """
        self._update_index()
        entries = self._index.get(tags[0])
        if not entries:
            return self._nothing_in_batch
        found = self._in_batch.get((tags, types))
        if found is None:
            found = self._in_batch[tags, types] = _InBatch(self.start)
        for position, new in entries[found.scanned :]:
            if (not types or new.type in types) and (len(tags) == 1 or set(tags) <= set(new.tags)):
                found.events.append(self._event(position, new))
                found.position = position
            found.scanned += 1
        return found

    def _event(self, position: int, new: NewEvent) -> Event:
        event = self._decoded.get(position)
        if event is None:
            event = self._decoded[position] = self.decode(new)
        return event

    def _update_index(self) -> None:
        for decision in self.decisions[self._indexed :]:
            for new in decision.events:
                self._indexed_position += 1
                for tag in new.tags:
                    self._index.setdefault(tag, []).append((self._indexed_position, new))
        self._indexed = len(self.decisions)


class DecisionPast:
    """The `Past` of one decision. Each item of its append condition has the position of its first read."""

    __slots__ = ("_after", "_history", "actor")

    def __init__(self, history: History, actor: str | None = None) -> None:
        self.actor = actor
        self._history = history
        self._after: dict[tuple[Tags, Types], int] = {}

    @property
    def conditions(self) -> list[AppendCondition]:
        """The conditions under which the events of the decision may be appended."""
        if not self._after:
            return []
        return [AppendCondition(tags, types, after) for (tags, types), after in self._after.items()]

    def new_id(self) -> str:
        """Return a new id."""
        return self._history.new_id()

    def now(self) -> "datetime":
        """Return the time of the decision."""
        return time_of(self._history.now)

    def events(self, *tags: TagValue, of: Any = Event) -> list[Any]:
        """Return the events that carry all tags, oldest first."""
        stored_tags, types = self._read(tags, of)
        with self._history.shield:
            return self._history.events(stored_tags, types)

    def fold(self, state: type[S] | S, *tags: TagValue) -> S:
        """Return the state of the events that carry all tags."""
        kind = state if isinstance(state, type) else type(state)
        stored_tags, types = self._read(tags, folded_types(kind))
        with self._history.shield:
            return self._history.fold(state, stored_tags, types)

    def _read(self, tags: tuple[TagValue, ...], of: Any) -> tuple[Tags, Types]:
        """Return tags and types as in the index of the log, and add them to the append condition."""
        app, tagger = self._history.app, self._history.tagger
        read = read_of(tags, of, app.tags, app.event_types.values())
        item = tagger.tags(read.tags), app.stored_names(read.types)
        if item not in self._after:
            with self._history.shield:
                self._after[item] = self._history.read_position(*item)
        return item


def _initial(key: Key) -> Any:
    return key.initial.state if isinstance(key.initial, Initial) else key.initial()
