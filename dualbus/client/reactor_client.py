"""The client of the reactor: commands with a cause and a correlation."""

import asyncio
from collections.abc import Mapping
from typing import Any

from dualbus.client.async_client import AsyncClient


class ReactorClient(AsyncClient):
    """A client whose commands carry the origin that the reactor knows."""

    def execute(
        self, type_: str, payload: Mapping[str, Any], key: str, origin: Mapping[str, Any]
    ) -> "asyncio.Future[Any]":
        """Send a command; return the future of its CommandResult, or of a DualbusError."""
        return self._call(lambda calls: calls.command(type_, payload, None, key, None, origin))
