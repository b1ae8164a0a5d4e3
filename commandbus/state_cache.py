"""Caches folded states, current with each commit, so that decisions need not read histories again."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, cast

from dualbus.application.messages import Event
from dualbus.application.past import S, State
from dualbus.runtime.errors import RAISED

TAGS_MAX = 10_000

logger = logging.getLogger(__name__)


class StateCache:
    """States by tag: `_kept` at the log's head, `_ahead` including the current batch."""

    def __init__(self, tags_max: int = TAGS_MAX) -> None:
        self._tags_max = tags_max
        self._kept: OrderedDict[str, dict[type[State], Any]] = OrderedDict()
        self._ahead: dict[tuple[str, type[State]], tuple[int, Any]] = {}  # pending events folded, state

    def fold(self, state: type[S], tag: str, history: Callable[[], list[Event]], pending: list[Event]) -> S:
        """Return the state of a tag: folded from `history`, called once, and the batch's own events."""
        done, folded = self._ahead.get((tag, state), (0, None))
        if folded is None:
            folded = self._kept.get(tag, {}).get(state)
        if folded is None:
            folded = _applied(state(), history())
        folded = _applied(folded, pending[done:])
        self._ahead[tag, state] = len(pending), folded
        return cast("S", folded)

    def appended(self, tags: Iterable[str], pending: Callable[[str], list[Event]]) -> None:
        """Note the commit of the batch, with events of these tags: its states become those of the log."""
        for tag in tags if self._kept else ():
            for state, folded in self._kept.get(tag, {}).items():
                self._ahead.setdefault((tag, state), (0, folded))
        for (tag, state), (done, folded) in self._ahead.items():
            self._keep(tag, state, folded, pending, done)
        self._ahead.clear()

    def _keep(
        self, tag: str, state: type[State], folded: Any, pending: Callable[[str], list[Event]], done: int
    ) -> None:
        try:
            self._kept.setdefault(tag, {})[state] = _applied(folded, pending(tag)[done:])
            self._kept.move_to_end(tag)
        except RAISED:
            logger.exception("Folding %s into %s raised; the next decision on it will too.", tag, state.__name__)
            self._kept.pop(tag, None)
        if len(self._kept) > self._tags_max:
            self._kept.popitem(last=False)

    def forget(self) -> None:
        """Discard all states after a batch that was not committed as decided."""
        self._kept.clear()
        self._ahead.clear()


def _applied(state: Any, events: list[Event]) -> Any:
    for event in events:
        state = state.apply(event)
    return state
