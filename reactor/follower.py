"""Follows the log for a reaction: starts the functions for each event, in order for each tag."""

import asyncio
import logging
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

from dualbus.application import event_json
from dualbus.application.app import App
from dualbus.application.causes import Unreadable
from dualbus.application.causes import cause as describe
from dualbus.application.messages import Event
from dualbus.application.reactors import Reactors
from dualbus.log.contract import ReadableLog, RecordedEvent
from dualbus.reactions.order import TagOrder
from dualbus.reactions.store import SKIP, Changes, Parked, Progress
from dualbus.runtime.errors import FatalError, application_errors

from .attempts import Attempts
from .commands import Cause
from .environment import MICROSECONDS, Environment, microseconds
from .job import Failure, Job
from .marks import Finished

WINDOW = 1000  # unfinished events
PARKED_MAX = 10_000
BLOCKED = "An earlier event with the same tag is parked."

logger = logging.getLogger(__name__)


class Follower:
    """The events of a reaction: unfinished, finished and parked."""

    def __init__(
        self,
        app: App,
        log: ReadableLog,
        reactors: Reactors,
        progress: Progress,
        run: Callable[[Job], Awaitable[None]],
        attempts: Attempts,
        environment: Environment,
    ) -> None:
        self.name = reactors.reaction.name
        self.position = progress.position  # all events up to here are finished or parked, and in the store
        self.read = progress.position
        self._unreadable = ""
        self.counters = {"finished": 0, "failures": 0}
        self._stopping = False
        self.crash: Exception | None = None  # an error of the log, which ends the process
        self._rebuilt = progress.rebuilt
        self._app = app
        self._log = log
        self._reactors = reactors
        self._reaction = reactors.reaction
        self._run = run
        self._attempts = attempts
        self._environment = environment
        self._names = app.stored_names(frozenset(reactors.by_event))  # types in the log
        self._order: TagOrder[Job] = TagOrder()
        self._unfinished: dict[int, Job] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._changes = Changes()
        self._loaded: set[int] = set()  # positions not to react to, when they are read: parked or skipped before
        self._retries: dict[int, int] = {}  # by parked position, the time of the next try
        self._retried_at = 0  # the time of the last call of `retry_due`
        self._held: set[int] = set()  # unfinished positions that an operator skips: they do not start again

    @property
    def busy(self) -> int:
        """The number of events under way."""
        return len(self._tasks)

    @property
    def finished(self) -> Finished:
        """The finished events: all that were read, except the parked events and those under way."""
        return self._finished_up_to(self.read)

    @property
    def finished_but_parked(self) -> Finished:
        """The stored events, except the parked events."""
        return self._finished_up_to(self.position)

    def _finished_up_to(self, last: int) -> Finished:
        return Finished(last, tuple(number for number in sorted(self._order.unfinished) if number <= last))

    @property
    def room(self) -> int:
        """The number of events to read now, at most."""
        full = len(self._order.parked) >= PARKED_MAX
        return 0 if self._unreadable or full else max(0, WINDOW - len(self._unfinished))

    @property
    def failure(self) -> str:
        """The reason to read no further events, or an empty string."""
        full = len(self._order.parked) >= PARKED_MAX
        return f"has {PARKED_MAX} parked events, and reads no further events" if full else self._unreadable

    # Reading.

    def load(self, parked: Sequence[Parked], done: Iterable[int]) -> None:
        """Restore the parked events of the store, and the finished or skipped events, which are not to run again."""
        self._loaded.update(done)
        for row in parked:
            [record] = self._log.read(row.position - 1, 1)
            job = self._job(record, self._causes([record])[record.position])
            job.finished = job.was_parked = True
            job.tries = row.tries
            self._order.mark_parked(job)
            self._loaded.add(row.position)
            if row.command == SKIP:
                self._held.add(row.position)
            if failure := self._interrupted(job):
                self._note_parked(job, str(failure), self._fail(job, failure))
            elif row.due or row.follows:  # an event that follows was under way, after the earlier event
                self._retries[row.position] = self._due_at_latest(job, row.due)

    def feed(self, records: Sequence[RecordedEvent]) -> None:
        """Start the reactions of the next events of the log."""
        # An event parked in the store may lie behind the next event to read, and be under way again.
        wanted = [one for one in records if one.type in self._names and one.position not in self._loaded]
        causes = self._causes(wanted)
        last = records[-1].position
        for record in wanted:
            try:
                job = self._job(record, causes[record.position])
            except Unreadable as unreadable:
                self._unreadable = f"cannot read the event at position {record.position}: {unreadable}"
                logger.error("Reaction %s stops, because it %s.", self.name, self._unreadable)
                last = record.position - 1
                break
            self._unfinished[record.position] = job
            if self._order.blocked(job):
                self._order.mark_parked(job)
                self._note_parked(job, BLOCKED, follows=self._blocker(job))
            elif failure := self._interrupted(job):
                self._order.add(job)
                self._park(job, failure)
            elif self._order.add(job):
                self._start(job)
        self.read = last

    def _interrupted(self, job: Job) -> Failure | None:
        """Return a failure if the process has ended during an attempt of the event."""
        number = self._attempts.interrupted(job.position, job.tries)
        if not number:
            return None
        job.tries = number - 1
        return Failure(f"The process ended during attempt {number}.")

    def _causes(self, records: Sequence[RecordedEvent]) -> dict[int, Cause]:
        outcomes = self._log.outcomes({record.command_id for record in records})
        return {record.position: Cause.of(record.position, outcomes.get(record.command_id)) for record in records}

    def _job(self, record: RecordedEvent, cause: Cause) -> Job:
        event: Event = self._app.decode(record.type, record.data)
        return Job(record, event, frozenset(f"{name}:{text}" for name, text in event_json.tags(event)), cause)

    # Running.

    def _start(self, job: Job) -> None:
        self._tasks[job.position] = asyncio.get_running_loop().create_task(self._react(job))

    async def _react(self, job: Job) -> None:
        began = time.monotonic()
        try:
            await self._run(job)
        except Failure as failure:
            self._park(job, failure)
        except FatalError as error:
            self.crash = error
        except asyncio.CancelledError as cancelled:
            if self._stopping:
                raise
            self._park_raised(job, cancelled)  # the author has cancelled this task
        except application_errors() as error:
            self._park_raised(job, error)
        else:
            self._finish(job)
        finally:
            del self._tasks[job.position]
            if self._environment.tracer and job.cause.trace:
                self._environment.tracer.record("react", job.cause.trace, job.record.type, began, time.monotonic())
            self._environment.wake()

    def _park_raised(self, job: Job, error: BaseException) -> None:
        """Park an event whose reaction has raised an exception. Call from the `except` clause."""
        logger.exception("%s/%d failed.", self.name, job.position)
        text = f"The reaction raised {describe(error)}: the log of reactor has the details."
        self._park(job, Failure(text, final=True))

    def _finish(self, job: Job) -> None:
        job.finished = True
        self.counters["finished"] += 1
        if job.position in self._held:
            self._held.remove(job.position)
            logger.warning(
                "%s/%d is not skipped: its reaction was under way, and has finished.", self.name, job.position
            )
        if self._reactors.is_effect:
            self._changes.durable = True
        self._attempts.finish(job, keep=self._reactors.is_effect)
        if job.was_parked:  # behind `position`: the store has passed this event
            self._changes.timers += job.timers
            self._changes.unparked.append((self.name, job.position))
        for ready in self._order.finish(job):
            self._start(ready)

    def _park(self, job: Job, failure: Failure) -> None:
        """Park an event until the next try, or for good; park the blocked events, too."""
        due = self._fail(job, failure)
        for parked in self._order.park(job):
            if parked is job:
                self._note_parked(job, str(failure), due)
            else:
                self._note_parked(parked, BLOCKED, follows=job.position)

    def _fail(self, job: Job, failure: Failure) -> int:
        """Count a failure; return the time of the next try, or 0 after the last try."""
        job.tries += 1
        self.counters["failures"] += 1
        due = 0
        if not failure.final and job.tries < self._reaction.tries:
            pause = job.pause(self._reaction.pause) * random.uniform(0.5, 1)  # noqa: S311
            due = self._now() + int(pause * MICROSECONDS)
            self._retries[job.position] = due
        else:
            logger.error(
                "%s/%d is parked after %d tries: %s Run `dualbus parked list`.",
                self.name, job.position, job.tries, failure,
            )  # fmt: skip
        return due

    def _note_parked(self, job: Job, reason: str, due: int = 0, follows: int = 0) -> None:
        job.finished = job.was_parked = True
        job.timers.clear()
        now = self._environment.clock().isoformat(timespec="seconds")
        self._changes.parked.append(Parked(self.name, job.position, reason, now, job.tries, due, follows))

    def _blocker(self, job: Job) -> int:
        return min(position for position, parked in self._order.parked.items() if parked.tags & job.tags)

    # Parked events.

    def retry_due(self) -> None:
        """Start the parked events with a due try."""
        now, before, self._retried_at = self._now(), self._retried_at, self._now()
        if now < before:  # the clock was set back
            jobs = self._order.parked
            self._retries = {at: self._due_at_latest(jobs[at], due) for at, due in self._retries.items()}
        for position in [position for position, due in self._tries().items() if due <= now]:
            if position not in self._retries:
                continue  # released with an earlier event
            if self._order.blocked(self._order.parked[position]):
                del self._retries[position]  # the earlier event releases this one
            else:
                self._release(position)

    def _due_at_latest(self, job: Job, due: int) -> int:
        """Return the time of the next try, no later than its pause from now: the clock was perhaps ahead."""
        return min(due, self._now() + int(job.pause(self._reaction.pause) * MICROSECONDS))

    def seconds_to_retry(self) -> float:
        """Return the seconds until the next try of a parked event."""
        return max(0, min(self._tries().values(), default=1 << 62) - self._now()) / MICROSECONDS

    def _tries(self) -> dict[int, int]:
        """Return the times of the possible next tries."""
        last = self._last_to_run
        return {
            position: due
            for position, due in self._retries.items()
            if position <= last and position not in self._held
        }

    @property
    def _last_to_run(self) -> int:
        """The last parked event that may run. Timers are stored in order: a process manager waits for its turn."""
        full = len(self._order.parked) >= PARKED_MAX  # the reaction reads no further events
        return sys.maxsize if self._reactors.is_effect or full else self.position

    def hold(self, position: int) -> bool:
        """Start no further try of an event, until `skip` or `retry`; return whether the event is parked."""
        if position in self._order.unfinished:
            self._held.add(position)
        return position in self._order.parked

    def skip(self, position: int) -> None:
        """Finish a parked event without its reaction."""
        logger.warning("%s/%d is skipped, by command of an operator.", self.name, position)
        self._attempts.skip(self._order.parked[position])
        self._changes.unparked.append((self.name, position))
        self._held.discard(position)
        self._release(position, skip=True)

    def retry(self, position: int) -> None:
        """Run a parked event again, with all its tries, unless an earlier event blocks the event."""
        self._held.discard(position)
        job = self._order.parked.get(position)
        if job and not self._order.blocked(job):
            job.tries = 0
            self._retries[position] = self._now()
            self._changes.retried.append((self.name, position))
            self._attempts.reset(job)

    def _release(self, position: int, *, skip: bool = False) -> None:
        self._retries.pop(position, None)
        last = self._last_to_run
        for job in self._order.release(position)[1 if skip else 0 :]:
            self._retries.pop(job.position, None)
            if job.position in self._held:
                last = min(last, job.position - 1)
            if job.position > last:  # released with an earlier event
                self._order.mark_parked(job)
                self._retries[job.position] = self._now()
                continue
            job.finished = False
            if self._order.add(job):
                self._start(job)

    # Storing.

    def collect(self) -> Changes:
        """Return the changes since the last call: of the finished events without an unfinished event before them."""
        changes, self._changes = self._changes, Changes()
        for position, job in list(self._unfinished.items()):
            if not job.finished:
                break
            del self._unfinished[position]
            if not job.was_parked:
                changes.timers += job.timers
        low = min(self._unfinished, default=self.read + 1) - 1
        if low != self.position:
            self.position = low
            changes.progress[self.name] = Progress(low, self._log.hash_at(low) or b"", self._rebuilt)
        return changes

    async def stop(self) -> None:
        """Cancel the reactions under way."""
        self._stopping = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _now(self) -> int:
        return microseconds(self._environment.clock())
