"""The process: its address, its errors and its end."""

import signal
import socket
import subprocess
import sys

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


def _running(cluster: Cluster) -> bool:
    """Return whether a query is under way."""
    with Client(cluster.front) as client:
        return any(each["name"] == "querybus" and each["in_flight"] for each in client.status()["processes"])


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
