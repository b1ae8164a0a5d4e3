"""Connections with bounds: on the time of a request, on waiting clients, and on clients that do not read."""

import asyncio
import resource
import socket
from typing import Any, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from .problems import Problem

HEAD_BYTES_MAX = 32_768  # of the request line and the headers
FIELDS_MAX = 200  # of the headers
PIPELINED_MAX = 256  # requests of a connection without a complete response
HEAD_SECONDS = 10.0  # from the connection, or the first byte of a further request, to the end of the headers
BODY_SECONDS = 20.0  # from the headers to the end of the body
SMALL_BODY_BYTES = 65_536  # of a refused body that is discarded
LINGER_SECONDS = 2.0  # to discard the rest of a refused body: a reset of the connection would destroy the response
UNREAD_SECONDS = 30.0  # for a client that does not read
UNREAD_BYTES_MAX = 256 << 20  # of all clients that do not read
UNSENT_BYTES_MAX = 16_384  # of a connection, here and in the system, before the sender waits: the rest would get old
LOWAT: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", None)
CONNECTIONS_MAX = 10_000
BACKLOG = 2048  # connections that wait in the system
CLIENTS_MAX = 66  # of the gateway
CLIENT_DESCRIPTORS = 8  # of a client: of its ZeroMQ context and sockets
# Half for the clients, a quarter for connections beyond the bound, until they are closed, a quarter for all else.
DESCRIPTORS_KEPT = 2 * CLIENTS_MAX * CLIENT_DESCRIPTORS


def connections_max() -> int:
    """Return the bound on connections, by the descriptors of the process."""
    descriptors = _descriptors()
    return min(CONNECTIONS_MAX, descriptors - min(DESCRIPTORS_KEPT, descriptors // 2))


def clients_max() -> int:
    """Return the bound on clients of the gateway, by the descriptors that connections leave: at least three."""
    spare = _descriptors() - connections_max()
    return max(3, min(CLIENTS_MAX, spare // 2 // CLIENT_DESCRIPTORS))


def backlog() -> int:
    """Return the bound on connections that wait in the system. The loop accepts all of them in a turn."""
    spare = _descriptors() - connections_max()
    return min(BACKLOG, spare // 4)


def _descriptors() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class CorkedTransport:
    """A transport that sends the head and the body of a response at once, and a part of a stream within its turn."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._written: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Write data at the end of this turn of the loop, or with the next `flush`."""
        if not self._written:
            self._loop.call_soon(self.flush)
        self._written.append(data)

    def close(self) -> None:
        """Write all data, and close the transport."""
        self.flush()
        self._transport.close()

    def write_eof(self) -> None:
        """Write all data, and close the sending half."""
        self.flush()
        if self._transport.can_write_eof():  # not over TLS
            self._transport.write_eof()

    def flush(self) -> None:
        """Write all data. A further turn of the loop would cost a tenth of the time of a query."""
        if self._written:
            written, self._written = b"".join(self._written), []
            self._transport.write(written)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class ConnectionTable(ServerState):
    """The connections of a server."""

    def __init__(self) -> None:
        super().__init__()
        self.connections_max = connections_max()
        self.waiting: dict[Connection, None] = {}  # without a request in progress, or with several; longest first
        self.unread: dict[Connection, int] = {}  # with unread output, longest first: the bytes
        self.unread_bytes = 0

    def admit(self, connection: "Connection") -> None:
        """Add a connection; beyond the bound, close the one that has not read, or else has waited, for longest."""
        self.waiting[connection] = None
        if len(self.connections) > self.connections_max:
            next(iter(self.unread or self.waiting)).drop()

    def add_unread(self, connection: "Connection", size: int) -> None:
        """Record unread output; beyond the bound, close the connection that has not read for longest."""
        self.unread[connection] = size
        self.unread_bytes += size
        if self.unread_bytes > UNREAD_BYTES_MAX:
            next(iter(self.unread)).drop()

    def remove_unread(self, connection: "Connection") -> None:
        """Record that the client has read its output, or is gone."""
        self.unread_bytes -= self.unread.pop(connection, 0)


class Connection(HttpToolsProtocol):
    """A connection of uvicorn, with these bounds."""

    server_state: ConnectionTable
    _cycles: list[RequestResponseCycle]  # without a complete response: the first is in progress
    _timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None
    _in_head = _in_body = False
    _head_bytes = 0  # since the begin of the message, its headers or the last bytes of its body
    _upgrading = b""  # the head of a request with Upgrade, without it
    _lingering = False

    def connection_made(self, transport: Any) -> None:
        self._corked = CorkedTransport(transport, self.loop)
        super().connection_made(cast("asyncio.Transport", self._corked))
        self._cycles = []
        self.headers = []
        transport.set_write_buffer_limits(high=UNSENT_BYTES_MAX)
        if LOWAT:
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, LOWAT, UNSENT_BYTES_MAX)
        self._set_timer(HEAD_SECONDS)
        self.server_state.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # uvicorn itself does so only without an error
        self.pipeline.clear()
        for cycle in self._cycles:  # uvicorn itself notifies the last only: a stream before would have no end
            cycle.disconnected = True
            cycle.message_event.set()
        self._set_timer(None)
        self.resume_writing()
        self.server_state.waiting.pop(self, None)

    def data_received(self, data: bytes) -> None:
        if self._lingering or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        self._unset_keepalive_if_required()
        self._parse(data)
        if self._in_head or self._in_body:
            self._check_size()
        if self._timer is None and (self._in_body or not self._cycles):
            self._set_timer(BODY_SECONDS if self._in_body else HEAD_SECONDS)

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
                return
            except HttpParserUpgrade as upgrade:
                self.parser = _parser(self)
                data, self._upgrading = self._upgrading + data[upgrade.args[0] :], b""
            except HttpParserError:
                self.send_400_response("")
                return

    def _check_size(self) -> None:
        """Refuse a head that is too large. In a body, these are the bytes of trailers or of the next chunk's head."""
        if self._head_bytes > HEAD_BYTES_MAX or len(self.headers) > FIELDS_MAX:
            if self._in_head:
                self.send_400_response("")
            else:
                self.drop()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            self._upgrading = self._without_upgrade()
            return
        self._in_head, self._in_body = False, True
        size = 0
        if self._head_bytes > HEAD_BYTES_MAX:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > HEAD_BYTES_MAX or len(self.headers) > FIELDS_MAX or len(self._cycles) >= PIPELINED_MAX:
            raise ValueError("The head is too large.")  # the parser reports this to _parse
        self._head_bytes = 0
        self._set_timer(None)
        super().on_headers_complete()
        self._cycles.append(self.cycle)
        self._set_waiting()
        self.headers = []  # of trailers, which are ignored

    def _without_upgrade(self) -> bytes:
        """Return the head for a further parser without Upgrade, which a server may ignore (RFC 9110, section 7.8).

        The parser would end the request here, and lose its body, or parse the body as the next request.
        """
        if (method := self.parser.get_method()) == b"CONNECT":
            raise ValueError("There is no tunnel.")
        fields = [field for field in self.headers if field[0] not in (b"upgrade", b"http2-settings", b"connection")]
        if not self.parser.should_keep_alive():
            fields.append((b"connection", b"close"))
        lines = [b"%b %b HTTP/%b" % (method, self.url, self.parser.get_http_version().encode())]
        return b"\r\n".join([*lines, *(b"%b: %b" % field for field in fields), b"", b""])

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._upgrading:
            return
        self._in_body = False
        self._set_timer(None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._corked.flush()
        del self._cycles[0]
        unread = self.cycle.response_complete and self.cycle.more_body and not self._is_small_body()
        if unread and not self.transport.is_closing():
            self._linger()
            return
        super().on_response_complete()
        if self.pipeline:
            self.flow.pause_reading()  # uvicorn itself reads on
        if not self.transport.is_closing():
            self._set_waiting()
            if self._in_head and not self._cycles:
                self._set_timer(HEAD_SECONDS)

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are not HTTP, and heads that are too large."""
        if self.cycle and not self.cycle.response_complete:
            self.drop()  # a response is in progress
            return
        problem = Problem(400, "The request is not valid HTTP/1.1.")
        if self._head_bytes > HEAD_BYTES_MAX or len(self.headers) > FIELDS_MAX:
            text = f"The request line and the headers have more than {HEAD_BYTES_MAX} bytes or {FIELDS_MAX} fields."
            problem = Problem(431, text)
        self.transport.write(problem.as_bytes())
        self.headers.clear()  # a thousand heads of many fields would fill the memory
        self._linger()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_timer = self.loop.call_later(UNREAD_SECONDS, self.drop)
        self.server_state.add_unread(self, self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread_timer:
            self._unread_timer.cancel()
        self._unread_timer = None
        self.server_state.remove_unread(self)

    def drop(self) -> None:
        """Close the connection at once."""
        self.transport.abort()

    def _set_waiting(self) -> None:
        if len(self._cycles) == 1:
            self.server_state.waiting.pop(self, None)
        else:
            self.server_state.waiting[self] = None

    def _is_small_body(self) -> bool:
        """Return whether the rest of the body arrives soon: uvicorn then discards it, and the connection stays."""
        lengths = [value for name, value in self.cycle.scope["headers"] if name == b"content-length"]
        return len(lengths) == 1 and len(lengths[0]) < 10 and int(lengths[0]) <= SMALL_BODY_BYTES

    def _linger(self) -> None:
        """Close the connection after the client has had time to read the response."""
        self._lingering = True
        self.flow.resume_reading()
        self.transport.write_eof()
        self._set_timer(LINGER_SECONDS)

    def _set_timer(self, seconds: float | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self.drop)


def _parser(connection: Connection) -> HttpRequestParser:
    parser = HttpRequestParser(connection)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn: to answer the requests before
    return parser
