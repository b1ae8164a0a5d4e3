"""The scheduler: queues each request at a bus, and defers a query until its session's commands are answered."""

from collections.abc import Callable, Iterable

from .access import forbidden
from .request import Request
from .sessions import Session
from .worker import COMMANDS, QUERIES
from .workers import Workers

DROP_PART = 8  # of the pending requests: so many are dropped together, because every drop visits all queues


class Scheduler:
    """Enqueues requests at the buses."""

    def __init__(self, workers: Workers, make_key: Callable[[int], str]) -> None:
        self._workers = workers
        self._buses = workers.buses
        self._make_key = make_key
        self._unrouted: list[Request] = []  # without dest, and of a type that no bus has registered yet
        self._answered: list[Request] = []  # while queued, and not dropped yet

    @property
    def complete(self) -> bool:
        """Whether both buses have registered their types."""
        return bool(self._buses[COMMANDS].types and self._buses[QUERIES].types)

    def find_dest(self, request: Request) -> str:
        """Return the bus of a request's type, or an empty string if no bus has registered the type.

        A request of a removed type with an idempotency key goes to commandbus, which may have recorded an outcome.
        """
        dest = next((dest for dest, bus in self._buses.items() if request.type in bus.types), "")
        return dest or (COMMANDS if request.key and self.complete else "")

    def enqueue(self, request: Request) -> None:
        """Queue a request at its bus; defer a request without dest until a bus registers the type."""
        if request.dest == QUERIES:
            self._enqueue_query(request)
            return
        request.session.commands[request.id] = request  # without dest possibly a command, so later queries must wait
        if request.dest:
            self._buses[COMMANDS].put(self._with_key(request))
        else:
            self._unrouted.append(request)

    def route_deferred(self) -> list[Request]:
        """Queue deferred requests whose type is registered by now; return those of unknown or forbidden types."""
        deferred, self._unrouted = self._unrouted, []
        commands: list[Request] = []
        unknown: list[Request] = []
        for request in deferred:
            if request.answered:
                continue
            request.dest = self.find_dest(request)
            if forbidden(request):
                unknown.append(request)
            elif request.dest == COMMANDS:
                commands.append(self._with_key(request))
            elif request.dest == QUERIES:
                del request.session.commands[request.id]
                self._enqueue_query(request)
                self._enqueue_ready(request.session)
            elif self.complete:
                unknown.append(request)
            else:
                self._unrouted.append(request)
        self._buses[COMMANDS].put_in_order(commands)
        return unknown

    def complete_request(self, request: Request) -> None:
        """Queue the queries that were deferred until this request is answered."""
        session = request.session
        if session.commands.pop(request.id, None) and session.deferred:
            self._enqueue_ready(session)

    def drop(self, answered: Iterable[Request], pending: int = 0) -> None:
        """Drop answered requests from all queues, including queues without a worker to drain them.

        With many requests `pending`, drop them later, together with others.
        """
        self._answered += answered
        if len(self._answered) * DROP_PART < pending:
            return
        for session in {request.session for request in self._answered}:
            session.deferred = [request for request in session.deferred if not request.answered]
        self._answered.clear()
        self._unrouted = [request for request in self._unrouted if not request.answered]
        self._workers.drop_answered()

    def _with_key(self, command: Request) -> Request:
        command.key = command.key or self._make_key(command.id)
        return command

    def _enqueue_query(self, request: Request) -> None:
        request.key = None
        if request.session.must_defer(request):
            request.session.defer(request)
        else:
            self._buses[QUERIES].put(request)

    def _enqueue_ready(self, session: Session) -> None:
        for query in session.pop_ready():
            if not query.answered:
                self._buses[QUERIES].put(query)
