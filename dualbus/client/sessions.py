"""The sessions of a client on one connection. No socket, no clock, no thread.

The gateway sends the queries of a `src` behind the commands of the same `src`, so a session needs a `src` of its own
only while calls are pending. Between calls, a session is a position in the client and nothing in the gateway: every
call carries the position as `after`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dualbus.client.call import Call

NAMES_KEPT = 100  # free names before the client reuses a name: far below the sessions per connection at the gateway
SRC_CHARS_MAX = 240  # of the client's name, in the name of a session


class SessionState:
    """The position of a session, and its name while calls are pending."""

    __slots__ = ("commands", "name", "pending", "position")

    def __init__(self, position: int = 0) -> None:
        self.position = position  # the highest position of a reply: older read models must not answer
        self.pending = 0  # calls without a reply
        self.name = ""  # the `src` of the pending calls
        self.commands: dict[int, Call] | None = None  # the pending commands, in the order of the calls


class SessionNames:
    """Names for sessions with pending calls. The longest unused name is reused first; only `own` keeps its name.

    A reused name has the position of its previous session at the gateway, which can delay a query but never makes an
    answer older. The read model has reached the position of a long unused name.
    """

    def __init__(self, src: str) -> None:
        self.own = SessionState()  # of the client
        self.own.name, self.own.pending = src, 1
        self._prefix = src[:SRC_CHARS_MAX]
        self._free: deque[str] = deque()
        self._created = 0

    def begin(self, call: Call) -> None:
        """Count a call of its session; assign a name for the first pending call."""
        session = call.session
        session.pending += 1
        if call.key is not None:
            session.commands = session.commands or {}
            session.commands[call.id] = call
        if not session.name:
            if len(self._free) >= NAMES_KEPT:
                session.name = self._free.popleft()
            else:
                self._created += 1
                session.name = f"{self._prefix}/{self._created}"

    def end(self, call: Call) -> None:
        """Count a finished call of its session; after the last pending call, free the name."""
        session = call.session
        session.pending -= 1
        if session.commands:
            session.commands.pop(call.id, None)
        if not session.pending:
            self._free.append(session.name)
            session.name = ""
