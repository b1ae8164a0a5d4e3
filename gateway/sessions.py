"""Sessions: what a client has written and seen, so that no answer it gets is older.

A session is a connection and a `src`. When a session that has nothing under way is forgotten, its position
lives on as a floor: whoever comes without a session starts there, and sees a little more, never less.
"""

from collections import OrderedDict

from .request import Request

SESSIONS_MAX = 1000  # of one client
ALL_SESSIONS_MAX = 100_000
SESSIONS_MIN = 8  # that any client may have


class Totals:
    """What all clients hold together. A client may hold no more than is left: so there is room for newcomers."""

    def __init__(self) -> None:
        self.sessions = 0
        self.reply_bytes = 0


class Session:
    """One session."""

    __slots__ = ("commands", "held", "position", "under_way")

    def __init__(self, position: int) -> None:
        self.position = position  # of the latest answer
        self.under_way = 0  # requests that are not answered
        self.commands: dict[int, Request] = {}  # sent and not answered, in order
        self.held: list[Request] = []  # queries that were sent after one of those, in order

    def must_wait(self, query: Request) -> bool:
        """Tell whether a command that was sent before the query is unanswered."""
        return bool(self.commands) and next(iter(self.commands)) < query.id

    def hold(self, query: Request) -> None:
        """Keep a query until its commands are answered."""
        late = bool(self.held) and self.held[-1].id > query.id  # it was not known to be a query until now
        self.held.append(query)
        if late:
            self.held.sort(key=lambda one: one.id)

    def released(self) -> list[Request]:
        """Take out the queries that need not wait any more."""
        first = next(iter(self.commands), None)
        count = len(self.held) if first is None else sum(query.id < first for query in self.held)
        released, self.held = self.held[:count], self.held[count:]
        return released


class Sessions:
    """The sessions of one client, those used last kept, and a floor for the others."""

    def __init__(self, floor: int, totals: Totals) -> None:
        self.floor = floor
        self._totals = totals
        self._by_src: OrderedDict[str, Session] = OrderedDict()

    def of(self, src: str) -> Session:
        """Return the session of a src."""
        session = self._by_src.get(src)
        if session is None:
            self._forget_idle()
            session = self._by_src[src] = Session(self.floor)
            self._totals.sessions += 1
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
        """Where there are too many, let go of those used longest ago, except what has something under way.

        Only two are looked at, whatever a client has under way: it must not keep us from all the others.
        """
        most = min(SESSIONS_MAX, max(SESSIONS_MIN, ALL_SESSIONS_MAX - self._totals.sessions))
        for _ in range(2 if len(self._by_src) >= most else 0):
            src, session = self._by_src.popitem(last=False)
            if session.under_way:
                self._by_src[src] = session
            else:
                self.floor = max(self.floor, session.position)
                self._totals.sessions -= 1

    def close(self) -> None:
        """The client is gone."""
        self._totals.sessions -= len(self._by_src)
        self._by_src.clear()
