"""What the road carries: single messages from a client through a gateway to a worker and back.

As many processes and hops as the answer to a dualbus command has, and nothing done on the way: DEALER, ROUTER,
DEALER. The plain one is what everybody writes first, after the broker of the ZeroMQ guide (zguide, chapter 2,
"Shared Queue"): poll, receive one message, send it. The draining one takes everything that is there, so that a
poll is paid once and not for every message: the most that single messages can do.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import zmq

from benchmarks import children, clock

MESSAGE = b"x" * 130  # as long as a CreateUser in msgpack
HIGH_WATER_MARK = 20_000  # above every window: a ROUTER drops what is beyond it
STALLED_MS = 10_000


Socket: TypeAlias = zmq.Socket[bytes]
PassOn: TypeAlias = Callable[[Socket, Socket], None]


def one_message(source: Socket, target: Socket) -> None:
    """The plain way."""
    target.send_multipart(source.recv_multipart())


def all_messages(source: Socket, target: Socket) -> None:
    """The draining way."""
    while True:
        try:
            frames = source.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return
        target.send_multipart(frames)


@contextmanager
def road(pass_on: PassOn) -> Iterator[str]:
    """A gateway and a worker; the address for clients."""
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
    """Messages a second, when each client keeps `window` of them in flight."""
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
    """Milliseconds there and back, half of the times."""
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
    """For each message that is back, another one leaves."""
    done = 0
    while True:
        try:
            socket.recv(zmq.NOBLOCK)
        except zmq.Again:
            return done
        socket.send(MESSAGE)
        done += 1
