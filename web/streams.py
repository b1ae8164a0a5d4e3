"""Server-sent events: a stream per listener, ended by its client, or by the end of the process."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from .positions import position_of
from .problems import Problem, busy
from .request import Request

MEDIA_TYPE = "text/event-stream"
COMMENT_SECONDS = 15.0
COMMENT = b":\n\n"
HEADERS = [
    (b"content-type", MEDIA_TYPE.encode()),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # of nginx
]


class Streams:
    """All streams, also those that wait for their first frame; further streams beyond the bound are refused."""

    def __init__(self, streams_max: int) -> None:
        self._max = streams_max
        self._tasks: set[asyncio.Task[Any]] = set()
        self._dropped: set[asyncio.Task[Any]] = set()
        self._ending = False

    def __len__(self) -> int:
        return len(self._tasks)

    def end(self) -> None:
        """End all streams."""
        self._ending = True
        for task in self._tasks:
            task.cancel()

    def drop(self) -> None:
        """End the present streams: their clients may connect again."""
        self._dropped |= self._tasks
        for task in self._tasks:
            task.cancel()

    async def send(self, frames: AsyncGenerator[bytes, None], receive: Receive, send: Send) -> None:
        """Send a response with frames, until the client disconnects, `drop` or `end`.

        The response begins with the first frame, so that an earlier error becomes a problem. A stream that is ended
        before has an empty response with 200: after any other status, an EventSource does not connect again.
        """
        task = asyncio.current_task()
        assert task  # noqa: S101 - a request is a task
        if len(self._tasks) >= self._max:
            raise busy(f"There are {self._max} listeners already: retry later.")
        self._tasks.add(task)  # in the turn of the loop that has checked the token
        begun = False

        def cancel(_: object) -> None:
            task.cancel()

        watch = asyncio.create_task(_disconnected(receive))
        watch.add_done_callback(cancel)
        try:
            async with aclosing(frames):
                async for each in frames:
                    if not begun:
                        begun = True
                        await send(start())
                    await send({"type": "http.response.body", "body": each, "more_body": True})
        except asyncio.CancelledError:
            if not (watch.done() or self._ending or task in self._dropped):
                raise
        finally:
            self._tasks.discard(task)
            self._dropped.discard(task)
            watch.remove_done_callback(cancel)
            watch.cancel()
        if not begun:
            await send(start())
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class EventStream(Response):
    """A response with frames."""

    def __init__(self, streams: Streams, frames: AsyncGenerator[bytes, None]) -> None:
        super().__init__()
        self._streams = streams
        self._frames = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the frames."""
        await self._streams.send(self._frames, receive, send)


def start() -> Message:
    """Return the begin of a response."""
    return {"type": "http.response.start", "status": 200, "headers": [*HEADERS]}


def wants_stream(request: Request) -> bool:
    """Return whether a request accepts server-sent events."""
    return request.method == "GET" and MEDIA_TYPE in request.field(b"accept")


def last_event_id(request: Request) -> int:
    """Return the position after which a listener resumes. Raises Problem."""
    if (position := position_of(request.field(b"last-event-id") or "0")) is None:
        raise Problem(400, "Last-Event-ID must be the id of a frame: a position of the log.")
    return position


async def notified(event: asyncio.Event) -> bool:
    """Wait for an event; return False when a comment is due instead."""
    try:
        async with asyncio.timeout(COMMENT_SECONDS):
            await event.wait()
    except TimeoutError:
        return False
    return True


def frame(position: int, value: bytes) -> bytes:
    """Return a durable frame: its id is the position from which a listener resumes."""
    return b"id: %d\ndata: %b\n\n" % (position, value)


def problem_frame(problem: Problem) -> bytes:
    """Return a frame without id, for listeners of the event `problem`."""
    return b"event: problem\ndata: %b\n\n" % to_json(problem.body)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
