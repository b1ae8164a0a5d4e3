"""Live queries: equal queries of many listeners share an evaluation, and each listener gets the newest answer."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from pydantic_core import to_json

from dualbus.application.errors import DeadlineExceeded, DualbusError, Unavailable
from dualbus.client.async_client import AsyncClient
from dualbus.client.call import packed_body

from .head import RETRY_SECONDS, Head
from .problems import busy, problem_of
from .streams import COMMENT, frame, notified, problem_frame

LIVE_MAX = 1000  # different queries
PAUSE_SECONDS = 0.02  # between two evaluations of a query: the events of the pause are one change
PROBLEM_SECONDS = 2.0  # before the next evaluation of a query that fails
PAUSE_SECONDS_EACH = 0.0005  # further, for each live query


class LiveQueries:
    """The queries with listeners, by type and parameters."""

    def __init__(self, client: AsyncClient, head: Head) -> None:
        self._client = client
        self._head = head
        self._live: dict[bytes, LiveQuery] = {}

    async def frames(
        self, name: str, params: dict[str, Any], after: int, seconds: float
    ) -> AsyncGenerator[bytes, None]:
        """Yield the frames of a query: an answer not older than a position, then each changed answer.

        Raises the DualbusError of the first answer, and Problem.
        """
        key = packed_body({"type": name, "params": dict(sorted(params.items()))})  # a number differs from its text
        if key not in self._live and len(self._live) >= LIVE_MAX:
            raise busy(f"There are {LIVE_MAX} live queries already: retry later.")
        live = self._live.setdefault(key, LiveQuery())
        if not live.listeners:
            live.task = asyncio.create_task(self._evaluate(live, name, params))
        live.listeners += 1
        try:
            with self._head:
                async for each in live.frames(after, seconds):
                    yield each
        finally:
            live.listeners -= 1
            if not live.listeners:
                live.task.cancel()
                del self._live[key]

    async def _evaluate(self, live: "LiveQuery", name: str, params: dict[str, Any]) -> None:
        known = 0
        while True:
            session = self._client.session()
            try:
                data = await session.query(name, params, after=known)
            except (Unavailable, DeadlineExceeded) as error:
                live.set_failure(error)
                await asyncio.sleep(RETRY_SECONDS)
                known = min(known, self._head.position)  # the log may have been restored
                continue
            except DualbusError as error:
                live.set_problem(error, known)
                await asyncio.sleep(PROBLEM_SECONDS)  # also without an event: a process may have been replaced
                known = self._head.position
                continue
            live.set_answer(session.position, to_json(data))
            self._head.advance(session.position)
            known = max(known, session.position)
            await asyncio.sleep(PAUSE_SECONDS + PAUSE_SECONDS_EACH * len(self._live))
            known = await self._head.changed(known)


class LiveQuery:
    """The newest answer to a query."""

    task: asyncio.Task[None]

    def __init__(self) -> None:
        self.listeners = 0
        self._position = -1  # of the answer
        self._answer: bytes | None = None
        self._failure: DualbusError | None = None  # of the last evaluation
        self._frame = b""
        self._changed = asyncio.Event()  # a new event for each frame
        self._evaluated = asyncio.Event()  # a new event for each evaluation

    async def frames(self, after: int, seconds: float) -> AsyncGenerator[bytes, None]:
        """Yield the newest frame whenever there is one, and comments meanwhile."""
        await self._wait_for(after, seconds)
        sent = b""
        while True:
            changed = self._changed
            if self._frame is not sent:
                sent = self._frame
                yield sent
            elif not await notified(changed):
                yield COMMENT

    async def _wait_for(self, position: int, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while self._answer is None or self._position < position:
                    if self._failure and self._answer is None:
                        raise self._failure
                    await self._evaluated.wait()
        except TimeoutError:
            raise busy(f"The read model has not reached position {position}: retry later.") from None

    def set_answer(self, position: int, answer: bytes) -> None:
        """Record an answer; notify the listeners if it differs."""
        self._position, self._failure = position, None
        if answer != self._answer:
            self._answer = answer
            self._set_frame(frame(position, answer))
        self._set_evaluated()

    def set_problem(self, error: DualbusError, position: int) -> None:
        """Record a problem at a position; notify the listeners if they have an answer."""
        self._position, self._failure = position, error
        if self._answer is not None:
            self._answer = None
            self._set_frame(problem_frame(problem_of(error)))
        self._set_evaluated()

    def set_failure(self, error: DualbusError) -> None:
        """Record that no bus answered: listeners keep their answer."""
        self._failure = error
        self._set_evaluated()

    def _set_frame(self, found: bytes) -> None:
        self._frame = found
        self._changed.set()
        self._changed = asyncio.Event()

    def _set_evaluated(self) -> None:
        self._evaluated.set()
        self._evaluated = asyncio.Event()
