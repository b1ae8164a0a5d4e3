"""The sockets of the gateway, and its loop: receive, route, send, reply."""

import logging
import math
import secrets
import time
from typing import Any

from dualbus.protocol.batches import batch, batches, joined, parts
from dualbus.protocol.codec import unpack
from dualbus.protocol.codes import WireError
from dualbus.protocol.frames import (
    ANNOUNCE,
    BEAT,
    BYE,
    CANCEL,
    DONE,
    LEAVING,
    READY,
    REFUSED,
    REPLY,
    RETURNED,
    SEND,
    WORK,
    Frames,
)
from dualbus.protocol.records import Registration, read_done, read_heartbeat, read_numbers, read_registration
from dualbus.runtime.errors import EXIT_DATA, EXIT_OK
from dualbus.runtime.files import raise_descriptor_limit
from dualbus.runtime.settings import Settings
from dualbus.runtime.signals import GRACE_SECONDS, Stop
from dualbus.transport.poller import Poll
from dualbus.transport.sockets import PeerUnreachableError, Socket, Sockets

from .clients import CONSOLE, Client
from .console import Console
from .intake import Intake, Unreadable
from .router import Router
from .worker import Worker

BEAT_SECONDS = 0.4
READ_SECONDS = 0.001  # of a turn, for reading batches of clients
PROBE_SECONDS = 1.0  # an empty batch of replies detects a client that has disconnected while waiting
FLUSH_SECONDS = 0.25  # for the last lines to standard output
STALLED_SECONDS = 0.02  # before the next attempt to send to a client with full queues

logger = logging.getLogger(__name__)


def serve(settings: Settings, stop: Stop) -> int:
    """Run the gateway until its input ends or a stop is requested."""
    raise_descriptor_limit()
    with Sockets() as sockets:
        gateway = Gateway(settings, sockets.front(settings.front), sockets.back(settings.back), stop)
        return gateway.run()


class Gateway:
    """The front door."""

    def __init__(self, settings: Settings, front: Socket, back: Socket, stop: Stop) -> None:
        key_prefix = secrets.token_urlsafe(12)
        first_id, now = secrets.randbits(48), time.monotonic()
        self._routing = Router(settings.timeout_ms, first_id, lambda id_: f"{key_prefix}/{id_:x}", now)
        self._front = front
        self._back = back
        self._stop = stop
        self._poll = Poll(front, back, stop=stop, spins=True)
        self._console = Console(self._routing, self._poll)
        self._data = str(settings.data)
        self._next_beat = 0.0
        self._next_probe = 0.0
        self._intake = Intake()

    def run(self) -> int:
        """Serve; then, within the grace period, answer the requests in flight."""
        self._console.greet(self._data)
        while not (self._stop.told or self._console.finished):
            self._turn()
        self._routing.stop()
        until = time.monotonic() + GRACE_SECONDS
        while self._has_unsent and time.monotonic() < until:
            self._turn(until)
        self._routing.give_up()
        until = time.monotonic() + FLUSH_SECONDS
        while self._console.unwritten and time.monotonic() < until:
            self._turn(until)
        self._flush_replies()
        for bus in self._routing.workers.buses.values():
            for id_ in list(bus.workers):
                self._tell(id_, batch(BYE, []))
        return EXIT_DATA if self._console.failed else EXIT_OK

    @property
    def _has_unsent(self) -> bool:
        """Tell whether a client waits for a reply, or a reply waits to be sent."""
        return bool(
            self._intake
            or self._routing.under_way
            or self._console.unwritten
            or self._routing.clients.with_unsent_replies
        )

    def _turn(self, until: float = math.inf) -> None:
        if self._console.speaks:
            self._console.watch()
        ready = self._poll.wait(min(self._patience(), until - time.monotonic()))
        now = time.monotonic()
        if self._back in ready:
            self._hear_workers(now)
        if self._front in ready:
            self._hear_clients(now)
        if self._intake:
            self._read_clients(now)
        if self._console.speaks:
            self._console.turn(ready, now)
        for id_, work in self._routing.dispatch(now):
            # After a batch is refused, so are those behind it: requests must reach a worker in order.
            all(self._tell(id_, frames) for frames in batches(WORK, work))
        for id_, sendings in self._routing.workers.cancelled():
            self._tell(id_, batch(CANCEL, sendings))
        self._flush_replies()
        self._beat(now)
        self._probe(now)

    def _patience(self) -> float:
        if self._console.eager or self._intake:
            return 0.0
        now = time.monotonic()
        stalled = STALLED_SECONDS if self._routing.clients.with_unsent_replies else BEAT_SECONDS
        return max(0.0, min(stalled, self._next_beat - now, self._routing.seconds_to_deadline(now)))

    def _hear_clients(self, now: float) -> None:
        for frames in self._front.receive(ready=True):
            try:
                self._intake.put(frames[0], _sent(frames))
            except WireError as error:
                self._routing.malformed(frames[0], str(error), None)

    def _read_clients(self, now: float) -> None:
        """Read batches of clients in turns, for a limited time, so that no batch delays the others."""
        until = time.monotonic() + READ_SECONDS
        reading = True
        while reading:
            try:
                client_id, messages = self._intake.next_slice()
                self._routing.accept(client_id, messages, now)
            except Unreadable as error:
                self._routing.malformed(error.client_id, str(error), None)
            reading = bool(self._intake) and time.monotonic() < until

    def _hear_workers(self, now: float) -> None:
        for id_, *frames in self._back.receive(ready=True):
            try:
                kind, items = frames[0], unpack(frames[1])
                if kind == READY:
                    self._welcome(id_, read_registration(items), now)
                elif worker := self._routing.workers.worker(id_):
                    self._hear(worker, kind, items, now)
                elif kind == BEAT:
                    # Only heartbeats: answers of an ended registration must not cause a new one.
                    self._tell(id_, batch(ANNOUNCE, [read_heartbeat(items).registration]))
                elif kind == LEAVING:
                    self._tell(id_, batch(BYE, []))
            except (WireError, IndexError) as error:
                logger.warning("Dropped a message of a worker that is not of the protocol: %s", error)

    def _hear(self, worker: Worker, kind: bytes, items: Any, now: float) -> None:
        if kind == DONE:
            self._routing.workers.done(worker, read_done(items), now)
        elif kind == BEAT:
            self._routing.beat(worker, read_heartbeat(items), now)
        elif kind == RETURNED:
            position, *sendings = read_numbers(items)
            self._routing.workers.returned(worker, position, sendings)
        elif kind == LEAVING:
            self._routing.workers.leave(worker)

    def _welcome(self, id_: bytes, greeting: Registration, now: float) -> None:
        if unwanted := self._routing.announced(id_, greeting, now):
            logger.error("Turned away pid %d: %s", greeting.pid, unwanted)
            self._tell(id_, batch(REFUSED, [unwanted]))

    def _beat(self, now: float) -> None:
        for id_ in self._routing.dismissed():
            self._tell(id_, batch(BYE, []))
        if now < self._next_beat:
            return
        self._next_beat = now + BEAT_SECONDS
        for bus in self._routing.workers.buses.values():
            for id_ in list(bus.workers):
                self._tell(id_, batch(BEAT, []))

    def _probe(self, now: float) -> None:
        """Detect clients that have disconnected while waiting for replies, and drop their requests."""
        if now < self._next_probe:
            return
        self._next_probe = now + PROBE_SECONDS
        for client in self._routing.clients.to_probe():
            try:
                self._front.send([client.id, *joined(REPLY, [])])
            except PeerUnreachableError:
                self._routing.client_gone(client)

    def _tell(self, id_: bytes, frames: Frames) -> bool:
        """Send to a worker; False if unreachable or full, after which its requests are queued again."""
        try:
            taken = self._back.send([id_, *frames])
        except PeerUnreachableError:
            self._routing.workers.lost(id_, "is gone")
            return False
        if not taken:
            self._routing.workers.lost(id_, "does not take what it is sent")
        return taken

    def _flush_replies(self) -> None:
        """Send replies to clients; replies to a client with full queues stay in its outbox."""
        if self._console.speaks:
            self._console.collect()
        owed = self._routing.clients.with_unsent_replies
        for client in list(owed.values()):
            try:
                if client.id == CONSOLE or self._flush_client(client):
                    del owed[client.id]
            except PeerUnreachableError:
                self._routing.client_gone(client)

    def _flush_client(self, client: Client) -> bool:
        """Send replies to a client; False if the queue is full."""
        now = time.monotonic()
        if now < client.stalled_until:
            return False
        for part in parts(list(client.outbox)):
            if not self._front.send([client.id, *joined(REPLY, part)]):
                client.stalled_until = now + STALLED_SECONDS
                return False
            for _ in part:
                client.pop_reply()
        return True


def _sent(frames: Frames) -> bytes:
    """Return a client's batch, still packed, with its address; raise WireError for a malformed message."""
    if len(frames) != 3 or frames[1] != SEND:
        raise WireError("A ZeroMQ message to the gateway has two frames: send, and a msgpack list of messages.")
    return frames[2]
