"""An EventSource of Chromium: the properties of browsers that streams rely on."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from dualbus.testing import until
from tests.web.chromium import chromium
from web.streams import COMMENT, frame, mark

LISTEN = "() => { window.ids = []; new EventSource('/stream').onmessage = (m) => { window.ids.push(m.lastEventId) } }"


class Handler(BaseHTTPRequestHandler):
    """Answers a page, and each request for a stream with the next of some responses, which then ends."""

    bodies: Iterator[bytes] = iter(())
    last_ids: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        body, kind = b"<title>Page</title>", "text/html"
        if self.path == "/stream":
            self.last_ids.append(self.headers["last-event-id"])
            body, kind = next(self.bodies, b""), "text/event-stream"
        self.send_response(200)
        self.send_header("content-type", kind)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Log nothing."""


@contextmanager
def server(*responses: bytes) -> Iterator[str]:
    Handler.bodies, Handler.last_ids = iter(responses), []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        threading.Thread(target=made.serve_forever).start()
        yield f"http://127.0.0.1:{made.server_port}/"
        made.shutdown()


@pytest.mark.slow
def test_a_browser_connects_again_after_an_empty_response_and_resumes_from_a_frame_without_data() -> None:
    with server(b"", COMMENT + mark(7), b"", frame(8, b"{}")) as address, chromium() as browser:
        page = browser.new_page()
        page.goto(address)
        page.evaluate(LISTEN)
        until(lambda: page.evaluate("window.ids"))
        assert page.evaluate("window.ids")[0] == "8"  # no event for the frame without data
    assert Handler.last_ids[:4] == [None, None, "7", "7"]
