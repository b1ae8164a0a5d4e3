"""Chooses the bus of a request, and holds a query until the earlier commands of its session are answered."""

from collections.abc import Callable, Iterable

from .bus import COMMANDS, QUERIES
from .request import Request
from .sessions import Session
from .workers import Workers


class Scheduler:
    """Puts requests into the queues of the buses."""

    def __init__(self, workers: Workers, make_key: Callable[[int], str]) -> None:
        self._workers = workers
        self._buses = workers.buses
        self._make_key = make_key
        self._unplaced: list[Request] = []  # without dest, and no bus has announced the type yet

    @property
    def complete(self) -> bool:
        """Tell whether both buses have registered their types."""
        return bool(self._buses[COMMANDS].types and self._buses[QUERIES].types)

    def dest_of(self, request: Request) -> str:
        """Return the dest of a request's type; empty if no bus has registered the type.

        A request with an idempotency key and an unregistered type may have been executed earlier: commandbus knows.
        """
        found = next((dest for dest, bus in self._buses.items() if request.type in bus.types), "")
        return found or (COMMANDS if request.key and self.complete else "")

    def place(self, request: Request) -> None:
        """Queue a request at its dest, or keep a request without a dest until a bus registers the type."""
        if request.dest == QUERIES:
            self._place_query(request)
            return
        request.session.commands[request.id] = request  # without a dest, perhaps a command: queries must wait
        if request.dest:
            self._buses[COMMANDS].put(self._keyed(request))
        else:
            self._unplaced.append(request)

    def route_deferred(self) -> list[Request]:
        """Queue the requests whose types a bus has registered; return those with unknown types."""
        waiting, self._unplaced = self._unplaced, []
        commands: list[Request] = []
        homeless: list[Request] = []
        for request in waiting:
            if request.answered:
                continue
            request.dest = self.dest_of(request)
            if request.dest == COMMANDS:
                commands.append(self._keyed(request))
            elif request.dest == QUERIES:
                del request.session.commands[request.id]
                self._place_query(request)
                self._release(request.session)
            elif self.complete:
                homeless.append(request)
            else:
                self._unplaced.append(request)
        self._buses[COMMANDS].put_in_order(commands)
        return homeless

    def settled(self, request: Request) -> None:
        """Release the queries held behind an answered request."""
        session = request.session
        if session.commands.pop(request.id, None) and session.held:
            self._release(session)

    def drop(self, answered: Iterable[Request]) -> None:
        """Drop requests answered while they were held or had no dest."""
        if self._unplaced:
            self._unplaced = [request for request in self._unplaced if not request.answered]
        for session in {request.session for request in answered}:
            session.held = [request for request in session.held if not request.answered]
        self._workers.drop_answered()

    def _keyed(self, command: Request) -> Request:
        command.key = command.key or self._make_key(command.id)
        return command

    def _place_query(self, request: Request) -> None:
        request.key = None
        if request.session.must_wait(request):
            request.session.hold(request)
        else:
            self._buses[QUERIES].put(request)

    def _release(self, session: Session) -> None:
        for query in session.released():
            if not query.answered:
                self._buses[QUERIES].put(query)
