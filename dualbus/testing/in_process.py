"""An application without processes, files and sockets, called like a cluster.

    with InProcess(app) as client:
        client.command(CreateUser(name="Ada", email="ada@example.org"))
        assert client.query(ListUsers()) == [...]

Commands are decided, appended, projected, reacted to and answered by the code of the processes, one after another.
"""

import logging
import random
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from dualbus.application.app import App
from dualbus.application.errors import ClientClosed, DualbusError
from dualbus.client.call import COMMANDS, Call
from dualbus.client.calls import PendingCalls
from dualbus.client.client import Client
from dualbus.client.events import EventRecord, Subscription
from dualbus.commandbus.batch import CommandBatch
from dualbus.commandbus.clock import Clock
from dualbus.commandbus.node import genesis
from dualbus.commandbus.state_cache import StateCache
from dualbus.gateway.access import CLUSTER, Holder
from dualbus.gateway.envelope import BadEnvelope, read_request
from dualbus.gateway.workers import beyond
from dualbus.log.contract import Appended, ReadableLog
from dualbus.log.engine import open_memory_log
from dualbus.protocol.codec import pack, unpack, unpack_hostile
from dualbus.protocol.codes import Code, error
from dualbus.protocol.feed import EVENTS
from dualbus.protocol.permissions import EVERYTHING
from dualbus.protocol.records import NO_DETAILS, Job, Progress, Response
from dualbus.querybus.feed import EventFeed
from dualbus.querybus.responder import Responder, behind
from dualbus.reactions.store import Parked
from dualbus.readmodel.applier import Applier, ProjectionFailed
from dualbus.readmodel.memory import ModelInMemory
from dualbus.testing.in_process_reactions import InProcessReactions
from dualbus.testing.kit import NOW

TIMEOUT_SECONDS = 60.0  # part of each message; no call waits
NEVER = float("inf")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

logger = logging.getLogger(__name__)


class InProcess(Client):
    """A client of an application in the same process. Its decisions have the time `now` and the actor `actor`.

    Results and errors are those of a cluster, but no call waits: a query that the read model is behind for raises
    `Unavailable` at once. `events()` ends at the end of the log. No handler is interrupted.

    A command returns when all reactions to its events have ended. `advance` moves the clock and fires timers.
    """

    def __init__(self, app: App, *, now: datetime = NOW, actor: str | None = None) -> None:
        self._holder = CLUSTER if actor is None else Holder(actor, EVERYTHING)
        self._calls = PendingCalls("memory", None, TIMEOUT_SECONDS, random.random, lambda: secrets.token_urlsafe(12))
        self._state = self._calls.session
        self._lock = threading.Lock()
        self._closed = False
        self._thread = None
        self._now = now
        clock = Clock(lambda: (self._now - _EPOCH) // timedelta(microseconds=1))
        self._decider = _Decider(app, clock)
        self._answerer = _Answerer(app, self._decider.log)
        log, send = self._decider.log, self._send_for_reaction
        self._reactions = InProcessReactions(app, log, send, lambda: self._now) if app.reactions else None

    def status(self, timeout: float | None = None) -> dict[str, Any]:
        """Return the positions of the log and of the read model; there are no processes."""
        positions = self._decider.log.head().position, self._answerer.position
        return {"log_position": positions[0], "read_model_position": positions[1], "processes": []}

    def advance(self, by: timedelta | None = None, **parts: float) -> None:
        """Move the clock of the test, such as by `advance(minutes=15)`; fire the timers and retry the effects due."""
        until = self._now + (by or timedelta(**parts))
        with self._lock:
            while self._reactions and (due := self._reactions.next_due()) and due <= until:
                self._now = max(self._now, due)
                self._reactions.settle()
            self._now = until

    def parked(self) -> list[Parked]:
        """Return the parked events of the reactions, with the reasons."""
        return self._reactions.parked() if self._reactions else []

    def close(self) -> None:
        """Free the log and the read model."""
        with self._lock:
            if not self._closed:
                self._closed = True
                if self._reactions:
                    self._reactions.close()
                self._answerer.close()
                self._decider.log.close()

    def _call(self, create: Callable[[PendingCalls], Call]) -> Any:
        with self._lock:
            if self._closed:
                raise ClientClosed("The client is closed: create another client.")
            call = create(self._calls)
            position, body, details = self._reply(call)
            call.session.position = max(call.session.position, position)
            if call.dest == COMMANDS and self._reactions:
                self._reactions.settle()
        return _result(call, position, body, details)

    async def _send_for_reaction(
        self, type_: str, payload: Mapping[str, Any], key: str, origin: Mapping[str, Any]
    ) -> Any:
        """Execute a command of a reaction; the caller's thread holds the lock."""
        call = self._calls.command(type_, payload, None, key, None, origin)
        return _result(call, *self._reply(call))

    def _reply(self, call: Call) -> tuple[int, bytes, bytes]:
        """Return position, packed body and packed details of a reply, as the gateway sends it."""
        [message] = unpack_hostile(b"\x91" + call.envelope(int(call.seconds * 1000)))
        try:
            request = read_request(message, self._holder)
        except BadEnvelope as problem:
            return 0, pack(error(problem.msg_id, Code.MALFORMED, str(problem))), NO_DETAILS
        head = self._decider.log.head().position
        if request.after > head:
            return 0, pack(error(request.msg_id, Code.UNAVAILABLE, beyond(request.after, head))), NO_DETAILS
        job = Job(0, 0, NEVER, request.key, request.after, unpack(request.body))
        return (self._decider.decide(job) if request.dest == COMMANDS else self._answerer.answer(job))[1:]

    def _follow(self, subscription: Subscription) -> Iterator[EventRecord]:
        while True:
            data = self._call(subscription.request)
            yield from subscription.received(data)
            if data["position"] >= data["head"]:
                return

    def _open(self) -> Any:
        """Do not connect."""


def _result(call: Call, position: int, body: bytes, details: bytes) -> Any:
    """Return the result of a call, or raise its error."""
    outcome, _ = call.outcome(position, unpack(body), unpack(details) if details else {})
    if isinstance(outcome, DualbusError):
        raise outcome
    return outcome


class _Decider:
    """Decides commands as commandbus does: each in a batch of its own."""

    def __init__(self, app: App, clock: Clock) -> None:
        self.log = open_memory_log(lambda secret: genesis(app, secret, clock.now()))
        self._app = app
        self._clock = clock
        self._states = StateCache()

    def decide(self, job: Job) -> Response:
        """Decide a command and append its events."""
        known = self.log.outcomes([job.key or ""])
        batch = CommandBatch(self._app, self.log, self._states, self._clock.now(), self._clock.new_id, known)
        batch.decide(job)
        appended = self.log.append(batch.decisions) if batch.decisions else Appended(0, [])
        [response] = batch.responses(appended)
        batch.update_states(appended)
        return response


class _Answerer:
    """Answers queries as querybus does, after it has applied new events as the projector does."""

    def __init__(self, app: App, log: ReadableLog) -> None:
        self._log = log
        self._applier = Applier(app, log)
        self._model = ModelInMemory(app.projections)
        self._tables = self._model.read_only()
        self._responder = Responder(app, EventFeed(app, lambda: log))
        self.position = 0
        self._logged = ""  # the last failure of a projection

    def answer(self, job: Job) -> Response:
        """Answer a query from a read model that includes all events; refuse a query if a projection has failed."""
        failure = self._catch_up()
        if job.what != EVENTS and self.position < job.after:
            text = behind(self.position, job.after, "", Progress(self._log.identity, self.position, "", failure))
            return job.id, self.position, pack(error(job.body["msg_id"], Code.UNAVAILABLE, text)), NO_DETAILS
        return job.id, self.position, *self._responder.answer(job, self._tables)

    def _catch_up(self) -> str:
        """Apply new events; return the failure of a projection, or an empty text."""
        for event in self._log.read(self.position, -1):
            try:
                with self._model.transaction():
                    self._applier.apply(event, self._model)
            except ProjectionFailed as failed:
                if self._logged != str(failed):
                    logger.error("%s.", failed, exc_info=failed.__cause__)
                self._logged = str(failed)
                return str(failed)
            self.position = event.position
        return ""

    def close(self) -> None:
        self._tables.close()
        self._model.close()
