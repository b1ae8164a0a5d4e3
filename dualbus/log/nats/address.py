"""The address of a log on NATS: nats://HOST[:PORT],…/NAME, optionally ?replicas=1&monitor=8222&ca=/PATH."""

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from dualbus.runtime.errors import ConfigError

PORT, MONITOR_PORT, REPLICAS = 4222, 8222, 3
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FORM = "use nats://HOST,HOST,HOST/NAME, where NAME has letters, digits, - and _"
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:/@\s]+)(?::([0-9]{1,5}))?")


class NatsAddress(NamedTuple):
    """The servers, and the name of the log."""

    hosts: list[tuple[str, int]]
    name: str
    user: str  # empty without authentication
    password: str
    replicas: int
    monitor: int  # the port of the servers' monitoring
    ca: str  # the file of the certificates that sign those of the servers; empty without TLS

    @property
    def servers(self) -> list[str]:
        """The servers as URLs, without credentials."""
        return [f"nats://{host}:{port}" for host, port in self.hosts]

    @property
    def stream(self) -> str:
        """The name of the stream."""
        return f"dualbus-{self.name}"

    @property
    def local(self) -> bool:
        """Whether all servers are on this machine."""
        return all(is_loopback(host) for host, _ in self.hosts)


def read_address(url: str) -> NatsAddress:
    """Return the parts of an address. Raises ConfigError."""
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = map(unquote, credentials.partition(":"))
    found = [_HOST.fullmatch(host) for host in hosts.split(",")]
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    ca = options.pop("ca", "")
    numbers = {name: options.pop(name, str(default)) for name, default in _OPTIONS.items()}
    name = parts.path.removeprefix("/")
    if not all(found) or not _NAME.fullmatch(name) or options or not all(map(str.isdecimal, numbers.values())):
        raise ConfigError(f"DUALBUS_LOG is not an address of NATS: {_FORM}.")
    replicas = int(numbers["replicas"])
    if replicas not in (1, 3, 5):
        raise ConfigError(f"DUALBUS_LOG has replicas={replicas}: use 3 or 5, or 1 for a log without a copy.")
    servers = [(match[1], int(match[2] or PORT)) for match in found if match]
    return NatsAddress(servers, name, user, password, replicas, int(numbers["monitor"]), ca)


_OPTIONS = {"replicas": REPLICAS, "monitor": MONITOR_PORT}


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a host."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
