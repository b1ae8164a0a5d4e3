"""The gateway's sockets and loop: receive, route, dispatch, reply."""

import logging
import math
import os
import secrets
import time
from typing import Any

from dualbus.protocol.batches import batch, batches, joined, packed_messages, read_batch
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
    WORK,
)
from dualbus.protocol.records import (
    Registration,
    read_done,
    read_heartbeat,
    read_registration,
    read_returned,
)
from dualbus.runtime.errors import EXIT_DATA, EXIT_OK
from dualbus.runtime.files import raise_descriptor_limit
from dualbus.runtime.settings import ONE_MACHINE, Settings
from dualbus.runtime.signals import GRACE_SECONDS, Stop
from dualbus.telemetry.tracing import Tracer, open_tracer
from dualbus.transport.keys import load_cluster_keys
from dualbus.transport.poller import Poll
from dualbus.transport.sockets import PeerUnreachableError, Socket, Sockets

from .clients import CONSOLE, Client
from .console import Console
from .intake import Intake
from .keys import KeyHolders
from .request import Request
from .router import Router
from .worker import Worker

HEARTBEAT_SECONDS = 0.4
READ_SECONDS = 0.0005  # per step, to read messages of clients
PROBE_SECONDS = 1.0  # between two empty replies to a waiting client, which detect a lost connection
FLUSH_SECONDS = 0.25  # to write the last lines to standard output

logger = logging.getLogger(__name__)


def serve(settings: Settings, stop: Stop) -> int:
    """Run the gateway until standard input ends or a signal requests a stop."""
    logger.info("pid %d, %s", os.getpid(), settings)
    raise_descriptor_limit()
    keys = load_cluster_keys(settings.keys)
    if settings.keys is None:
        logger.warning(
            "DUALBUS_KEYS is off: every user of this machine can connect and act as any client or process."
        )
    holders = KeyHolders(keys, settings.keys)
    with Sockets(keys, holders.admit) as sockets:
        gateway = Gateway(settings, sockets.front(settings.front), sockets.back(settings.back), holders, stop)
        return gateway.run()


class Gateway:
    """The loop between clients and workers."""

    def __init__(self, settings: Settings, front: Socket, back: Socket, holders: KeyHolders, stop: Stop) -> None:
        key_prefix = secrets.token_urlsafe(12)
        first_id, now = secrets.randbits(48), time.monotonic()
        self._router = Router(settings.timeout_ms, first_id, lambda id_: f"{key_prefix}/{id_:x}", now, holders.of)
        self._holders = holders
        self._router.workers.shared = settings.log != ONE_MACHINE
        self._front = front
        self._back = back
        self._stop = stop
        self._poll = Poll(front, back, stop=stop, spins=True)
        self._console = Console(self._router, self._poll)
        self._banner = str(settings.data), settings.app
        self._tracer = open_tracer("gateway", self._router.workers.types)
        if self._tracer:
            self._router.traced = []
        self._next_heartbeat = 0.0
        self._next_probe = 0.0
        self._intake = Intake()

    def run(self) -> int:
        """Serve; on a stop, finish pending requests within the grace period."""
        self._console.print_banner(*self._banner)
        while not (self._stop.requested or self._console.finished):
            self._step()
        self._router.stop()
        until = time.monotonic() + GRACE_SECONDS
        while self._busy and time.monotonic() < until:
            self._step(until)
        self._router.give_up()
        until = time.monotonic() + FLUSH_SECONDS
        while self._console.unwritten and time.monotonic() < until:
            self._step(until)
        self._flush_replies()
        for bus in self._router.workers.buses.values():
            for worker in bus.registered:
                self._send(worker.id, batch(BYE, []))
        if self._tracer:
            self._tracer.close()
        return EXIT_DATA if self._console.failed else EXIT_OK

    @property
    def _busy(self) -> bool:
        """Whether messages are unread, requests pending or replies unsent."""
        return bool(
            self._intake
            or self._router.pending
            or self._console.unwritten
            or self._router.clients.with_unsent_replies
        )

    def _step(self, until: float = math.inf) -> None:
        if self._console.enabled:
            self._console.watch()
        ready = self._poll.wait(min(self._wait_seconds(), until - time.monotonic()))
        now = time.monotonic()
        if self._back in ready:
            self._receive_from_workers(now)
        if self._front in ready:
            self._receive_from_clients()
        if self._intake:
            self._read_clients(now)
        if self._console.enabled:
            self._console.step(ready, now)
        for id_, work in self._router.dispatch(now):
            # A failed send removes the worker and requeues all its work, so later batches must not be sent.
            all(self._send(id_, message) for message in batches(WORK, work))
        for id_, sendings in self._router.workers.pop_cancelled():
            self._send(id_, batch(CANCEL, sendings))
        self._flush_replies()
        if self._tracer and self._router.traced:
            self._record_spans(self._tracer, self._router.traced)
        self._send_heartbeats(now)
        self._probe(now)

    def _wait_seconds(self) -> float:
        if self._console.ready or self._intake:
            return 0.0
        now = time.monotonic()
        unsent = self._router.clients.with_unsent_replies.values()
        next_attempt = min([client.stalled_until for client in unsent], default=math.inf)
        return max(
            0.0, min(next_attempt - now, self._next_heartbeat - now, self._router.pending.seconds_to_deadline(now))
        )

    def _receive_from_clients(self) -> None:
        for id_, *frames in self._front.receive(ready=True):
            try:
                self._intake.put(id_, packed_messages(frames))
            except WireError as error:
                self._router.malformed(id_, str(error), None)

    def _read_clients(self, now: float) -> None:
        """Read slices of messages for READ_SECONDS."""
        began = time.monotonic()
        until = began + READ_SECONDS
        while self._intake and began < until:
            if unread := self._router.accept(*self._intake.next_slice(), now):
                self._intake.put_back(unread)
            ended = time.monotonic()
            self._intake.charge(ended - began)
            began = ended

    def _receive_from_workers(self, now: float) -> None:
        for id_, *frames in self._back.receive(ready=True):
            try:
                kind, items = read_batch(frames)
                if kind == READY:
                    self._register(id_, read_registration(items), now)
                elif worker := self._router.workers.worker(id_):
                    self._handle(worker, kind, items, now)
                elif kind == BEAT:
                    # Only for a heartbeat: other messages may belong to an earlier registration.
                    self._send(id_, batch(ANNOUNCE, [read_heartbeat(items).registration]))
                elif kind == LEAVING:
                    self._send(id_, batch(BYE, []))
            except WireError as error:
                logger.warning("Dropped an invalid message of a worker: %s", error)

    def _handle(self, worker: Worker, kind: str, items: list[Any], now: float) -> None:
        if kind == DONE:
            responses, times = read_done(items, time.time_ns() // 1000)
            self._router.workers.done(worker, responses, now, times)
        elif kind == BEAT:
            self._router.workers.heartbeat(worker, read_heartbeat(items), now)
        elif kind == RETURNED:
            self._router.workers.returned(worker, *read_returned(items))
        elif kind == LEAVING:
            self._router.workers.leave(worker)

    def _register(self, id_: bytes, registration: Registration, now: float) -> None:
        if refusal := self._router.register(id_, registration, now):
            logger.error("Refused the registration of pid %d: %s", registration.pid, refusal)
            self._send(id_, batch(REFUSED, [refusal]))

    def _send_heartbeats(self, now: float) -> None:
        for id_ in self._router.pop_leaving():
            self._send(id_, batch(BYE, []))
        if now < self._next_heartbeat:
            return
        self._next_heartbeat = now + HEARTBEAT_SECONDS
        if self._holders.refresh():
            self._router.update_holders()
        self._router.sample(now, time.time())
        for bus in self._router.workers.buses.values():
            for worker in bus.registered:
                self._send(worker.id, batch(BEAT, []))

    def _record_spans(self, tracer: Tracer, answered: list[Request]) -> None:
        """Record the spans of the requests that this turn has answered."""
        now = time.monotonic()
        for request in answered:
            if trace := unpack(request.body).get("trace"):
                tracer.record("request", trace, request.type, request.arrived, now)
        answered.clear()

    def _probe(self, now: float) -> None:
        """Send empty replies to waiting clients, to drop the requests of disconnected clients."""
        if now < self._next_probe:
            return
        self._next_probe = now + PROBE_SECONDS
        for client in self._router.clients.to_probe():
            try:
                self._front.send([client.id, joined(REPLY, [])])
            except PeerUnreachableError:
                self._router.client_disconnected(client)

    def _send(self, id_: bytes, message: bytes) -> bool:
        """Send to a worker. On failure remove the worker and return False."""
        try:
            sent = self._back.send([id_, message])
        except PeerUnreachableError:
            self._router.workers.lost(id_, "disconnected")
            return False
        if not sent:
            self._router.workers.lost(id_, "stopped receiving")
        return sent

    def _flush_replies(self) -> None:
        """Send the replies of all outboxes, as far as the sockets accept them."""
        if self._console.enabled:
            self._console.collect_replies()
        unsent = self._router.clients.with_unsent_replies
        for client in list(unsent.values()):
            try:
                if client.id == CONSOLE or self._flush_client(client):
                    del unsent[client.id]
            except PeerUnreachableError:
                self._router.client_disconnected(client)

    def _flush_client(self, client: Client) -> bool:
        """Send a client's replies; return False if its socket is full."""
        now = time.monotonic()
        if now < client.stalled_until:
            return False
        while part := client.next_part():
            if not self._front.send([client.id, joined(REPLY, part)]):
                self._router.counters["dropped_replies"] += client.stall(now)
                return False
            client.sent(len(part))
        client.stalled_until = 0.0
        return True
