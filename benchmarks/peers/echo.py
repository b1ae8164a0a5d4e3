"""The limit of ZeroMQ: single messages from a client through a gateway to a worker and back.

The path has the same processes and hops as a dualbus command, without any work: DEALER, ROUTER, DEALER. The plain
echo is the broker of the ZeroMQ guide (zguide, chapter 2, "Shared Queue"): poll, receive one message, send one
message. The draining echo receives all available messages after each poll: an upper bound for single messages.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import zmq

from benchmarks import children, clock

MESSAGE = b"x" * 130  # as long as a CreateUser in msgpack
HIGH_WATER_MARK = 20_000  # above every window: a ROUTER drops messages beyond this mark
STALLED_MS = 10_000


Socket: TypeAlias = zmq.Socket[bytes]
PassOn: TypeAlias = Callable[[Socket, Socket], None]


def one_message(source: Socket, target: Socket) -> None:
    """Forward a single message (plain echo)."""
    target.send_multipart(source.recv_multipart())


def all_messages(source: Socket, target: Socket) -> None:
    """Forward all available messages (draining echo)."""
    while True:
        try:
            frames = source.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return
        target.send_multipart(frames)


@contextmanager
def road(pass_on: PassOn) -> Iterator[str]:
    """Run a gateway and a worker; yield the address for clients."""
    front, back = children.free_addresses(2)
    with children.serving(gateway, front, back, pass_on), children.serving(worker, back, pass_on):
        yield front


def gateway(front: str, back: str, pass_on: PassOn) -> None:
    with (
        zmq.Context() as context,
        context.socket(zmq.ROUTER) as clients,
        context.socket(zmq.DEALER) as workers,
    ):
        poller = zmq.Poller()
        for socket, address in ((clients, front), (workers, back)):
            socket.set_hwm(HIGH_WATER_MARK)
            socket.bind(address)
            poller.register(socket, zmq.POLLIN)
        while True:
            for ready, _ in poller.poll():
                pass_on(ready, workers if ready is clients else clients)


def worker(back: str, pass_on: PassOn) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.set_hwm(HIGH_WATER_MARK)
        socket.connect(back)
        while True:
            socket.poll()
            pass_on(socket, socket)


def throughput(front: str, clients: int, window: int, seconds: float) -> float:
    """Return the messages per second with `window` messages in flight per client."""
    with zmq.Context() as context:
        poller = zmq.Poller()
        for _ in range(clients):
            socket = _dealer(context, front)
            poller.register(socket, zmq.POLLIN)
            for _ in range(window):
                socket.send(MESSAGE)
        rate = clock.per_second(lambda: sum(_trade(socket) for socket, _ in _ready(poller)), seconds)
        context.destroy(linger=0)
        return rate


def one_at_a_time(front: str, seconds: float) -> float:
    """Return the median round-trip time in milliseconds."""
    with zmq.Context() as context:
        socket = _dealer(context, front)

        def there_and_back() -> bytes:
            socket.send(MESSAGE)
            return socket.recv()

        p50 = clock.median_ms(there_and_back, seconds)
        context.destroy(linger=0)
        return p50


def _dealer(context: zmq.Context[Socket], front: str) -> Socket:
    socket = context.socket(zmq.DEALER)
    socket.set_hwm(HIGH_WATER_MARK)
    socket.rcvtimeo = STALLED_MS
    socket.connect(front)
    return socket


def _ready(poller: zmq.Poller) -> list[tuple[Socket, int]]:
    ready = poller.poll(STALLED_MS)
    if not ready:
        raise RuntimeError(f"The echo has not answered for {STALLED_MS / 1000:.0f} s.")
    return ready


def _trade(socket: Socket) -> int:
    """Send a message for each received message; return the number received."""
    done = 0
    while True:
        try:
            socket.recv(zmq.NOBLOCK)
        except zmq.Again:
            return done
        socket.send(MESSAGE)
        done += 1
