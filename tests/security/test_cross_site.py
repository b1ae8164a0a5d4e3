"""Pages of other origins in the browser of an operator: what they send executes nothing.

The control is a web process without the check of `Host` and `Origin`.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
from playwright.sync_api import BrowserContext

from dualbus.testing import Cluster
from tests.web.chromium import chromium
from tests.web.conftest import wait_until_serving

WITHOUT_GUARD = (
    "import runpy; from dualbus.web.guard import Guard; Guard.check = lambda self, scope: None; "
    "runpy.run_module('dualbus.web', run_name='__main__')"
)
FORM = """<form method="post" action="{}/page/try/CreateUser">
<input name="field.name" value="Eve"><input name="field.email" value="e@example.org"><input name="key" value="{}">
</form><script>document.forms[0].submit()</script>"""


@contextmanager
def evil_page(target: str) -> Iterator[int]:
    """Serve a page that sends the form of a command to a cluster; yield its port."""

    class Evil(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = FORM.format(target, f"{self.headers['host']}-{target}").encode()
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Evil)
    threading.Thread(target=server.serve_forever).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def attacked(context: BrowserContext, cluster: Cluster, host: str) -> tuple[int, bool]:
    """Open the page with the token in the browser; return the status of its form, and whether the command ran."""
    operator = httpx.Client(base_url=cluster.http, headers=cluster.http_headers, timeout=60)
    users = len(operator.get("/queries/ListUsers").json())
    token = cluster.http_headers["authorization"].removeprefix("Bearer ")
    context.request.get(f"{cluster.http}/?token={token}", max_redirects=0)
    page = context.new_page()
    with evil_page(cluster.http) as port, page.expect_response(f"{cluster.http}/**") as response:
        page.goto(f"http://{host}:{port}/")
    status = response.value.status
    page.close()
    executed = len(operator.get("/queries/ListUsers").json()) > users
    operator.close()
    return status, executed


def test_a_page_of_another_origin_executes_nothing_in_the_browser_of_an_operator(keyed: Cluster) -> None:
    keyed.start()
    guarded = keyed.http
    with chromium() as program, program.new_context() as context:
        keyed.start("web")
        wait_until_serving(keyed)
        # A page on another port of this host, whose requests have the cookie, and a page of another site
        assert attacked(context, keyed, "127.0.0.1") == (403, False)
        assert attacked(context, keyed, "localhost") == (403, False)
        for name in ("evil.example", "127.0.0.1.evil.example"):  # that resolves to this machine
            answer = httpx.get(f"{guarded}/queries/ListUsers", headers={**keyed.http_headers, "host": name})
            assert answer.status_code == 421
        # The control
        keyed.stop("web")
        keyed.commands["web"] = [sys.executable, "-c", WITHOUT_GUARD]
        keyed.start("web")
        wait_until_serving(keyed)
        assert attacked(context, keyed, "127.0.0.1") == (200, True)
        assert attacked(context, keyed, "localhost") == (401, False)  # the cookie is SameSite=Strict
        answer = httpx.get(f"{guarded}/queries/ListUsers", headers={**keyed.http_headers, "host": "evil.example"})
        assert answer.status_code == 200
