"""The client for threads."""

import logging
import os
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from types import MappingProxyType, TracebackType
from typing import Any, Self

from dualbus.application.errors import ClientClosed
from dualbus.application.messages import Command, Query
from dualbus.client.call import Call, CommandResult
from dualbus.client.calls import PendingCalls
from dualbus.client.session import ClientSession, new_calls
from dualbus.transport.poller import Poll
from dualbus.transport.sockets import Connection

WAIT_SECONDS_MAX = 3600.0
_NONE: Mapping[str, Any] = MappingProxyType({})

logger = logging.getLogger(__name__)


class Client:
    """A client for threads. All threads of a process can share a client.

        with Client() as client:
            result = client.command(CreateUser(name="Ada", email="ada@example.org"))
            user = client.query("GetUser", user_id=result.events[0]["payload"]["id"])

    A message is an object, or the name of its type with fields as keywords or as a mapping. Use a mapping for names
    such as `timeout`, and for fields from outside.

    `address` and `timeout` (in seconds) default to the settings, and `src`, the name of the client, to a random name.
    See docs/clients.md for the guarantees.
    """

    def __init__(self, address: str | None = None, *, src: str | None = None, timeout: float | None = None) -> None:
        self._calls = new_calls(address, src, timeout)
        self._lock = threading.Lock()
        self._thread: _ClientThread | None = None
        self._closed = False

    def command(
        self,
        message: Command | str,
        fields: Mapping[str, Any] = _NONE,
        /,
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        metadata: Mapping[str, str] | None = None,
        **keywords: Any,
    ) -> CommandResult:
        """Execute a command once; return its events. Raises a `DualbusError`, such as `Rejected`."""
        with self._lock:
            thread = self._open()
            call = self._calls.command(message, {**fields, **keywords}, timeout, idempotency_key, metadata)
            future = thread.submit(call)
        result: CommandResult = future.result()
        return result

    def query(
        self,
        message: Query | str,
        fields: Mapping[str, Any] = _NONE,
        /,
        *,
        timeout: float | None = None,
        **keywords: Any,
    ) -> Any:
        """Return the answer to a query. The read model includes all commands this client has a reply to."""
        with self._lock:
            thread = self._open()
            future = thread.submit(self._calls.query(message, {**fields, **keywords}, timeout))
        return future.result()

    def close(self) -> None:
        """Close the connection. Calls without a reply raise `ClientClosed`."""
        with self._lock:
            self._closed = True
        if self._thread:
            self._thread.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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
        self._poll: Poll
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
            session = ClientSession(self._calls, self._watch, lambda connection: None)
            try:
                while not self._stopping:
                    self._poll.wait(min(session.seconds_to_step(), WAIT_SECONDS_MAX))
                    self._add_inbox()
                    while session.step() and not self._stopping:
                        self._add_inbox()
            finally:
                session.close()
        except Exception as error:
            logger.exception("The client has failed.")
            ended = f"The client has failed: {error}"
        finally:
            self._end(ended)

    def _watch(self, connection: Connection) -> None:
        self._poll = Poll(connection.socket, connection.monitor, self._wakeup.fileno())

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
