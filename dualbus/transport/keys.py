"""The key files of a cluster, in the folder `keys` of the data folder or at DUALBUS_KEYS.

`cluster.key` has the secrets of the cluster; the first process creates the file. `clients.json` has the public keys
and the permissions of named clients; each of them has a file of its own, with its secret and the public key of the
gateway.
"""

import fcntl
import json
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from dualbus.protocol.origin import ACTOR
from dualbus.protocol.permissions import Permissions, patterns
from dualbus.runtime.errors import ConfigError
from dualbus.runtime.files import KEYS, check_folder, make_folder, usable, write_private
from dualbus.transport.curve import KEY, new_pair

CLUSTER_FILE, CLIENTS_FILE = "cluster.key", "clients.json"
FILE_BYTES_MAX = 1 << 20
LOCK_SECONDS = 5.0

logger = logging.getLogger(__name__)


class Keys(NamedTuple):
    """The keys of a process or a client, in Z85. A named client has no `gateway_secret`."""

    gateway: str  # public key of the gateway's address for clients
    public: str  # own key pair
    secret: str
    gateway_secret: str = ""

    def __repr__(self) -> str:
        return f"Keys(public={self.public!r})"


def load_keys(path: Path | None, seconds: float = 0.0) -> Keys | None:
    """Return the keys of a client: of a key file, or of the cluster's folder; None if keys are off.

    Wait up to `seconds` for the first start of the cluster. Only processes create keys: a client in a wrong folder
    would have keys that no gateway accepts.
    """
    if path is None:
        return None
    deadline = time.monotonic() + seconds
    while not (os.path.isfile(path) or os.path.exists(path / CLUSTER_FILE)):
        if time.monotonic() >= deadline:
            raise ConfigError(f"There are no keys in {path}: start the cluster, or set DUALBUS_DATA or DUALBUS_KEYS.")
        time.sleep(0.05)
    return _read(path) if os.path.isfile(path) else load_cluster_keys(path)


def load_cluster_keys(folder: Path | None) -> Keys | None:
    """Return the keys of a process; None if keys are off. The first process creates them."""
    if folder is None:
        return None
    if os.path.isfile(folder):
        raise ConfigError(f"{folder} is the key of a client: set DUALBUS_KEYS to the folder of the cluster's keys.")
    check_folder(folder, KEYS)
    path = folder / CLUSTER_FILE
    if not os.path.exists(path):
        _create(folder)
    keys = _read(path)
    if not keys.gateway_secret:
        raise ConfigError(f"{path} is the key of a client: restore the cluster's key, or remove the file.")
    return keys


def _create(folder: Path) -> None:
    if not os.path.exists(folder.parent):
        make_folder(folder.parent)  # the data folder, private
    make_folder(folder, KEYS)
    with usable(folder, KEYS), locked(folder):
        if not (folder / CLUSTER_FILE).exists():
            gateway, gateway_secret = new_pair()
            write_key(folder / CLUSTER_FILE, Keys(gateway, *new_pair(), gateway_secret))


def write_key(path: Path, keys: Keys) -> None:
    """Write a key file durably."""
    write_private(path, json.dumps({name: value for name, value in keys._asdict().items() if value}, indent=1))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock the folder of the keys against other writers."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ConfigError(f"Another process changes {folder}: try again.") from None
                time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


def _read(path: Path) -> Keys:
    """Return the keys of a file; raise ConfigError for an unusable file, and for a file that others can read."""
    values = _read_private(path)
    fields = {name: values.get(name, "") for name in Keys._fields}
    if not all(isinstance(value, str) and (KEY.fullmatch(value) or not value) for value in fields.values()):
        fields = {}
    if not all(fields.get(name) for name in ("gateway", "public", "secret")):
        raise ConfigError(f"{path} is not a key file: restore the file, or remove it.")
    return Keys(**fields)


def _read_private(path: Path) -> dict[str, Any]:
    """Return the JSON object of a private file."""
    try:
        values = json.loads(read_private(path))
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} is not valid: restore the file, or remove it.")
    return values


def read_private(path: Path) -> bytes:
    """Return the content of a file; raise ConfigError for an unreadable file, and for a file that others can read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not block
        with os.fdopen(descriptor, "rb") as file:
            _check_private(path, os.fstat(descriptor))
            return file.read(FILE_BYTES_MAX)
    except OSError as error:
        text = f"{path} cannot be read ({error.strerror}): set DUALBUS_DATA or DUALBUS_KEYS to keys of this user."
        raise ConfigError(text) from None


def _check_private(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"{path} is not a file: restore the file, or remove it.")
    if found.st_uid not in (os.geteuid(), 0):
        raise ConfigError(f"{path} belongs to another user: set DUALBUS_KEYS to keys of this user.")
    if found.st_mode & 0o077:
        raise ConfigError(f"{path} is open to other users: run chmod 600, and rotate the key if others may have it.")


class NamedClient(NamedTuple):
    """A client with a key of its own."""

    name: str
    public: str
    permissions: Permissions


def read_clients(folder: Path) -> dict[str, NamedClient]:
    """Return the named clients by name; raise ConfigError for an invalid file."""
    path = folder / CLIENTS_FILE
    clients = {name: NamedClient(name, *entry) for name, entry in read_entries(path, "public").items()}
    for client in clients.values():
        if not KEY.fullmatch(client.public):
            raise _invalid_entry(path, client.name)
    return clients


def write_clients(folder: Path, clients: dict[str, NamedClient]) -> None:
    """Replace the named clients."""
    write_entries(folder / CLIENTS_FILE, "public", {client.name: client[1:] for client in clients.values()})


def read_entries(path: Path, identifier: str) -> dict[str, tuple[str, Permissions]]:
    """Return the identifier and the permissions of each name. Raises ConfigError."""
    if not os.path.exists(path):
        return {}
    found = {}
    for name, values in _read_private(path).items():
        if not (ACTOR.fullmatch(name) and isinstance(values, dict) and isinstance(values.get(identifier), str)):
            raise _invalid_entry(path, name)
        scopes = [values.get(scope) for scope in Permissions._fields]
        if not all(isinstance(scope, list) and all(isinstance(text, str) for text in scope) for scope in scopes):
            raise _invalid_entry(path, name)
        found[name] = values[identifier], Permissions(*(patterns(scope) for scope in scopes if scope is not None))
    return found


def write_entries(path: Path, identifier: str, entries: dict[str, tuple[str, Permissions]]) -> None:
    """Replace the entries of a file."""
    values = {name: {identifier: text, **allowed._asdict()} for name, (text, allowed) in entries.items()}
    write_private(path, json.dumps(values, indent=1))


def _invalid_entry(path: Path, name: str) -> ConfigError:
    return ConfigError(f"{path} has an invalid entry ({name[:64]!r}): restore the file, or remove it.")


class FileWatch:
    """Calls `load` after each change of a file."""

    def __init__(self, path: Path, load: Callable[[], None]) -> None:
        self._path = path
        self._load = load
        self._signature: object = None
        self._reported: object = None  # the file of the last error

    def read(self) -> bool:
        """Load the file if it has changed; return whether it has. Raises ConfigError."""
        signature = self._signature_of_file()
        if signature == self._signature:
            return False
        self._load()
        self._signature = signature
        return True

    def refresh(self) -> bool:
        """Load the file if it has changed; return whether it has. An invalid file is logged once, and tried again."""
        try:
            return self.read()
        except ConfigError as error:
            if (file := self._signature_of_file()) != self._reported:
                logger.error("%s The entries stay as they were.", error)
                self._reported = file
            return False

    def _signature_of_file(self) -> object:
        try:
            found = os.stat(self._path)
        except OSError as error:
            return error.errno
        return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_mode


class ClientTable:
    """The named clients by public key. `refresh` reads a changed file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._watch = FileWatch(folder / CLIENTS_FILE, self._load)
        self.by_key: dict[str, NamedClient] = {}
        self._watch.read()

    def refresh(self) -> bool:
        """Read the file if it has changed; return whether it has. An invalid file changes nothing."""
        return self._watch.refresh()

    def _load(self) -> None:
        self.by_key = {client.public: client for client in read_clients(self._folder).values()}
