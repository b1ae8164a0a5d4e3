"""A minimal HTTP client: keep-alive connections, prepared requests, replies parsed only as far as needed.

Client and server share the machine, so an expensive client would slow down the server.
"""

import json
import re
import select
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, cycle
from time import perf_counter, sleep
from typing import Literal

from benchmarks import clock, open_loop
from benchmarks.histogram import Latencies

Work = Literal["create", "get"]
Application = Literal["FastAPI", "dualbus"]
CREATE_PATHS: dict[Application, str] = {"FastAPI": "/users", "dualbus": "/commands/CreateUser"}
GET_PATHS: dict[Application, str] = {"FastAPI": "/users/{}", "dualbus": "/queries/GetUser?user_id={}"}
USERS = 1_000
CONNECTIONS_OPEN_LOOP = 64
STALLED_SECONDS = 10.0
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
PATIENCE_SECONDS = 20.0


class Connection:
    """A keep-alive connection with a single request in flight."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=STALLED_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def send(self, request: bytes) -> None:
        self._socket.sendall(request)

    def receive(self) -> bytes | None:
        """Return the body of the reply, or None while the reply is incomplete."""
        self._buffer += self._socket.recv(65_536)
        head, blank, body = self._buffer.partition(b"\r\n\r\n")
        if not blank:
            return None
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"The web application answered {self._buffer[:200]!r}.")
        length = LENGTH.search(head)
        if length is None or len(body) < int(length[1]):
            return None
        self._buffer = b""
        return body

    def ask(self, request: bytes) -> bytes:
        self.send(request)
        while (body := self.receive()) is None:
            pass
        return body


def wait_until_serving(port: int) -> None:
    end = perf_counter() + PATIENCE_SECONDS
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            if perf_counter() > end:
                raise
            sleep(0.02)


def throughput(
    port: int, work: Work, clients: int, seconds: float, application: Application = "FastAPI", headers: str = ""
) -> float:
    """Return the requests per second with a single request in flight per client."""
    with _connections(port, clients) as connections:
        requests = _requests(work, connections[0], application, headers)
        for connection in connections:
            connection.send(next(requests))
        return clock.per_second(lambda: _trade(connections, requests), seconds)


def one_at_a_time(
    port: int, work: Work, seconds: float, application: Application = "FastAPI", headers: str = ""
) -> float:
    """Return the median latency of a request in milliseconds."""
    with _connections(port, 1) as [connection]:
        requests = _requests(work, connection, application, headers)
        return clock.median_ms(lambda: connection.ask(next(requests)), seconds)


def spread(port: int, rate: float, seconds: float) -> dict[Work, str]:
    """Return histograms of the latencies of alternating creates and gets at `rate` requests per second."""
    with _connections(port, CONNECTIONS_OPEN_LOOP) as connections:
        creates, gets = _requests("create", connections[0]), _requests("get", connections[0])
        idle, waiting = deque(connections), deque[int]()
        asked: dict[Connection, int] = {}

        def pair_up() -> None:
            while idle and waiting:
                connection, number = idle.popleft(), waiting.popleft()
                asked[connection] = number
                connection.send(next(gets if number % 2 else creates))

        def send(numbers: range) -> None:
            waiting.extend(numbers)
            pair_up()

        def receive(seconds: float) -> list[int]:
            ready, _, _ = select.select(list(asked), [], [], seconds)
            back = [connection for connection in ready if connection.receive() is not None]
            idle.extend(back)
            numbers = [asked.pop(connection) for connection in back]
            pair_up()
            return numbers

        took = open_loop.latencies(rate, seconds, send, receive)
        return {"create": Latencies(took[0::2]).text, "get": Latencies(took[1::2]).text}


def _trade(connections: list[Connection], requests: Iterator[bytes]) -> int:
    ready, _, _ = select.select(connections, [], [], STALLED_SECONDS)
    if not ready:
        raise RuntimeError(f"The web application has not answered for {STALLED_SECONDS:.0f} s.")
    done = 0
    for connection in ready:
        if connection.receive() is not None:
            connection.send(next(requests))
            done += 1
    return done


@contextmanager
def _connections(port: int, number: int) -> Iterator[list[Connection]]:
    connections = [Connection(port) for _ in range(number)]
    try:
        yield connections
    finally:
        for connection in connections:
            connection.close()


def _requests(
    work: Work, connection: Connection, application: Application = "FastAPI", headers: str = ""
) -> Iterator[bytes]:
    creates = _creates(application, headers)
    if work == "create":
        return creates
    ids = [_created_id(connection.ask(request)) for request, _ in zip(creates, range(USERS), strict=False)]
    paths = [GET_PATHS[application].format(user_id) for user_id in ids]
    return cycle([f"GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n".encode() for path in paths])


def _created_id(body: bytes) -> str:
    created = json.loads(body)
    return str(created["events"][0]["payload"]["id"] if "events" in created else created["id"])


def _creates(application: Application, headers: str) -> Iterator[bytes]:
    for number in count():
        body = f'{{"name": "user {number:08d}", "email": "user{number:08d}@example.com"}}'
        head = f"POST {CREATE_PATHS[application]} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        yield f"{head}{headers}content-length: {len(body)}\r\n\r\n{body}".encode()
