"""The clients of the gateway. Each caller has a client of its own: its waiting calls take no room of others."""

from typing import Self

from starlette.types import Scope

from dualbus.client.async_client import AsyncClient
from dualbus.runtime.settings import Settings

from .access import caller_of
from .problems import busy

CALLERS_MAX = 64  # with a client; beyond, a caller takes over a client without calls


class Clients:
    """A client for each caller, for the streams of all callers, and for reports about the cluster."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.streams, self.reports = self._new(), self._new()
        self._callers: dict[str, AsyncClient] = {}

    def of(self, scope: Scope) -> AsyncClient:
        """Return the client of a caller. Raises Problem if the calls of too many callers wait."""
        caller = caller_of(scope)
        return self._callers.get(caller) or self._added(caller)

    def _added(self, caller: str) -> AsyncClient:
        if len(self._callers) >= CALLERS_MAX:
            idle = next((name for name, client in self._callers.items() if client.idle), None)
            if idle is None:
                raise busy(f"Calls of {CALLERS_MAX} callers wait already: retry later.")
            self._callers[caller] = self._callers.pop(idle)
        else:
            self._callers[caller] = self._new()
        return self._callers[caller]

    def _new(self) -> AsyncClient:
        return AsyncClient(self._settings.front, timeout=self._settings.timeout_ms / 1000)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; calls without a reply end with the outcome that their client knows."""
        for client in (self.streams, self.reports, *self._callers.values()):
            await client.close()
