"""Listeners of a live query: the time from the reply to a command until all listeners have its answer."""

import resource
import select
import socket
from contextlib import ExitStack
from time import perf_counter

from benchmarks.peers.web_client import STALLED_SECONDS, Connection

REQUEST = "GET /queries/GetUser?user_id=user-123 HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n"
RENAME = "POST /commands/RenameUser HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


def p99_ms(port: int, listeners: int, commands: int, headers: str) -> float:
    """Return the 99th percentile over commands, in milliseconds."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with ExitStack() as stack:
        streams = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(listeners)]
        for stream in streams:
            stream.sendall(f"{REQUEST}{headers}\r\n".encode())
        poll = select.epoll()
        by_descriptor = {stream.fileno(): stream for stream in streams}
        for descriptor in by_descriptor:
            poll.register(descriptor, select.EPOLLIN)
        _wait_for(b'"name"', poll, by_descriptor)
        connection = Connection(port)
        stack.callback(connection.close)
        took = sorted(_reach_all(number, connection, poll, by_descriptor, headers) for number in range(commands))
    return took[len(took) * 99 // 100 - 1] * 1000


def _reach_all(
    number: int, connection: Connection, poll: select.epoll, streams: dict[int, socket.socket], headers: str
) -> float:
    """Execute a command; return the seconds from its reply to the last of the answers."""
    name = f"name {number:08d}"
    body = f'{{"user_id": "user-123", "name": "{name}"}}'
    connection.ask(f"{RENAME}{headers}content-length: {len(body)}\r\n\r\n{body}".encode())
    began = perf_counter()
    _wait_for(name.encode(), poll, streams)
    return perf_counter() - began


def _wait_for(text: bytes, poll: select.epoll, streams: dict[int, socket.socket]) -> None:
    """Wait until every stream has received a text."""
    missing = dict.fromkeys(streams, b"")
    while missing:
        ready = poll.poll(STALLED_SECONDS)
        if not ready:
            raise RuntimeError(f"{len(missing)} listeners have not received an answer.")
        for descriptor, _ in ready:
            received = streams[descriptor].recv(65_536)
            if descriptor in missing:
                missing[descriptor] += received
                if text in missing[descriptor]:
                    del missing[descriptor]
