"""The settings of a process: a frozen object, read once from the environment."""

import ipaddress
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

from dualbus.runtime.errors import ConfigError

_ADDRESSES = ("front", "back", "events", "progress")
_CHOICES = {"log_format": ("text", "json"), "log_level": ("info", "warning", "error")}
OFF = "off"  # DUALBUS_KEYS without encryption and authentication
_IPC = "ipc://"
_IPC_BYTES_MAX = 107 if sys.platform == "linux" else 103  # the system's limit for the path of a socket
_HOST_PORT = r"(?P<host>\[[0-9a-fA-F:.]+\]|[^\[\]:/@\s]+):(?P<port>[0-9]{1,5})"
_TCP, _HTTP = re.compile(f"tcp://{_HOST_PORT}"), re.compile(f"http://{_HOST_PORT}/?")


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the cluster. The variable of `front` is DUALBUS_FRONT, and so on."""

    front: str = "tcp://127.0.0.1:5570"
    back: str = "tcp://127.0.0.1:5571"
    events: str = "tcp://127.0.0.1:5572"
    progress: str = "tcp://127.0.0.1:5573"
    http: str = "http://127.0.0.1:5580"
    app: str = "users:app"
    data: Path = Path("data")
    keys: Path | None = Path("data/keys")  # None: off
    timeout_ms: int = 5000
    log_format: str = "text"
    log_level: str = "info"

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings; raise ConfigError with all problems at once."""
        known = {f"DUALBUS_{field.name.upper()}": field for field in fields(cls)}
        values = {field.name: environ.get(variable) or str(field.default) for variable, field in known.items()}
        errors = [
            f"{variable} is not a setting. The settings are {', '.join(known)}."
            for variable in environ
            if variable.startswith("DUALBUS_") and variable not in known
        ]
        keys = environ.get("DUALBUS_KEYS") or ""
        for name in _ADDRESSES:
            values[name] = _expanded(values[name])
            errors += _address_errors(f"DUALBUS_{name.upper()}", values[name], keyed=keys != OFF)
        values["http"] = values["http"].removesuffix("/")
        errors += _network_errors("DUALBUS_HTTP", values["http"], _HTTP, "http://127.0.0.1:PORT")
        timeout = values.pop("timeout_ms")
        if not re.fullmatch(r"[0-9]{1,7}", timeout) or int(timeout) == 0:
            errors.append(f"DUALBUS_TIMEOUT_MS is {timeout!r}; give milliseconds, from 1 to 9999999.")
        if not re.fullmatch(r"\w+(\.\w+)*:\w+", values["app"]):
            errors.append(f"DUALBUS_APP is {values['app']!r}; give module:name, such as users:app.")
        errors += [
            f"DUALBUS_{name.upper()} is {values[name]!r}; give {', '.join(choices[:-1])} or {choices[-1]}."
            for name, choices in _CHOICES.items()
            if values[name] not in choices
        ]
        data = os.path.expanduser(values.pop("data"))
        values["keys"] = os.path.expanduser(keys) if keys else os.path.join(data, "keys")
        errors += [
            f"{variable} is {path!r}, and there is no such user: give the path of a folder."
            for variable, path in (("DUALBUS_DATA", data), ("DUALBUS_KEYS", keys and values["keys"]))
            if path.startswith("~")
        ]
        if errors:
            raise ConfigError(*errors)
        path = Path(values.pop("keys"))
        return cls(**values, data=Path(data), keys=None if keys == OFF else path, timeout_ms=int(timeout))

    @property
    def http_host_port(self) -> tuple[str, int]:
        """The host and the port of `http`."""
        host, _, port = self.http.removeprefix("http://").rpartition(":")
        return host.strip("[]"), int(port)

    def __str__(self) -> str:
        shown = {field.name: getattr(self, field.name) for field in fields(self)}
        return ", ".join(f"{name}={OFF if value is None else value}" for name, value in shown.items())


def _expanded(address: str) -> str:
    """Expand `~` in the path of an ipc address, like a shell."""
    return _IPC + os.path.expanduser(address.removeprefix(_IPC)) if address.startswith(_IPC) else address


def _address_errors(variable: str, address: str, *, keyed: bool) -> list[str]:
    if address.startswith(_IPC) and len(address) > len(_IPC):
        return [f"{variable} is {address!r}, {problem}." for problem in _path_problems(address.removeprefix(_IPC))]
    return _network_errors(variable, address, _TCP, "tcp://127.0.0.1:PORT", " or ipc://PATH", keyed=keyed)


def _network_errors(
    variable: str, address: str, form: re.Pattern[str], example: str, other: str = "", *, keyed: bool = False
) -> list[str]:
    match = form.fullmatch(address)
    if match is None or not 0 < int(match["port"]) < 65536:
        return [f"{variable} is {address!r}; give {example}{other}."]
    if keyed or _is_loopback(match["host"].strip("[]")):
        return []
    reason = "its clients are not authenticated:" if form is _HTTP else "DUALBUS_KEYS is off: remove DUALBUS_KEYS, or"
    return [
        f"{variable} is {address!r}, which other machines can reach, and {reason} "
        f"give a loopback address such as {example}."
    ]


def _path_problems(path: str) -> list[str]:
    """Return the problems of a path as the path of a socket."""
    if path.startswith("~"):
        return ["and there is no such user: give the path of a socket"]
    if path.endswith(("/", "/.", "/..")) or path in (".", "..", "*"):
        return ["which is not the path of a socket: give ipc://FOLDER/NAME"]
    size = len(os.fsencode(path))
    if size > _IPC_BYTES_MAX:
        return [f"whose path has {size} bytes, and a socket's has at most {_IPC_BYTES_MAX}: give a shorter one"]
    if not path.isprintable():  # also false for invalid UTF-8
        return ["whose path has a character that cannot be printed: give another one"]
    return []


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
