"""Callers are isolated: the waiting calls and the bodies of a caller take no room of others."""

import asyncio
import re
import shlex
import signal
import socket
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from dualbus.application.errors import Unavailable
from dualbus.runtime.settings import Settings
from dualbus.testing import Cluster, until
from tests.web.conftest import wait_until_serving
from tests.web.shop import app
from web.app import WebApp
from web.clients import Clients
from web.problems import Problem
from web.site import Site

HOSTILE = "127.0.0.2"  # with keys off, an address is a caller


@pytest.fixture
def open_cluster(cluster: Cluster) -> Cluster:
    """A cluster with keys off."""
    cluster.environ |= {"DUALBUS_KEYS": "off", "DUALBUS_APP": "tests.web.shop:app"}
    cluster.start()
    cluster.start("web")
    wait_until_serving(cluster)
    return cluster


def waiting(site: Cluster, position: str) -> socket.socket:
    """Return a connection with a large query that waits for the projector for an hour."""
    host, port = site.http.removeprefix("http://").split(":")
    made = socket.create_connection((host, int(port)), timeout=60, source_address=(HOSTILE, 0))
    body = b'{"text": "%b"}' % (b"x" * 1_000_000)
    head = f"POST /queries/Echo?timeout_ms=3600000 HTTP/1.1\r\nHost: localhost\r\nDualbus-After: {position}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    made.sendall(head.encode() + body)
    return made


def is_answered(made: socket.socket) -> bool:
    made.settimeout(0.01)
    try:
        return bool(made.recv(1, socket.MSG_PEEK))
    except TimeoutError:
        return False


def test_the_waiting_calls_of_a_caller_take_no_room_of_others(open_cluster: Cluster) -> None:
    site = open_cluster
    with httpx.Client(base_url=site.http, timeout=60) as other, ExitStack() as stack:
        until(lambda: other.get("/queries/ListItems").status_code == 200)

        # Given a stopped projector, and a caller with large queries that wait for it for an hour
        site.process("projector").send(signal.SIGSTOP)
        stack.callback(site.process("projector").send, signal.SIGCONT)
        position = other.post("/commands/AddItem", json={"item": "First"}).headers["dualbus-position"]
        other.cookies.clear()
        made = [stack.enter_context(waiting(site, position)) for _ in range(9)]

        # When there is no room for a further body, then it is refused, and others are served
        until(lambda: sum(map(is_answered, made)) == 3)
        refused = [each for each in made if is_answered(each)]
        assert {each.recv(65_536)[:12] for each in refused} == {b"HTTP/1.1 503"}
        with httpx.Client(base_url=site.http, transport=httpx.HTTPTransport(local_address=HOSTILE)) as same:
            assert same.get("/queries/ListItems?timeout_ms=4000").status_code == 200

        def check(number: int) -> None:
            assert other.post("/commands/AddItem?timeout_ms=5000", json={"item": f"{number}"}).status_code == 200
            other.cookies.clear()
            assert other.get("/queries/ListItems?timeout_ms=5000").status_code == 200
            assert other.post("/queries/Echo?timeout_ms=5000", json={}).status_code == 200
            assert other.get("/metrics").status_code == 200
            assert "The gateway does not respond" not in other.get("/readyz").text
            with other.stream("GET", "/events", headers={"accept": "text/event-stream"}) as stream:
                assert stream.status_code == 200

        check(1)
        for each in made:  # its calls wait further
            each.close()
        check(2)


def test_many_callers_share_a_bounded_number_of_connections(open_cluster: Cluster) -> None:
    def get(number: int, path: str) -> httpx.Response:
        transport = httpx.HTTPTransport(local_address=f"127.0.0.{number}")
        with httpx.Client(base_url=open_cluster.http, transport=transport, timeout=60) as caller:
            return caller.get(path)

    until(lambda: get(1, "/queries/ListItems").status_code == 200)
    assert {get(number, "/queries/ListItems").status_code for number in range(1, 90)} == {200}
    clients = re.search(r"^dualbus_clients (\d+)", get(1, "/metrics").text, re.MULTILINE)
    assert clients
    assert 64 <= int(clients[1]) <= 66  # and those of streams and reports


def test_the_clients_of_many_callers_leave_descriptors_for_connections(cluster: Cluster) -> None:
    command = shlex.join(cluster.commands["web"])
    cluster.commands["web"] = ["/bin/sh", "-c", f"ulimit -n 512; exec {command}"]
    cluster.environ |= {"DUALBUS_KEYS": "off", "DUALBUS_APP": "tests.web.shop:app"}
    cluster.start()
    cluster.start("web")
    wait_until_serving(cluster)
    cluster.wait_until_ready()
    host, port = cluster.http.removeprefix("http://").split(":")
    with ExitStack() as stack:
        for _ in range(240):
            stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
        for number in range(1, 90):
            transport = httpx.HTTPTransport(local_address=f"127.0.0.{number}")
            with httpx.Client(base_url=cluster.http, transport=transport, timeout=60) as caller:
                assert caller.get("/queries/ListItems").status_code == 200


def test_a_client_that_an_error_has_closed_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUALBUS_KEYS", "off")
    scope = {"client": (HOSTILE, 1)}

    async def scenario() -> None:
        async with Clients(Settings.from_env({"DUALBUS_KEYS": "off"})) as clients:
            await clients.of(scope).close()
            with pytest.raises(Unavailable):
                await clients.of(scope).status(0.01)
            assert clients.of(scope) is clients.of(scope)
            for client in (clients.streams, clients.reports):
                await client.close()
            with pytest.raises(Unavailable):
                await clients.streams.status(0.01)
            with pytest.raises(Unavailable):
                await clients.reports.status(0.01)
            assert clients.streams is clients.streams
        with pytest.raises(Problem, match="stopped") as stopped:
            clients.of(scope)
        assert stopped.value.status == 503

    asyncio.run(scenario())


class Replying:
    """The client of a caller: each query has a reply at once, or none."""

    def __init__(self, reply: dict[str, Any] | None) -> None:
        self._reply = reply

    def session(self) -> "Replying":
        return self

    async def query(self, name: str, params: dict[str, Any]) -> dict[str, Any]:
        return self._reply if self._reply is not None else await asyncio.Future()


def test_a_page_of_events_does_not_wait_for_the_pages_of_other_callers() -> None:
    page = {"events": [], "position": 7, "hash": "", "head": 7}
    clients: dict[str, Any] = {HOSTILE: Replying(None), "127.0.0.1": Replying(page)}
    shared = Replying(None)  # between all streams
    of_callers: Any = SimpleNamespace(of=lambda scope: clients[scope["client"][0]], streams=shared, reports=shared)
    settings = Settings.from_env({"DUALBUS_KEYS": "off"})
    web_app: Any = WebApp(Site(app, settings, of_callers, streams_max=1))

    async def get(address: str) -> Any:
        transport = httpx.ASGITransport(web_app, client=(address, 1))
        async with httpx.AsyncClient(base_url="http://localhost", transport=transport) as caller:
            return (await caller.get("/events?after=7")).json()

    async def scenario() -> None:
        waiting = asyncio.create_task(get(HOSTILE))
        async with asyncio.timeout(5):
            assert await get("127.0.0.1") == page
        assert not waiting.done()
        waiting.cancel()

    asyncio.run(scenario())
