"""Follows the log: applies published events after the checkpoint, and reads the log after a gap."""

import logging
from collections.abc import Iterable, Sequence

from dualbus.log.contract import RecordedEvent
from dualbus.protocol.records import Published
from dualbus.readmodel.updater import Updater

logger = logging.getLogger(__name__)


def events_to_apply(
    checkpoint: int, previous_position: int, events: Sequence[RecordedEvent]
) -> Sequence[RecordedEvent] | None:
    """Return the published events after the checkpoint, or None if earlier events are missing.

    Subscribe, catch up, follow (zguide, chapter 5, "Clone"): skip events up to the checkpoint, apply
    the events after the checkpoint, and read the log after a gap.
    """
    if previous_position > checkpoint:
        return None
    return events[checkpoint - previous_position :]


class Follower:
    """Keeps a finished read model at the head of the log."""

    def __init__(self, updater: Updater) -> None:
        self._updater = updater

    def follow(self, publications: Iterable[Published]) -> None:
        """Apply the publications after the checkpoint in one transaction, else the next chunk of the log."""
        updater = self._updater
        following: list[RecordedEvent] = []
        for published in publications:
            events = events_to_apply(updater.position + len(following), published.before, published.events)
            if events is None:
                updater.counters["gaps"] += 1
                updater.check_head()
            else:
                following += events
        if following and not updater.behind:
            self._apply(following)
        updater.catch_up()

    def _apply(self, events: Sequence[RecordedEvent]) -> None:
        """Apply published events, unless the log lacks them."""
        updater = self._updater
        updater.check_head()
        if events[-1].position > updater.head:
            updater.counters["refused"] += 1
            logger.error("Position %d was published but is not in the log: refused.", events[-1].position)
        elif not updater.pause:
            updater.attempt(events)
