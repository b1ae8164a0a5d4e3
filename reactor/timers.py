"""Fires the timers of a reaction, each once, after the reaction has finished all events up to the present."""

import asyncio
import hashlib
import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from dualbus.application.app import App
from dualbus.application.causes import cause
from dualbus.application.errors import Rejected
from dualbus.application.messages import Invalid, parse
from dualbus.application.reactions import Every
from dualbus.application.reactors import Reactors
from dualbus.client.call import type_and_fields
from dualbus.log.contract import ReadableLog
from dualbus.reactions.store import CANCEL, Changes, ReactionStore, Removed, Timer, as_json
from dualbus.runtime.errors import FatalError, application_errors

from .commands import Cause, CommandFailed, Commands, OtherCommand
from .environment import MICROSECONDS, Environment, microseconds
from .job import Failure, Job
from .process_manager import ProcessManager

IN_FLIGHT_MAX = 1000
SCHEDULE, TIME = "schedule", "time"  # a part of the key of the mark of a schedule, and of its metadata
KEY_TIME = "%Y-%m-%dT%H:%MZ"  # the scheduled time, in the key of the command
DIGEST_CHARS = 16  # of a schedule's definition, in this key
PAUSE_SECONDS, PAUSE_SECONDS_MAX = 1.0, 3600.0

logger = logging.getLogger(__name__)


class Timers:
    """The timers and schedules of a reaction.

    An event up to the present may cancel a due timer. So the timers due at a time are fired when the reaction has
    finished all events in the log at this time.
    """

    def __init__(
        self,
        app: App,
        log: ReadableLog,
        reactors: Reactors,
        store: ReactionStore,
        commands: Commands,
        manager: ProcessManager,
        environment: Environment,
    ) -> None:
        self.name = reactors.reaction.name
        self.crash: Exception | None = None
        self._app = app
        self._log = log
        self._schedules = reactors.schedules
        self._store = store
        self._commands = commands
        self._manager = manager
        self._environment = environment
        self._next_due: int | None = None
        self._fired_at = 0  # the time of the last call of `fire`
        self._started_until = 0  # the timers due up to this time are under way
        self._changed = True  # the store may have another next timer
        self._barrier: tuple[int, int] | None = None  # a time, and the head of the log at this time
        self._in_flight: dict[tuple[str, int, str], asyncio.Task[None]] = {}
        self._done: list[tuple[str, int, str]] = []
        self._changes = Changes()

    @property
    def busy(self) -> int:
        """The number of commands under way."""
        return len(self._in_flight)

    async def begin(self, now: datetime) -> None:
        """Store the next time of each schedule.

        The log remembers the first start of a schedule. Without the reactor's file, a schedule begins with the last
        time between this start and now: the log knows the outcome of this time's command.
        """
        stored = self._store.schedules(self.name)
        changes = Changes()
        changes.timers += [Removed(self.name, name, 1) for name in stored if name not in self._schedules]
        for name, every in self._schedules.items():
            started = await self._started(name, every, now)
            known = stored.get(name)
            if known is None or known.origin != _definition(every):
                missed = every.latest(now)
                due = missed if known is None and missed > started else every.next(now)
                changes.timers.append(self._scheduled(name, every, due))
        self._store.write(changes)
        self._correct_times(now)

    def _correct_times(self, now: datetime) -> None:
        """Store the next times that are too late: of schedules and of tries, if the clock was ahead before."""
        latest_try = now + timedelta(seconds=PAUSE_SECONDS_MAX)
        self._store.try_by(self.name, microseconds(latest_try))
        changes = Changes()
        for name, stored in self._store.schedules(self.name).items():
            due = self._schedules[name].next(now)
            if stored.tries:  # the pause before the next try
                due = max(due, latest_try)
            if stored.due > microseconds(due) and stored.id not in self._in_flight:
                logger.warning("The clock was ahead of %s/%s: its next time is %s.", self.name, name, due.isoformat())
                changes.timers.append(self._scheduled(name, self._schedules[name], due))
        self._store.write(changes)
        self._changed, self._started_until = True, 0

    async def _started(self, name: str, every: Every, now: datetime) -> datetime:
        """Return the time of the first start of a schedule on the log: a changed schedule starts again."""
        digest = hashlib.sha256(_definition(every).encode()).hexdigest()[:DIGEST_CHARS]
        mark = await self._commands.mark(f"{self.name}/{SCHEDULE}/{name}/{digest}", {TIME: now.isoformat()})
        return datetime.fromisoformat(mark.origin.metadata[TIME])

    def _scheduled(self, name: str, every: Every, due: datetime) -> Timer:
        type_, payload = type_and_fields(every.command, {})
        key = f"{self.name}/{due:{KEY_TIME}}/{name}"
        return Timer(self.name, 1, name, microseconds(due), key, 0, type_, as_json(payload), _definition(every))

    def fire(self, position: int) -> None:
        """Fire due timers; `position` is the stored position of the reaction."""
        clock = self._environment.clock()
        now, before, self._fired_at = microseconds(clock), self._fired_at, microseconds(clock)
        if now < before:  # the clock was set back
            self._barrier = None
            self._correct_times(clock)
        if self._changed:
            self._next_due, self._changed = self._store.next_due(self.name, self._started_until), False
        if self._next_due is None or self._next_due > now:
            self._barrier = None  # of a timer that was removed
            return
        if self.busy > IN_FLIGHT_MAX // 2:
            return
        if self._barrier is None:
            self._barrier = now, self._log.head().position
        until, needed = self._barrier
        if position < needed:
            return
        self._barrier = None
        due = self._store.due(self.name, until, IN_FLIGHT_MAX)
        for timer in due:
            if timer.id not in self._in_flight:
                task = asyncio.get_running_loop().create_task(self._fire(timer))
                self._in_flight[timer.id] = task
        if len(due) < IN_FLIGHT_MAX:
            self._started_until = until
        self._changed = True

    def seconds_to_next(self) -> float:
        """Return the seconds until the next call of `fire`, if nothing is stored before."""
        if self._changed:
            return 0
        if self._next_due is None or self._barrier or self.busy > IN_FLIGHT_MAX // 2:
            return float("inf")
        return max(0, self._next_due - microseconds(self._environment.clock())) / MICROSECONDS

    async def _fire(self, timer: Timer) -> None:
        try:
            await self._execute(self._latest(timer) if timer.schedule else timer)
        except (CommandFailed, Failure) as failed:
            self._postpone(timer, str(failed))
        except OtherCommand:
            logger.warning("%s: an earlier command under this key stands.", timer.key)
            self._finished(timer)
        except FatalError as error:
            self.crash = error
        except application_errors() as error:
            logger.exception("%s failed.", timer.key)
            self._postpone(timer, f"The reaction raised {cause(error)}: the log of reactor has the details.")
        else:
            self._finished(timer)
        finally:
            self._environment.wake()

    async def _execute(self, timer: Timer) -> None:
        """Execute the command of a timer, and react to a refusal."""
        origin = {"correlation": timer.key} if timer.schedule else json.loads(timer.origin)
        payload = json.loads(timer.payload)
        if timer.command == CANCEL:
            await self._commands.mark(timer.key, {"cancelled": timer.name})
            return
        refused = await self._commands.execute(timer.type, payload, timer.key, origin)
        if refused:
            await self._refused(timer, payload, origin, refused)

    async def _refused(self, timer: Timer, payload: Any, origin: dict[str, Any], refused: Rejected) -> None:
        kind = self._app.command_types.get(timer.type)
        if timer.schedule or kind is None:
            logger.warning("%s: %s was refused: %s.", timer.key, timer.type, refused)
            return
        try:
            command = parse(kind, payload)
        except Invalid as invalid:
            raise Failure(f"{timer.type} of an earlier version is invalid: {'; '.join(invalid.errors)}") from None
        [record] = self._log.read(timer.position - 1, 1)
        caused_by = Cause(
            timer.position, origin["correlation"], int(origin["metadata"]["depth"]), origin.get("trace")
        )
        event = self._app.decode(record.type, record.data)
        job = Job(record, event, frozenset(), caused_by)
        await self._manager.refused(job, timer.key, command, refused)
        self._changes.timers += job.timers

    def _latest(self, timer: Timer) -> Timer:
        """Return a schedule at the last time before now: after a pause, the missed times before are dropped."""
        every = self._schedules[timer.name]
        # After a failure, `due` is the time of the next try. The key has the scheduled time.
        scheduled = datetime.strptime(timer.key.split("/")[1], KEY_TIME).replace(tzinfo=UTC)
        return self._scheduled(timer.name, every, max(scheduled, every.latest(self._environment.clock())))

    def _finished(self, timer: Timer) -> None:
        if timer.schedule:
            every = self._schedules[timer.name]
            due = every.next(self._environment.clock())
            self._changes.timers.append(self._scheduled(timer.name, every, due))
        else:
            self._changes.timers.append(Removed(self.name, timer.name, 0, timer.key))

    def postpone_of(self, position: int) -> None:
        """Postpone the due timers of an event: reacting to a refusal of their command has ended the process."""
        now = microseconds(self._environment.clock())
        for timer in self._store.due(self.name, now, IN_FLIGHT_MAX):
            if timer.position == position:
                self._postpone(timer, "The process ended during the reaction to a refusal.")
        self._store.write(self.collect())

    def _postpone(self, timer: Timer, error: str) -> None:
        pause = min(PAUSE_SECONDS * 2**timer.tries, PAUSE_SECONDS_MAX)
        logger.warning("%s failed, and is tried again in %g s: %s", timer.key, pause, error)
        due = microseconds(self._environment.clock()) + int(pause * MICROSECONDS)
        self._changes.timers.append(timer._replace(due=due, tries=timer.tries + 1, error=error))

    def collect(self) -> Changes:
        """Return the changes since the last call."""
        changes, self._changes = self._changes, Changes()
        self._done = [id_ for id_, task in self._in_flight.items() if task.done()]
        return changes

    def stored(self, *, new: bool) -> None:
        """Continue after the changes are in the store; `new`: with other timers, perhaps due already."""
        self._changed = True
        if new:
            self._started_until = 0
        for id_ in self._done:
            del self._in_flight[id_]
        self._done = []

    async def stop(self) -> None:
        """Cancel the commands under way."""
        for task in self._in_flight.values():
            task.cancel()
        await asyncio.gather(*self._in_flight.values(), return_exceptions=True)


def _definition(every: Every) -> str:
    return as_json([every.schedule, every.zone, *type_and_fields(every.command, {})])
