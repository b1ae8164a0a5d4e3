"""A reaction: the follower, the timers, and the start of both on a log."""

import asyncio
import logging
import time
import uuid
from collections.abc import Sequence

from dualbus.application.app import App
from dualbus.application.causes import Unreadable, cause
from dualbus.application.reactors import Reactors
from dualbus.log.contract import ReadableLog, RecordedEvent
from dualbus.reactions.past import Histories
from dualbus.reactions.store import ATTEMPT_FINISHED, SKIP, Attempted, Changes, Parked, Progress, ReactionStore
from dualbus.runtime.errors import application_errors

from .attempts import Attempts
from .commands import Commands, OtherCommand
from .effects import Effects
from .environment import Environment
from .follower import Follower
from .marks import FINISHED, POSITION, SKIPPED, Finished, LogMarks, Marks
from .process_manager import ProcessManager
from .timers import Timers

SINCE = "since"  # a part of the key of the mark of the first start
INSTANCE = "instance"  # in the metadata of this mark
LIFESPAN_PAUSE_SECONDS_MAX = 60.0
FINISHED_SECONDS = 5.0  # between two marks of an effect's progress
OTHER_REACTOR = "The reactor before this one had not finished the event."

logger = logging.getLogger(__name__)


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
        marks: LogMarks,
        *,
        shared: bool,
    ) -> None:
        self.name = reactors.reaction.name
        self.follower: Follower | None = None
        self._app = app
        self._log = log
        self._reactors = reactors
        self._store = store
        self._commands = commands
        self._environment = environment
        self._marks = marks
        self._shared = shared  # the log: reactors of other hosts may have gone further than the store
        self._manager = ProcessManager(app, reactors, commands, Histories(app, log), environment)
        self.timers = Timers(app, log, reactors, store, commands, self._manager, environment)
        self.attempts = Attempts(self.name, environment.wake)
        self.effects: Effects | None = None
        if reactors.is_effect:
            self.effects = Effects(app, reactors, commands, self._manager, self.attempts, environment)
        self.waiting = f"waiting for commandbus to start reaction {self.name}"
        self._mark_due = 0.0
        self._instance = uuid.uuid4().hex  # of this start
        self._marked = Finished()  # the last mark
        self._marking: asyncio.Task[None] | None = None
        self._skipping: dict[int, asyncio.Task[None]] = {}

    async def open(self, progress: Progress | None) -> None:
        """Start, unless a client has used the key of a mark."""
        try:
            await self._open(progress)
        except OtherCommand as used:
            self.waiting = f"reaction {self.name} does not start: {used}"
            logger.error("Reaction %s does not start. %s", self.name, used)

    async def _open(self, progress: Progress | None) -> None:
        """Start at the position in the store, else at the position in the log, else as declared."""
        mark = await self._commands.mark(f"{self.name}/{SINCE}", self._declared())
        first = mark.origin.metadata.get(INSTANCE) == self._instance
        may_be_behind = (
            self._shared or self._store.adopted or progress is None or progress.position < progress.rebuilt
        )
        marks = await self._marks.of(self.name) if may_be_behind and not first else Marks()
        if progress is None or self._shared:
            start = progress.position if progress else int(mark.origin.metadata.get(POSITION, mark.position))
            progress = self._catch_up(start, marks, 0 if first else self._log.head().position)
        self._manager.rebuilt = progress.rebuilt
        self._marked = max(marks.finished, Finished(progress.position if self.effects else 0))
        run = self.effects.run if self.effects else self._manager.run
        if position := self._environment.running_event.pop_left(self.name):
            self._count_ended(position, progress)
            self._environment.running_event.end()
        attempted = self._store.attempts(self.name)
        finished = {position for position, number in attempted.items() if number == ATTEMPT_FINISHED}
        self.attempts.load({position: attempted[position] for position in attempted.keys() - finished})
        follower = Follower(self._app, self._log, self._reactors, progress, run, self.attempts, self._environment)
        try:
            follower.load(self._store.parked(self.name), marks.skipped | finished)
        except Unreadable as unreadable:
            self.waiting = f"reaction {self.name} cannot read a parked event: {unreadable}"
            logger.error("Reaction %s does not start: a parked event is unreadable. %s", self.name, unreadable)
            return
        await self.timers.begin(self._environment.clock())
        if self.effects:
            await self._enter_lifespan(self.effects)
        self.follower = follower

    def _count_ended(self, position: int, progress: Progress) -> None:
        """Count a failure of the event whose process manager, or reaction to a refusal, has ended the process."""
        tries = {row.position: row.tries for row in self._store.parked(self.name)}
        if self.effects or (position <= progress.position and position not in tries):
            self.timers.postpone_of(position)
            return
        number = max(self._store.attempts(self.name).get(position, 0), tries.get(position, 0)) + 1
        self._store.write(Changes(attempts=[Attempted(self.name, position, number)]))

    async def _enter_lifespan(self, effects: Effects) -> None:
        """Enter the lifespan of the effects; on a failure, try again after a growing pause."""
        pause = self._reactors.reaction.pause
        while True:
            try:
                return await effects.open()
            except application_errors() as error:
                logger.exception("The lifespan of reaction %s raised.", self.name)
                self.waiting = f"the lifespan of reaction {self.name} raised {cause(error)}"
            await asyncio.sleep(pause)
            pause = min(2 * pause, LIFESPAN_PAUSE_SECONDS_MAX)

    def _declared(self) -> dict[str, str]:
        """Return the metadata of the mark for the first start on this log."""
        since = self._reactors.reaction.since
        declared = {INSTANCE: self._instance}
        return declared if since == "now" else {**declared, POSITION: str(0 if since == "beginning" else since)}

    def _catch_up(self, start: int, marks: Marks, rebuilt: int) -> Progress:
        """Bring the store up to the marks; return the progress. Unfinished events of the marks are tried again."""
        parked = {row.position: row for row in self._store.parked(self.name)}
        position = max(start, marks.finished.position) if self.effects else start
        progress = Progress(position, self._log.hash_at(position) or b"", rebuilt)
        changes = Changes(progress={self.name: progress})
        attempted = self._store.attempts(self.name)
        for number in filter(marks.has_finished, parked):
            if self.effects or number in marks.skipped:
                changes.unparked.append((self.name, number))
            else:  # finished by a reactor with other timers: the keys of its commands make a repetition safe
                changes.parked.append(parked[number]._replace(due=1, follows=0))
        now = self._environment.clock().isoformat(timespec="seconds")
        changes.parked += [
            Parked(self.name, number, OTHER_REACTOR, now, due=1)
            for number in marks.finished.unfinished
            if self.effects and number > start and number not in parked and number not in marks.skipped
            if attempted.get(number) != ATTEMPT_FINISHED
        ]
        ended = marks.has_finished if self.effects else marks.skipped.__contains__
        changes.finished += [(self.name, number) for number in filter(ended, attempted)]
        self._store.write(changes)
        return progress

    def step(self, follower: Follower, records: Sequence[RecordedEvent]) -> None:
        """Start the reactions to the next events, and all due retries and timers."""
        if records:
            follower.feed(records)
        follower.retry_due()
        self.timers.fire(follower.position)
        if time.monotonic() >= self._mark_due and (self._marking is None or self._marking.done()):
            self._mark_due = time.monotonic() + FINISHED_SECONDS
            self._marking = asyncio.get_running_loop().create_task(self.mark())

    def command(self, row: Parked) -> None:
        """Retry or skip a parked event, by command of an operator."""
        follower = self.follower
        if follower is None or row.position in self._skipping:
            return
        if row.command != SKIP:
            follower.retry(row.position)
        elif follower.hold(row.position):  # else the event is under way: a failure parks the event
            task = asyncio.get_running_loop().create_task(self._skip(follower, row.position))
            self._skipping[row.position] = task

    async def _skip(self, follower: Follower, position: int) -> None:
        """Record the skip in the log: without the reactor's file, the event is skipped again."""
        try:
            await self._commands.mark(f"{self.name}/{SKIPPED}/{position}", {POSITION: str(position)})
        finally:  # after an error, the operator may skip the event again
            del self._skipping[position]
        follower.skip(position)
        self._environment.wake()

    async def mark(self) -> None:
        """Record the progress of the effects in the log: without the reactor's file, the effects continue there.

        A process manager runs again, without an effect: its mark only shows which parked events are finished.
        """
        if self.follower is None or not (self.effects or self._shared):
            return
        finished = (self.follower.finished if self.effects else self.follower.finished_but_parked).bounded()
        if finished == self._marked or finished.position < self._marked.position:
            return
        if self.effects or finished.unfinished or self._marked.unfinished:
            await self._commands.mark(f"{self.name}/{FINISHED}/{uuid.uuid4()}", finished.metadata())
            self._marked = finished

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
