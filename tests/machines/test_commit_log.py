"""The commit log on NATS: the contract of every commit log, and what refuses to start."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nats
import pytest

from dualbus.log.commits import CommitLogRefused, CommitLogUnreachable, OutcomeUnknown
from dualbus.log.nats.address import read_address
from dualbus.log.nats.commit_log import NatsCommitLog
from dualbus.log.nats.servers import server_errors
from dualbus.log.nats.thread import LoopThread
from dualbus.runtime.errors import ConfigError
from dualbus.testing import until
from dualbus.testing.commit_log_contract import CommitLogContract, Opener
from tests.machines.servers import Servers, needs_nats, running_servers

pytestmark = [needs_nats, pytest.mark.processes]
SECONDS = 20.0


class TestNatsCommitLog(CommitLogContract):
    @pytest.fixture
    def opener(self, servers: Servers) -> Opener:
        url = servers.new_url()
        return lambda: NatsCommitLog(read_address(url), create=True)


def refused(url: str) -> str:
    """Return the sentences with which a server is refused."""
    with pytest.raises(CommitLogRefused) as refusal:
        NatsCommitLog(read_address(url), create=True)
    return str(refusal.value)


def test_a_server_that_syncs_late_and_limits_messages_is_refused_for_both(folder: Path) -> None:
    with running_servers(folder, 1, sync_interval="", max_payload="1MB") as servers:
        text = refused(servers.url())
    assert "at 127.0.0.1 can lose acknowledged commits at a power cut: set sync_interval: always" in text
    assert "at 127.0.0.1 limits messages to 1048576 bytes: set max_payload: 8MB." in text


@contextmanager
def monitoring(*answers: dict[str, object]) -> Iterator[int]:
    """Serve the answers of a monitoring port one after another, the last again and again; yield the port."""
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(left.pop(0) if len(left) > 1 else left[0]).encode())

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server.server_port
        server.shutdown()


def test_a_server_that_has_not_started_jetstream_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    starting: dict[str, object] = {"max_payload": 8 << 20, "jetstream": {}}
    ready = starting | {"jetstream": {"config": {"sync_always": True}}}
    late = starting | {"jetstream": {"config": {"sync_interval": 120_000_000_000}}}

    def errors(*answers: dict[str, object]) -> list[str]:
        with monitoring(*answers) as port:
            return server_errors(read_address(f"nats://127.0.0.1/test?monitor={port}"))

    assert errors(starting, starting, ready) == []
    [error] = errors(starting, late)
    assert "set sync_interval: always" in error
    monkeypatch.setattr("dualbus.log.nats.servers.START_SECONDS", 0.1)
    assert errors(starting) == [
        "The NATS server at 127.0.0.1 has no JetStream: add a jetstream block to its configuration."
    ]


def test_a_proxy_of_the_environment_is_not_asked_for_the_monitoring_port(monkeypatch: pytest.MonkeyPatch) -> None:
    ready: dict[str, object] = {"max_payload": 8 << 20, "jetstream": {"config": {"sync_always": True}}}
    monkeypatch.setattr("dualbus.log.nats.servers.START_SECONDS", 0.1)
    monkeypatch.setattr("urllib.request._opener", None)  # which keeps an earlier environment
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)

    with monitoring(ready) as port:
        assert server_errors(read_address(f"nats://127.0.0.1/test?monitor={port}")) == []


@pytest.mark.parametrize(
    ("listens", "password", "is_refused"),
    [("0.0.0.0", False, True), ("::", False, True), ("0.0.0.0", True, False), ("127.0.0.1", False, False)],
)
def test_a_server_that_listens_off_loopback_without_a_password_is_refused_for_a_loopback_address_too(
    listens: str, password: bool, is_refused: bool
) -> None:
    varz = {
        "host": listens,
        "auth_required": password,
        "max_payload": 8 << 20,
        "jetstream": {"config": {"sync_always": True}},
    }
    with monitoring(varz) as port:
        errors = server_errors(read_address(f"nats://127.0.0.1/test?monitor={port}"))

    assert ["is reachable from other machines and accepts everybody" in error for error in errors] == [
        True
    ] * is_refused


def test_a_server_reports_the_address_on_which_it_listens(folder: Path) -> None:
    servers = Servers(folder, 1)
    [server] = servers.servers
    store = folder / "store"
    server.text = f"""
        listen: "0.0.0.0:{server.port}"
        http: "127.0.0.1:{server.monitor}"
        max_payload: 8MB
        jetstream {{ store_dir: "{store}", sync_interval: always }}
    """
    try:
        servers.start()
        assert "is reachable from other machines and accepts everybody" in refused(servers.url())
    finally:
        servers.stop()


def test_without_a_monitoring_port_or_a_server_the_process_is_to_be_started_again(
    one_server: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dualbus.log.nats.servers.START_SECONDS", 0.1)
    monkeypatch.setattr("dualbus.log.nats.commit_log.CONNECT_SECONDS", 0.5)
    url = one_server.new_url()

    with pytest.raises(CommitLogUnreachable, match="No NATS server answers on its monitoring port 1, so that") as one:
        NatsCommitLog(read_address(url.replace(f"monitor={one_server.port + 1}", "monitor=1")), create=True)
    with pytest.raises(CommitLogUnreachable, match="No majority of the NATS servers answers") as other:
        NatsCommitLog(read_address(url.replace(f":{one_server.port}/", ":1/")), create=True)
    assert (one.value.exit_code, other.value.exit_code) == (69, 69)  # systemd starts again, except after 74 and 78


def test_a_stream_with_fewer_copies_than_the_address_names_is_refused(one_server: Servers) -> None:
    url = one_server.new_url()
    NatsCommitLog(read_address(url), create=True).close()

    assert "has 1 replica, and a majority of 3 servers" in refused(url.replace("replicas=1", "replicas=3"))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"discard": "old"}, "has discard='old', and a log needs 'new'"),
        ({"deny_delete": False}, "has deny_delete=None, and a log needs True|has deny_delete=False"),
        ({"max_age": 3_600_000_000_000}, "has max_age=3600000000000, and a log needs 0"),
        ({"subjects": ["orders-of-others"]}, "was not created by dualbus: use another name in DUALBUS_LOG"),
    ],
)
def test_a_stream_that_could_lose_commits_is_refused(
    one_server: Servers, change: dict[str, object], text: str
) -> None:
    url = one_server.new_url()
    name = f"dualbus-{read_address(url).name}"
    config = {
        "name": name,
        "subjects": [f"{name}.commits"],
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "deny_delete": True,
        "deny_purge": True,
        "allow_direct": True,
    } | change
    thread = LoopThread("test")

    async def create() -> None:
        client = await nats.connect(f"127.0.0.1:{one_server.port}")
        await client.request(f"$JS.API.STREAM.CREATE.{name}", json.dumps(config).encode(), timeout=5)
        await client.close()

    thread.run(create(), 10)
    thread.stop()

    assert re.search(text, refused(url))


@pytest.mark.parametrize(
    "url",
    [
        "nats://127.0.0.1", "nats:///name", "nats://127.0.0.1/a b", "nats://h/name?sync=no", "nats://h:x/name",
        "nats://h/name?replicas=2", "nats://h/name?replicas=x", "nats://h,,h/name", "nats://h/a/b",
    ],
)  # fmt: skip
def test_another_form_of_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="DUALBUS_LOG"):
        read_address(url)


def test_an_address_has_servers_name_and_options() -> None:
    address = read_address("nats://ada:secret@127.0.0.1,[::1]:4333/orders?replicas=5&monitor=9000")

    assert address.servers == ["nats://127.0.0.1:4222", "nats://[::1]:4333"]
    assert (address.name, address.user, address.password) == ("orders", "ada", "secret")
    assert (address.replicas, address.monitor, address.local) == (5, 9000, True)
    assert not read_address("nats://127.0.0.1,10.0.0.2/orders").local


def test_the_user_and_the_password_of_an_address_are_percent_encoded(folder: Path) -> None:
    authorization = 'authorization { user: "ada@home", password: "p:a/s%20" }'
    with (
        running_servers(folder, 1, user="ada%40home:p%3Aa%2Fs%2520", authorization=authorization) as servers,
        closing(NatsCommitLog(read_address(servers.url()), create=True)) as log,
    ):
        assert log.put(1, b"first", SECONDS)


def test_with_two_of_three_servers_down_nothing_is_stored_and_the_same_body_is_stored_later(
    three_servers: Servers,
) -> None:
    with closing(NatsCommitLog(read_address(three_servers.new_url()), create=True)) as log:
        assert log.put(1, b"first", SECONDS)
        for server in three_servers.servers[1:]:
            server.kill()
        try:
            with pytest.raises(OutcomeUnknown, match="No majority of the NATS servers has answered for commit 2"):
                log.put(2, b"second", 2.0)
        finally:
            for server in three_servers.servers[1:]:
                server.start()

        assert log.put(2, b"second", 60.0)
        assert log.get(0, 10) == [b"first", b"second"]
    three_servers.wait()


def test_the_log_goes_on_after_an_error_of_the_server_that_ends_the_connection(folder: Path) -> None:
    """nats-py never connects again after most errors of a server."""
    with (
        running_servers(folder, 1) as servers,
        closing(NatsCommitLog(read_address(servers.url()), create=True)) as log,
    ):
        assert log.put(1, b"first", SECONDS)
        servers.servers[0].reload(max_payload="64KB")
        with pytest.raises(OutcomeUnknown):
            log.put(2, bytes(100_000), 2.0)

        assert log.put(2, b"second", SECONDS)
        assert log.get(0, 10) == [b"first", b"second"]
        assert log.body_bytes_max < 65_536
        log.announce(b"here")
        until(lambda: b"here" in log.announcements())


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # of nats-py
def test_servers_that_refuse_the_password_meanwhile_are_named_until_they_accept_it(folder: Path) -> None:
    authorization = "authorization {{ user: ada, password: {} }}"
    with (
        running_servers(folder, 1, user="ada:right", authorization=authorization.format("right")) as servers,
        closing(NatsCommitLog(read_address(servers.url()), create=True)) as log,
    ):
        assert log.put(1, b"first", SECONDS)
        servers.servers[0].reload(authorization=authorization.format("wrong"))

        def reason() -> str:
            try:
                return str(log.get(0, 10))
            except CommitLogUnreachable as problem:
                return str(problem)

        until(lambda: re.search("No NATS server .* answers; .*authorization", reason(), re.IGNORECASE), 60)
        servers.servers[0].reload(authorization=authorization.format("right"))
        until(lambda: reason() == "[b'first']", 60)
