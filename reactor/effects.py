"""Runs effects: async functions that call other systems, at least once, with a stable key."""

import asyncio
import logging
import time
import types
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, cast

from dualbus.application.app import App
from dualbus.application.causes import cause
from dualbus.application.immutable import own_event
from dualbus.application.messages import Command
from dualbus.application.reactions import Attempt
from dualbus.application.reactors import Reactor, Reactors
from dualbus.application.signatures import name_of
from dualbus.application.tables import Interrupted
from dualbus.client.call import type_and_fields
from dualbus.reactions.steps import STEPS_MAX, BadReaction, check_step
from dualbus.runtime.errors import application_errors

from .attempts import Attempts
from .commands import CommandFailed, Commands, OtherCommand
from .environment import Environment
from .job import Failure, Job, Running
from .process_manager import ProcessManager, check_depth

HASH_CHARS = 16  # of the event's hash, in the key of an attempt: keys of different logs differ

logger = logging.getLogger(__name__)


class AttemptLog(logging.LoggerAdapter["logging.Logger"]):
    """Adds the key of an attempt to each line."""

    def process(self, msg: object, kwargs: Any) -> tuple[object, Any]:
        """Return the message after the key."""
        return f"{(self.extra or {})['key']}: {msg}", kwargs


class LifespanCancelled(Exception):
    """Raised for a CancelledError of a lifespan's own, such as of a task that the lifespan has cancelled."""


@contextmanager
def _own_cancellation() -> Iterator[None]:
    try:
        yield
    except asyncio.CancelledError as cancelled:
        if _is_cancelled():
            raise
        raise LifespanCancelled from cancelled


def _is_cancelled() -> bool:
    """Return whether the current task is cancelled; otherwise, a CancelledError is of a task of the author's."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


class Effects:
    """The functions of a reaction, with a shared resource."""

    def __init__(
        self,
        app: App,
        reactors: Reactors,
        commands: Commands,
        manager: ProcessManager,
        attempts: Attempts,
        environment: Environment,
    ) -> None:
        self.name = reactors.reaction.name
        self.under_way = 0
        self._app = app
        self._reactors = reactors
        self._commands = commands
        self._manager = manager  # for refused commands
        self._attempts = attempts
        self._environment = environment
        self._slots = asyncio.Semaphore(reactors.reaction.concurrency)
        self._stack = AsyncExitStack()
        self._resource: Any = None

    async def open(self) -> None:
        """Enter the lifespan of the reaction."""
        if lifespan := self._reactors.reaction.lifespan:
            with _own_cancellation():
                self._resource = await self._stack.enter_async_context(lifespan())

    async def close(self) -> None:
        """Leave the lifespan."""
        try:
            with _own_cancellation():
                await self._stack.aclose()
        except application_errors():
            logger.exception("The lifespan of reaction %s raised at its end.", self.name)

    async def run(self, job: Job) -> None:
        """Attempt the effects of an event, and execute their commands. Raises Failure."""
        try:
            await self._run(job)
        except asyncio.CancelledError:
            self._attempts.withdraw(job)
            raise

    async def _run(self, job: Job) -> None:
        check_depth(job)
        for index, reactor in enumerate(self._reactors.of(job.event)):
            async with self._slots:
                self.under_way += 1
                try:
                    await self._attempts.begin(job)
                    found = await self._attempt(job, index, reactor)
                finally:
                    self.under_way -= 1
            for number, command in enumerate(found):
                # Another function may yield other commands in a repeated attempt: each function has its own numbers.
                step = f"{index}.{number}" if index else str(number)
                await self._execute(job, f"{self.name}/{job.position}/{step}", command)

    async def _attempt(self, job: Job, index: int, reactor: Reactor) -> list[Command]:
        """Run a function until the deadline; return the yielded commands. Raises Failure."""
        seconds, name = self._reactors.reaction.timeout, name_of(reactor.function)
        key = f"{self.name}/{job.position}/{index}/{job.record.hash.hex()[:HASH_CHARS]}"
        deadline = datetime.now(UTC) + timedelta(seconds=seconds)
        attempt = Attempt(key, job.tries + 1, job.position, deadline, AttemptLog(logger, {"key": key}))
        resource = (self._resource,) if reactor.wants_resource else ()
        event = own_event(job.event)  # as recorded, also after a failed attempt
        try:
            async with asyncio.timeout(seconds):
                running = Running(job.position, job.record.type, time.monotonic() + seconds)
                return await self._stoppable(self._commands_of(reactor, event, attempt, *resource), running)
        except asyncio.CancelledError as cancelled:
            if _is_cancelled():
                raise  # of this attempt
            raise Failure(_raised(name, cancelled)) from None
        except TimeoutError as late:
            text = f"{name} did not end within {seconds:g} s."
            raise Failure(text if datetime.now(UTC) >= deadline else _raised(name, late)) from None
        except Interrupted:
            raise Failure(
                f"{name} blocked the event loop for {seconds:g} s and was stopped: await instead."
            ) from None
        except BadReaction as bad:
            raise Failure(str(bad), final=True) from None
        except application_errors() as problem:
            logger.warning("%s: attempt %d failed.", key, attempt.number, exc_info=True)
            raise Failure(_raised(name, problem)) from None

    @types.coroutine
    def _stoppable(
        self, attempt: Coroutine[Any, Any, list[Command]], running: Running
    ) -> Generator[Any, Any, list[Command]]:
        """Run an attempt step by step, so that the attendant can stop a step without an end."""
        interrupt, handling = self._environment.interrupt, self._environment.handling
        step: Callable[[], Any] = partial(attempt.send, None)
        while True:
            interrupt.running = running
            try:
                with handling(), interrupt:
                    awaited = step()
            except StopIteration as ended:
                return cast("list[Command]", ended.value)
            finally:
                interrupt.running = None
            try:
                step = partial(attempt.send, (yield awaited))
            except BaseException as error:
                step = partial(attempt.throw, error)

    async def _commands_of(self, reactor: Reactor, *arguments: Any) -> list[Command]:
        returned = reactor.function(*arguments)
        if not hasattr(returned, "__aiter__"):
            await returned
            return []
        found: list[Command] = []
        async for command in returned:
            check_step(self._app, reactor, command)
            found.append(command)
            if len(found) > STEPS_MAX:
                raise BadReaction(f"{name_of(reactor.function)} yields more than {STEPS_MAX} commands for one event.")
        return found

    async def _execute(self, job: Job, key: str, command: Command) -> None:
        """Execute a command. The first command under a key stands: a repeated effect may yield another."""
        type_, payload = type_and_fields(command, {})
        try:
            refused = await self._commands.execute(type_, payload, key, job.cause.origin())
        except OtherCommand:
            logger.warning("%s: the command of an earlier attempt stands.", key)
            return
        except CommandFailed as failed:
            raise Failure(str(failed)) from None
        if refused:
            await self._manager.refused(job, key, command, refused)


def _raised(name: str, problem: BaseException) -> str:
    return f"{name} raised {cause(problem)}: the log of reactor has the details."
