"""Sessions: what a client has written and seen, so that no answer it gets is older.

A session is a connection and a `src`. When a session that has nothing under way is forgotten, its position
lives on as a floor: whoever comes without a session starts there, and sees a little more, never less.
"""

from collections import OrderedDict, deque

from gateway.request import Request

SESSIONS_MAX = 1000  # of one client


class Session:
    """One session."""

    __slots__ = ("commands", "held", "position")

    def __init__(self, position: int) -> None:
        self.position = position  # of the latest answer
        self.commands: dict[int, Request] = {}  # sent and not answered, in order
        self.held: deque[Request] = deque()  # queries that were sent after one of those

    def must_wait(self, query: Request) -> bool:
        """Tell whether a command that was sent before the query is unanswered."""
        return bool(self.commands) and next(iter(self.commands)) < query.id

    def released(self) -> list[Request]:
        """Take out the queries that need not wait any more."""
        released = []
        while self.held and not self.must_wait(self.held[0]):
            released.append(self.held.popleft())
        return released

    @property
    def idle(self) -> bool:
        """Tell whether nothing is under way."""
        return not self.commands and not self.held


class Sessions:
    """The sessions of one client, those used last kept, and a floor for the others."""

    def __init__(self, floor: int) -> None:
        self.floor = floor
        self._by_src: OrderedDict[str, Session] = OrderedDict()

    def of(self, src: str) -> Session:
        """Return the session of a src."""
        session = self._by_src.get(src)
        if session is None:
            session = self._by_src[src] = Session(self.floor)
            self._forget_idle()
        elif len(self._by_src) > 1:
            self._by_src.move_to_end(src)
        return session

    def highest(self) -> int:
        """Return the position that none of the sessions has passed."""
        return max([self.floor, *(session.position for session in self._by_src.values())])

    def reset(self, position: int) -> None:
        """Begin again: the positions belonged to another log."""
        self.floor = position
        for session in self._by_src.values():
            session.position = position

    def _forget_idle(self) -> None:
        if len(self._by_src) > SESSIONS_MAX:
            for src, session in self._by_src.items():
                if session.idle:
                    self.floor = max(self.floor, session.position)
                    del self._by_src[src]
                    return
