"""Sessions: the positions seen by clients, so that no later answer is older.

A session is a connection and a `src`. When an idle session is forgotten, its position remains as a floor:
new sessions start there, and may see more than necessary, never less.
"""

from collections import OrderedDict

from .request import Request

SESSIONS_MAX = 1000  # of one client
ALL_SESSIONS_MAX = 100_000
SESSIONS_MIN = 8  # for any client


class Totals:
    """Totals over all clients. A client may hold no more than the remainder, so newcomers always find room."""

    def __init__(self) -> None:
        self.sessions = 0
        self.reply_bytes = 0


class Session:
    """A session."""

    __slots__ = ("commands", "held", "position", "under_way")

    def __init__(self, position: int) -> None:
        self.position = position  # of the latest answer
        self.under_way = 0  # unanswered requests
        self.commands: dict[int, Request] = {}  # sent and not answered, in order
        self.held: list[Request] = []  # queries received after unanswered commands, in order

    def must_wait(self, query: Request) -> bool:
        """Tell whether an earlier command of the session is unanswered."""
        return bool(self.commands) and next(iter(self.commands)) < query.id

    def hold(self, query: Request) -> None:
        """Hold a query until the commands of the session are answered."""
        late = bool(self.held) and self.held[-1].id > query.id  # the dest has just become known
        self.held.append(query)
        if late:
            self.held.sort(key=lambda one: one.id)

    def released(self) -> list[Request]:
        """Remove and return the queries that may proceed."""
        first = next(iter(self.commands), None)
        count = len(self.held) if first is None else sum(query.id < first for query in self.held)
        released, self.held = self.held[:count], self.held[count:]
        return released


class Sessions:
    """The sessions of a client, least recently used first, and a floor for new ones."""

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
        """Return the highest position of all sessions."""
        return max([self.floor, *(session.position for session in self._by_src.values())])

    def reset(self, position: int) -> None:
        """Begin again: the positions belonged to another log."""
        self.floor = position
        for session in self._by_src.values():
            session.position = position

    def _forget_idle(self) -> None:
        """Forget idle sessions beyond the maximum, least recently used first.

        Each call checks two: a client with many requests must not delay the others.
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
        """Release the sessions of a closed connection."""
        self._totals.sessions -= len(self._by_src)
        self._by_src.clear()
