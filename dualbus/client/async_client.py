"""The client for asyncio."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, overload

from dualbus.application.errors import ClientClosed, DeadlineExceeded, Unavailable
from dualbus.application.messages import Command, Query, R
from dualbus.client.call import Call, CommandResult, checked_position
from dualbus.client.calls import PendingCalls
from dualbus.client.events import PAUSE_SECONDS, EventRecord, Subscription
from dualbus.client.link import ClientLink, new_calls
from dualbus.client.sessions import SessionState
from dualbus.transport.sockets import Connection

_NONE: Mapping[str, Any] = MappingProxyType({})


class AsyncSession:
    """Calls with a position and an order of their own, on the connection of a client: `client.session()`.

    A query sees the earlier commands of its session, and waits for these only. A session without pending calls is an
    object of some bytes: create a session for each user or request, and drop it.
    """

    _state: SessionState

    _origin: Mapping[str, Any] = _NONE

    def __init__(self, client: "AsyncClient", after: int = 0, actor: str | None = None) -> None:
        self._client = client
        self._state = SessionState(checked_position(after))
        self._origin = {} if actor is None else {"actor": actor}

    @property
    def position(self) -> int:
        """The highest position of the session's replies. Pass it as `after` to continue in another process."""
        return self._state.position

    async def command(
        self,
        message: Command | str,
        fields: Mapping[str, Any] = _NONE,
        /,
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        metadata: Mapping[str, str] | None = None,
        after: int = 0,
        **keywords: Any,
    ) -> CommandResult:
        """Execute a command once; return its events. Raises a `DualbusError`, such as `Rejected`."""
        values = {**fields, **keywords}
        result: CommandResult = await self._call(
            lambda calls: calls.command(message, values, timeout, idempotency_key, metadata, self._origin).in_session(
                self._state, after
            )
        )
        return result

    @overload
    async def query(self, message: Query[R], /, *, timeout: float | None = None, after: int = 0) -> R: ...
    @overload
    async def query(
        self,
        message: str,
        fields: Mapping[str, Any] = _NONE,
        /,
        *,
        timeout: float | None = None,
        after: int = 0,
        **keywords: Any,
    ) -> Any: ...
    async def query(
        self,
        message: Query[Any] | str,
        fields: Mapping[str, Any] = _NONE,
        /,
        *,
        timeout: float | None = None,
        after: int = 0,
        **keywords: Any,
    ) -> Any:
        """Return the answer to a query. The read model includes all commands this session has a reply to.

        The read model also includes all events up to the position `after`, such as of another process's session.
        """
        values = {**fields, **keywords}
        return await self._call(lambda calls: calls.query(message, values, timeout).in_session(self._state, after))

    def _call(self, create: Callable[[PendingCalls], Call]) -> "asyncio.Future[Any]":
        """Create and queue a call; return the future of its result."""
        return self._client._call(create)


class AsyncClient(AsyncSession):
    """A client for an event loop. All tasks of the loop can share a client.

        async with AsyncClient() as client:
            result = await client.command(CreateUser(name="Ada", email="ada@example.org"))
            user = await client.query("GetUser", user_id=result.events[0]["payload"]["id"])

    Concurrent calls share a message, so `asyncio.gather` is efficient. Methods, guarantees and errors are those of
    `Client`; see docs/clients.md.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        src: str | None = None,
        timeout: float | None = None,
        keys: Path | str | None = None,
    ) -> None:
        self._calls = new_calls(address, src, timeout, keys)
        self._state = self._calls.session
        self._loop: asyncio.AbstractEventLoop | None = None
        self._link: ClientLink | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._step_scheduled = False
        self._closed = self._failed = False

    def session(self, after: int = 0, *, actor: str | None = None) -> AsyncSession:
        """Create a session that starts at a position: its answers include all events up to `after`.

        `actor` is the name in which the session sends commands; this needs the keys of the cluster.
        """
        return AsyncSession(self, after, actor)

    @property
    def idle(self) -> bool:
        """Whether no call waits for a reply."""
        return self._calls.idle

    @property
    def closed(self) -> bool:
        """Whether the client is closed, by `close` or by an error of its connection: create another client."""
        return self._closed

    async def status(self, timeout: float | None = None) -> dict[str, Any]:
        """Return the processes, positions and queues of the cluster, as `dualbus status --json`."""
        found: dict[str, Any] = await self._call(lambda calls: calls.report("Status", timeout))
        return found

    async def rates(self, timeout: float | None = None) -> dict[str, Any]:
        """Return rates, percentiles and lag of the last ten minutes, as columns of equal length."""
        found: dict[str, Any] = await self._call(lambda calls: calls.report("Rates", timeout))
        return found

    async def timeline(
        self, *, key: str | None = None, position: int | None = None, timeout: float | None = None
    ) -> dict[str, Any] | None:
        """Return the stages of a recent command by its key, or by the position of an event; None if unknown."""
        found: dict[str, Any] | None = await self._call(
            lambda calls: calls.report("Timeline", timeout, key=key, position=position)
        )
        return found

    def events(
        self, after: int = 0, *, after_hash: str = "", types: Iterable[str] = (), tag: str | None = None
    ) -> AsyncIterator[EventRecord]:
        """Return an iterator over the events after a position, then over new events, until the client is closed.

        Only events of some `types`, or with a `tag` such as "user:17". To resume, also in another process, pass the
        position and the hash of the last processed event: no event is missing or repeated. The iterator waits while
        the cluster restarts, and raises `Rejected` if the log was restored and has other events up to this position.
        """
        self._check_open()
        return self._follow(Subscription(after, after_hash, types, tag))

    async def _follow(self, subscription: Subscription) -> AsyncIterator[EventRecord]:
        while True:
            try:
                data = await self._call(subscription.request)
            except ClientClosed:
                if self._failed:
                    raise
                return
            except (Unavailable, DeadlineExceeded) as problem:
                subscription.failed(problem)
                continue
            for record in subscription.received(data):
                yield record
            if subscription.paused:
                await asyncio.sleep(PAUSE_SECONDS)

    async def close(self) -> None:
        """Close the connection. Calls without a reply raise `ClientClosed`."""
        self._close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        self._close()

    def _open(self) -> asyncio.AbstractEventLoop:
        """Connect at the first call, because a client can be created outside a loop."""
        loop = asyncio.get_running_loop()
        self._check_open()
        if self._link is None:
            self._loop = loop
            self._link = ClientLink(self._calls, self._watch, self._unwatch)
        elif loop is not self._loop:
            raise RuntimeError("This client belongs to another event loop: create a client in each loop.")
        return loop

    def _check_open(self) -> None:
        if self._closed:
            raise ClientClosed("The client is closed: create another client.")

    def _call(self, create: Callable[[PendingCalls], Call]) -> "asyncio.Future[Any]":
        loop = self._open()
        future: asyncio.Future[Any] = loop.create_future()
        self._calls.add(create(self._calls), future, time.monotonic())
        self._step_soon()
        return future

    def _step_soon(self) -> None:
        """Schedule a step after the tasks that are ready now, so that their calls share a message."""
        if not self._step_scheduled and self._loop:
            self._step_scheduled = True
            self._loop.call_soon(self._step)

    def _step(self) -> None:
        self._step_scheduled = False
        if self._closed or self._link is None or self._loop is None:
            return
        try:
            more_due = self._link.step()
        except BaseException:
            self._failed = True
            self._close()
            raise
        if more_due:
            self._step_soon()
            return
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if (seconds := self._link.seconds_to_step()) < float("inf"):
            self._timer = self._loop.call_later(seconds, self._step)

    def _watch(self, connection: Connection) -> None:
        connection.close.atexit = True  # for a program that ends without `close`
        for descriptor in connection.descriptors():
            asyncio.get_running_loop().add_reader(descriptor, self._step)

    def _unwatch(self, connection: Connection) -> None:
        if self._loop and not self._loop.is_closed():
            for descriptor in connection.descriptors():
                self._loop.remove_reader(descriptor)

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._timer:
            self._timer.cancel()
        if self._link:
            self._link.close()
