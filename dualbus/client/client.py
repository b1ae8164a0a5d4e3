"""The client for threads."""

import logging
import os
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, overload

from dualbus.application.errors import ClientClosed, DeadlineExceeded, Unavailable
from dualbus.application.messages import Command, Query, R
from dualbus.client.call import Call, CommandResult, checked_position
from dualbus.client.calls import PendingCalls
from dualbus.client.events import PAUSE_SECONDS, EventRecord, Subscription
from dualbus.client.link import ClientLink, new_calls
from dualbus.client.sessions import SessionState
from dualbus.transport.poller import Poll
from dualbus.transport.sockets import Connection

WAIT_SECONDS_MAX = 3600.0
_NONE: Mapping[str, Any] = MappingProxyType({})

logger = logging.getLogger(__name__)


class Session:
    """Calls with a position and an order of their own, on the connection of a client: `client.session()`.

    A query sees the earlier commands of its session, and waits for these only. A session without pending calls is an
    object of some bytes: create a session for each user or request, and drop it.
    """

    _state: SessionState

    def __init__(self, client: "Client", after: int = 0) -> None:
        self._client = client
        self._state = SessionState(checked_position(after))

    @property
    def position(self) -> int:
        """The highest position of the session's replies. Pass it as `after` to continue in another process."""
        return self._state.position

    def command(
        self,
        message: Command | str,
        fields: Mapping[str, Any] = _NONE,
        /,
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        metadata: Mapping[str, str] | None = None,
        after: int = 0,
        **keywords: Any,
    ) -> CommandResult:
        """Execute a command once; return its events. Raises a `DualbusError`, such as `Rejected`."""
        values = {**fields, **keywords}
        result: CommandResult = self._call(
            lambda calls: calls.command(message, values, timeout, idempotency_key, metadata).in_session(
                self._state, after
            )
        )
        return result

    @overload
    def query(self, message: Query[R], /, *, timeout: float | None = None, after: int = 0) -> R: ...
    @overload
    def query(
        self,
        message: str,
        fields: Mapping[str, Any] = _NONE,
        /,
        *,
        timeout: float | None = None,
        after: int = 0,
        **keywords: Any,
    ) -> Any: ...
    def query(
        self,
        message: Query[Any] | str,
        fields: Mapping[str, Any] = _NONE,
        /,
        *,
        timeout: float | None = None,
        after: int = 0,
        **keywords: Any,
    ) -> Any:
        """Return the answer to a query. The read model includes all commands this session has a reply to.

        The read model also includes all events up to the position `after`, such as of another process's session.
        """
        values = {**fields, **keywords}
        return self._call(lambda calls: calls.query(message, values, timeout).in_session(self._state, after))

    def _call(self, create: Callable[[PendingCalls], Call]) -> Any:
        """Create a call and wait for its result."""
        return self._client._call(create)


class Client(Session):
    """A client for threads. All threads of a process can share a client.

        with Client() as client:
            result = client.command(CreateUser(name="Ada", email="ada@example.org"))
            user = client.query("GetUser", user_id=result.events[0]["payload"]["id"])

    A message is an object, or the name of its type with fields as keywords or as a mapping. Use a mapping for names
    such as `timeout`, and for fields from outside.

    `address`, `timeout` (in seconds) and `keys` (a key file, or the folder of the cluster's keys) default to the
    settings, and `src`, the name of the client, to a random name.
    The client is a session; `session()` creates further sessions. See docs/clients.md for the guarantees.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        src: str | None = None,
        timeout: float | None = None,
        keys: Path | str | None = None,
    ) -> None:
        self._calls = new_calls(address, src, timeout, keys)
        self._state = self._calls.session
        self._lock = threading.Lock()
        self._thread: _ClientThread | None = None
        self._closed = False

    def session(self, after: int = 0) -> Session:
        """Create a session that starts at a position: its answers include all events up to `after`."""
        return Session(self, after)

    def status(self, timeout: float | None = None) -> dict[str, Any]:
        """Return the processes, positions and queues of the cluster, as `dualbus status --json`."""
        found: dict[str, Any] = self._call(lambda calls: calls.report("Status", timeout))
        return found

    def rates(self, timeout: float | None = None) -> dict[str, Any]:
        """Return rates, percentiles and lag of the last ten minutes, as columns of equal length."""
        found: dict[str, Any] = self._call(lambda calls: calls.report("Rates", timeout))
        return found

    def timeline(
        self, *, key: str | None = None, position: int | None = None, timeout: float | None = None
    ) -> dict[str, Any] | None:
        """Return the stages of a recent command by its key, or by the position of an event; None if unknown."""
        found: dict[str, Any] | None = self._call(
            lambda calls: calls.report("Timeline", timeout, key=key, position=position)
        )
        return found

    def events(
        self, after: int = 0, *, after_hash: str = "", types: Iterable[str] = (), tag: str | None = None
    ) -> Iterator[EventRecord]:
        """Return an iterator over the events after a position, then over new events, until the client is closed.

        Only events of some `types`, or with a `tag` such as "user:17". To resume, also in another process, pass the
        position and the hash of the last processed event: no event is missing or repeated. The iterator waits while
        the cluster restarts, and raises `Rejected` if the log was restored and has other events up to this position.
        """
        with self._lock:
            self._open()
        return self._follow(Subscription(after, after_hash, types, tag))

    def _follow(self, subscription: Subscription) -> Iterator[EventRecord]:
        while True:
            try:
                data = self._call(subscription.request)
            except ClientClosed:
                if self._closed:
                    return
                raise  # the client has failed
            except (Unavailable, DeadlineExceeded) as problem:
                subscription.failed(problem)
                continue
            yield from subscription.received(data)
            if subscription.paused:
                time.sleep(PAUSE_SECONDS)

    def close(self) -> None:
        """Close the connection. Calls without a reply raise `ClientClosed`."""
        with self._lock:
            self._closed = True
        if self._thread:
            self._thread.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _call(self, create: Callable[[PendingCalls], Call]) -> Any:
        with self._lock:
            thread = self._open()
            future = thread.submit(create(self._calls))
        return future.result()

    def _open(self) -> "_ClientThread":
        """Connect at the first call, so that a process can fork after it creates a client."""
        if self._closed:
            raise ClientClosed("The client is closed: create another client.")
        if self._thread is None:
            self._thread = _ClientThread(self._calls)
            weakref.finalize(self, self._thread.stop)  # on garbage collection and at exit
        return self._thread


class _ClientThread:
    """The thread of a client. Without a reference to the client, so that the garbage collector can collect it."""

    def __init__(self, calls: PendingCalls) -> None:
        self._calls = calls
        self._inbox: deque[tuple[Call, Future[Any], float]] = deque()
        self._lock = threading.RLock()  # reentrant: the garbage collector may call `stop` at any point
        self._ended = ""  # the reason, after the end
        self._stopping = False
        self._woken = False
        self._wakeup, self._waker = socket.socketpair()
        self._pid = os.getpid()
        self._poll = Poll(self._wakeup.fileno())
        self._thread = threading.Thread(target=self._run, name="dualbus-client", daemon=True)
        self._thread.start()

    def submit(self, call: Call) -> "Future[Any]":
        """Queue a call, from any thread."""
        if os.getpid() != self._pid:
            raise RuntimeError("This client was used before the process was forked: create a client in each process.")
        future: Future[Any] = Future()
        with self._lock:
            if self._ended:
                raise ClientClosed(self._ended)
            self._inbox.append((call, future, time.monotonic()))
            self._wake()
        return future

    def stop(self) -> None:
        """Stop the thread and wait for its end."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            self._stopping = True
            self._wake()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _wake(self) -> None:
        if not (self._woken or self._ended):
            self._woken = True
            self._waker.send(b"\0")

    def _run(self) -> None:
        ended = "The client is closed: create another client."
        try:
            link = ClientLink(self._calls, self._watch, self._unwatch)
            try:
                while not self._stopping:
                    self._poll.wait(min(link.seconds_to_step(), WAIT_SECONDS_MAX))
                    self._add_inbox()
                    while link.step() and not self._stopping:
                        self._add_inbox()
            finally:
                link.close()
        except Exception as error:
            logger.exception("The client has failed.")
            ended = f"The client has failed: {error}"
        finally:
            self._end(ended)

    def _watch(self, connection: Connection) -> None:
        self._poll = Poll(connection.socket, connection.monitor, self._wakeup.fileno())

    def _unwatch(self, connection: Connection) -> None:
        self._poll = Poll(self._wakeup.fileno())

    def _add_inbox(self) -> None:
        with self._lock:
            if self._woken:
                self._wakeup.recv(1)
                self._woken = False
            inbox, self._inbox = self._inbox, deque()
        for call, future, submitted in inbox:
            self._calls.add(call, future, submitted)

    def _end(self, ended: str) -> None:
        with self._lock:
            self._ended = ended
        for _, future, _ in self._inbox:
            future.set_exception(ClientClosed(ended))
        self._wakeup.close()
        self._waker.close()
