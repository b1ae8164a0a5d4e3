"""Received and unread batches by client. Clients take turns; each turn reads a slice of a batch."""

from collections import OrderedDict, deque
from typing import Any

from dualbus.protocol.codec import unpack_hostile
from dualbus.protocol.codes import WireError

SLICE_MESSAGES = 32  # per client and turn
BYTES_MAX, ALL_BYTES_MAX = 8 << 20, 64 << 20


class Inbox:
    """The batches of a client."""

    def __init__(self) -> None:
        self.batches: deque[bytes] = deque()
        self.bytes = 0
        self._messages: list[Any] = []  # of the batch in progress
        self._at = 0

    def next_slice(self) -> list[Any]:
        """Return the next messages. Raises WireError for a malformed batch."""
        if self._at >= len(self._messages):
            self._messages, self._at = [], 0
            packed = self.batches.popleft()
            self.bytes -= len(packed)
            self._messages = unpack_hostile(packed)
        found = self._messages[self._at : self._at + SLICE_MESSAGES]
        self._at += SLICE_MESSAGES
        return found

    @property
    def empty(self) -> bool:
        """Tell whether all batches have been read."""
        return not self.batches and self._at >= len(self._messages)


class Intake:
    """The inboxes of all clients with unread batches."""

    def __init__(self) -> None:
        self._inboxes: OrderedDict[bytes, Inbox] = OrderedDict()
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._inboxes)

    def put(self, client_id: bytes, packed: bytes) -> None:
        """Keep a batch until its client's turn. Raises WireError for a client with too many bytes unread."""
        inbox = self._inboxes.get(client_id)
        if inbox is None:
            inbox = self._inboxes[client_id] = Inbox()
        elif inbox.bytes >= min(BYTES_MAX, ALL_BYTES_MAX - self._bytes):
            raise WireError("Too much was sent at once, and this batch was not read: receive some answers first.")
        inbox.batches.append(packed)
        inbox.bytes += len(packed)
        self._bytes += len(packed)

    def next_slice(self) -> tuple[bytes, list[Any]]:
        """Return the next client and its messages. Raises Unreadable for a malformed batch."""
        client_id, inbox = next(iter(self._inboxes.items()))
        before = inbox.bytes
        try:
            return client_id, inbox.next_slice()
        except WireError as error:
            raise Unreadable(client_id, str(error)) from None
        finally:
            self._bytes -= before - inbox.bytes
            if inbox.empty:
                del self._inboxes[client_id]
            else:
                self._inboxes.move_to_end(client_id)


class Unreadable(WireError):
    """A malformed batch, and its client."""

    def __init__(self, client_id: bytes, text: str) -> None:
        super().__init__(text)
        self.client_id = client_id
