"""An event loop in a thread of its own, for callers without a loop."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from dualbus.log.commits import nothing

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for another thread."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T], seconds: float, meanwhile: Callable[[], None] = nothing) -> T:
        """Run a coroutine, and meanwhile a function; return the result of the coroutine. Raises TimeoutError."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            meanwhile()
            return future.result(seconds)
        except CancelledError:
            raise TimeoutError from None
        finally:
            future.cancel()

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine in the background."""
        asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def stop(self) -> None:
        """Cancel all coroutines, stop the loop and wait for the thread."""
        asyncio.run_coroutine_threadsafe(self._cancel(), self.loop)
        self._thread.join()
        self.loop.close()

    async def _cancel(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.loop.stop()
