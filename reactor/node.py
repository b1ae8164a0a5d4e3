"""The process: follow the log for all reactions, send their commands, store their progress."""

import asyncio
import logging
import os
import time
from contextlib import suppress
from typing import Any

from dualbus.application.app import App
from dualbus.application.loader import load
from dualbus.client.reactor_client import ReactorClient
from dualbus.log.contract import ReadableLog
from dualbus.log.engine import log_exists, open_reader
from dualbus.protocol.batches import read_batch
from dualbus.protocol.codes import WireError
from dualbus.protocol.frames import EVENTS
from dualbus.protocol.records import Published, read_published
from dualbus.reactions.store import STANDBY_NAME, ReactionStore
from dualbus.readmodel.checkpoints import check_log_is_complete
from dualbus.runtime.errors import EXIT_OK, EXIT_SOFTWARE, AlreadyRunningError, DataError
from dualbus.runtime.files import Lock, lock_data, make_folder, usable
from dualbus.runtime.settings import ONE_MACHINE, Settings
from dualbus.runtime.signals import GRACE_SECONDS, Stop
from dualbus.telemetry.tracing import open_tracer
from dualbus.transport.keys import load_cluster_keys
from dualbus.transport.poller import Poll
from dualbus.transport.sockets import Sockets
from dualbus.worker.attendant import Attendant
from dualbus.worker.interrupt import Interrupt
from dualbus.worker.link import WorkerLink

from .commands import Commands
from .environment import Environment
from .reactions import Reactions
from .role import Role
from .running_event import RunningEvent

HEAD_POLL_SECONDS = 0.5  # between reads of the log's head, and of the commands of an operator
STOP_SECONDS = 5.0  # for cancelled effects, and for the ends of lifespans
MARK_SECONDS = 2.0  # for a last command, before another reactor takes over
WAIT_SECONDS = 0.05  # between checks for the log and for the lock

STANDING_BY = "standing by"

logger = logging.getLogger(__name__)


def serve(settings: Settings, stop: Stop) -> int:
    """Run the reactor until a stop is requested."""
    make_folder(settings.data)
    with Sockets(load_cluster_keys(settings.keys)) as sockets:
        return asyncio.run(Reactor(settings, sockets, stop).run())


class Reactor:
    """Runs the reactions of the application."""

    def __init__(self, settings: Settings, sockets: Sockets, stop: Stop) -> None:
        self._settings = settings
        self._folder = settings.data
        self._app: App = load(settings.app)
        self._stop = stop
        self._events = sockets.subscriber(settings.events)
        self._link = WorkerLink(sockets.dealer(settings.back), "reactor", [])
        self._poll = Poll(self._events, self._link.socket, stop=stop)
        self._interrupt = Interrupt()
        self._attendant = Attendant(self._link, self._interrupt, self._status, handler="reaction of")
        self._tracer = open_tracer("reactor", self._app.event_types)
        self._running_event: RunningEvent
        self._reactions: Reactions | None = None
        self._state = "starting"
        self._role = Role(shared=settings.log != ONE_MACHINE)
        self._published = False  # since the last turn
        self._awake = asyncio.Event()
        self._next_head_poll = 0.0

    async def run(self) -> int:
        """React until a stop is requested."""
        loop = asyncio.get_running_loop()
        descriptors = [self._events.zmq.fileno(), self._link.socket.zmq.fileno(), self._stop.wakeup]
        for descriptor in descriptors:
            loop.add_reader(descriptor, self._awake.set)
        self._attendant.start()
        self._link.register()
        lock = await self._wait_for_lock()
        log = await self._wait_for_log() if lock else None
        if log:
            with usable(self._folder):
                self._running_event = RunningEvent(self._folder)
            check_log_is_complete(self._folder, log)
            self._app.check_stored(log.types())
            while await self._wait_for_role():
                await self._follow(log)
        while await self._turn(WAIT_SECONDS):
            pass
        for descriptor in descriptors:
            loop.remove_reader(descriptor)
        if lock:
            lock.release()
        if self._tracer:
            self._tracer.close()
        self._attendant.stop()
        return EXIT_OK

    async def _turn(self, seconds: float) -> bool:
        """Wait, exchange messages with the gateway, send a heartbeat; return False at the end."""
        link = self._link
        if not (self._events.has_unsignalled or link.socket.has_unsignalled):
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, min(seconds, link.seconds_to_heartbeat))):
                    await self._awake.wait()
        self._awake.clear()
        await asyncio.sleep(0)  # tasks and replies come first
        ready = link.wait(self._poll, 0)
        self._receive_publications()
        link.receive()
        link.send_heartbeat(self._status)
        del ready
        return not link.finished(self._stop)

    def _receive_publications(self) -> None:
        """Note the arrival of new events. The reactor reads the events from the log."""
        self._role.turn(time.monotonic())
        for frames in self._events.receive():
            try:
                kind, items = read_batch(frames)
                if kind == EVENTS:
                    self._check_publications(read_published(items))
            except WireError as error:
                logger.warning("Dropped an invalid publication: %s", error)

    def _check_publications(self, publications: list[Published]) -> None:
        for published in publications:
            self._published = True
            self._role.published(time.monotonic(), active=published.active)
            identity = self._link.identity
            if identity and published.identity != identity:
                raise DataError(
                    f"The log in {self._folder} is {identity}, but the published events are of the log "
                    f"{published.identity}: set the same DUALBUS_DATA for commandbus and reactor."
                )

    def _status(self) -> dict[str, Any]:
        reactions = self._reactions.status() if self._reactions else {}
        return {"state": self._state, **reactions, **self._attendant.status()}

    async def _wait_for_lock(self) -> Lock | None:
        """Wait while another reactor runs; return None if a stop is requested."""
        while await self._turn(WAIT_SECONDS):
            try:
                return lock_data(self._folder, "reactor", "reactor runs the reactions")
            except AlreadyRunningError as running:
                if self._state != "waiting for the other reactor":
                    logger.info("Waiting until the other reactor ends. %s", running)
                self._state = "waiting for the other reactor"
        return None

    async def _wait_for_log(self) -> ReadableLog | None:
        self._state = "waiting for the log"
        while await self._turn(WAIT_SECONDS):
            if log_exists(self._folder):
                return open_reader(self._folder)
        return None

    async def _wait_for_role(self) -> bool:
        """Wait until this reactor runs the reactions; return False if a stop is requested."""
        while not self._stop.requested:
            if self._role.takes_over(time.monotonic()):
                self._show_role(standby=False)
                return True
            if self._state != STANDING_BY:
                logger.info("Standing by: the reactor beside the active commandbus runs the reactions.")
                self._show_role(standby=True)
            self._state = STANDING_BY
            await self._turn(WAIT_SECONDS)
        return False

    def _show_role(self, *, standby: bool) -> None:
        """Show to the command line and to the page whether this reactor accepts commands of an operator."""
        marker = self._folder / STANDBY_NAME
        with usable(self._folder):
            if standby:
                marker.touch(0o600)
            else:
                marker.unlink(missing_ok=True)

    async def _follow(self, log: ReadableLog) -> None:
        """Run the reactions until a stop is requested, the role changes, or the reactor's file was removed."""
        store = self._open_store(log)
        client = ReactorClient(self._settings.fronts, src="reactor", timeout=self._settings.timeout_ms / 1000)
        environment = Environment(
            self._interrupt, self._link.handling, self._awake.set, self._running_event, tracer=self._tracer
        )
        commands = Commands(client.execute, log)
        reactions = Reactions(self._app, log, store, commands, environment, shared=self._role.shared)
        self._reactions = reactions
        self._link.identity = log.identity
        names = ", ".join(self._app.reactors) or "none"
        logger.info("Running the reactions: %s (pid %d).", names, os.getpid())
        try:
            reactions.start()
            await self._react(reactions, store)
            await self._finish(reactions)
        finally:
            await self._stop_reactions(reactions)
            if self._role.shared:
                await self._mark(reactions)
            await client.close()
            store.close()
            self._reactions = None

    async def _stop_reactions(self, reactions: Reactions) -> None:
        """Cancel the work under way; end the process if the work does not end."""
        stopping = asyncio.create_task(reactions.stop())
        await asyncio.wait([stopping], timeout=STOP_SECONDS)
        if not stopping.done():
            logger.error("An effect or a lifespan has not ended %g s after its cancellation: exiting.", STOP_SECONDS)
            os._exit(EXIT_SOFTWARE)
        await stopping

    async def _mark(self, reactions: Reactions) -> None:
        """Record the last effects in the log, so that the reactor of another host does not repeat them."""
        with suppress(TimeoutError):
            async with asyncio.timeout(MARK_SECONDS):
                await reactions.mark()

    async def _react(self, reactions: Reactions, store: ReactionStore) -> None:
        while not self._stop.requested and self._role.active(time.monotonic()):
            more = reactions.step(published=self._published)
            self._published = False
            self._state = reactions.failure or "following"
            self._link.position = reactions.position
            if time.monotonic() >= self._next_head_poll:
                self._next_head_poll = time.monotonic() + HEAD_POLL_SECONDS
                if store.replaced():
                    logger.error("The file %s was removed or replaced; deriving it from the log.", store.path)
                    return
                reactions.poll()
            await self._turn(0 if more else min(HEAD_POLL_SECONDS, reactions.seconds_to_next()))

    async def _finish(self, reactions: Reactions) -> None:
        """Wait for the effects and commands under way, within the grace period, unless the file was replaced."""
        until = time.monotonic() + GRACE_SECONDS / 2
        ends = self._stop.requested or not self._role.active(time.monotonic())
        while ends and reactions.under_way and time.monotonic() < until:
            await self._turn(WAIT_SECONDS)
            reactions.store_changes()

    def _open_store(self, log: ReadableLog) -> ReactionStore:
        """Open the reactor's file, or create it; empty the file for a changed log. Raises DataError for another."""
        store = ReactionStore(self._folder, log.identity)
        if store.identity.log != log.identity.log:
            raise DataError(
                f"{store.path} is of another log ({store.identity.log}): move it away, or point DUALBUS_DATA to the "
                "right folder."
            )
        progress = store.progress()
        same = {name for name, one in progress.items() if one.hash in (b"", log.hash_at(one.position))}
        if store.identity == log.identity and same == progress.keys():
            return store
        # The events up to a position may be the same, but not the commands of reactions: these come far behind.
        kept = same & {name for name, one in self._app.reactors.items() if one.is_effect and not one.yields()}
        logger.warning(
            "The log was restored, upgraded, or has lost its last events: deriving %s from the log again%s.",
            store.path,
            f", except for {', '.join(sorted(kept))}" if kept else "",
        )
        store.adopt(log.identity, kept)
        return store
