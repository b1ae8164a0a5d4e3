"""The reactions of an application in the process of its test."""

import asyncio
import tempfile
import threading
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from dualbus.application.app import App
from dualbus.log.contract import ReadableLog
from dualbus.reactions.store import Parked, ReactionStore
from dualbus.reactor.commands import Commands, Send
from dualbus.reactor.environment import Environment
from dualbus.reactor.reactions import Reactions
from dualbus.reactor.running_event import RunningEvent
from dualbus.worker.interrupt import Interrupt

CHECK_SECONDS = 0.01  # between checks for the end of an effect that waits


class InProcessReactions:
    """Runs reactions as the reactor does, in a thread with an event loop, while the caller waits."""

    def __init__(self, app: App, log: ReadableLog, send: Send, clock: Callable[[], datetime]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="db")
        self._clock = clock
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="reactions", daemon=True)
        self._thread.start()
        folder = Path(self._folder.name)
        self._store = ReactionStore(folder, log.identity)
        environment = Environment(Interrupt(), nullcontext, lambda: None, RunningEvent(folder), clock)
        self._reactions = Reactions(app, log, self._store, Commands(send, log), environment)
        try:
            self._run(self._open())
        except BaseException:
            self.close()
            raise

    def settle(self) -> None:
        """Run reactions until all events are finished or parked, and nothing is due."""
        self._run(self._settle())

    def next_due(self) -> datetime | None:
        """Return the time of the next timer or retry; None if there are none."""
        seconds = self._reactions.seconds_to_next()
        try:
            return self._clock() + timedelta(seconds=seconds)
        except OverflowError:
            return None

    def parked(self) -> list[Parked]:
        """Return the parked events."""
        return self._store.parked()

    def close(self) -> None:
        """End the reactions and the thread."""
        self._run(self._reactions.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._store.close()
        self._folder.cleanup()

    async def _open(self) -> None:
        self._reactions.start()
        await self._settle()

    async def _settle(self) -> None:
        self._reactions.poll()
        while self._reactions.step(published=True) or not self._reactions.idle:
            if (failure := self._reactions.failure).startswith("the lifespan"):
                raise AssertionError(f"{failure[0].upper()}{failure[1:]}: the log has the traceback.")
            await asyncio.sleep(CHECK_SECONDS if self._reactions.under_way else 0)

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
