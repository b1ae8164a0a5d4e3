"""ZeroMQ sockets: with `curve`, the only module that imports zmq.

Every socket has explicit high-water marks, linger and size limits. Neither send nor receive blocks. With keys, every
connection is encrypted, and both ends are authenticated.
"""

import errno
import os
import secrets
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Self, cast

import zmq

from dualbus.protocol.frames import FRAME_BYTES_MAX, Frames
from dualbus.runtime.errors import AlreadyRunningError, ConfigError, FatalError
from dualbus.runtime.files import Lock, refusal
from dualbus.transport.curve import CLIENTS, CLUSTER, KEY_CHARS, ZapHandler, secure_client, secure_server
from dualbus.transport.keys import Keys

LINGER_MS = 1000  # for the last replies; a socket without unsent messages closes at once
RECONNECT_MS, RECONNECT_MAX_MS = 20, 500
HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS = 500, 1500
# After a cut link, the kernel would wait for twice as long before each further attempt, and for up to two minutes.
CONNECT_MS, UNACKNOWLEDGED_MS = 1000, 5000
# Plain integers: using the enumeration members of pyzmq is slower than the calls themselves.
_READABLE, _EVENTS = int(zmq.POLLIN), int(zmq.EVENTS)
_MONITORED = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
ADDRESS_BYTES = 16
CONNECTION_DESCRIPTORS = 10  # of a client: of its threads and sockets in libzmq, and of the connection itself
_AT_ONCE, _AND_MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)
RECEIVE_MESSAGES, RECEIVE_BYTES = 256, 1 << 20  # limits of a `receive`, so that a peer cannot occupy the loop
COPY_BYTES = 1 << 16  # of longer frames receive a view: copying two megabytes takes a millisecond


class PeerUnreachableError(Exception):
    """The peer is not connected any more."""


class Socket:
    """A ZeroMQ socket that never blocks."""

    def __init__(self, socket: "zmq.Socket[bytes]", lock: Lock | None = None, *, named: bool = False) -> None:
        self.zmq = socket
        self._named = named  # addresses begin with the public key of the peer
        self.linger_ms = LINGER_MS
        self._lock = lock
        self._send = super(zmq.Socket, socket).send  # without the Python layer of pyzmq
        self._addressed = socket.type == zmq.ROUTER
        self._unsure = True  # whether a message may be readable without a signal of the descriptor
        self.empty_at = time.monotonic()  # the last time without a readable message

    def receive(self, *, ready: bool = False) -> list[Frames]:
        """Return the readable messages, within limits; pass `ready` if a poll has just returned this socket.

        The message that ended a wait is returned alone: its sender is waiting, and further messages are unlikely.
        """
        if ready and not self._unsure:
            return self._receive_one()
        messages: list[Frames] = []
        size = 0
        # Checking first is far cheaper than the exception of an empty socket.
        while len(messages) < RECEIVE_MESSAGES and size < RECEIVE_BYTES and self._readable():
            messages.append(self._receive())
            size += len(messages[-1][-1])
        return messages

    def _receive_one(self) -> list[Frames]:
        self._unsure = True
        try:
            return [self._receive()]
        except zmq.Again:  # the descriptor signals other events, too
            return []

    @property
    def has_unsignalled(self) -> bool:
        """Return whether a message is readable without a signal: zmq.FD is edge-triggered, a send can consume it."""
        return self._unsure and self._readable()

    def _readable(self) -> bool:
        """Return whether a message is readable. If not, the descriptor signals the next message until a send."""
        self._unsure = bool(int(self.zmq.getsockopt(_EVENTS)) & _READABLE)
        if not self._unsure:
            self.empty_at = time.monotonic()
        return self._unsure

    def _receive(self) -> Frames:
        """Receive a message. Equals recv_multipart of pyzmq, which is 50 % slower."""
        frames: Frames = [self.zmq.recv(_AT_ONCE)] if self._addressed else []  # the address is never the last frame
        while True:
            frame = self.zmq.recv(_AT_ONCE, copy=False)
            frames.append(frame.bytes if len(frame) < COPY_BYTES else cast("bytes", frame.buffer))
            if not frame.more:
                break
        if self._named:
            frames[0] = cast("str", frame.get("User-Id")).encode() + frames[0]
        return frames

    def send(self, frames: Frames) -> bool:
        """Send a message; return False if the queue is full. Raise PeerUnreachableError for an unknown peer."""
        try:
            # Equals send_multipart of pyzmq, which is less than half as fast.
            self._unsure = True
            if self._named:
                frames = [frames[0][KEY_CHARS:], *frames[1:]]
            for frame in frames[:-1]:
                self._send(frame, _AND_MORE)
            self._send(frames[-1], _AT_ONCE)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                raise PeerUnreachableError from None
            raise
        return True

    def close(self) -> None:
        """Close; unsent messages leave within `linger_ms`, or are dropped."""
        self.zmq.close(self.linger_ms)
        if self._lock:
            self._lock.release()


class Sockets:
    """Creates the sockets of a process, and closes them together.

    With keys, the gateway's socket for clients has a key pair of its own. All other sockets use the key pair of the
    cluster, and accept no other key.
    """

    def __init__(self, keys: Keys | None = None, admits_client: Callable[[str], bool] = lambda key: False) -> None:
        self._context = zmq.Context()
        self._made: list[Socket] = []
        self._keys = keys
        self._admits_client = admits_client  # checks the keys of clients, from another thread
        self._zap: ZapHandler | None = None

    def front(self, address: str) -> Socket:
        """Create the gateway's socket for clients. With keys, an address begins with the key of the client."""
        return self._bind(
            zmq.ROUTER, address, send_queue=16, receive_queue=8, domain=CLIENTS
        )  # of at most 2 MiB each

    def back(self, address: str) -> Socket:
        """Create the gateway's socket for workers."""
        return self._bind(zmq.ROUTER, address, send_queue=1000, receive_queue=1000, heartbeats=True)

    def dealer(self, address: str) -> Socket:
        """Create the socket of a worker to the gateway."""
        return self._connect(zmq.DEALER, address, send_queue=1000, receive_queue=1000)

    def watched_dealer(self, address: str, *, heartbeats: bool = False) -> tuple[Socket, Socket]:
        """Create a client's socket to the gateway, and a monitor that receives connects and disconnects.

        A client's address at the gateway is random: a guessed address would receive replies to a lost client.
        """
        dealer = self._keep(Socket(self._make(zmq.DEALER, send_queue=1000, receive_queue=1000)))
        dealer.linger_ms = 0
        if self._keys:
            dealer.zmq.routing_id = secrets.token_bytes(ADDRESS_BYTES)
            secure_client(dealer.zmq, self._keys.gateway, self._keys.public, self._keys.secret)
        if heartbeats:
            dealer.zmq.heartbeat_ivl, dealer.zmq.heartbeat_timeout = HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS
        dealer.zmq.monitor("inproc://monitor", _MONITORED)
        monitor = self._keep(Socket(self._make(zmq.PAIR, send_queue=1, receive_queue=1000)))
        monitor.linger_ms = 0
        _connect(monitor, "inproc://monitor")
        _connect(dealer, address)
        return dealer, monitor

    def publisher(self, address: str) -> Socket:
        """Create a publisher. Slow subscribers lose messages, and must read the log instead."""
        return self._bind(zmq.PUB, address, send_queue=256, receive_queue=16)  # with CURVE, 1 is too few

    def subscriber(self, address: str) -> Socket:
        """Create a subscriber to a publisher."""
        socket = self._connect(zmq.SUB, address, send_queue=1, receive_queue=256)
        socket.linger_ms = 0  # only subscriptions are sent, and the publisher may be down
        socket.zmq.subscribe(b"")
        return socket

    def _bind(
        self,
        kind: int,
        address: str,
        send_queue: int,
        receive_queue: int,
        *,
        heartbeats: bool = False,
        domain: str = CLUSTER,
    ) -> Socket:
        socket = self._make(kind, send_queue, receive_queue)
        if keys := self._keys:
            self._zap = self._zap or ZapHandler(self._context, self._admits)
            secure_server(socket, keys.gateway_secret if domain == CLIENTS else keys.secret, domain)
        if heartbeats:
            # The I/O thread of the peer answers even while Python is busy: a silent peer is stopped or dead.
            socket.heartbeat_ivl, socket.heartbeat_timeout = HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS
        lock = None
        try:
            if address.startswith("ipc://"):
                lock = _lock_path(Path(address.removeprefix("ipc://")), address)
            socket.bind(address)
        except (FatalError, OSError, zmq.ZMQError) as error:
            socket.close(0)
            if lock:
                lock.release()
            raise error if isinstance(error, FatalError) else _not_bound(address, error) from None
        return self._keep(Socket(socket, lock, named=bool(keys) and domain == CLIENTS))

    def _admits(self, domain: str, key: str) -> bool:
        own = self._keys is not None and key == self._keys.public
        return own or (domain == CLIENTS and self._admits_client(key))

    def _connect(self, kind: int, address: str, send_queue: int, receive_queue: int) -> Socket:
        socket = self._keep(Socket(self._make(kind, send_queue, receive_queue)))
        if keys := self._keys:
            secure_client(socket.zmq, keys.public, keys.public, keys.secret)
        socket.zmq.tcp_maxrt = UNACKNOWLEDGED_MS
        _connect(socket, address)
        return socket

    def _make(self, kind: int, send_queue: int, receive_queue: int) -> "zmq.Socket[bytes]":
        socket = self._context.socket(kind)
        socket.sndhwm = send_queue
        socket.rcvhwm = receive_queue
        socket.maxmsgsize = FRAME_BYTES_MAX
        socket.ipv6 = True  # allows [::1]; IPv4 still works
        socket.linger = 0
        socket.reconnect_ivl = RECONNECT_MS
        socket.reconnect_ivl_max = RECONNECT_MAX_MS
        socket.connect_timeout = CONNECT_MS
        if kind == zmq.ROUTER:
            socket.router_mandatory = True
        return socket

    def _keep(self, socket: Socket) -> Socket:
        self._made.append(socket)
        return socket

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all sockets."""
        for socket in self._made:
            socket.close()
        self._context.term()


def _lock_path(path: Path, address: str) -> Lock:
    """Lock the path of an ipc address: bind() would replace the socket of another process, or a file."""
    lock = Lock(path.with_name(path.name + ".lock"), f"process listens on {address}")
    if path.exists() and not path.is_socket():
        lock.release()
        raise ConfigError(f"{address} cannot be listened on ({path} is not a socket): use another address.")
    return lock


def _not_bound(address: str, error: OSError | zmq.ZMQError) -> FatalError:
    """Return the FatalError for an address that cannot be bound."""
    what = f"{address} cannot be listened on"
    number = error.errno or 0
    if number == errno.EADDRINUSE:
        return AlreadyRunningError(
            f"{what} ({zmq.strerror(number)}): stop the process that has it, or use another address."
        )
    return refusal(what, zmq.strerror(number), number, "use an address that this user can use on this machine")


def _connect(socket: Socket, address: str) -> None:
    try:
        socket.zmq.connect(address)
    except zmq.ZMQError as error:
        raise ConfigError(f"{address} cannot be connected to ({error.strerror}): use another address.") from None


def _check_descriptors() -> None:
    """Raise OSError without enough free descriptors for a connection: libzmq would abort the process."""
    free: list[int] = []
    try:
        while len(free) < CONNECTION_DESCRIPTORS:
            free.append(os.open(os.devnull, os.O_RDONLY))
    finally:
        for descriptor in free:
            os.close(descriptor)


class Connection:
    """A client's connection to the gateway. After a loss (`lost`), close this connection and create another.

    Raises OSError, such as in a process without a free descriptor.

    ZeroMQ would reconnect, and send queued commands to the next gateway, perhaps after their callers have stopped
    waiting. Closing drops those commands, and the client reports the loss. With `heartbeats`, a gateway that does not
    answer is lost too, for clients with another gateway.
    """

    def __init__(self, address: str, keys: Keys | None = None, *, heartbeats: bool = False) -> None:
        self.up = False
        self.lost = False
        self.refused = False  # the other end has other keys, or none
        _check_descriptors()
        try:
            sockets = Sockets(keys)
            # Close on garbage collection, too: a context that is collected before its sockets hangs.
            self.close = weakref.finalize(self, sockets.close)
            self.close.atexit = False  # a thread may use the connection
            try:
                self.socket, self.monitor = sockets.watched_dealer(address, heartbeats=heartbeats)
            except BaseException:
                self.close()
                raise
        except zmq.ZMQError as error:
            raise OSError(error.errno, error.strerror) from None

    def update(self) -> None:
        """Update `up` and `lost` from the events of the monitor."""
        for event, *_ in self.monitor.receive():
            kind = int.from_bytes(event[:2], sys.byteorder)
            if kind == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.up = True
            elif kind == zmq.EVENT_DISCONNECTED:
                self.lost = self.up
            elif kind == zmq.EVENT_CLOSED:  # nobody listens: the last handshake has failed with its gateway
                self.refused = False
            elif int.from_bytes(event[2:6], sys.byteorder) != errno.EAGAIN:  # EAGAIN: no answer, of a stopped gateway
                self.refused = True

    def descriptors(self) -> list[int]:
        """Return the descriptors for an event loop. After a signal, read both sockets until they are empty."""
        return [socket.zmq.fileno() for socket in (self.socket, self.monitor)]
