"""The head of the log: a single request follows it for all listeners, and only while there are listeners."""

import asyncio
import logging
from typing import Any

from dualbus.application.errors import DualbusError
from dualbus.protocol.feed import EVENTS

from .clients import Clients
from .problems import busy

REQUEST_SECONDS = 10.0  # the gateway holds a request at the head for a second
CHECK_SECONDS = 2.0  # a listener waits for the reply
PAUSE_SECONDS = 0.01  # between two changes: the events of the pause are one change
RETRY_SECONDS = 0.5

logger = logging.getLogger(__name__)


class Head:
    """The last known position of the log."""

    def __init__(self, clients: Clients) -> None:
        self.position = 0
        self.moved = asyncio.Event()  # a new event for each change
        self._clients = clients
        self._listeners = 0
        self._follower: asyncio.Task[None] | None = None

    def __enter__(self) -> "Head":
        """Follow the log as long as there are listeners."""
        self._listeners += 1
        if self._follower is None:
            self._follower = asyncio.create_task(self._follow())
        return self

    def __exit__(self, *error: object) -> None:
        self._listeners -= 1
        if self._follower and not self._listeners:
            self._follower.cancel()
            self._follower = None

    def advance(self, position: int) -> None:
        """Record the position of an answer: the log has reached it."""
        if position > self.position:
            self._set(position)

    async def check(self, position: int) -> None:
        """Raise a problem if a position is beyond the end of the log."""
        if position > self.position:
            self.advance(await self._request(0, CHECK_SECONDS))
        if position > self.position:
            raise busy(f"Position {position} is beyond the end of the log, at {self.position}: check the position.")

    async def changed(self, known: int) -> int:
        """Wait until the position differs from a known position; return the position."""
        while self.position == known:
            await self.moved.wait()
        return self.position

    async def _follow(self) -> None:
        failed = False
        while True:
            try:
                if failed:
                    self._recover(await self._request(0))
                self.advance(await self._request(self.position))
                failed = False
                await asyncio.sleep(PAUSE_SECONDS)
            except DualbusError as error:
                if not failed:
                    logger.warning("Listeners wait for the cluster: %s", error)
                failed = True
                await asyncio.sleep(RETRY_SECONDS)

    async def _request(self, after: int, seconds: float = REQUEST_SECONDS) -> int:
        """Request the next event, which the gateway holds at the head; return the position of the last event."""
        params: dict[str, Any] = {"after": after, "limit": 1}
        session = self._clients.streams.session()
        head: int = (await session.query(EVENTS, params, after=after, timeout=seconds))["head"]
        return head

    def _recover(self, position: int) -> None:
        """Accept an earlier position: the log was restored."""
        if position < self.position:
            self._set(position)

    def _set(self, position: int) -> None:
        self.position = position
        self.moved.set()
        self.moved = asyncio.Event()
