"""The settings of a process: a frozen object, read once from the environment."""

import ipaddress
import os
import re
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from dualbus.protocol.values import TIMEOUT_MS_MAX
from dualbus.runtime.errors import ConfigError

ONE_MACHINE = "sqlite:"  # DUALBUS_LOG of a log on one machine
_ADDRESSES = ("front", "back", "events", "progress")
_CHOICES = {"log_format": ("text", "json"), "log_level": ("info", "warning", "error")}
OFF = "off"  # DUALBUS_KEYS without encryption and authentication
_IPC = "ipc://"
_IPC_BYTES_MAX = 107 if sys.platform == "linux" else 103  # the system's limit for the path of a socket
_HOST_PORT = r"(?P<host>\[[0-9a-fA-F:.]+\]|[^\[\]:/@\s]+):(?P<port>[0-9]{1,5})"
_TCP, _HTTP = re.compile(f"tcp://{_HOST_PORT}"), re.compile(f"https?://{_HOST_PORT}")
_ORIGIN = re.compile(r"https://(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:[0-9]{1,5})?")
HTTPS = "https://"


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the cluster. The variable of `front` is DUALBUS_FRONT, and so on.

    DUALBUS_FRONT and DUALBUS_BACK may be lists, of the gateway of this machine and of others.
    """

    front: str = "tcp://127.0.0.1:5570"
    back: str = "tcp://127.0.0.1:5571"
    events: str = "tcp://127.0.0.1:5572"
    progress: str = "tcp://127.0.0.1:5573"
    http: str = "http://127.0.0.1:5580"
    http_cert: str = ""  # files of the certificate and its key, for https
    http_key: str = ""
    http_origin: str = ""  # the address in browsers, of a proxy with TLS or of a name
    app: str = "users:app"
    data: Path = Path("data")
    keys: Path | None = Path("data/keys")  # None: off
    timeout_ms: int = 5000
    log_format: str = "text"
    log_level: str = "info"
    log: str = ONE_MACHINE
    host: str = field(default_factory=socket.gethostname)
    other_fronts: tuple[str, ...] = field(default=(), metadata={"of": "front"})
    other_backs: tuple[str, ...] = field(default=(), metadata={"of": "back"})

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings; raise ConfigError with all problems at once."""
        known = {f"DUALBUS_{field.name.upper()}": field for field in fields(cls) if not field.metadata}
        defaults = cls()
        values: dict[str, Any] = {
            field.name: environ.get(variable) or str(getattr(defaults, field.name))
            for variable, field in known.items()
        }
        values["front"], *more_fronts = map(_expanded, values["front"].split(","))
        values["back"], *more_backs = map(_expanded, values["back"].split(","))
        lists = {"front": more_fronts, "back": more_backs}
        errors = [
            f"{variable} is not a setting. The settings are {', '.join(known)}."
            for variable in environ
            if variable.startswith("DUALBUS_") and variable not in known
        ]
        keys = environ.get("DUALBUS_KEYS") or ""
        for name in _ADDRESSES:
            values[name] = _expanded(values[name])
            for address in (values[name], *lists.get(name, ())):
                errors += _address_errors(f"DUALBUS_{name.upper()}", address, keyed=keys != OFF)
        for name in ("http", "http_origin"):
            values[name] = values[name].removesuffix("/")
        values["http_origin"] = values["http_origin"].lower().removesuffix(":443")  # as in the headers of browsers
        errors += _http_errors(
            **{name: value for name, value in values.items() if name.startswith("http")}, keys=keys
        )
        timeout = values.pop("timeout_ms")
        if not re.fullmatch(r"[0-9]{1,7}", timeout) or not 0 < int(timeout) <= TIMEOUT_MS_MAX:
            errors.append(f"DUALBUS_TIMEOUT_MS is {timeout!r}: use milliseconds, from 1 to {TIMEOUT_MS_MAX}.")
        if not re.fullmatch(r"\w+(\.\w+)*:\w+", values["app"]):
            errors.append(f"DUALBUS_APP is {values['app']!r}: use module:name, such as users:app.")
        errors += [
            f"DUALBUS_{name.upper()} is {values[name]!r}: use {', '.join(choices[:-1])} or {choices[-1]}."
            for name, choices in _CHOICES.items()
            if values[name] not in choices
        ]
        data = os.path.expanduser(values.pop("data"))
        values["keys"] = os.path.expanduser(keys) if keys else os.path.join(data, "keys")
        errors += [
            f"{variable} is {path!r}, and there is no such user: use the path of a folder."
            for variable, path in (("DUALBUS_DATA", data), ("DUALBUS_KEYS", keys and values["keys"]))
            if path.startswith("~")
        ]
        if errors:
            raise ConfigError(*errors)
        path = Path(values.pop("keys"))
        values |= {"other_fronts": tuple(more_fronts), "other_backs": tuple(more_backs)}
        return cls(**values, data=Path(data), keys=None if keys == OFF else path, timeout_ms=int(timeout))

    @property
    def fronts(self) -> str:
        """The addresses of all gateways for clients, as a list for `Client`."""
        return ",".join((self.front, *self.other_fronts))

    @property
    def http_host_port(self) -> tuple[str, int]:
        """The host and the port of `http`."""
        host, _, port = self.http.partition("//")[2].rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def browser_origin(self) -> str:
        """The address in browsers."""
        return self.http_origin or self.http

    @property
    def cookie_port(self) -> int:
        """The port in browsers, for the names of cookies: browsers send a cookie to all ports of a host."""
        port = self.browser_origin.rpartition(":")[2]
        return int(port) if port.isdecimal() else 443 if self.has_tls else 80

    @property
    def has_tls(self) -> bool:
        """Whether browsers reach the address over TLS."""
        return self.browser_origin.startswith(HTTPS)

    def page_address(self, token: str) -> str:
        """Return the address that moves a token into the cookie of a browser, and opens the page."""
        return f"{self.browser_origin}/?token={token}"

    def __str__(self) -> str:
        values = {field.name: getattr(self, field.name) for field in fields(self) if not field.metadata}
        values["front"] = self.fronts
        values["back"] = ",".join((self.back, *self.other_backs))
        values["log"] = re.sub(r"//.*@", "//…@", self.log).partition("?")[
            0
        ]  # without the password, also as an option
        return ", ".join(f"{name}={OFF if value is None else value}" for name, value in values.items() if value != "")


def _expanded(address: str) -> str:
    """Expand `~` in the path of an ipc address, like a shell."""
    return _IPC + os.path.expanduser(address.removeprefix(_IPC)) if address.startswith(_IPC) else address


def _address_errors(variable: str, address: str, *, keyed: bool) -> list[str]:
    if address.startswith(_IPC) and len(address) > len(_IPC):
        return [f"{variable} is {address!r}, {problem}." for problem in _path_problems(address.removeprefix(_IPC))]
    match = _match(_TCP, address)
    if match is None:
        return [f"{variable} is {address!r}: use tcp://127.0.0.1:PORT or ipc://PATH."]
    if keyed or _is_loopback(match["host"]):
        return []
    return [_open_without_keys(variable, address, "tcp://127.0.0.1:PORT")]


def _http_errors(http: str, http_cert: str, http_key: str, http_origin: str, keys: str) -> list[str]:
    """Return the problems of the settings of HTTP: off loopback, it needs tokens and TLS."""
    match, tls = _match(_HTTP, http), http.startswith(HTTPS)
    if match is None:
        return [f"DUALBUS_HTTP is {http!r}: use http://127.0.0.1:PORT or https://HOST:PORT."]
    if tls and not (http_cert and http_key):
        return [
            f"DUALBUS_HTTP is {http!r}: set DUALBUS_HTTP_CERT and DUALBUS_HTTP_KEY to the files of a certificate."
        ]
    if not tls and (http_cert or http_key):
        return [f"DUALBUS_HTTP_CERT or DUALBUS_HTTP_KEY is set, and DUALBUS_HTTP is {http!r}: use https://HOST:PORT."]
    if http_origin and not _ORIGIN.fullmatch(http_origin):
        return [f"DUALBUS_HTTP_ORIGIN is {http_origin!r}: use the address in browsers, such as https://HOST."]
    if http_origin and keys == OFF:
        return [_open_without_keys("DUALBUS_HTTP_ORIGIN", http_origin, "http://127.0.0.1:PORT in DUALBUS_HTTP only")]
    if _is_loopback(match["host"]):
        return []
    if keys == OFF:
        return [_open_without_keys("DUALBUS_HTTP", http, "http://127.0.0.1:PORT")]
    if not tls and not http_origin:
        return [
            f"DUALBUS_HTTP is {http!r}, which other machines can reach without TLS: use https://HOST:PORT, or set "
            "DUALBUS_HTTP_ORIGIN to the https address of a proxy."
        ]
    return []


def _match(form: re.Pattern[str], address: str) -> re.Match[str] | None:
    match = form.fullmatch(address)
    return match if match and 0 < int(match["port"]) < 65536 else None


def _open_without_keys(variable: str, address: str, example: str) -> str:
    return (
        f"{variable} is {address!r}, which other machines can reach, and DUALBUS_KEYS is off: remove DUALBUS_KEYS, "
        f"or use a loopback address such as {example}."
    )


def _path_problems(path: str) -> list[str]:
    """Return the problems of a path as the path of a socket."""
    if path.startswith("~"):
        return ["and there is no such user: use the path of a socket"]
    if path.endswith(("/", "/.", "/..")) or path in (".", "..", "*"):
        return ["which is not the path of a socket: use ipc://FOLDER/NAME"]
    size = len(os.fsencode(path))
    if size > _IPC_BYTES_MAX:
        return [f"whose path has {size} bytes, and a socket's has at most {_IPC_BYTES_MAX}: use a shorter one"]
    if not path.isprintable():  # also false for invalid UTF-8
        return ["whose path has a character that cannot be printed: use another one"]
    return []


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
