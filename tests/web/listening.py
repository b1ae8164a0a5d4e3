"""A listener of server-sent events, in a thread."""

import json
import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import httpx

from dualbus.testing import Cluster


def listeners(browser: httpx.Client, **headers: str) -> float:
    """Return the number of streams, as the metrics report it."""
    lines = browser.get("/metrics", headers=headers).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("dualbus_web_listeners{"))


class Listener:
    """Receives the frames of a stream until the end of the block."""

    def __init__(self, site: Cluster, path: str, body: dict[str, Any] | None = None, /, **headers: str) -> None:
        self.ids: list[int] = []
        self.data: list[Any] = []
        self.events: list[str] = []  # the names of the frames that have one
        self.comments = 0
        self._client = httpx.Client(base_url=site.http, headers=site.http_headers, timeout=60)
        method, headers = "GET" if body is None else "POST", {"accept": "text/event-stream", **headers}
        request = self._client.build_request(method, path, headers=headers, json=body)
        self._response = self._client.send(request, stream=True)
        self.headers = self._response.headers
        self.status = self._response.status_code
        self._thread = threading.Thread(target=self._receive)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether the stream has ended."""
        return not self._thread.is_alive()

    def _receive(self) -> None:
        try:
            for line in self._response.iter_lines():
                name, _, value = line.partition(": ")
                if name == "data":
                    self.data.append(json.loads(value))
                elif name == "id":
                    self.ids.append(int(value))
                elif name == "event":
                    self.events.append(value)
                elif name == ":":
                    self.comments += 1
        except (httpx.TransportError, httpx.StreamError):
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stream: Any = self._response.extensions["network_stream"]
        with suppress(OSError):  # the stream has ended
            stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._client.close()
