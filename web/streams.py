"""Server-sent events: a stream per listener, ended by its client, or by the end of the process."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from dualbus.application.errors import DualbusError

from .positions import position_of
from .problems import Problem, busy, problem_of
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

        An error before the response begins is raised, and becomes its status; a later error is the last frame. A
        stream that is ended before has an empty response: an EventSource connects again after 200 only.
        """
        task = asyncio.current_task()
        assert task  # noqa: S101 - a request is a task
        if len(self._tasks) >= self._max:
            raise busy(f"There are {self._max} listeners already: retry later.")
        self._tasks.add(task)  # in the turn of the loop that has checked the token

        def cancel(_: object) -> None:
            task.cancel()

        body = Body(send)
        watch = asyncio.create_task(body.watch(receive))
        watch.add_done_callback(cancel)
        try:
            async with aclosing(frames):
                async for each in frames:
                    await body.send(each)
        except asyncio.CancelledError:
            if not (watch.done() or self._ending or task in self._dropped):
                raise
        except (DualbusError, Problem) as error:
            if not body.begun:
                raise
            await body.send(problem_frame(error if isinstance(error, Problem) else problem_of(error)))
        finally:
            self._tasks.discard(task)
            self._dropped.discard(task)
            watch.remove_done_callback(cancel)
            watch.cancel()
        await body.send(b"", more=False)


class Body:
    """The body of a response: frames, and a comment whenever there was none for some seconds."""

    def __init__(self, send: Send) -> None:
        self.begun = False
        self._send = send
        self._turn = asyncio.Lock()  # of a frame or a comment
        self._sent_at = asyncio.get_running_loop().time()

    async def send(self, data: bytes, *, more: bool = True) -> None:
        """Send data; the first begins the response."""
        async with self._turn:
            if not self.begun:
                self.begun = True
                await self._send({"type": "http.response.start", "status": 200, "headers": [*HEADERS]})
            await self._send({"type": "http.response.body", "body": data, "more_body": more})
            self._sent_at = asyncio.get_running_loop().time()

    async def watch(self, receive: Receive) -> None:
        """Send comments in every state of the frames, as a proxy cuts a silent response; end with the connection."""
        while True:
            due = self._sent_at + COMMENT_SECONDS
            try:
                async with asyncio.timeout_at(due):
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    return
            except TimeoutError:
                if self._sent_at + COMMENT_SECONDS <= due:  # no frame meanwhile
                    await self.send(COMMENT)


class EventStream(Response):
    """A response with frames."""

    def __init__(self, streams: Streams, frames: AsyncGenerator[bytes, None]) -> None:
        super().__init__()
        self._streams = streams
        self._frames = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the frames."""
        await self._streams.send(self._frames, receive, send)


def wants_stream(request: Request) -> bool:
    """Return whether a request accepts server-sent events."""
    return request.method != "HEAD" and MEDIA_TYPE in request.field(b"accept")


def last_event_id(request: Request) -> int:
    """Return the position after which a listener resumes. Raises Problem."""
    if (position := position_of(request.field(b"last-event-id") or "0")) is None:
        raise Problem(400, "Last-Event-ID must be the id of a frame: a position of the log.")
    return position


def frame(position: int, value: bytes) -> bytes:
    """Return a durable frame: its id is the position from which a listener resumes."""
    return b"id: %d\ndata: %b\n\n" % (position, value)


def mark(position: int) -> bytes:
    """Return a frame without data: a listener gets no event, and resumes from a later position."""
    return b"id: %d\n\n" % position


def problem_frame(problem: Problem) -> bytes:
    """Return a frame without id, for listeners of the event `problem`."""
    return b"event: problem\ndata: %b\n\n" % to_json(problem.body)
