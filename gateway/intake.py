"""Unread batches by client. The gateway reads a slice of each client in turn."""

from collections import OrderedDict, deque
from typing import Any

from dualbus.protocol.codec import unpack_hostile
from dualbus.protocol.codes import WireError

SLICE_MESSAGES = 32  # of one client per turn
BYTES_MAX, ALL_BYTES_MAX = 8 << 20, 64 << 20


class Inbox:
    """The batches of a client."""

    def __init__(self) -> None:
        self.batches: deque[bytes] = deque()
        self.bytes = 0
        self._messages: list[Any] = []  # of the current batch
        self._offset = 0

    def next_slice(self) -> list[Any]:
        """Return the next messages. Raises WireError for an invalid batch."""
        if self._offset >= len(self._messages):
            self._messages, self._offset = [], 0
            packed = self.batches.popleft()
            self.bytes -= len(packed)
            self._messages = unpack_hostile(packed)
        messages = self._messages[self._offset : self._offset + SLICE_MESSAGES]
        self._offset += SLICE_MESSAGES
        return messages

    @property
    def empty(self) -> bool:
        """Whether all messages have been read."""
        return not self.batches and self._offset >= len(self._messages)


class Intake:
    """The inboxes of all clients with unread messages."""

    def __init__(self) -> None:
        self._inboxes: OrderedDict[bytes, Inbox] = OrderedDict()
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._inboxes)

    def put(self, client_id: bytes, packed: bytes) -> None:
        """Queue a batch until the client's turn. Raises WireError if the client's inbox is full."""
        inbox = self._inboxes.get(client_id)
        if inbox is None:
            inbox = self._inboxes[client_id] = Inbox()
        elif inbox.bytes >= min(BYTES_MAX, ALL_BYTES_MAX - self._bytes):
            raise WireError(
                "Too many unread messages: this batch was dropped. Receive some replies before sending more."
            )
        inbox.batches.append(packed)
        inbox.bytes += len(packed)
        self._bytes += len(packed)

    def next_slice(self) -> tuple[bytes, list[Any]]:
        """Return the next client and its next messages. Raises Unreadable for an invalid batch."""
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
    """An invalid batch, with the id of its client."""

    def __init__(self, client_id: bytes, text: str) -> None:
        super().__init__(text)
        self.client_id = client_id
