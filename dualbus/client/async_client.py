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
    """Calls a cluster from one event loop; one client serves any number of tasks.

        async with AsyncClient() as client:
            result = await client.command(CreateUser(name="Ada", email="ada@example.org"))
            user = await client.query("GetUser", user_id=result.events[0]["payload"]["id"])

    Calls that are made at once travel together: gather as many as you like. It has the methods, the promises
    and the errors of `Client`; docs/clients.md tells them all.
    """

    def __init__(self, address: str | None = None, *, src: str | None = None, timeout: float | None = None) -> None:
        self._calls = new_calls(address, src, timeout)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._exchange: ClientSession | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._turn_is_due = False
        self._closed = False

    async def command(
        self,
        message: Command | str,
        fields: Mapping[str, Any] = _NONE,
        /,
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        **more: Any,
    ) -> CommandResult:
        """Have a command done, once; return its events. Raises a `DualbusError`, of which `Rejected` is one."""
        loop = self._open()
        call = self._calls.command(message, {**fields, **more}, timeout, idempotency_key)
        result: CommandResult = await self._ask(call, loop)
        return result

    async def query(
        self,
        message: Query | str,
        fields: Mapping[str, Any] = _NONE,
        /,
        *,
        timeout: float | None = None,
        **more: Any,
    ) -> Any:
        """Return the answer to a query; it shows every command that this client has had an answer to."""
        loop = self._open()
        return await self._ask(self._calls.query(message, {**fields, **more}, timeout), loop)

    async def close(self) -> None:
        """Close the connection. Calls that are not answered raise `ClientClosed`."""
        self._close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _open(self) -> asyncio.AbstractEventLoop:
        """Connect at the first call: only then there is a loop to belong to."""
        loop = asyncio.get_running_loop()
        if self._closed:
            raise ClientClosed("This client is closed: make another one.")
        if self._exchange is None:
            self._loop = loop
            self._exchange = ClientSession(self._calls, self._watch, self._unwatch)
        elif loop is not self._loop:
            raise RuntimeError("This client belongs to another event loop: make one in each.")
        return loop

    def _ask(self, call: Call, loop: asyncio.AbstractEventLoop) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = loop.create_future()
        self._calls.add(call, future, time.monotonic())
        self._turn_soon()
        return future

    def _turn_soon(self) -> None:
        """Look at everything once those who can run now have made their calls: these travel together."""
        if not self._turn_is_due and self._loop:
            self._turn_is_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_is_due = False
        if self._closed or self._exchange is None or self._loop is None:
            return
        try:
            more = self._exchange.turn()
        except BaseException:
            self._close()
            raise
        if more:
            self._turn_soon()
            return
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if (seconds := self._exchange.seconds()) < float("inf"):
            self._timer = self._loop.call_later(seconds, self._turn)

    def _watch(self, connection: Connection) -> None:
        connection.close.atexit = True  # in a program that ends without closing us
        for descriptor in connection.descriptors():
            asyncio.get_running_loop().add_reader(descriptor, self._turn)

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
        if self._exchange:
            self._exchange.close()
