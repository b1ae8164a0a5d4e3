"""A thread for reads of files, so that the other requests of the process do not wait."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ..problems import Problem

T = TypeVar("T")
WAITING_MAX = 50


class Reading:
    """One thread: a connection of SQLite belongs to a thread, and further reads wait in a bounded queue."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, f"page-{name}")
        self._waiting = 0

    async def run(self, read: Callable[[], T]) -> T:
        """Return the result of a read. Raises Problem if too many reads wait."""
        if self._waiting >= WAITING_MAX:
            raise Problem(503, "Too many views are loading: try again in a second.", {"retry-after": "1"})
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, read)
        finally:
            self._waiting -= 1
