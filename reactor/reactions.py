"""All reactions of the application, and the transaction that stores their progress."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from dualbus.application.app import App
from dualbus.log.contract import ReadableLog, RecordedEvent
from dualbus.reactions.store import Changes, Counts, ReactionStore, StoreFull, Timer
from dualbus.runtime.errors import DataError

from .commands import Commands
from .environment import Environment
from .marks import LogMarks
from .runner import Runner

CHUNK = 256  # events for a reaction to read in a turn

logger = logging.getLogger(__name__)


class Reactions:
    """The reactions on a log, with a store."""

    def __init__(
        self,
        app: App,
        log: ReadableLog,
        store: ReactionStore,
        commands: Commands,
        environment: Environment,
        *,
        shared: bool = False,
    ) -> None:
        self.head = log.head().position
        self._log = log
        self._store = store
        self._commands = commands
        self._wake = environment.wake
        marks = LogMarks(log)
        self._runners = [
            Runner(app, log, reactors, store, commands, environment, marks, shared=shared)
            for reactors in app.reactors.values()
        ]
        self._opening: list[asyncio.Task[None]] = []
        self._opened_at: dict[str, int] = {}  # the stored position of each reaction
        self._last_read: tuple[int, Sequence[RecordedEvent]] = (-1, ())
        self._counts: dict[str, Counts] = {}
        self._unstored = Changes()  # while the disk is full
        self._full = ""  # the reason why no changes are stored

    def start(self) -> None:
        """Open all reactions; a new reaction first waits until commandbus has recorded its start."""
        stored = self._store.progress()
        self._opened_at = {name: progress.position for name, progress in stored.items()}
        names = {runner.name for runner in self._runners}
        self._counts = self._store.counts()
        for name in sorted(stored.keys() - names):
            timers, parked, waiting = self._counts[name]
            if timers or parked or waiting:
                logger.warning(
                    "There is no reaction %s in the application: its %d timers and %d parked events wait for a "
                    "version with this name.", name, timers, parked + waiting,
                )  # fmt: skip
        loop = asyncio.get_running_loop()
        self._opening = [loop.create_task(runner.open(stored.get(runner.name))) for runner in self._runners]
        for task in self._opening:
            task.add_done_callback(lambda done: self._wake())

    @property
    def position(self) -> int:
        """The position up to which all reactions have finished."""
        positions = [
            runner.follower.position if runner.follower else self._opened_at.get(runner.name, 0)
            for runner in self._runners
        ]
        return min(self.head, *positions) if positions else self.head

    @property
    def failure(self) -> str:
        """A sentence about the first stopped reaction, or an empty string."""
        if self._full:
            return f"waiting for space: {self._full}"
        for runner in self._runners:
            if runner.follower is None:
                return runner.waiting
            if runner.follower.failure:
                return f"{runner.name} {runner.follower.failure}"
        return ""

    @property
    def under_way(self) -> int:
        """The number of effects and commands under way."""
        return self._commands.in_flight + sum(runner.effects.under_way for runner in self._runners if runner.effects)

    @property
    def idle(self) -> bool:
        """Whether all events are finished or parked, and nothing is due."""
        for runner in self._runners:
            if not runner.follower or runner.follower.busy or runner.timers.busy:
                return False
        return self.position == self.head and self.seconds_to_next() > 0

    def status(self) -> dict[str, Any]:
        """Return counters for Status."""
        followers = {runner.name: runner.follower for runner in self._runners if runner.follower}
        counts = list(self._counts.values()) or [Counts()]
        return {
            "lag_events": max(0, self.head - self.position),
            "lags": {name: max(0, self.head - follower.position) for name, follower in followers.items()},
            **{name: sum(numbers) for name, numbers in zip(Counts._fields, zip(*counts, strict=True), strict=True)},
            "under_way": sum(follower.busy for follower in followers.values()),
            "finished": sum(follower.counters["finished"] for follower in followers.values()),
            "failures": sum(follower.counters["failures"] for follower in followers.values()),
            **self._commands.counters,
        }

    def step(self, *, published: bool) -> bool:
        """Read events, start reactions, store changes; return whether more events can be read at once."""
        self._raise_crash()
        if self._full:
            self.store_changes()
            return False
        if published:
            self.head = self._log.head().position
        more = False
        for runner in self._runners:
            if follower := runner.follower:
                records = self._read(follower.read, min(CHUNK, follower.room))
                runner.step(follower, records)
                more |= follower.read < self.head and follower.room > 0
        self.store_changes()
        return more

    def _raise_crash(self) -> None:
        for task in self._opening:
            if task.done() and not task.cancelled():
                task.result()
        for runner in self._runners:
            for part in (runner.follower, runner.timers):
                if part and part.crash:
                    raise part.crash

    def _read(self, after: int, limit: int) -> Sequence[RecordedEvent]:
        """Return the next events; the reactions at the end of the log share a read."""
        if limit <= 0 or after >= self.head:
            return ()
        start, records = self._last_read
        if start != after or (len(records) < limit and after + len(records) < self.head):
            records = self._log.read(after, CHUNK)
            self._last_read = after, records
        self.head = max(self.head, records[-1].position if records else 0)
        return records[:limit]

    def store_changes(self) -> None:
        """Write the progress, the timers and the parked events of all reactions in a transaction.

        On a full disk, the changes wait. No further event is read meanwhile, and so their number is bounded.
        """
        whole, self._unstored = self._unstored, Changes()
        for runner in self._runners:
            for part in (runner.follower, runner.timers, runner.attempts):
                if part:
                    whole.add(part.collect())
        if whole and self._written(whole):
            for runner in self._runners:
                runner.timers.stored(new=any(isinstance(change, Timer) for change in whole.timers))
                runner.attempts.stored()

    def _written(self, changes: Changes) -> bool:
        try:
            self._store.write(changes)
        except StoreFull as full:
            if not self._full:
                logger.error("The reactions wait: %s", full)
            self._unstored, self._full = changes, str(full)
            return False
        if self._full:
            logger.info("The reactions continue: the disk has space again.")
        self._full = ""
        return True

    def poll(self) -> None:
        """Read the head of the log, and the commands of an operator in the store."""
        self.head = max(self.head, self._log.head().position)
        self._counts = self._store.counts()
        runners = {runner.name: runner for runner in self._runners}
        for row in self._store.parked(commanded=True):
            if row.reaction in runners:
                runners[row.reaction].command(row)
        for runner in self._runners:
            runner.timers.stored(new=True)

    def seconds_to_next(self) -> float:
        """Return the seconds until a timer or a retry is due."""
        waits: list[float] = []
        for runner in self._runners if not self._full else ():
            if runner.follower:  # timers of a reaction that is not open yet are not fired
                waits += [runner.timers.seconds_to_next(), runner.follower.seconds_to_retry()]
        return min(waits, default=float("inf"))

    async def mark(self) -> None:
        """Record the progress of the effects in the log."""
        await asyncio.gather(*(runner.mark() for runner in self._runners))

    async def stop(self) -> None:
        """Cancel the work under way."""
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for runner in self._runners:
            await runner.stop()
        with suppress(DataError):  # of a file that was removed or is full: cancelled attempts count as failed
            self.store_changes()
