"""Publishes commits to subscribers. Delivery is not guaranteed: subscribers read missed events from the log."""

import time
from collections.abc import Iterator

from dualbus.log.contract import Log, RecordedEvent
from dualbus.protocol.batches import batch
from dualbus.protocol.frames import BATCH_BYTES, EVENTS
from dualbus.protocol.records import Published
from dualbus.transport.sockets import Socket

HEAD_SECONDS = 0.25


class Publisher:
    """Publishes commits, each with the position before its first event, and repeats the head while idle.

    Without the repeated head, a subscriber could miss the last event permanently.
    """

    def __init__(self, socket: Socket, log: Log) -> None:
        self._socket = socket
        self._log = log
        self._active = True
        self._next_head = 0.0

    def set_role(self, *, active: bool) -> None:
        """Publish from now on as the writer of a shared log, or as a standby."""
        if active != self._active:
            self._active = active
            self._next_head = 0.0

    def publish(self, events: list[RecordedEvent]) -> None:
        """Publish the events of a durable commit."""
        for part in _parts(events):
            self._send(part[0].position - 1, part)

    @property
    def seconds_to_head(self) -> float:
        """Seconds until the head is due."""
        return max(0.0, self._next_head - time.monotonic())

    def repeat_head(self) -> None:
        """Publish the head if due."""
        if not self.seconds_to_head:
            self._send(self._log.head().position, [])

    def _send(self, before: int, events: list[RecordedEvent]) -> None:
        published = Published(self._log.identity, before, events, self._active)
        self._socket.send([batch(EVENTS, [published])])
        self._next_head = time.monotonic() + HEAD_SECONDS


def _parts(events: list[RecordedEvent]) -> Iterator[list[RecordedEvent]]:
    """Yield the events in parts of at most one frame."""
    part: list[RecordedEvent] = []
    size = 0
    for event in events:
        if part and size + len(event.data) > BATCH_BYTES:
            yield part
            part, size = [], 0
        part.append(event)
        size += len(event.data)
    if part:
        yield part
