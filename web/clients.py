"""The clients of the gateway. Each caller has a client of its own: its waiting calls take no room of others."""

from collections.abc import Container
from typing import Self

from starlette.types import Scope

from dualbus.client.async_client import AsyncClient
from dualbus.runtime.settings import Settings

from .caller import caller_of
from .connections import clients_max
from .problems import STOPPED, busy


class Clients:
    """A client for each caller, for the streams of all callers, and for reports about the cluster."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._streams, self._reports = self._new(), self._new()
        self._callers: dict[str, AsyncClient] = {}
        self._ended = False
        self._callers_max = clients_max() - 2  # beyond, a caller receives a client without calls

    @property
    def streams(self) -> AsyncClient:
        """The client for the streams of all callers."""
        self._streams = self._usable(self._streams)
        return self._streams

    @property
    def reports(self) -> AsyncClient:
        """The client for reports about the cluster."""
        self._reports = self._usable(self._reports)
        return self._reports

    def _usable(self, client: AsyncClient) -> AsyncClient:
        """Return a client, or another one if an error has closed it, such as of the system at a reconnection."""
        return self._new() if client.closed and not self._ended else client

    def of(self, scope: Scope) -> AsyncClient:
        """Return the client of a caller. Raises Problem if the calls of too many callers wait, and after `close`."""
        if self._ended:
            raise busy(f"{STOPPED}: retry later.")
        caller = caller_of(scope)
        found = self._callers.get(caller)
        return found if found and not found.closed else self._added(caller)

    async def close_others(self, callers: Container[str]) -> None:
        """Close the clients of all but some callers: their waiting calls end."""
        for caller in [caller for caller in self._callers if caller not in callers]:
            await self._callers.pop(caller).close()

    def _added(self, caller: str) -> AsyncClient:
        self._callers = {name: client for name, client in self._callers.items() if not client.closed}
        if len(self._callers) >= self._callers_max:
            idle = next((name for name, client in self._callers.items() if client.idle), None)
            if idle is None:
                raise busy(f"Calls of {self._callers_max} callers wait already: retry later.")
            self._callers[caller] = self._callers.pop(idle)
        else:
            self._callers[caller] = self._new()
        return self._callers[caller]

    def _new(self) -> AsyncClient:
        return AsyncClient(self._settings.fronts, timeout=self._settings.timeout_ms / 1000)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; calls without a reply end with the outcome that their client knows."""
        self._ended = True
        for client in (self._streams, self._reports, *self._callers.values()):
            await client.close()
