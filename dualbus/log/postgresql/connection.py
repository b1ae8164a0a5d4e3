"""A connection to PostgreSQL in a thread of its own, with deadlines that never cancel a statement.

PostgreSQL acknowledges a commit whose wait for the standbys is cancelled, by a user or by statement_timeout. A late
statement is therefore abandoned with its connection: the server then finishes or rolls back without an answer.
"""

import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import psycopg

from dualbus.log.commits import nothing

T = TypeVar("T")
Connection = psycopg.Connection[Any]

CONNECT_SECONDS = 3


class LostConnection(Exception):
    """No answer before the deadline: the statement may or may not take effect."""


class ConnectionThread:
    """A connection, opened again after a loss."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._connection: Connection | None = None
        self._started: list[tuple[float, Future[object]]] = []  # functions in the background, with their deadlines

    def run(self, function: Callable[[Connection], T], seconds: float, meanwhile: Callable[[], None] = nothing) -> T:
        """Run a function with the connection, and meanwhile another without it; return the result of the first.

        Raises LostConnection, or an error of a statement.
        """
        future: Future[T] = self._thread.submit(self._with_connection, function)
        meanwhile()
        try:
            return future.result(seconds)
        except TimeoutError:
            future.cancel()  # a queued function would delay the next, while the thread connects
            self.abandon()
            raise LostConnection("No answer before the deadline.") from None
        except psycopg.OperationalError as error:
            if self._connection is not None and not self._connection.closed:
                raise  # an answer of the server, such as a full disk
            raise LostConnection(str(error)) from None

    def start(self, function: Callable[[Connection], object], seconds: float) -> None:
        """Run a function in the background; ignore errors. While an earlier answer is late, drop all functions."""
        now = time.monotonic()
        self._started = [(until, future) for until, future in self._started if not future.done()]
        if self._started and now > self._started[0][0]:
            for _, future in self._started:
                future.cancel()
            self.abandon()
            return
        self._started.append((now + seconds, self._thread.submit(self._with_connection, function)))

    def _with_connection(self, function: Callable[[Connection], T]) -> T:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self._url, autocommit=True, connect_timeout=CONNECT_SECONDS)
        return function(self._connection)

    def abandon(self) -> None:
        """Shut the connection down, without a word to the server."""
        shut_down(self._connection)

    def close(self) -> None:
        """Close the connection and end the thread."""
        self.abandon()
        self._thread.shutdown(cancel_futures=True)
        if self._connection is not None:
            self._connection.close()


def shut_down(connection: Connection | None) -> None:
    """Shut a connection down from any thread: the thread that waits for an answer receives an error."""
    if connection is not None and not connection.closed:
        with suppress(OSError, psycopg.Error), socket.socket(fileno=_duplicate(connection)) as duplicate:
            duplicate.shutdown(socket.SHUT_RDWR)


def _duplicate(connection: Connection) -> int:
    return socket.dup(connection.fileno())
