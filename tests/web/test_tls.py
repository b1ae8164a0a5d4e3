"""HTTP off loopback: TLS of the process itself, and nginx before it as in docs/http.md."""

import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from dualbus.testing import Cluster, until
from tests.conftest import ROOT
from tests.faults.needs import need, need_chromium
from tests.web.certificates import Certificate, certificate
from tests.web.chromium import chromium

CREATE = {"name": "Ada", "email": "ada@example.org"}
[NGINX] = re.findall(r"```nginx\n(.*?)```", (ROOT / "docs" / "http.md").read_text(), re.DOTALL)
# The deadline of a handshake is that of the head of a request: 10 s, here 2 s.
QUICK = (
    "import runpy; from dualbus.web import connections; connections.HEAD_SECONDS = 2.0; "
    "runpy.run_module('dualbus.web', run_name='__main__')"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def files() -> Iterator[Certificate]:
    folder = Path(tempfile.mkdtemp(prefix="db"))
    yield certificate(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def buses() -> Iterator[Cluster]:
    """A cluster without a web process: each test starts its own."""
    folder = Path(tempfile.mkdtemp(prefix="db"))
    with Cluster(folder, "users:app", cwd=ROOT) as made:
        made.start()
        yield made
    shutil.rmtree(folder)


@contextmanager
def serving(buses: Cluster, origin: str, files: Certificate | None, **settings: str) -> Iterator[httpx.Client]:
    """Run a web process with these settings; yield a client of its origin, with a token."""
    [web] = buses.start("web", stdin=subprocess.DEVNULL, **settings)
    trusting = files.trusting if files else False
    with httpx.Client(base_url=origin, headers=buses.http_headers, verify=trusting, timeout=60) as client:

        def answers() -> bool:
            assert web.running, web.stderr_text
            try:
                return client.get("/healthz").status_code == 200
            except httpx.TransportError:
                return False

        until(answers)
        yield client
    assert buses.stop("web") == 0, web.stderr_text
    assert "Traceback" not in web.stderr_text


def check_a_site(client: httpx.Client, origin: str) -> None:
    """Check what every address off loopback provides: TLS in cookies, tokens, own pages only, and streams."""
    token = client.headers.pop("authorization")
    assert client.get("/queries/ListUsers").status_code == 401
    moved = client.get("/", params={"token": token.removeprefix("Bearer ")})
    assert (moved.status_code, moved.headers["location"]) == (303, "/")
    assert "; Secure" in moved.headers["set-cookie"]
    created = client.post("/commands/CreateUser", json=CREATE, headers={"Origin": origin})
    assert created.status_code == 200, created.text
    assert created.headers["set-cookie"].endswith("; Secure")
    for foreign in (origin.replace("https", "http"), "https://evil.example", "http://127.0.0.1:5580", "null"):
        forged = {"Origin": foreign, "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http"}
        assert client.post("/commands/CreateUser", json=CREATE, headers=forged).status_code == 403
    position = int(created.headers["dualbus-position"])
    headers = {"Accept": "text/event-stream"}
    with client.stream("GET", f"/events?after={position}", headers=headers) as stream:
        client.post("/commands/CreateUser", json=CREATE)
        lines = filter(lambda line: line not in ("", ":"), stream.iter_lines())  # nothing between collects events
        assert next(lines) == f"id: {position + 1}"
        assert json.loads(next(lines).removeprefix("data: "))["type"] == "UserCreated"


def test_the_process_serves_tls_off_loopback(buses: Cluster, files: Certificate) -> None:
    port = free_port()
    origin = f"https://localhost:{port}"
    settings = {
        "DUALBUS_HTTP_CERT": str(files.cert),
        "DUALBUS_HTTP_KEY": str(files.key),
        "DUALBUS_HTTP_ORIGIN": origin,
    }
    buses.commands["web"] = [sys.executable, "-c", QUICK]
    with serving(buses, origin, files, DUALBUS_HTTP=f"https://0.0.0.0:{port}", **settings) as client:
        silent = socket.create_connection(("127.0.0.1", port), timeout=60)
        check_a_site(client, origin)
        assert client.get("/healthz", headers={"Host": "evil.example"}).status_code == 421
        large = client.post(
            "/commands/CreateUser", content=b"x" * 5_000_000, headers={"content-type": "application/json"}
        )
        assert large.status_code == 413
        # Plain HTTP is not answered, and a handshake that does not end is closed
        with socket.create_connection(("127.0.0.1", port), timeout=60) as plain:
            plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"HTTP" not in plain.recv(1000)
        assert silent.recv(1) == b""
        silent.close()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda files: files.key.unlink(), "No such file"),
        (lambda files: files.cert.write_text("x"), "NO_START_LINE|PEM"),
        (lambda files: files.key.chmod(0o604), "can be read by every user: run chmod 640"),
    ],
)
def test_an_unusable_certificate_is_a_sentence_and_an_exit_code(
    cluster: Cluster, tmp_path: Path, change: Callable[[Certificate], object], reason: str
) -> None:
    files = certificate(tmp_path)
    change(files)
    cluster.environ |= {"DUALBUS_HTTP_CERT": str(files.cert), "DUALBUS_HTTP_KEY": str(files.key)}
    cluster.environ["DUALBUS_HTTP"] = f"https://127.0.0.1:{free_port()}"
    [web] = cluster.start("web")
    assert web.wait() == 78
    assert re.search(reason, web.stderr_text)


@pytest.fixture(scope="module")
def proxied(buses: Cluster, files: Certificate) -> Iterator[tuple[httpx.Client, str]]:
    """A client of nginx with the configuration of the documents, before a web process."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    need("nginx", there=program is not None)
    port = free_port()
    origin = f"https://localhost:{port}"
    block = (
        NGINX.replace("443", str(port))
        .replace("shop.example.org", "localhost")
        .replace("http://127.0.0.1:5580", buses.http)
    )
    block = block.replace("/etc/ssl/shop.pem", str(files.cert)).replace("/etc/ssl/shop.key", str(files.key))
    places = "".join(
        f"{name}_temp_path {buses.folder}/nginx-{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = buses.folder / "nginx.conf"
    config.write_text(f"daemon off; pid {buses.folder}/nginx.pid; events {{}} http {{ {places} {block} }}")
    with subprocess.Popen(
        [str(program), "-e", f"{buses.folder}/nginx.log", "-p", str(buses.folder), "-c", str(config)]
    ) as nginx:
        with serving(buses, origin, files, DUALBUS_HTTP_ORIGIN=origin) as client:
            yield client, origin
        nginx.terminate()


def test_nginx_before_the_process_serves_the_same_site(proxied: tuple[httpx.Client, str]) -> None:
    client, origin = proxied
    check_a_site(client, origin)


def test_a_browser_keeps_the_token_over_tls_and_follows_events(
    proxied: tuple[httpx.Client, str], buses: Cluster
) -> None:
    need_chromium()
    _, origin = proxied
    token = buses.http_headers["authorization"].removeprefix("Bearer ")
    with chromium() as program, program.new_context(ignore_https_errors=True) as context:
        page = context.new_page()
        page.goto(f"{origin}/?token={token}")
        assert page.url == f"{origin}/"
        assert token not in page.evaluate("document.cookie + document.referrer + location.href")
        first = page.evaluate(
            "new Promise((found) => { new EventSource('/events').onmessage = (each) => found(each.lastEventId) })"
        )
        assert first == "1"
