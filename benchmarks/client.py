"""A minimal client of dualbus on a DEALER socket."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import zmq

from benchmarks import wire
from benchmarks.wire import ClusterError
from dualbus.transport.curve import secure_client
from dualbus.transport.keys import load_cluster_keys

STALLED_MS = 20_000
HIGH_WATER_MARK = 10_000
RECONNECT_MS = 5  # a long interval would distort the measured start time


class Client:
    def __init__(self, front: str) -> None:
        self.socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.set_hwm(HIGH_WATER_MARK)
        self.socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        self.socket.setsockopt(zmq.LINGER, 0)
        self._milliseconds = 0
        address, folder, self._two_frames = front.split("#")
        if folder and (keys := load_cluster_keys(Path(folder))):
            secure_client(self.socket, keys.gateway, keys.public, keys.secret)
        self.socket.connect(address)
        self.last = b""  # the most recent frame of replies: callers read ids from this frame

    def send(self, envelopes: Iterable[bytes]) -> None:
        for message in wire.messages(list(envelopes)):
            self._send(message)

    def _send(self, message: bytes) -> None:
        if self._two_frames:
            self.socket.send_multipart((b"send", message[len(wire.SEND) :]))
        else:
            self.socket.send(message)

    def _receive(self, flags: int = 0) -> bytes:
        """Return the array of the replies in the next message."""
        if self._two_frames:
            return self.socket.recv_multipart(flags)[1]
        return self.socket.recv(flags)[wire.HEAD_BYTES :]

    def received(self) -> Iterator[bytes]:
        """Yield the available frames of replies."""
        while True:
            try:
                self.last = self._receive(zmq.NOBLOCK)
            except zmq.Again:
                return
            yield self.last

    def wait(self, milliseconds: int = STALLED_MS) -> bytes:
        """Return the next frame of replies, without a poll first, like the client of the plain echo."""
        if milliseconds != self._milliseconds:
            self._milliseconds = milliseconds
            self.socket.setsockopt(zmq.RCVTIMEO, milliseconds)
        try:
            self.last = self._receive()
        except zmq.Again:
            raise ClusterError(f"The cluster has not answered for {milliseconds / 1000:.0f} s.") from None
        return self.last

    def ask(self, envelope: bytes, milliseconds: int = STALLED_MS) -> wire.Reply:
        """Send a request and return the reply. No other request may be in flight."""
        self._send(wire.alone(envelope))
        while not (replies := wire.unpack(self.wait(milliseconds))):
            pass  # an empty batch checks the connection of a waiting client
        [reply] = replies
        return reply

    def close(self) -> None:
        self.socket.close()


class Traffic:
    """Clients with a constant window of requests in flight: each reply triggers the next request."""

    def __init__(self, clients: list[Client], requests: Iterator[bytes], window: int) -> None:
        self._requests = requests
        self._by_socket = {client.socket: client for client in clients}
        self._poller = zmq.Poller()
        self._in_flight = 0
        self.answered = 0
        for client in clients:
            self._poller.register(client.socket, zmq.POLLIN)
            self._send(client, window)

    def trade(self) -> int:
        """Wait for replies, send as many requests, and return the number of replies."""
        ready = self._poller.poll(STALLED_MS)
        if not ready:
            raise ClusterError(f"The cluster has not answered for {STALLED_MS / 1000:.0f} s.")
        return sum(self._trade(self._by_socket[socket]) for socket, _ in ready)

    def finish(self) -> None:
        """Stop sending and wait for all outstanding replies."""
        self._requests = iter(())
        self.run_out()

    def run_out(self) -> None:
        """Send all remaining requests and wait for the replies."""
        while self._in_flight:
            self.trade()

    def _trade(self, client: Client) -> int:
        done = 0
        for frame in client.received():
            done += wire.count_good(frame)
        self._in_flight -= done
        self.answered += done
        self._send(client, done)
        return done

    def _send(self, client: Client, number: int) -> None:
        envelopes = list(islice(self._requests, number))
        client.send(envelopes)
        self._in_flight += len(envelopes)
