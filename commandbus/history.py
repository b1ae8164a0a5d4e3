"""The history for the decisions of one command batch: the log, then the uncommitted events of the batch."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dualbus.application import event_json
from dualbus.application.app import App
from dualbus.application.messages import Event
from dualbus.application.past import Read, S, folded_types, initial, matches, read_of
from dualbus.application.recorded import time_of
from dualbus.application.tags import TagValue
from dualbus.log.contract import Decision, Log, NewEvent, RecordedEvent
from dualbus.log.tags import Tagger
from dualbus.worker.interrupt import Interrupt

from .state_cache import StateCache

if TYPE_CHECKING:
    from datetime import datetime


class History:
    """Events and states by tag, including the decisions of the batch up to now."""

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
        self._app = app
        self._log = log
        self._states = states
        self._index: dict[str, list[NewEvent]] = {}  # by tag, the events of the first `_indexed` decisions
        self._index_positions: dict[str, int] = {}  # by tag, the position of the last event
        self._indexed, self._indexed_position = 0, self.start
        self._decoded: dict[str, list[Event]] = {}  # by tag, the start of the list in `_index`
        states.begin(self.position)

    def add(self, decision: Decision) -> None:
        """Add a decision to the batch: later decisions see its events."""
        self.position += len(decision.events)
        self.decisions.append(decision)

    def events(self, tag: str) -> list[Event]:
        """Return the events of a tag, oldest first."""
        return self._committed_events(tag) + self._uncommitted_events(tag)

    def fold(self, state: type[S] | S, read: Read) -> S:
        """Return the state of a tag."""
        tag = self.tagger.tag(*read.tags[0])
        return self._states.fold(state, tag, lambda: self._committed_events(tag), self._uncommitted_events(tag))

    def read_position(self, tag: str) -> int:
        """Return the position of the last event of a tag in the batch, else of the log before the batch.

        Not the current position: if another writer appends events before the batch, its own events move.
        """
        self._update_index()
        return self._index_positions.get(tag, self.start)

    def decode(self, recorded: NewEvent | RecordedEvent) -> Event:
        """Return an event of the log or of the batch as the application's object."""
        return self._app.decode(recorded.type, recorded.data)

    def commit_states(self) -> None:
        """Update the cached states: the log holds the whole batch, and no other event since `start`."""
        tags = (tag for decision in self.decisions for new in decision.events for tag in new.tags)
        self._states.commit(tags, self._uncommitted_events, self.position)

    def clear_states(self) -> None:
        """Clear the cached states: the log differs from the history of the batch."""
        self._states.clear()

    def _committed_events(self, tag: str) -> list[Event]:
        return [self.decode(recorded) for recorded in self._log.history(tag)]

    def _uncommitted_events(self, tag: str) -> list[Event]:
        """Return the events of a tag in the decisions of the batch.

        Decoded on demand: most batches never read them, and keeping every event object costs more than the decisions.
        """
        self._update_index()
        events = self._decoded.setdefault(tag, [])
        events += [self.decode(new) for new in self._index.get(tag, ())[len(events) :]]
        return events

    def _update_index(self) -> None:
        for decision in self.decisions[self._indexed :]:
            for new in decision.events:
                self._indexed_position += 1
                for tag in new.tags:
                    self._index.setdefault(tag, []).append(new)
                    self._index_positions[tag] = self._indexed_position
        self._indexed = len(self.decisions)


class DecisionPast:
    """The `Past` of one decision. `reads` is the append condition: each tag with its read position."""

    __slots__ = ("_history", "reads")

    def __init__(self, history: History) -> None:
        self.reads: dict[str, int] = {}
        self._history = history

    def new_id(self) -> str:
        """Return a new id."""
        return self._history.new_id()

    def now(self) -> "datetime":
        """Return the time of the decision."""
        return time_of(self._history.now)

    def events(self, *tags: TagValue, of: Any = Event) -> list[Any]:
        """Return the events that carry all tags, oldest first."""
        with self._history.shield:
            return self._events(self._read(tags, of))

    def fold(self, state: type[S] | S, *tags: TagValue) -> S:
        """Return the state of the events that carry all tags."""
        kind = state if isinstance(state, type) else type(state)
        with self._history.shield:
            read = self._read(tags, folded_types(kind))
            if len(read.tags) == 1:
                return self._history.fold(state, read)
            folded = initial(state)
            for event in self._events(read):
                folded = folded.apply(event)
            return folded

    def _events(self, read: Read) -> list[Event]:
        events = self._history.events(self._history.tagger.tag(*read.tags[0]))
        return [event for event in events if matches(read, event, event_json.tags(event))]

    def _read(self, tags: tuple[TagValue, ...], of: Any) -> Read:
        app = self._history.app
        read = read_of(tags, of, app.tags, app.event_types.values())
        text = self._history.tagger.tag(*read.tags[0])
        if text not in self.reads:
            self.reads[text] = self._history.read_position(text)
        return read
