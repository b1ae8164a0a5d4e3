"""Runs commandbus and records what it does to the log's disk, so that the power can be cut at any moment.

python -m tests.faults.recording FOLDER, in place of python -m commandbus. Each life writes a file into FOLDER.
While there is a file FOLDER.slow, each fsync of the log takes half a second.
"""

import os
import runpy
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import msgpack

import dualbus.log.head
import dualbus.log.sqlite.writer
from dualbus.log.head import FILE_NAME as HEAD_FILE_NAME
from dualbus.runtime.files import sync_file
from tests.faults.launch import File, slow_sync
from tests.faults.power import Call, Disk


def slow_file(folder: Path) -> Path:
    """Return the file that makes each fsync slow, for a folder of recordings."""
    return folder.with_suffix(".slow")


class Recorder:
    """Writes down calls: a write before it is made, a sync after it."""

    def __init__(self, folder: Path) -> None:
        self.slow = slow_file(folder)
        self._file = os.open(folder / f"{time.time_ns()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, name: str, path: str, data: bytes = b"", number: int = 0) -> None:
        """Write down a call."""
        os.write(self._file, msgpack.packb((name, path, data, number)))

    def sync_file(self, path: Path) -> None:
        """Sync what dualbus itself syncs."""
        sync_file(path)
        self.note("fsync", str(path))


class _File(File):
    def __init__(self, recorder: Recorder, name: Any, path: str, flags: list[int]) -> None:
        super().__init__("unix", name, flags)
        self._recorder, self._path = recorder, path
        recorder.note("create", path)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - apsw's name
        self._recorder.note("pwrite64", self._path, data, offset)
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - apsw's name
        self._recorder.note("ftruncate", self._path, b"", newsize)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802 - apsw's name
        slow_sync(self._recorder.slow)
        super().xSync(flags)
        self._recorder.note("fsync", self._path)


class _Os:
    """What dualbus.log.head calls of `os`, recorded; log.head itself is there when a recording begins."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def pwrite(self, file: int, data: bytes, offset: int) -> int:
        """Record a write and make it."""
        self._recorder.note("pwrite64", os.readlink(f"/proc/self/fd/{file}"), data, offset)
        return os.pwrite(file, data, offset)

    def fsync(self, file: int) -> None:
        """Make a sync and record it."""
        os.fsync(file)
        self._recorder.note("fsync", os.readlink(f"/proc/self/fd/{file}"))


class _Vfs(apsw.VFS):
    def __init__(self, recorder: Recorder) -> None:
        super().__init__("recorded", "unix", makedefault=True)
        self._recorder = recorder

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - apsw's name
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path and path.endswith(("log.db", "log.db-wal")) and flags[0] & apsw.SQLITE_OPEN_READWRITE:
            return _File(self._recorder, name, path, flags)
        return File("unix", name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - apsw's name
        self._recorder.note("unlink", filename)
        super().xDelete(filename, syncdir)


class Recording:
    """What was recorded, read while it grows, and the disk as it comes out of it.

    The disk begins with the files that are there. Names are taken for durable at once: the traced writer is
    where those are tested.
    """

    def __init__(self, folder: Path, data: Path) -> None:
        self._folder = folder
        self._read: dict[Path, tuple[Any, int]] = {}
        self.disk = Disk()
        for path in [*data.glob("log.db*"), data / HEAD_FILE_NAME]:
            self.disk.do(Call("create", str(path)))
            self.disk.do(Call("pwrite64", str(path), path.read_bytes()))
            self.disk.do(Call("fsync", str(path)))
        self.disk.do(Call("fsync", "names"))

    def catch_up(self) -> None:
        """Carry out on the disk what was recorded since."""
        for call in self._calls():
            self.disk.do(call)
            if call.name in ("create", "unlink"):
                self.disk.do(Call("fsync", "names"))

    def _calls(self) -> Iterator[Call]:
        for path in sorted(self._folder.iterdir()):
            unpacker, offset = self._read.get(path) or (msgpack.Unpacker(max_buffer_size=0), 0)
            with path.open("rb") as file:
                file.seek(offset)
                data = file.read()
            unpacker.feed(data)
            self._read[path] = unpacker, offset + len(data)
            yield from map(Call._make, unpacker)


if __name__ == "__main__":
    recorder = Recorder(Path(sys.argv[1]))
    vars(dualbus.log.sqlite.writer)["sync_file"] = recorder.sync_file
    vars(dualbus.log.head)["os"] = _Os(recorder)
    vfs = _Vfs(recorder)
    sys.argv[1:] = []
    runpy.run_module("dualbus.commandbus", run_name="__main__", alter_sys=True)
