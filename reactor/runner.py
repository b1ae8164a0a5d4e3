"""A reaction: the follower, the timers, and the start of both on a log."""

import asyncio
import logging
import time
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from dualbus.application.app import App
from dualbus.application.causes import cause
from dualbus.application.reactors import Reactors
from dualbus.log.contract import Outcome, ReadableLog, RecordedEvent
from dualbus.protocol.origin import MARK
from dualbus.reactions.past import Histories
from dualbus.reactions.store import SKIP, Changes, Parked, Progress, ReactionStore
from dualbus.runtime.errors import RAISED

from .attempts import Attempts
from .commands import Commands
from .effects import Effects
from .environment import Environment
from .follower import Follower
from .process_manager import ProcessManager
from .timers import Timers

SINCE, FINISHED, SKIPPED = "since", "finished", "skipped"  # parts of the keys of marks
POSITION, TIME, INSTANCE = "position", "time", "instance"  # in the metadata of a mark
OUTCOMES_AT_ONCE = 10_000
LIFESPAN_PAUSE_SECONDS_MAX = 60.0
FINISHED_SECONDS = 10.0  # between two marks of an effect's position

logger = logging.getLogger(__name__)


class Marks(NamedTuple):
    """The marks of a reaction in the log, for a reactor without its file."""

    finished: int  # the last position of the effects
    skipped: set[int]  # positions of the events skipped by an operator


class Runner:
    """A reaction of the application."""

    def __init__(
        self,
        app: App,
        log: ReadableLog,
        reactors: Reactors,
        store: ReactionStore,
        commands: Commands,
        environment: Environment,
    ) -> None:
        self.name = reactors.reaction.name
        self.follower: Follower | None = None
        self._app = app
        self._log = log
        self._reactors = reactors
        self._store = store
        self._commands = commands
        self._environment = environment
        self._manager = ProcessManager(app, reactors, commands, Histories(app, log), environment)
        self.timers = Timers(app, log, reactors, store, commands, self._manager, environment)
        self.attempts = Attempts(self.name, environment.wake)
        self.effects: Effects | None = None
        if reactors.is_effect:
            self.effects = Effects(app, reactors, commands, self._manager, self.attempts, environment)
        self.waiting = f"waiting for commandbus to start reaction {self.name}"
        self._mark_due = 0.0
        self._instance = uuid.uuid4().hex  # of this start
        self._marked = 0  # the position of the last mark
        self._marking: asyncio.Task[None] | None = None
        self._skipping: dict[int, asyncio.Task[None]] = {}

    async def open(self, progress: Progress | None) -> None:
        """Start at the position in the store, else at the position in the log, else as declared."""
        mark = await self._commands.mark(f"{self.name}/{SINCE}", self._declared())
        skipped: set[int] = set()
        if progress is None or progress.position < progress.rebuilt:
            marks = self._marks(mark)
            progress, skipped = progress or self._first(mark, marks), marks.skipped
            self._store.write(Changes(progress={self.name: progress}))
        self._manager.rebuilt = progress.rebuilt
        self._marked = progress.position
        run = self.effects.run if self.effects else self._manager.run
        self.attempts.load(self._store.attempts(self.name))
        follower = Follower(self._app, self._log, self._reactors, progress, run, self.attempts, self._environment)
        follower.load(self._store.parked(self.name), skipped)
        self.timers.begin(self._environment.clock(), datetime.fromisoformat(mark.origin.metadata[TIME]))
        if self.effects:
            await self._enter_lifespan(self.effects)
        self.follower = follower

    async def _enter_lifespan(self, effects: Effects) -> None:
        """Enter the lifespan of the effects; on a failure, try again after a growing pause."""
        pause = self._reactors.reaction.pause
        while True:
            try:
                return await effects.open()
            except RAISED as error:
                logger.exception("The lifespan of reaction %s raised.", self.name)
                self.waiting = f"the lifespan of reaction {self.name} raised {cause(error)}"
            await asyncio.sleep(pause)
            pause = min(2 * pause, LIFESPAN_PAUSE_SECONDS_MAX)

    def _declared(self) -> dict[str, str]:
        """Return the metadata of the mark for the first start on this log."""
        since = self._reactors.reaction.since
        declared = {TIME: self._environment.clock().isoformat(), INSTANCE: self._instance}
        return declared if since == "now" else {**declared, POSITION: str(0 if since == "beginning" else since)}

    def _first(self, mark: Outcome, marks: Marks) -> Progress:
        """Return the progress without a stored one: at the mark of the first start, or later for effects."""
        start = int(mark.origin.metadata.get(POSITION, mark.position))
        if mark.origin.metadata.get(INSTANCE) == self._instance:
            return Progress(start, self._log.hash_at(start) or b"", 0)
        if self.effects:
            start = max(start, marks.finished)
        return Progress(start, self._log.hash_at(start) or b"", self._log.head().position)

    def _marks(self, since: Outcome) -> Marks:
        """Read the marks of the reaction in the log; there are none at the first start."""
        found: dict[str, set[int]] = {FINISHED: {0}, SKIPPED: set()}
        after = 0
        while since.origin.metadata.get(INSTANCE) != self._instance and (
            outcomes := self._log.commands(after, OUTCOMES_AT_ONCE)
        ):
            after += len(outcomes)
            for outcome in outcomes:
                if outcome.origin.type == MARK and outcome.command_id.startswith(f"{self.name}/"):
                    kind = outcome.command_id.split("/")[1]
                    if kind in found:
                        found[kind].add(int(outcome.origin.metadata.get(POSITION, "0")))
        return Marks(max(found[FINISHED]), found[SKIPPED])

    def step(self, follower: Follower, records: Sequence[RecordedEvent], head: int) -> None:
        """Start the reactions to the next events, and all due retries and timers."""
        if records:
            follower.feed(records)
        follower.retry_due()
        self.timers.fire(head, follower.position)
        if self.effects and time.monotonic() >= self._mark_due and follower.settled > self._marked:
            self._mark_due = time.monotonic() + FINISHED_SECONDS
            self._marked = follower.settled
            self._marking = asyncio.get_running_loop().create_task(self._mark(self._marked))

    def command(self, row: Parked) -> None:
        """Retry or skip a parked event, by command of an operator."""
        follower = self.follower
        if follower is None or not follower.is_parked(row.position):
            return  # under way already
        if row.command != SKIP:
            follower.retry(row.position)
        elif row.position not in self._skipping:
            task = asyncio.get_running_loop().create_task(self._skip(follower, row.position))
            self._skipping[row.position] = task

    async def _skip(self, follower: Follower, position: int) -> None:
        """Record the skip in the log: without the reactor's file, the event is skipped again."""
        await self._commands.mark(f"{self.name}/{SKIPPED}/{position}", {POSITION: str(position)})
        del self._skipping[position]
        if follower.is_parked(position):
            follower.skip(position)
        self._environment.wake()

    async def _mark(self, position: int) -> None:
        """Record the position of the effects in the log: without the reactor's file, the effects continue there."""
        await self._commands.mark(f"{self.name}/{FINISHED}/{position}", {POSITION: str(position)})

    async def stop(self) -> None:
        """Cancel the work under way."""
        for task in (self._marking, *self._skipping.values()):
            if task:
                task.cancel()
        await self.timers.stop()
        if self.follower:
            await self.follower.stop()
        if self.effects:
            await self.effects.close()
