"""Unread batches by client, read in slices. The client whose slices took the least time is next.

Start-time fair queueing, by measured time: the clock of the intake is the time used by the client that is served. An
inbox starts at this clock, and each slice adds its duration. An empty inbox remains until the clock reaches its time,
so a client with a single batch at a time cannot start anew.
"""

import heapq
from collections import deque
from itertools import count
from typing import Any

from dualbus.protocol.codec import HostileBatch
from dualbus.protocol.codes import WireError

BYTES_MAX, ALL_BYTES_MAX = 8 << 20, 64 << 20
OVERHEAD_BYTES = 128  # of the memory of a batch beside its content: also empty batches reach the bounds
LARGE_BYTES = 1 << 18  # of a batch that takes a slice to be split


class Inbox:
    """The batches of a client."""

    def __init__(self) -> None:
        self.batches: deque[bytes] = deque()
        self.bytes = 0
        self._batch: HostileBatch | None = None
        self.returned: list[Any] = []  # of the last slice, which took too long

    def __bool__(self) -> bool:
        return bool(self.batches or self._batch or self.returned)

    def pop(self) -> list[Any]:
        """Return the next messages, with a WireError in place of an invalid message or batch."""
        if self.returned:
            messages, self.returned = self.returned, []
            return messages
        if not self._batch:
            packed = self.batches.popleft()
            self.bytes -= len(packed) + OVERHEAD_BYTES
            try:
                self._batch = HostileBatch(packed)
            except WireError as error:
                return [error]
            if len(packed) > LARGE_BYTES:
                return []
        messages = self._batch.pop()
        if not self._batch:
            self._batch = None  # a large batch is a view of the frame
        return messages


class Intake:
    """The inboxes of all clients with unread messages, or with more time used than the others."""

    def __init__(self) -> None:
        self._inboxes: dict[bytes, Inbox] = {}
        self._turns: list[tuple[float, int, bytes]] = []  # a heap: seconds used, order of arrival, client
        self._arrivals = count()
        self._seconds = 0.0  # used by the client that was served last
        self._unread = 0  # inboxes with unread messages
        self._bytes = 0

    def __bool__(self) -> bool:
        return self._unread > 0

    def put(self, client_id: bytes, packed: bytes) -> None:
        """Queue a batch until the client's turn. Raises WireError if the client's inbox is full."""
        inbox = self._inboxes.get(client_id)
        if inbox is None:
            inbox = self._inboxes[client_id] = Inbox()
            heapq.heappush(self._turns, (self._seconds, next(self._arrivals), client_id))
        if inbox and inbox.bytes >= min(BYTES_MAX, ALL_BYTES_MAX - self._bytes):
            raise WireError(
                "Too many unread messages: this batch was dropped. Receive some replies before sending more."
            )
        self._unread += not inbox
        inbox.batches.append(packed)
        size = len(packed) + OVERHEAD_BYTES
        inbox.bytes += size
        self._bytes += size

    def next_slice(self) -> tuple[bytes, list[Any]]:
        """Return the next client and its next messages; afterwards call `charge` with the time they took."""
        while not self._inboxes[self._turns[0][2]]:
            del self._inboxes[heapq.heappop(self._turns)[2]]
        self._seconds, _, client_id = self._turns[0]
        inbox = self._inboxes[client_id]
        before = inbox.bytes
        messages = inbox.pop()
        self._bytes -= before - inbox.bytes
        self._unread -= not inbox
        return client_id, messages

    def put_back(self, messages: list[Any]) -> None:
        """Return the last messages of the last slice to its client's inbox, before a call of `charge`."""
        inbox = self._inboxes[self._turns[0][2]]
        self._unread += not inbox
        inbox.returned = messages

    def charge(self, seconds: float) -> None:
        """Add the duration of the last slice to the time used by its client."""
        used, arrival, client_id = self._turns[0]
        heapq.heapreplace(self._turns, (used + seconds, arrival, client_id))
