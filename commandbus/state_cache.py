"""A cache of folded states, updated as events are committed, so decisions do not read whole histories."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, cast

from dualbus.application.messages import Event
from dualbus.application.past import S, State, folded_types, initial
from dualbus.application.signatures import name_of
from dualbus.runtime.errors import RAISED

TAGS_MAX = 10_000

logger = logging.getLogger(__name__)


class StateCache:
    """States by tag: `_committed` at a position of the log, `_uncommitted` with the events of the current batch."""

    def __init__(self, tags_max: int = TAGS_MAX) -> None:
        self._tags_max = tags_max
        self._position = 0
        self._committed: OrderedDict[str, dict[State | type[State], Any]] = OrderedDict()
        self._uncommitted: dict[tuple[str, State | type[State]], tuple[int, Any]] = {}  # batch events applied, state

    def begin(self, position: int) -> None:
        """Start a batch at a position of the log; clear the cache if another writer has appended events."""
        if position != self._position:
            self.clear()
        self._position = position

    def fold(self, state: type[S] | S, tag: str, history: Callable[[], list[Event]], uncommitted: list[Event]) -> S:
        """Return the state of a tag. Call `history` only if the state is not cached."""
        applied, folded = self._uncommitted.get((tag, state), (0, None))
        if folded is None:
            folded = self._committed.get(tag, {}).get(state)
        if folded is None:
            folded = _applied(initial(state), history())
        folded = _applied(folded, uncommitted[applied:])
        self._uncommitted[tag, state] = len(uncommitted), folded
        return cast("S", folded)

    def commit(self, tags: Iterable[str], uncommitted: Callable[[str], list[Event]], position: int) -> None:
        """Move all states to the position after the batch, whose events carry these tags."""
        for tag in tags if self._committed else ():
            for state, folded in self._committed.get(tag, {}).items():
                self._uncommitted.setdefault((tag, state), (0, folded))
        for (tag, state), (applied, folded) in self._uncommitted.items():
            self._keep(tag, state, folded, uncommitted, applied)
        self._uncommitted.clear()
        self._position = position

    def _keep(
        self,
        tag: str,
        state: State | type[State],
        folded: Any,
        uncommitted: Callable[[str], list[Event]],
        applied: int,
    ) -> None:
        try:
            self._committed.setdefault(tag, {})[state] = _applied(folded, uncommitted(tag)[applied:])
            self._committed.move_to_end(tag)
        except RAISED:
            logger.exception("Folding %s into %s raised; the next decision on it will too.", tag, name_of(state))
            self._committed.pop(tag, None)
        if len(self._committed) > self._tags_max:
            self._committed.popitem(last=False)

    def clear(self) -> None:
        """Clear the cache: the batch is not in the log as decided."""
        self._committed.clear()
        self._uncommitted.clear()


def _applied(state: Any, events: list[Event]) -> Any:
    types: tuple[type[Event], ...] = folded_types(cast("type[State]", type(state)))
    for event in events:
        if isinstance(event, types):
            state = state.apply(event)
    return state
