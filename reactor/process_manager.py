"""Runs process managers: pure functions whose commands are executed once, under keys made of the event's position."""

import logging
import time
from collections.abc import Sequence
from typing import Any

from dualbus.application.app import App
from dualbus.application.causes import cause
from dualbus.application.errors import Rejected
from dualbus.application.immutable import own_event
from dualbus.application.messages import Command
from dualbus.application.reactions import Cancel, Later
from dualbus.application.reactors import Reactor, Reactors
from dualbus.application.recorded import time_of
from dualbus.application.signatures import name_of
from dualbus.application.tables import Interrupted
from dualbus.client.call import type_and_fields
from dualbus.log.contract import Outcome
from dualbus.protocol.origin import MARK
from dualbus.reactions.past import Histories, ReactionPast
from dualbus.reactions.steps import STEPS_MAX, BadReaction, Step, steps
from dualbus.reactions.store import Removed, Timer, as_json
from dualbus.runtime.errors import FatalError, application_errors

from .commands import CommandFailed, Commands, OtherCommand
from .environment import Environment, microseconds
from .job import Failure, Job, Running

DEPTH_MAX = 100
CHAIN_SECONDS = 1.0  # a timer with a longer delay starts another chain

logger = logging.getLogger(__name__)


def check_depth(job: Job) -> None:
    """Raise Failure for an event at the end of a long chain of reactions: its functions may have no end."""
    if job.cause.depth >= DEPTH_MAX:
        raise Failure(
            f"The event ends a chain of {DEPTH_MAX} reactions, which looks endless: correct the functions that "
            "cause each other, then skip the event.",
            final=True,
        )


class ProcessManager:
    """The functions of a reaction."""

    def __init__(
        self,
        app: App,
        reactors: Reactors,
        commands: Commands,
        histories: Histories,
        environment: Environment,
    ) -> None:
        self.name = reactors.reaction.name
        self.rebuilt = 0  # up to this position, an earlier file had perhaps finished the events
        self._app = app
        self._reactors = reactors
        self._commands = commands
        self._histories = histories
        self._environment = environment

    async def run(self, job: Job) -> None:
        """React to an event: execute the commands in order, and collect the timers. Raises Failure."""
        key = f"{self.name}/{job.position}"
        check_depth(job)
        job.timers.clear()
        found = self._steps(job, key, self._reactors.of(job.event), own_event(job.event))
        await self.execute(job, key, found)

    async def execute(self, job: Job, key: str, found: Sequence[Step]) -> None:
        """Execute steps in order, each under its own key. Raises Failure."""
        keys = [f"{key}/{number}" for number in range(len(found))]
        known: dict[str, Outcome] = {}
        if job.position <= self.rebuilt:
            known = self._commands.log.outcomes(keys)
        earlier: set[str] = set()  # the types of the commands of an earlier version of the reaction
        for own, step in zip(keys, found, strict=True):
            if earlier and own not in known and not _is_pending(step, earlier):
                continue
            try:
                await self._step(job, own, step, known)
            except OtherCommand as used:
                if job.position > self.rebuilt:
                    raise Failure(str(used), final=True) from None
                logger.warning("%s: the command of an earlier version of the reaction stands.", own)
                outcomes = self._commands.log.outcomes(f"{key}/{number}" for number in range(STEPS_MAX))
                earlier = {outcome.origin.type for outcome in outcomes.values()}
            except CommandFailed as failed:
                raise Failure(str(failed)) from None

    async def _step(self, job: Job, key: str, step: Step, known: dict[str, Outcome]) -> None:
        if isinstance(step, Cancel):
            job.timers.append(Removed(self.name, step.name))
        elif isinstance(step, Later) and key not in known:
            job.timers.append(self._timer(job, key, step))
        else:
            command = step.command if isinstance(step, Later) else step
            if isinstance(step, Later):
                # Fired or cancelled. The timer has replaced an earlier timer of the same name.
                job.timers.append(Removed(self.name, step.name or key))
            if refused := await self._refusal(job, key, command, known):
                await self.refused(job, key, command, refused)

    async def _refusal(self, job: Job, key: str, command: Command, known: dict[str, Outcome]) -> Rejected | None:
        """Execute a command, unless its outcome is known; return the refusal, or None."""
        type_, payload = type_and_fields(command, {})
        if key in known:
            return self._commands.known(type_, known[key])
        return await self._commands.execute(type_, payload, key, job.cause.origin())

    async def refused(self, job: Job, key: str, command: Command, refused: Rejected) -> None:
        """React to the refusal of a command, or report the refusal. Raises Failure."""
        reactor = self._reactors.refusals.get(type(command))
        if reactor is None:
            logger.warning("%s: %s was refused: %s.", key, type(command).__name__, refused)
            return
        if key.count("/") > DEPTH_MAX:
            raise Failure(f"More than {DEPTH_MAX} commands in a chain were refused.", final=True)
        await self.execute(job, key, self._steps(job, key, [reactor], command, refused))

    def _steps(self, job: Job, key: str, reactors: Sequence[Reactor], *arguments: Any) -> list[Step]:
        """Run functions until their deadline. Raises Failure."""
        interrupt, seconds = self._environment.interrupt, self._reactors.reaction.timeout
        past = ReactionPast(self._histories, job.record, key)
        interrupt.running = Running(job.position, job.record.type, time.monotonic() + seconds)
        self._environment.running_event.begin(self.name, job.position)
        try:
            with self._environment.handling(), interrupt:
                return steps(self._app, reactors, *arguments, past)
        except Interrupted:
            raise Failure(f"The reaction ran for more than {seconds:g} s and was stopped.", final=True) from None
        except BadReaction as bad:
            raise Failure(str(bad), final=True) from None
        except FatalError:  # of the log
            raise
        except application_errors() as problem:
            names = ", ".join(name_of(reactor.function) for reactor in reactors)
            logger.exception("%s: %s raised.", key, names)
            raise Failure(
                f"{names} raised {cause(problem)}: the log of reactor has the details.", final=True
            ) from None
        finally:
            interrupt.running = None
            self._environment.running_event.end()

    def _timer(self, job: Job, key: str, later: Later) -> Timer:
        recorded = time_of(job.record.time)
        due = later.due(recorded)
        type_, payload = type_and_fields(later.command, {})
        origin = as_json(job.cause.origin(after_pause=(due - recorded).total_seconds() >= CHAIN_SECONDS))
        name, position = later.name or key, job.position
        return Timer(self.name, 0, name, microseconds(due), key, position, type_, as_json(payload), origin)


def _is_pending(step: Step, earlier: set[str]) -> bool:
    """Return whether a step holds although an earlier version of the reaction has reacted to the event.

    A timer may be pending, unless the log has a command of its type: then this timer has fired, under another number.
    A mark is of a cancelled timer.
    """
    if isinstance(step, Later):
        return earlier.isdisjoint({type(step.command).__name__, MARK, ""})
    return isinstance(step, Cancel)
