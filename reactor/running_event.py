"""The event whose process manager is running: if the function ends the process, the next start learns the event."""

import mmap
import os
import struct
from pathlib import Path

FILE_NAME = "reactor.running"
_BYTES = 4096
_LAYOUT = struct.Struct("<Q1024s")  # position, or 0; name of the reaction


class RunningEvent:
    """The position and the reaction, in a mapped file: it survives the end of the process, however it ends.

    Functions of process managers run one at a time, in the main thread. A power cut loses the file: then no function
    has ended the process.
    """

    def __init__(self, folder: Path) -> None:
        descriptor = os.open(folder / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        os.posix_fallocate(descriptor, 0, _BYTES)  # a write to a hole could end the process on a full disk
        self._map = mmap.mmap(descriptor, _BYTES)
        os.close(descriptor)
        position, name = _LAYOUT.unpack_from(self._map)
        self._left: tuple[int, bytes] = position, name.rstrip(b"\0")

    def pop_left(self, reaction: str) -> int:
        """Return the position at which the function of a reaction has ended the process, once, or 0."""
        position, name = self._left
        if name != reaction.encode():
            return 0
        self._left = 0, b""
        return position

    def begin(self, reaction: str, position: int) -> None:
        """Record that the function runs."""
        _LAYOUT.pack_into(self._map, 0, position, reaction.encode())

    def end(self) -> None:
        """Record that the function has returned, or raised."""
        _LAYOUT.pack_into(self._map, 0, 0, b"")
