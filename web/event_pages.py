"""Pages of events: equal requests of many listeners share a page, and a listener resumes from any position."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple

from pydantic_core import to_json

from dualbus.application.errors import DeadlineExceeded, DualbusError, Unavailable
from dualbus.client.async_client import AsyncClient
from dualbus.protocol.feed import EVENTS

from .head import RETRY_SECONDS, Head
from .problems import problem_of
from .streams import COMMENT, frame, notified, problem_frame

PAUSE_SECONDS = 0.05  # before the next page, if the log of the querybus is behind


class Page(NamedTuple):
    """The frames of some events, the last position read for them, and the head of the log."""

    frames: bytes
    position: int
    head: int


class EventPages:
    """Reads the events of the log through a querybus."""

    def __init__(self, client: AsyncClient, head: Head) -> None:
        self._client = client
        self._head = head
        self._reading: dict[bytes, asyncio.Task[Page]] = {}

    async def request(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return the events after a position, as the cluster answers. Raises a DualbusError."""
        session = self._client.session()  # of its own: the answer's position is that of the read model
        data: dict[str, Any] = await session.query(EVENTS, params)
        return data

    async def frames(self, params: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        """Yield the frames of all events after a position, then of new events, and comments meanwhile.

        Raises the DualbusError of the first page, and Problem for a position beyond the log. The end means that the
        log was restored to an earlier position.
        """
        with self._head as head:
            await head.check(params["after"])
            page = await self._read(params)
            yield page.frames or COMMENT
            while True:
                head.advance(page.head)
                moved = head.moved
                if head.position == page.position:
                    while not await notified(moved):
                        yield COMMENT
                if head.position < page.position:
                    return
                before = page.position
                try:
                    page = await self._read({**params, "after": before})
                except (Unavailable, DeadlineExceeded):
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                except DualbusError as error:
                    yield problem_frame(problem_of(error))
                    return
                if page.frames:
                    yield page.frames
                elif page.position == before:
                    await asyncio.sleep(PAUSE_SECONDS)

    async def _read(self, params: dict[str, Any]) -> Page:
        key = to_json(params)
        task = self._reading.get(key)
        if task is None:
            task = self._reading[key] = asyncio.create_task(self._page(params))
            task.add_done_callback(lambda done: self._done(key, done))
        return await asyncio.shield(task)

    def _done(self, key: bytes, task: "asyncio.Task[Page]") -> None:
        del self._reading[key]
        if not task.cancelled():
            task.exception()  # retrieved, also if all listeners are gone

    async def _page(self, params: dict[str, Any]) -> Page:
        data = await self.request(params)
        frames = b"".join(frame(event["position"], to_json(event)) for event in data["events"])
        return Page(frames, data["position"], data["head"])
