"""Live queries: equal queries of many listeners share an evaluation, and each listener gets the newest answer."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, NamedTuple

from pydantic_core import to_json

from dualbus.application.errors import DeadlineExceeded, DualbusError, Unavailable
from dualbus.client.call import packed_body

from .clients import Clients
from .head import RETRY_SECONDS, Head
from .problems import Problem, busy, problem_of
from .streams import COMMENT, frame, problem_frame

LIVE_MAX = 1000  # different queries
LIVE_MAX_EACH = 250  # of these, for a token other than the operator's
QUERY_BYTES_MAX = 16 * 1024  # kept as long as there are listeners
PAUSE_SECONDS = 0.02  # between two evaluations of a query: the events of the pause are one change
CHECK_SECONDS = 10.0  # without an event: a new version may answer otherwise at the same position
PROBLEM_SECONDS = 2.0  # before the next evaluation of a query that fails
PAUSE_SECONDS_EACH = 0.0005  # further, for each live query


class Last(NamedTuple):
    """The last frame of a query: the position of its answer, or -1 for a problem, and a digest."""

    position: int
    digest: bytes
    unique: bool  # whether no other answer has had this position


NO_FRAME = Last(-1, b"", unique=True)


class LiveQueries:
    """The queries with listeners, by type and parameters."""

    def __init__(self, clients: Clients, head: Head) -> None:
        self._clients = clients
        self._head = head
        self._live: dict[bytes, LiveQuery] = {}
        self._ended: dict[bytes, Last] = {}  # of queries without listeners

    async def frames(
        self, name: str, params: dict[str, Any], after: int, known: int, seconds: float, actor: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the frames of a query: an answer not older than a position, then each changed answer.

        `known` is the id of the last frame that the listener has. Raises the DualbusError of a query that fails, and
        Problem. While no querybus answers, a listener without an answer gets a frame of the problem.
        """
        key = packed_body({"type": name, "params": dict(sorted(params.items()))})  # a number differs from its text
        if len(key) > QUERY_BYTES_MAX:
            raise Problem(413, f"A live query has at most {QUERY_BYTES_MAX // 1024} KiB.")
        if key not in self._live:
            self._check_room(actor)
        live = self._live.setdefault(key, LiveQuery(actor, self._ended.pop(key, None)))
        if not live.listeners:
            live.task = asyncio.create_task(self._evaluate(live, name, params))
        live.listeners += 1
        try:
            with self._head:
                async for each in live.frames(after, known, seconds, self._head):
                    yield each
        finally:
            live.listeners -= 1
            if not live.listeners:
                live.task.cancel()
                del self._live[key]
                self._keep(key, live.last)

    def _check_room(self, actor: str | None) -> None:
        if len(self._live) >= LIVE_MAX:
            raise busy(f"There are {LIVE_MAX} live queries already: retry later.")
        if actor and sum(live.actor == actor for live in self._live.values()) >= LIVE_MAX_EACH:
            raise busy(f"{actor} has {LIVE_MAX_EACH} live queries already: retry later.")

    def _keep(self, key: bytes, last: Last) -> None:
        """Keep the last frame of a query without listeners, for the only listener that connects again."""
        if last.position > 0:
            self._ended[key] = last
            if len(self._ended) > LIVE_MAX:
                del self._ended[next(iter(self._ended))]

    async def _evaluate(self, live: "LiveQuery", name: str, params: dict[str, Any]) -> None:
        known = 0
        while True:
            session = self._clients.streams.session()
            try:
                data = await session.query(name, params, after=known)
            except (Unavailable, DeadlineExceeded) as error:
                live.set_unavailable(error)
                await asyncio.sleep(RETRY_SECONDS)
                known = min(known, self._head.position)  # the log may have been restored
                continue
            except DualbusError as error:
                live.set_problem(error, max(known, session.position))
                await asyncio.sleep(PROBLEM_SECONDS)  # also without an event: a process may have been replaced
                known = self._head.position
                continue
            live.set_answer(session.position, to_json(data))
            self._head.advance(session.position)
            known = max(known, session.position)
            await asyncio.sleep(PAUSE_SECONDS + PAUSE_SECONDS_EACH * len(self._live))
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_SECONDS):
                    known = await self._head.changed(known)


class LiveQuery:
    """The newest answer to a query, or the problem of a query that fails."""

    task: asyncio.Task[None]

    def __init__(self, actor: str | None, last: Last | None) -> None:
        self.actor = actor  # of the first listener
        self.listeners = 0
        self._position = -1  # of the last evaluation
        self._failure: DualbusError | None = None  # of the last evaluation
        self._unavailable: DualbusError | None = None  # the reason why a further evaluation has no reply
        self._frame = b""
        self._last = last or NO_FRAME  # of the frame
        self._answered_at = self._last.position  # the highest of all answers: after a restore, positions repeat
        self._changed = asyncio.Event()  # a new event for each frame
        self._evaluated = asyncio.Event()  # a new event for each evaluation

    @property
    def last(self) -> Last:
        """The last frame."""
        return self._last

    async def frames(self, after: int, known: int, seconds: float, head: Head) -> AsyncGenerator[bytes, None]:
        """Yield the newest frame whenever there is one, but the frame that the listener has already."""
        last = self._last
        if problem := await self._problem_at_begin(after, seconds, head):
            yield problem_frame(problem)
            while self._position < after:
                await self._evaluated.wait()
                if not self._unavailable:
                    await head.check(after)  # the log may have been restored to an earlier position
        sent = b""
        # A new version of the query, or a new read model, may have another answer at the same position.
        if 0 < known == last.position and last.unique and last == self._last:
            sent = self._frame
            yield COMMENT
        while True:
            changed = self._changed
            if self._frame is sent:
                await changed.wait()
            else:
                sent = self._frame
                yield sent

    async def _problem_at_begin(self, position: int, seconds: float, head: Head) -> Problem | None:
        """Wait for an evaluation at a position; return the problem of a listener that has to wait on.

        Raises the failure of this evaluation, and Problem for a position beyond the log.
        """
        try:
            async with asyncio.timeout(seconds):
                while self._position < position:
                    if self._unavailable:
                        return problem_of(self._unavailable)
                    await self._evaluated.wait()
        except TimeoutError:
            try:
                await head.check(position)
            except DualbusError as error:
                return problem_of(error)
            return busy(f"There is no answer at position {position} yet: keep the stream open.")
        if self._failure:
            raise self._failure
        return None

    def set_answer(self, position: int, answer: bytes) -> None:
        """Record an answer; notify the listeners if it differs."""
        self._set(position, None, answer)

    def set_problem(self, error: DualbusError, position: int) -> None:
        """Record a problem at a position; notify the listeners if it differs."""
        self._set(position, error, problem_frame(problem_of(error)))

    def set_unavailable(self, error: DualbusError) -> None:
        """Record that no bus answered: listeners keep their answer."""
        self._unavailable = error
        self._set_evaluated()

    def _set(self, position: int, failure: DualbusError | None, content: bytes) -> None:
        self._position, self._failure, self._unavailable = position, failure, None
        digest = hashlib.blake2b(content, digest_size=16).digest()
        if digest != self._last.digest:
            self._last = Last(-1 if failure else position, digest, position > self._answered_at)
            self._answered_at = max(self._answered_at, self._last.position)
            self._frame = b""
        if not self._frame:
            self._frame = content if failure else frame(self._last.position, content)
            self._changed.set()
            self._changed = asyncio.Event()
        self._set_evaluated()

    def _set_evaluated(self) -> None:
        self._evaluated.set()
        self._evaluated = asyncio.Event()
