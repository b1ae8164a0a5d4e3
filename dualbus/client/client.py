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
    """Calls a cluster; one client serves any number of threads.

        with Client() as client:
            result = client.command(CreateUser(name="Ada", email="ada@example.org"))
            user = client.query("GetUser", user_id=result.events[0]["payload"]["id"])

    A message is an object, or a name and its fields: as keywords, or as a mapping, which is the way for
    fields of any name (`timeout`) and from anywhere (a request).

    `address`, and `timeout` in seconds, are those of the settings where they are not given. `src` names the
    client; without one it makes a name by chance. docs/clients.md tells what it promises.
    """

    def __init__(self, address: str | None = None, *, src: str | None = None, timeout: float | None = None) -> None:
        self._calls = new_calls(address, src, timeout)
        self._lock = threading.Lock()
        self._talk: _ClientThread | None = None
        self._closed = False

    def command(
        self,
        message: Command | str,
        fields: Mapping[str, Any] = _NONE,
        /,
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        **more: Any,
    ) -> CommandResult:
        """Have a command done, once; return its events. Raises a `DualbusError`, of which `Rejected` is one."""
        with self._lock:
            talk = self._open()
            future = talk.ask(self._calls.command(message, {**fields, **more}, timeout, idempotency_key))
        result: CommandResult = future.result()
        return result

    def query(
        self,
        message: Query | str,
        fields: Mapping[str, Any] = _NONE,
        /,
        *,
        timeout: float | None = None,
        **more: Any,
    ) -> Any:
        """Return the answer to a query; it shows every command that this client has had an answer to."""
        with self._lock:
            talk = self._open()
            future = talk.ask(self._calls.query(message, {**fields, **more}, timeout))
        return future.result()

    def close(self) -> None:
        """Close the connection. Calls that are not answered raise `ClientClosed`."""
        with self._lock:
            self._closed = True
        if self._talk:
            self._talk.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> "_ClientThread":
        """Connect at the first call, so that a process may make a client and then fork."""
        if self._closed:
            raise ClientClosed("This client is closed: make another one.")
        if self._talk is None:
            self._talk = _ClientThread(self._calls)
            weakref.finalize(self, self._talk.stop)  # when it is forgotten, and at the end of the program
        return self._talk


class _ClientThread:
    """The thread that talks to the gateway for a client. It does not know the client, which may be forgotten."""

    def __init__(self, calls: PendingCalls) -> None:
        self._calls = calls
        self._inbox: deque[tuple[Call, Future[Any], float]] = deque()
        self._lock = threading.RLock()  # the garbage collector may call `stop` wherever we are
        self._ended = ""  # why, once it has
        self._stopping = False
        self._woken = False
        self._wakeup, self._waker = socket.socketpair()
        self._pid = os.getpid()
        self._poll: Poll
        self._thread = threading.Thread(target=self._run, name="dualbus-client", daemon=True)
        self._thread.start()

    def ask(self, call: Call) -> "Future[Any]":
        """Hand in a call from any thread."""
        if os.getpid() != self._pid:
            raise RuntimeError("This client was used before the process was forked: make one in each process.")
        future: Future[Any] = Future()
        with self._lock:
            if self._ended:
                raise ClientClosed(self._ended)
            self._inbox.append((call, future, time.monotonic()))
            self._wake()
        return future

    def stop(self) -> None:
        """End the thread, and wait until it has."""
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
        ended = "This client is closed: make another one."
        try:
            exchange = ClientSession(self._calls, self._watch, lambda connection: None)
            try:
                while not self._stopping:
                    self._poll.wait(min(exchange.seconds(), WAIT_SECONDS_MAX))
                    self._take_in()
                    while exchange.turn() and not self._stopping:
                        self._take_in()
            finally:
                exchange.close()
        except Exception as problem:
            logger.exception("The client has failed.")
            ended = f"This client has failed: {problem}"
        finally:
            self._end(ended)

    def _watch(self, connection: Connection) -> None:
        self._poll = Poll(connection.socket, connection.monitor, self._wakeup.fileno())

    def _take_in(self) -> None:
        with self._lock:
            if self._woken:
                self._wakeup.recv(1)
                self._woken = False
            inbox, self._inbox = self._inbox, deque()
        for call, future, asked in inbox:
            self._calls.add(call, future, asked)

    def _end(self, ended: str) -> None:
        with self._lock:
            self._ended = ended
        for _, future, _ in self._inbox:
            future.set_exception(ClientClosed(ended))
        self._wakeup.close()
        self._waker.close()
