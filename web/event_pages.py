"""Pages of events: equal requests of many listeners share a page, and a listener resumes from any position."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple

from pydantic_core import to_json

from dualbus.application.errors import DeadlineExceeded, Rejected, Unavailable, log_restored
from dualbus.client.async_client import AsyncClient
from dualbus.protocol.feed import EVENTS

from .clients import Clients
from .head import RETRY_SECONDS, Head
from .problems import problem_of
from .streams import COMMENT, COMMENT_SECONDS, frame, mark, problem_frame

NEVER = float("-inf")
PAUSE_SECONDS = 0.05  # before the next page, if the log of the querybus is behind


class Page(NamedTuple):
    """The frames of some events, the last position read for them with its hash, and the head of the log."""

    frames: bytes
    position: int
    hash: str
    head: int


async def request_page(client: AsyncClient, params: dict[str, Any]) -> dict[str, Any]:
    """Return the events after a position, as the cluster answers. Raises a DualbusError."""
    session = client.session()  # of its own: the answer's position is that of the read model
    data: dict[str, Any] = await session.query(EVENTS, params)
    return data


class EventPages:
    """Reads the events of the log through a querybus."""

    def __init__(self, clients: Clients, head: Head) -> None:
        self._clients = clients
        self._head = head
        self._reading: dict[bytes, asyncio.Task[Page]] = {}

    async def frames(self, params: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        """Yield the frames of all events after a position, then of new events.

        Raises the DualbusError of a page, and Problem for a position beyond the log. While no querybus answers, the
        stream waits; a stream without a first page then begins with a frame of the problem. Raises Rejected if the
        log was restored to an earlier position.
        """
        clock = asyncio.get_running_loop().time
        position, hash_, page, yielded_at = params["after"], params["after_hash"], None, NEVER
        with self._head as head:
            while True:
                try:
                    if page is None:
                        await head.check(position)
                    page = await self._read({**params, "after": position, "after_hash": hash_})
                except (Unavailable, DeadlineExceeded) as error:
                    if yielded_at == NEVER:
                        yielded_at = clock()
                        yield problem_frame(problem_of(error))
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                before, position, hash_ = position, page.position, page.hash
                if page.frames or clock() > yielded_at + COMMENT_SECONDS:
                    yielded_at = clock()
                    yield page.frames or (mark(position) if position > before else COMMENT)
                if not page.frames and position == before:
                    await asyncio.sleep(PAUSE_SECONDS)
                head.advance(page.head)
                while head.position == position:
                    await head.moved.wait()
                if head.position < position:
                    raise Rejected(log_restored(position))

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
        data = await request_page(self._clients.streams, params)
        frames = b"".join(frame(event["position"], to_json(event)) for event in data["events"])
        return Page(frames, data["position"], data["hash"], data["head"])
