"""Bad input: a clear error or a closed connection, bounded memory, and others are served."""

import os
import resource
import shlex
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx
import pytest

from dualbus.testing import Cluster, until
from tests.web.conftest import head, wait_until_serving
from tests.web.listening import listeners

GOOD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /commands/AddItem HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def app() -> str:
    return "tests.web.shop:app"


@contextmanager
def connection(site: Cluster) -> Iterator[socket.socket]:
    host, port = site.http.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as made:
        yield made


def with_token(site: Cluster, request: bytes) -> bytes:
    """Return a request with a token."""
    return request.replace(b"Host: localhost\r\n", head(site))


def reply(site: Cluster, request: bytes) -> bytes:
    """Return everything that the process sends before it closes the connection, or a complete response."""
    with connection(site) as made:
        made.sendall(with_token(site, request))
        received = b""
        while not received or b"\r\n\r\n" not in received or received.endswith(b"\r\n\r\n"):
            try:
                data = made.recv(65_536)
            except ConnectionError:
                break
            if not data:
                break
            received += data
        return received


def status(received: bytes) -> int:
    return int(received.split(b" ", 2)[1]) if received else 0


def memory_mb(site: Cluster) -> float:
    """Return the resident memory of the web process."""
    with open(f"/proc/{site.process('web').pid}/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() / 2**20


def serves(site: Cluster) -> bool:
    return httpx.get(f"{site.http}/queries/ListItems", headers=site.http_headers, timeout=60).status_code == 200


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (b"\x00\x01\x02\x03\r\n\r\n", {400}),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 200, {400}),  # TLS
        (b"GET\r\n\r\n", {400}),
        (b"GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n", {400}),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", {400}),
        (POST + b"Content-Length: x\r\n\r\n{}", {400}),
        (POST + b"Content-Length: " + b"0" * 5000 + b"2\r\n\r\n{}", {400, 413}),
        (POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", {400}),
        (POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", {400}),  # request smuggling
        (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", {0, 400}),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n continued: header\r\n\r\n", {400}),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nBad Header: x\r\n\r\n", {400}),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n", {400}),
        (b"GET /healthz HTTP/1.1\r\n\r\n", {421}),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", {421}),
        (b"GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", {200, 400, 404, 421}),
        (b"GET //healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", {400, 404}),
        (b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", {404}),
        (b"GET /docs.css/../../node.py HTTP/1.1\r\nHost: localhost\r\n\r\n", {404}),
        (b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", {404}),
        (b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n", {400, 404}),
        (b"GET /healthz%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", {404}),
        (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", {400, 404, 405}),
        (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", {400, 404, 405}),
        (b"TRACE /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", {405}),
        (
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            {200, 400},
        ),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", {431}),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", {431}),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 8_000 + b"\r\n", {431}),
    ],
)
def test_a_malformed_request_is_a_clear_error(site: Cluster, request_: bytes, expected: set[int]) -> None:
    received = reply(site, request_)

    assert status(received) in expected, received
    if received and status(received) >= 400:
        assert b"application/problem+json" in received
    assert status(reply(site, GOOD)) == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "", "a b", "[::2]"]
)
def test_a_page_under_a_name_of_its_own_cannot_reach_the_cluster(browser: httpx.Client, host: str) -> None:
    answer = browser.post("/commands/AddItem", json={"item": "Rebound"}, headers={"host": host})
    assert (answer.status_code, answer.headers["content-type"]) == (421, "application/problem+json")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:5580"])
def test_the_names_of_this_machine_are_hosts(browser: httpx.Client, host: str) -> None:
    assert browser.get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:1", "https://localhost", "file://"]
)
def test_a_page_of_another_origin_cannot_send_a_command(browser: httpx.Client, origin: str) -> None:
    answer = browser.post("/commands/AddItem", json={"item": "Foreign"}, headers={"origin": origin})
    assert (answer.status_code, answer.json()["title"]) == (403, "Forbidden")
    assert "access-control-allow-origin" not in answer.headers


def test_the_own_page_can_with_one_origin(site: Cluster, browser: httpx.Client) -> None:
    own = ("origin", site.http)
    assert browser.post("/queries/Echo", json={}, headers=[own]).status_code == 200
    assert browser.post("/queries/Echo", json={}, headers=[own, own]).status_code == 403
    assert browser.post("/queries/Echo", json={}, headers=[("origin", "http://evil.example"), own]).status_code == 403


def test_every_response_protects_browsers(browser: httpx.Client) -> None:
    for path in ("/healthz", "/nothing", "/docs", "/queries/Nothing", "/openapi.json", "/docs.css"):
        answer = browser.get(path)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in answer.headers
    policy = browser.get("/docs").headers["content-security-policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'self';")


def test_markup_in_names_is_text(browser: httpx.Client) -> None:
    name = "<img src=x onerror=alert(1)>"
    browser.post("/commands/AddItem", json={"item": name})
    for path in ("/events", "/queries/ListItems", f"/queries/{name}", f"/{name}"):
        answer = browser.get(path)
        assert answer.headers["content-type"] in ("application/json", "application/problem+json")
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "length", [b"Content-Length: 104857600\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"], ids=["length", "chunked"]
)
def test_a_body_of_100_mb_is_refused_in_bounded_memory(site: Cluster, length: bytes) -> None:
    before = memory_mb(site)
    chunk = b"x" * 65_536
    piece = chunk if b"Length" in length else b"10000\r\n" + chunk + b"\r\n"
    with connection(site) as made:
        made.sendall(with_token(site, POST + length))
        try:
            for _ in range(1600):
                made.sendall(piece)
        except ConnectionError:
            pass
        try:
            received = made.recv(65_536)
        except ConnectionError:  # all of it was sent, although the response had arrived
            received = b""
    assert status(received) in (0, 413), received
    assert memory_mb(site) - before < 20
    assert serves(site)


def test_a_client_reads_the_refusal_of_a_large_body(site: Cluster) -> None:
    with connection(site) as made:
        made.sendall(
            with_token(site, POST + b"Content-Length: 20000000\r\n\r\n") + b"x" * 20_000_000
        )  # without an error
        received = made.recv(65_536)
    assert status(received) == 413
    assert b"The body has more than 1048576 bytes" in received


def test_slow_requests_do_not_delay_others_and_are_closed(site: Cluster) -> None:
    """Slow loris: heads and bodies that arrive a byte at a time."""
    with ExitStack() as stack:
        slow = [stack.enter_context(connection(site)) for _ in range(100)]
        for number, made in enumerate(slow):
            made.sendall(with_token(site, POST) + b"Content-Length: 1000\r\n\r\n" if number % 2 else GOOD[:20])
        opened = {made.fileno() for made in slow}

        def all_closed() -> bool:
            for made in slow:
                if made.fileno() in opened:
                    try:
                        made.send(b"x")
                        made.settimeout(0.001)
                        if made.recv(1) == b"":
                            opened.discard(made.fileno())
                    except TimeoutError:
                        pass
                    except ConnectionError:
                        opened.discard(made.fileno())
            assert serves(site)
            return not opened

        until(all_closed, seconds=60)


def test_large_bodies_that_stall_keep_no_other_body_out(site: Cluster, browser: httpx.Client) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(connection(site)) for _ in range(65)]
        for made in slow:
            made.sendall(with_token(site, POST + b"Content-Length: 1048576\r\n\r\n") + b" " * (2**20 - 1))
        large = {"text": "x" * 500_000}
        for _ in range(20):
            assert browser.post("/queries/Echo", json={"text": "small"}).status_code == 200
            assert browser.post("/queries/Echo", json=large).status_code == 200
        slow[0].settimeout(10)
        assert status(slow[0].recv(65_536)) == 503  # the oldest of the largest
        assert _is_closed(slow[0])


def test_a_thousand_silent_connections_do_not_keep_others_out(site: Cluster) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    before = memory_mb(site)
    with ExitStack() as stack:
        silent = [stack.enter_context(connection(site)) for _ in range(1000)]
        for _ in range(20):
            assert serves(site)
        assert memory_mb(site) - before < 40
        for made in silent:
            made.settimeout(60)
        assert all(_is_closed(made) for made in silent)  # within seconds, by the process


def _is_closed(made: socket.socket) -> bool:
    try:
        return made.recv(1) == b""
    except ConnectionError:
        return True


def test_beyond_the_bound_the_longest_waiting_connection_is_closed(cluster: Cluster) -> None:
    """With few descriptors, silent connections make room for clients that send requests."""
    command = cluster.commands["web"]
    cluster.commands["web"] = ["/bin/sh", "-c", f"ulimit -n 512; exec {shlex.join(command)}"]
    cluster.start()
    cluster.start("web")
    wait_until_serving(cluster)
    with ExitStack() as stack:
        silent = [stack.enter_context(connection(cluster)) for _ in range(400)]
        for _ in range(20):
            assert status(reply(cluster, GOOD)) == 200
        assert _is_closed(silent[0])
        # Connections that do not read their responses do so, too
        stalled = [stack.enter_context(connection(cluster)) for _ in range(300)]
        for made in stalled:
            made.sendall(GOOD * 60)
        for _ in range(20):
            assert status(reply(cluster, GOOD)) == 200
        assert "out of system resource" not in cluster.process("web").stderr_text


def test_a_client_that_does_not_read_holds_bounded_memory(site: Cluster, browser: httpx.Client) -> None:
    for number in range(100):
        browser.post("/commands/AddItem", json={"item": f"Big {number} {'x' * 5000}"})
    before = memory_mb(site)
    request = with_token(site, b"GET /queries/ListItems?prefix=Big HTTP/1.1\r\nHost: localhost\r\n\r\n")
    with ExitStack() as stack:
        for _ in range(20):
            made = stack.enter_context(connection(site))
            made.sendall(request * 200)  # pipelined: a hundred megabytes of answers
        assert serves(site)
        until(lambda: memory_mb(site) - before < 100)
        assert serves(site)


def test_pipelined_requests_fields_and_resets_leave_no_memory(site: Cluster) -> None:
    """Each of these needs no token."""
    serves(site)
    before = memory_mb(site)
    host, port = site.http.removeprefix("http://").split(":")
    fields = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"a:\r\n" * 6_000
    with ExitStack() as stack:
        for _ in range(5):  # requests whose responses nobody reads
            made = stack.enter_context(connection(site))
            made.setblocking(False)
            with suppress(BlockingIOError, ConnectionError):
                made.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10_000)
        heads = [stack.enter_context(connection(site)) for _ in range(100)]
        for made in heads:  # heads that do not end
            made.sendall(fields)
        assert serves(site)
        assert memory_mb(site) - before < 40
        assert all(status(made.recv(1000)) == 431 for made in heads)
    for _ in range(2000):  # connections that are reset after the response
        with socket.create_connection((host, int(port)), timeout=60) as made:
            made.sendall(GOOD[:-2] + b"X: " + b"x" * 30_000 + b"\r\n\r\n")
            assert status(made.recv(65_536)) == 200
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert serves(site)
    assert memory_mb(site) - before < 40


CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"


def test_trailers_are_ignored_and_bounded(site: Cluster) -> None:
    with connection(site) as made:
        made.sendall(CHUNKED + head(site) + b"\r\n")  # with the token
        assert status(made.recv(65_536)) == 401
    for trailer in (b"a:\r\n" * 20_000, b"a: " + b"x" * 100_000):
        with connection(site) as made, suppress(ConnectionError):
            made.sendall(with_token(site, CHUNKED) + trailer)
            assert _is_closed(made)


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


@pytest.mark.parametrize("cut", [0, 40, -30, -1])
def test_the_body_of_a_request_with_upgrade_is_its_body(site: Cluster, cut: int) -> None:
    """An HTTP client that offers HTTP/2, such as `curl --http2`, or Java's."""
    body = b'{"text": "GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n"}'
    request = POST.replace(b"commands/AddItem", b"queries/Echo") + UPGRADE + b"Content-Length: %d\r\n\r\n" % len(body)
    data = with_token(site, request) + body + GOOD
    end = cut if cut > 0 else len(data) - len(GOOD) + cut
    with connection(site) as made:
        made.sendall(data[:end])
        assert serves(site)  # the first part has arrived
        made.sendall(data[end:])
        received = b""
        while b'"status":"ok"' not in received:
            received += made.recv(65_536)
    assert received.count(b"HTTP/1.1 200 OK") == received.count(b"HTTP/1.1 ") == 2
    assert b'"GET /healthz' in received


def test_pipelined_requests_are_answered_in_order(site: Cluster) -> None:
    with connection(site) as made:
        numbers = range(50)
        made.sendall(
            b"".join(b"GET /queries/Echo?number=%d HTTP/1.1\r\n%b\r\n" % (number, head(site)) for number in numbers)
        )
        received = b""
        while received.count(b'{"number":') < len(numbers):
            received += made.recv(65_536)
    found = [int(part.split(b"}")[0]) for part in received.split(b'{"number":')[1:]]
    assert found == [*numbers]


def test_streams_before_another_request_of_their_connection_do_not_leak(site: Cluster, browser: httpx.Client) -> None:
    stream = b"GET %b HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
    for path in (b"/events", b"/queries/ListItems"):
        for behind in (GOOD, GOOD * 3, stream % path):
            with connection(site) as made:
                made.sendall(with_token(site, stream % path + behind))
                made.recv(100)
                until(lambda: listeners(browser) == 1)
    until(lambda: listeners(browser) == 0)


def test_descriptors_do_not_leak(site: Cluster, browser: httpx.Client) -> None:
    browser.post("/commands/AddItem", json={"item": "First"})  # a stream of an empty log begins a second later

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{site.process('web').pid}/fd"))

    before = until(descriptors)
    for _ in range(100):
        with connection(site) as made:
            made.sendall(
                with_token(site, b"GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
            )
            made.recv(100)
    until(lambda: descriptors() <= before + 2)
