"""A cache of folded states, so that decisions do not read whole histories."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from dualbus.application.state_keys import Key

STATES_MAX = 10_000
TAGS_MAX = 100_000
SAVE_EVENTS = 1000  # since the last file of a state: fewer are folded in milliseconds


class CachedState(NamedTuple):
    """A state with all matching events up to a position of the log."""

    position: int
    state: Any
    unsaved: int  # number of its events that are not in its file


class Files(Protocol):
    """The files of states that a restart can read."""

    def load(self, key: Key) -> CachedState | None: ...
    def save(self, key: Key, cached: CachedState) -> None: ...


class StateCache:
    """The states that decisions have folded last. A state is valid for ever: the log only grows.

    The cache records the last position of each tag that is written after a start, so that an unchanged state needs
    no read of the log.
    """

    def __init__(self, states_max: int = STATES_MAX, files: Files | None = None) -> None:
        self._states_max = states_max
        self._files = files
        self._to_save: dict[Key, None] = {}
        self._states: OrderedDict[Key, CachedState] = OrderedDict()
        self._position = 0  # of the log
        self._latest: dict[str, int] = {}  # by tag, the position of the last event after `_unrecorded`
        self._unrecorded = 0

    def __len__(self) -> int:
        return len(self._states)

    def begin(self, position: int) -> None:
        """Start a batch at a position of the log, to which another writer may have appended events."""
        if position != self._position:
            self._forget_positions(position)

    def get(self, key: Key) -> CachedState | None:
        """Return a state, if cached or in a file."""
        found = self._states.get(key)
        if found:
            self._states.move_to_end(key)
        elif self._files and (found := self._files.load(key)):
            self.put(key, found)
        return found

    def is_current(self, key: Key, position: int) -> bool:
        """Return whether a state at a position certainly lacks no event of the log."""
        return any(self._latest.get(tag, self._unrecorded) <= position for tag in key.tags)

    def put(self, key: Key, state: CachedState) -> None:
        """Cache a state; remove the state that was used least recently, if there are too many."""
        self._states[key] = state
        self._states.move_to_end(key)
        if state.unsaved >= SAVE_EVENTS and self._files:
            self._to_save[key] = None
        if len(self._states) > self._states_max:
            self._to_save.pop(self._states.popitem(last=False)[0], None)

    def remove(self, key: Key) -> None:
        """Remove a state."""
        self._states.pop(key, None)
        self._to_save.pop(key, None)

    def save_next(self) -> None:
        """Write the file of a state; called when no command is queued."""
        if self._to_save and self._files:
            key, _ = self._to_save.popitem()
            cached = self._states[key]
            self._files.save(key, cached)
            self._states[key] = cached._replace(unsaved=0)

    def committed(self, tags: Iterable[str], position: int) -> None:
        """Record a commit: the tags of its events, and the position after them."""
        if not self._states or len(self._latest) > TAGS_MAX:
            self._forget_positions(position)
            return
        for tag in tags:
            self._latest[tag] = position
        self._position = position

    def _forget_positions(self, position: int) -> None:
        self._latest.clear()
        self._position = self._unrecorded = position
