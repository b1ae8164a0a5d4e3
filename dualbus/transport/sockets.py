"""ZeroMQ sockets. No other file imports zmq.

High-water marks, lingers and size limits are explicit; sends and receives never block.
"""

import errno
import sys
import time
import weakref
from pathlib import Path
from types import TracebackType
from typing import Self

import zmq

from dualbus.protocol.frames import FRAME_BYTES_MAX, Frames
from dualbus.runtime.errors import AlreadyRunningError, ConfigError, FatalError
from dualbus.runtime.files import Lock, refusal

LINGER_MS = 1000  # for the last replies; a socket without unsent messages closes at once
RECONNECT_MS, RECONNECT_MAX_MS = 20, 500
HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS = 500, 1500
# As numbers: members of pyzmq's enumerations cost more than the calls themselves.
_READABLE, _EVENTS = int(zmq.POLLIN), int(zmq.EVENTS)
_AT_ONCE, _AND_MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)
DRAIN_MESSAGES, DRAIN_BYTES = 256, 4 << 20  # per `receive`, so that one peer cannot hold the loop


class PeerUnreachableError(Exception):
    """The peer is not connected."""


class Socket:
    """A ZeroMQ socket that never blocks."""

    def __init__(self, socket: "zmq.Socket[bytes]", lock: Lock | None = None) -> None:
        self.zmq = socket
        self.linger_ms = LINGER_MS
        self._lock = lock
        self._send = super(zmq.Socket, socket).send  # without pyzmq's additions, none of which is used
        self._addressed = socket.type == zmq.ROUTER
        self._unsure = True  # whether a message may have arrived without a signal on the descriptor
        self.empty_at = time.monotonic()  # the last time without a message

    def receive(self, *, ready: bool = False) -> list[Frames]:
        """Return the available messages, some hundreds at most; `ready` directly after a poll.

        A message that ends a wait is returned alone: its sender waits for the answer, probably as the only one.
        """
        if ready and not self._unsure:
            return self._receive_one()
        messages: list[Frames] = []
        size = 0
        # A check is far cheaper than the exception of an empty socket.
        while len(messages) < DRAIN_MESSAGES and size < DRAIN_BYTES and self._readable():
            messages.append(self._receive())
            size += len(messages[-1][-1])
        return messages

    def _receive_one(self) -> list[Frames]:
        self._unsure = True
        try:
            return [self._receive()]
        except zmq.Again:  # the descriptor signals other events too
            return []

    @property
    def overlooked(self) -> bool:
        """Tell whether a message has arrived unsignalled: zmq.FD is edge-triggered, and a send consumes the event."""
        return self._unsure and self._readable()

    def _readable(self) -> bool:
        """Tell whether a message is available. If not, the descriptor signals the next, unless a send intervenes."""
        self._unsure = bool(int(self.zmq.getsockopt(_EVENTS)) & _READABLE)
        if not self._unsure:
            self.empty_at = time.monotonic()
        return self._unsure

    def _receive(self) -> Frames:
        """Receive a message, in two thirds of the time of pyzmq's recv_multipart."""
        frames: Frames = [self.zmq.recv(_AT_ONCE)] if self._addressed else []  # an address is never the last frame
        while True:
            frame = self.zmq.recv(_AT_ONCE, copy=False)
            frames.append(frame.bytes)
            if not frame.more:
                return frames

    def send(self, frames: Frames) -> bool:
        """Send, or return False if the queue is full. Raises PeerUnreachableError without such a peer."""
        try:
            # In less than half the time of pyzmq's send_multipart.
            self._unsure = True
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
        """Close, after unsent messages have left or `linger_ms` have passed."""
        self.zmq.close(self.linger_ms)
        if self._lock:
            self._lock.release()


class Sockets:
    """Creates the sockets of a process, and closes them all."""

    def __init__(self) -> None:
        self._context = zmq.Context()
        self._made: list[Socket] = []

    def front(self, address: str) -> Socket:
        """Bind the gateway's socket for clients."""
        return self._bind(zmq.ROUTER, address, send_queue=16, receive_queue=8)  # of messages of 2 MiB at most

    def back(self, address: str) -> Socket:
        """Bind the gateway's socket for the buses and the projector."""
        return self._bind(zmq.ROUTER, address, send_queue=1000, receive_queue=1000, heartbeats=True)

    def dealer(self, address: str) -> Socket:
        """Connect a worker's or a client's socket to the gateway."""
        return self._connect(zmq.DEALER, address, send_queue=1000, receive_queue=1000)

    def watched_dealer(self, address: str) -> tuple[Socket, Socket]:
        """Connect a client's socket to the gateway, with a monitor of connects and disconnects."""
        dealer = self._keep(Socket(self._make(zmq.DEALER, send_queue=1000, receive_queue=1000)))
        dealer.linger_ms = 0
        dealer.zmq.monitor("inproc://monitor", zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        monitor = self._connect(zmq.PAIR, "inproc://monitor", send_queue=1, receive_queue=1000)
        monitor.linger_ms = 0
        _connect(dealer, address)
        return dealer, monitor

    def publisher(self, address: str) -> Socket:
        """Bind a publishing socket; slow subscribers miss messages, and read them elsewhere."""
        return self._bind(zmq.PUB, address, send_queue=256, receive_queue=1)

    def subscriber(self, address: str) -> Socket:
        """Connect a subscribing socket to a publisher."""
        socket = self._connect(zmq.SUB, address, send_queue=1, receive_queue=256)
        socket.linger_ms = 0  # sends only subscriptions, to a publisher that may have ended
        socket.zmq.subscribe(b"")
        return socket

    def _bind(
        self, kind: int, address: str, send_queue: int, receive_queue: int, *, heartbeats: bool = False
    ) -> Socket:
        socket = self._make(kind, send_queue, receive_queue)
        if heartbeats:
            # The I/O thread of a peer answers, also while its Python is busy: otherwise the peer is stopped or lost.
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
        return self._keep(Socket(socket, lock))

    def _connect(self, kind: int, address: str, send_queue: int, receive_queue: int) -> Socket:
        socket = self._keep(Socket(self._make(kind, send_queue, receive_queue)))
        _connect(socket, address)
        return socket

    def _make(self, kind: int, send_queue: int, receive_queue: int) -> "zmq.Socket[bytes]":
        socket = self._context.socket(kind)
        socket.sndhwm = send_queue
        socket.rcvhwm = receive_queue
        socket.maxmsgsize = FRAME_BYTES_MAX
        socket.ipv6 = True  # an address may be [::1]; those of the old kind work as before
        socket.linger = 0
        socket.reconnect_ivl = RECONNECT_MS
        socket.reconnect_ivl_max = RECONNECT_MAX_MS
        if kind == zmq.ROUTER:
            socket.router_mandatory = True
        return socket

    def _keep(self, socket: Socket) -> Socket:
        self._made.append(socket)
        return socket

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close them all."""
        for socket in self._made:
            socket.close()
        self._context.term()


def _lock_path(path: Path, address: str) -> Lock:
    """Lock the path of an ipc address: a bind removes the path, even from a running process or a regular file."""
    lock = Lock(path.with_name(path.name + ".lock"), f"process listens on {address}")
    if path.exists() and not path.is_socket():
        lock.release()
        raise ConfigError(f"{address} cannot be listened on ({path} is not a socket): give another address.")
    return lock


def _not_bound(address: str, error: OSError | zmq.ZMQError) -> FatalError:
    """Return the FatalError for an address that cannot be bound."""
    what = f"{address} cannot be listened on"
    number = error.errno or 0
    if number == errno.EADDRINUSE:
        return AlreadyRunningError(
            f"{what} ({zmq.strerror(number)}): stop the process that has it, or give another address."
        )
    return refusal(what, zmq.strerror(number), number, "give an address that this user can use on this machine")


def _connect(socket: Socket, address: str) -> None:
    try:
        socket.zmq.connect(address)
    except zmq.ZMQError as error:
        raise ConfigError(f"{address} cannot be connected to ({error.strerror}): give another address.") from None


class Connection:
    """A client's connection to the gateway. After it is `lost`, close it and create another.

    ZeroMQ would reconnect by itself and send the next gateway the messages queued for the previous one: commands
    whose clients may have given up. Closing drops them, and the sender knows.
    """

    def __init__(self, address: str) -> None:
        self.up = False
        self.lost = False
        sockets = Sockets()
        # Closed also by the garbage collector: a context collected before its sockets hangs.
        self.close = weakref.finalize(self, sockets.close)
        self.close.atexit = False  # a thread may use the connection
        try:
            self.socket, self.monitor = sockets.watched_dealer(address)
        except ConfigError:
            self.close()
            raise

    def look(self) -> None:
        """Note connects and disconnects."""
        for event, *_ in self.monitor.receive():
            kind = int.from_bytes(event[:2], sys.byteorder)
            if kind == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.up = True
            elif kind == zmq.EVENT_DISCONNECTED and self.up:
                self.lost = True

    def descriptors(self) -> list[int]:
        """Return descriptors for an event loop. Readable means: check everything, until nothing is left."""
        return [one.zmq.fileno() for one in (self.socket, self.monitor)]
