"""The client for asyncio."""

import asyncio
import time
from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import Any, Self

from dualbus.application.errors import ClientClosed
from dualbus.application.messages import Command, Query
from dualbus.client.call import Call, CommandResult
from dualbus.client.session import ClientSession, new_calls
from dualbus.transport.sockets import Connection

_NONE: Mapping[str, Any] = MappingProxyType({})


class AsyncClient:
    """A client for an event loop. All tasks of the loop can share a client.

        async with AsyncClient() as client:
            result = await client.command(CreateUser(name="Ada", email="ada@example.org"))
            user = await client.query("GetUser", user_id=result.events[0]["payload"]["id"])

    Concurrent calls share a message, so `asyncio.gather` is efficient. Methods, guarantees and errors are those of
    `Client`; see docs/clients.md.
    """

    def __init__(self, address: str | None = None, *, src: str | None = None, timeout: float | None = None) -> None:
        self._calls = new_calls(address, src, timeout)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: ClientSession | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._step_scheduled = False
        self._closed = False

    async def command(
        self,
        message: Command | str,
        fields: Mapping[str, Any] = _NONE,
        /,
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        metadata: Mapping[str, str] | None = None,
        **keywords: Any,
    ) -> CommandResult:
        """Execute a command once; return its events. Raises a `DualbusError`, such as `Rejected`."""
        loop = self._open()
        call = self._calls.command(message, {**fields, **keywords}, timeout, idempotency_key, metadata)
        result: CommandResult = await self._submit(call, loop)
        return result

    async def query(
        self,
        message: Query | str,
        fields: Mapping[str, Any] = _NONE,
        /,
        *,
        timeout: float | None = None,
        **keywords: Any,
    ) -> Any:
        """Return the answer to a query. The read model includes all commands this client has a reply to."""
        loop = self._open()
        return await self._submit(self._calls.query(message, {**fields, **keywords}, timeout), loop)

    async def close(self) -> None:
        """Close the connection. Calls without a reply raise `ClientClosed`."""
        self._close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _open(self) -> asyncio.AbstractEventLoop:
        """Connect at the first call, because a client can be created outside a loop."""
        loop = asyncio.get_running_loop()
        if self._closed:
            raise ClientClosed("The client is closed: create another client.")
        if self._session is None:
            self._loop = loop
            self._session = ClientSession(self._calls, self._watch, self._unwatch)
        elif loop is not self._loop:
            raise RuntimeError("This client belongs to another event loop: create a client in each loop.")
        return loop

    def _submit(self, call: Call, loop: asyncio.AbstractEventLoop) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = loop.create_future()
        self._calls.add(call, future, time.monotonic())
        self._step_soon()
        return future

    def _step_soon(self) -> None:
        """Schedule a step after the tasks that are ready now, so that their calls share a message."""
        if not self._step_scheduled and self._loop:
            self._step_scheduled = True
            self._loop.call_soon(self._step)

    def _step(self) -> None:
        self._step_scheduled = False
        if self._closed or self._session is None or self._loop is None:
            return
        try:
            more_due = self._session.step()
        except BaseException:
            self._close()
            raise
        if more_due:
            self._step_soon()
            return
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if (seconds := self._session.seconds_to_step()) < float("inf"):
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
        if self._session:
            self._session.close()
