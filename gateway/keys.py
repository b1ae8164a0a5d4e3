"""The keys of clients: looked up for each connection, and read again after a change."""

from pathlib import Path

from dualbus.transport.curve import KEY_CHARS
from dualbus.transport.keys import ClientTable, Keys

from .access import CLUSTER, STRANGER, Holder


class KeyHolders:
    """The holders of the keys of a cluster; without keys, everyone is trusted."""

    def __init__(self, keys: Keys | None, folder: Path | None) -> None:
        self._own = keys.public if keys else ""
        self._table = ClientTable(folder) if keys and folder else None
        self._admitting = ClientTable(folder) if keys and folder else None  # for another thread
        self._changed = False

    def admit(self, key: str) -> bool:
        """Return whether a client may connect. Called from the thread of the handshakes."""
        if self._admitting is None:
            return False
        self._admitting.refresh()
        return key in self._admitting.by_key

    def of(self, id_: bytes) -> Holder:
        """Return the holder of the key at the start of a client's id."""
        if self._table is None:
            return CLUSTER
        key = id_[:KEY_CHARS].decode(errors="replace")
        if key == self._own:
            return CLUSTER
        client = self._table.by_key.get(key)
        if client is None and self._read():  # a new key
            client = self._table.by_key.get(key)
        return Holder(client.name, client.permissions) if client else STRANGER

    def refresh(self) -> bool:
        """Read a changed file of clients; return whether the clients have changed since the last call."""
        self._read()
        changed, self._changed = self._changed, False
        return changed

    def _read(self) -> bool:
        read = self._table is not None and self._table.refresh()
        self._changed |= read
        return read
