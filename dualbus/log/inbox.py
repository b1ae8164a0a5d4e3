"""The announcements that another thread receives from a commit log."""

import os
from collections import deque
from contextlib import suppress

MESSAGES_MAX, MESSAGE_BYTES_MAX = 1000, 1024


class Inbox:
    """A bounded queue with a descriptor that is readable while there may be messages."""

    def __init__(self) -> None:
        self._messages: deque[bytes] = deque(maxlen=MESSAGES_MAX)  # too many: the oldest are dropped
        self.wakeup, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def put(self, message: bytes) -> None:
        """Add a message, from the receiving thread."""
        if len(message) <= MESSAGE_BYTES_MAX:
            self._messages.append(message)
            with suppress(BlockingIOError):
                os.write(self._waker, b"\0")

    def pop_all(self) -> list[bytes]:
        """Remove and return the messages."""
        with suppress(BlockingIOError):
            os.read(self.wakeup, 65536)
        return [self._messages.popleft() for _ in range(len(self._messages))]

    def close(self) -> None:
        """Close the descriptor. The receiving thread must have ended."""
        os.close(self.wakeup)
        os.close(self._waker)
