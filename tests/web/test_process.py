"""The process: its address, its errors and its end."""

import json
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from dualbus import Client
from dualbus.testing import Cluster, until
from tests.conftest import ROOT
from tests.web.conftest import head, wait_until_serving


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP])
def test_a_signal_is_an_orderly_stop_also_without_a_gateway(cluster: Cluster, number: signal.Signals) -> None:
    cluster.start("web")
    wait_until_serving(cluster)
    with httpx.Client(base_url=cluster.http, headers=cluster.http_headers) as browser:
        browser.get("/healthz")  # the connection stays open
        assert cluster.stop("web", number) == 0
    assert "Serving HTTP on " + cluster.http in cluster.process("web").stderr_text
    assert "Traceback" not in cluster.process("web").stderr_text


def test_an_address_in_use_is_a_sentence_and_an_exit_code(cluster: Cluster) -> None:
    host, port = cluster.http.removeprefix("http://").split(":")
    with socket.socket() as other:
        other.bind((host, int(port)))
        other.listen()
        [process] = cluster.start("web")
        assert process.wait() == 69
    assert process.stderr_text.endswith(
        f"{cluster.http} cannot be listened on (Address already in use): stop the process that has it, or set "
        "DUALBUS_HTTP.\n"
    )


def test_the_address_can_be_ipv6(cluster: Cluster) -> None:
    port = cluster.http.rpartition(":")[2]
    cluster.environ["DUALBUS_HTTP"] = f"http://[::1]:{port}"
    cluster.start("web")
    wait_until_serving(cluster)
    with httpx.Client(base_url=cluster.http, headers=cluster.http_headers) as browser:
        assert browser.post("/queries/Nothing", json={}, headers={"origin": cluster.http}).status_code == 404


def test_a_stop_waits_for_the_response_in_progress(cluster: Cluster) -> None:
    cluster.environ["DUALBUS_APP"] = "tests.web.shop:app"
    cluster.start()
    cluster.start("web")
    wait_until_serving(cluster)
    httpx.get(f"{cluster.http}/queries/Echo", headers=cluster.http_headers, timeout=60)  # the cluster works
    host, port = cluster.http.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as slow:
        slow.sendall(b"GET /queries/Sleep?seconds=0.5 HTTP/1.1\r\n" + head(cluster) + b"\r\n")
        until(lambda: _running(cluster))
        cluster.process("web").send(signal.SIGTERM)
        received = b""
        while data := slow.recv(65_536):
            received += data
    assert received.startswith(b"HTTP/1.1 200")
    assert received.endswith(b'"slept"')
    assert cluster.process("web").wait() == 0


def test_a_stop_reports_the_requests_without_a_reply_as_a_timeout_does(cluster: Cluster) -> None:
    """A command that a slow command bus may still execute has an unknown outcome, and a key to learn the outcome."""
    cluster.environ["DUALBUS_APP"] = "tests.web.shop:app"
    cluster.start()
    cluster.start("web")
    wait_until_serving(cluster)
    httpx.get(f"{cluster.http}/queries/Echo", headers=cluster.http_headers, timeout=60)  # the cluster works
    post = b"POST /commands/AddItem HTTP/1.1\r\n" + head(cluster) + b"Content-Type: application/json\r\n"
    body = b"Content-Length: 16\r\n\r\n" + b'{"item": "Late"}'

    # Given a query, a command with a key, a command without, and a body that never ends
    cluster.process("commandbus").send(signal.SIGSTOP)
    with ExitStack() as stack:
        requests = (
            b"GET /queries/Sleep?seconds=5&timeout_ms=30000 HTTP/1.1\r\n" + head(cluster) + b"\r\n",
            post + b"Idempotency-Key: late\r\n" + body,
            post + body,
            post + body[:-1],
        )
        slow = [stack.enter_context(_sent(cluster, request)) for request in requests]
        until(lambda: _running(cluster) and _running(cluster, "commandbus"))

        # When the web process stops
        cluster.process("web").send(signal.SIGTERM)
        statuses, problems = zip(*(_received(made) for made in slow), strict=True)
    assert statuses == (503, 504, 504, 503)
    assert [problem.get("outcome") for problem in problems] == [None, "unknown", "unknown", None]
    assert problems[1]["idempotency_key"] == "late"
    assert problems[2]["idempotency_key"]
    assert cluster.process("web").wait() == 0

    # Then the key tells the outcome
    cluster.process("commandbus").send(signal.SIGCONT)
    with Client(cluster.front) as client:
        result = client.command("AddItem", item="Late", idempotency_key="late", timeout=60)
        assert result.events[0]["payload"]["item"] == "Late"


def _sent(cluster: Cluster, request: bytes) -> socket.socket:
    """Return a connection with a request."""
    host, port = cluster.http.removeprefix("http://").split(":")
    made = socket.create_connection((host, int(port)), timeout=60)
    made.sendall(request)
    return made


def _received(made: socket.socket) -> tuple[int, Any]:
    """Return the status and the problem that a connection receives until its end."""
    received = b""
    while data := made.recv(65_536):
        received += data
    first, _, body = received.partition(b"\r\n\r\n")
    assert b"application/problem+json" in first, received
    assert b"\r\nretry-after: 1" in first or b" 504 " in first
    return int(first.split()[1]), json.loads(body)


def _running(cluster: Cluster, name: str = "querybus") -> bool:
    """Return whether a process has a request under way."""
    with Client(cluster.front) as client:
        return any(each["name"] == name and each["in_flight"] for each in client.status()["processes"])


def test_without_the_extra_the_process_names_the_missing_package(cluster: Cluster) -> None:
    code = (
        "import sys\n"
        "sys.modules['starlette'] = None\n"
        "from dualbus.runtime.process import run\n"
        "from dualbus.web.node import serve\n"
        "sys.exit(run('web', serve))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=cluster.environ, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 78
    assert "The web process needs the package starlette: install dualbus[web]" in ran.stderr
    assert "Traceback" not in ran.stderr
