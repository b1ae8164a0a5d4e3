"""States of long histories in files, so that a restart folds only the events after them.

The files are derived: without them, states are folded from the log. A file is read only if the hash chain of the log
proves the history of the state, and if the code of the process is the code that has folded the state.
"""

import errno
import json
import logging
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

from dualbus.application.state_keys import Initial, Key
from dualbus.log.contract import ReadableLog
from dualbus.runtime.errors import application_errors

from .loaded_code import CodeUnknown, LoadedCode
from .state_cache import CachedState
from .state_json import packed, unpacked

FOLDER = "states"
FILES_MAX = 500

logger = logging.getLogger(__name__)


class StateFolder:
    """The files of the states in a data folder: one for each state."""

    def __init__(self, data: Path, log: ReadableLog, code: LoadedCode) -> None:
        self._folder = data / FOLDER
        self._log = log
        self._code = code
        self._failed = False
        self._files: dict[str, None] = {}  # names, those written last at the end
        self._list()
        if self._files:
            self._hash_code()

    def _hash_code(self) -> None:
        """Hash the code now: the first decision does not wait for the hash of some megabytes."""
        try:
            _ = self._code.hash
        except CodeUnknown as unknown:
            self._report(unknown)

    def _list(self) -> None:
        """Read the names of the files; remove those of interrupted writes."""
        try:
            if self._folder.is_symlink():  # the files of another folder are not ours to remove
                raise OSError(errno.ELOOP, "a link in the place of the folder")
            paths = sorted(self._folder.iterdir(), key=lambda path: path.lstat().st_mtime)
            for path in paths:
                if path.suffix:
                    path.unlink()
                else:
                    self._files[path.name] = None
        except FileNotFoundError:
            pass
        except OSError as error:
            self._fail(error)

    def load(self, key: Key) -> CachedState | None:
        """Return the state of a file, or None without a valid file."""
        if not self._files or (name := _name(key)) not in self._files:
            return None
        try:
            checksum, _, content = (self._folder / name).read_bytes().partition(b"\n")
            if checksum != _checksum(content):
                raise ValueError("The checksum differs")
            head, _, data = content.partition(b"\n")
            found: dict[str, Any] = json.loads(head)
            if self._is_valid(found):
                return CachedState(found["position"], unpacked(key.kind, data), 0)
            self._remove(name)
        except OSError as error:
            self._fail(error)
        except application_errors():
            logger.warning("%s is damaged: %s is folded from the log.", self._folder / name, key.name)
            self._remove(name)
        return None

    def _is_valid(self, found: dict[str, Any]) -> bool:
        """Return whether the log has the history of a state, and whether this code has folded the state."""
        hash_ = self._log.hash_at(found["position"])
        if hash_ is None or hash_.hex() != found["hash"]:
            return False
        try:
            later: dict[str, str] = found["later"]
            return found["code"] == self._code.hash and all(
                self._code.hash_of(path) == content for path, content in later.items()
            )
        except CodeUnknown:
            return False

    def save(self, key: Key, cached: CachedState) -> None:
        """Write the file of a state, if the state can be read back exactly."""
        if self._failed or type(cached.state) is not key.kind:
            return
        data, name, hash_ = packed(cached.state), _name(key), self._log.hash_at(cached.position)
        if data is None or name is None or hash_ is None:
            return
        try:
            head = {"position": cached.position, "hash": hash_.hex(), "code": self._code.hash}
            content = json.dumps({**head, "later": self._code.later()}).encode() + b"\n" + data
            self._write(name, _checksum(content) + b"\n" + content)
        except CodeUnknown as unknown:
            self._report(unknown)
        except OSError as error:
            self._fail(error)

    def _write(self, name: str, content: bytes) -> None:
        """Replace a file at once, without a sync: a power cut may lose it or leave a damaged file."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        temporary = self._folder / f"{name}.new"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb") as file:
            file.write(content)
        temporary.rename(self._folder / name)
        self._files.pop(name, None)
        self._files[name] = None
        while len(self._files) > FILES_MAX:
            self._remove(next(iter(self._files)))

    def _remove(self, name: str) -> None:
        self._files.pop(name, None)
        (self._folder / name).unlink(missing_ok=True)

    def _report(self, unknown: CodeUnknown) -> None:
        logger.info("States are not kept in %s: %s.", self._folder, unknown)
        self._failed = True

    def _fail(self, error: OSError) -> None:
        """Continue without the files after an error of the system."""
        logger.warning("States are not kept in %s (%s): a restart folds them from the log.", self._folder, error)
        self._failed = True
        self._files.clear()


def _name(key: Key) -> str | None:
    """Return the name of a state's file; None for an initial state that cannot be read back exactly."""
    text = None
    if isinstance(key.initial, Initial):
        initial = packed(key.initial.state)
        if initial is None:
            return None
        text = initial.decode()
    kind = key.kind
    parts = [kind.__module__, kind.__qualname__, text, key.tags, sorted(key.types)]
    return sha256(json.dumps(parts).encode()).hexdigest()


def _checksum(content: bytes) -> bytes:
    return sha256(content).hexdigest().encode()
