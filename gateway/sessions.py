"""Sessions: read-your-writes and monotonic reads for each client.

A session is a connection and a `src`, with the latest position of its replies. An evicted session raises a floor, at
which new sessions start: a client may read newer data than required, never older.
"""

from collections import OrderedDict

from .request import Request

SESSIONS_MAX = 1000  # of one client
ALL_SESSIONS_MAX = 100_000
SESSIONS_MIN = 8  # allowed for every client


class Totals:
    """Totals of all clients. The limit of a client is at most the capacity left, so new clients always find some."""

    def __init__(self) -> None:
        self.sessions = 0
        self.reply_bytes = 0


class Session:
    """A session."""

    __slots__ = ("commands", "deferred", "pending", "position")

    def __init__(self, position: int) -> None:
        self.position = position  # of the latest answer
        self.pending = 0  # requests that are not answered
        self.commands: dict[int, Request] = {}  # unanswered, in order of arrival
        self.deferred: list[Request] = []  # queries that arrived after an unanswered command, in order of arrival

    def must_defer(self, query: Request) -> bool:
        """Check whether a command that arrived before the query is unanswered."""
        return bool(self.commands) and next(iter(self.commands)) < query.id

    def defer(self, query: Request) -> None:
        """Defer a query until all earlier commands are answered."""
        late = bool(self.deferred) and self.deferred[-1].id > query.id  # its type was unknown until now
        self.deferred.append(query)
        if late:
            self.deferred.sort(key=lambda request: request.id)

    def pop_ready(self) -> list[Request]:
        """Remove and return the deferred queries without an earlier unanswered command."""
        first = next(iter(self.commands), None)
        count = len(self.deferred) if first is None else sum(query.id < first for query in self.deferred)
        ready, self.deferred = self.deferred[:count], self.deferred[count:]
        return ready


class Sessions:
    """The sessions of one client, least recently used first, and the floor at which new sessions start."""

    def __init__(self, floor: int, totals: Totals) -> None:
        self.floor = floor
        self._totals = totals
        self._by_src: OrderedDict[str, Session] = OrderedDict()

    def of(self, src: str) -> Session:
        """Return the session of a src."""
        session = self._by_src.get(src)
        if session is None:
            self._evict_idle()
            session = self._by_src[src] = Session(self.floor)
            self._totals.sessions += 1
        elif len(self._by_src) > 1:
            self._by_src.move_to_end(src)
        return session

    def highest(self) -> int:
        """Return the highest position of all sessions, evicted ones included."""
        return max([self.floor, *(session.position for session in self._by_src.values())])

    def reset(self, position: int) -> None:
        """Replace all positions, which belonged to another log."""
        self.floor = position
        for session in self._by_src.values():
            session.position = position

    def _evict_idle(self) -> None:
        """Above the limit, evict the sessions without pending requests among the two least recently used.

        Checking only two bounds the cost, whatever the number of busy sessions.
        """
        most = min(SESSIONS_MAX, max(SESSIONS_MIN, ALL_SESSIONS_MAX - self._totals.sessions))
        for _ in range(2 if len(self._by_src) >= most else 0):
            src, session = self._by_src.popitem(last=False)
            if session.pending:
                self._by_src[src] = session
            else:
                self.floor = max(self.floor, session.position)
                self._totals.sessions -= 1

    def close(self) -> None:
        """Release the sessions of a closed connection."""
        self._totals.sessions -= len(self._by_src)
        self._by_src.clear()
