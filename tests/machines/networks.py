"""Network namespaces: a host can be cut off from the others."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.machines.hosts import NUMBER
from tests.machines.servers import Servers

NETWORK = "10.77.30"
USER, PASSWORD = "dualbus", "secret"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def allowed() -> bool:
    name = f"dbtry{os.getpid()}"
    if not shutil.which("ip"):
        return False
    try:
        _ip("netns", "add", name)
        _ip("netns", "del", name)
    except subprocess.CalledProcessError:
        return False
    return True


needs_namespaces = pytest.mark.skipif(not allowed(), reason="needs iproute2, and the right to make namespaces")


class Network:
    """Hosts .1 to .3 on a switch; this process is .254."""

    def __init__(self) -> None:
        self.switch = f"dbs{os.getpid()}"
        self.names = [f"db{os.getpid()}h{number}" for number in range(NUMBER)]

    def create(self) -> None:
        _ip("netns", "add", self.switch)
        _ip("-n", self.switch, "link", "add", "switch", "type", "bridge")
        _ip("-n", self.switch, "link", "set", "switch", "up")
        for number, name in enumerate(self.names):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
            self._plug(f"p{number}", name, "eth", number + 1)
        self._plug("px", None, self.switch, 254)

    def _plug(self, port: str, namespace: str | None, device: str, last: int) -> None:
        """Connect a namespace, or this one, to the switch."""
        inside = ["-n", namespace] if namespace else []
        _ip("-n", self.switch, "link", "add", port, "type", "veth", "peer", "name", device[:15], "netns",
            namespace or str(os.getpid()))  # fmt: skip
        _ip("-n", self.switch, "link", "set", port, "master", "switch", "up")
        _ip(*inside, "addr", "add", f"{NETWORK}.{last}/24", "dev", device[:15])
        _ip(*inside, "link", "set", device[:15], "up")

    def cut(self, number: int, *, silent: bool = False) -> None:
        """Cut a host off: its link is down, or `silent`, all packets are lost and no device reports it."""
        if not silent:
            _ip("-n", self.switch, "link", "set", f"p{number}", "down")
            return
        for inside, device, address in self._neighbours(number):
            nobody = ["lladdr", "02:00:00:00:00:01", "nud", "permanent"]
            _ip(*inside, "neighbour", "replace", address, *nobody, "dev", device)

    def mend(self, number: int) -> None:
        """Connect a host again."""
        _ip("-n", self.switch, "link", "set", f"p{number}", "up")
        for inside, device, address in self._neighbours(number):
            with suppress(subprocess.CalledProcessError):
                _ip(*inside, "neighbour", "del", address, "dev", device)

    def _neighbours(self, number: int) -> Iterator[tuple[list[str], str, str]]:
        """Yield for a host and each other: the namespace of the one, its device, and the address of the other."""
        ends = [(["-n", name], "eth", f"{NETWORK}.{last}") for last, name in enumerate(self.names, 1)]
        ends.append(([], self.switch, f"{NETWORK}.254"))
        own = ends.pop(number)
        for other in ends:
            yield *own[:2], other[2]
            yield *other[:2], own[2]

    def remove(self) -> None:
        for name in (*self.names, self.switch):
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "del", name)


@contextmanager
def networked_servers(folder: Path) -> Iterator[tuple[Network, Servers]]:
    """Start three servers in namespaces of their own."""
    network = Network()
    try:
        network.create()
        authorization = f"authorization {{ user: {USER}, password: {PASSWORD} }}"
        servers = Servers(folder, NUMBER, NETWORK, f"{USER}:{PASSWORD}", authorization=authorization)
        for server, name in zip(servers.servers, network.names, strict=True):
            server.launcher = ["ip", "netns", "exec", name]
        try:
            yield network, servers.start()
        finally:
            servers.stop()
    finally:
        network.remove()
