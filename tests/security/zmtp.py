"""Bytes of ZMTP 3.1, for peers without a library."""

import socket
import struct
from urllib.parse import urlsplit


def greeting(mechanism: bytes) -> bytes:
    """Return the first bytes of a connection."""
    return b"\xff" + bytes(8) + b"\x7f\x03\x01" + mechanism.ljust(20, b"\0") + bytes(32)


def frame(content: bytes, *, flags: int = 0, size: int | None = None) -> bytes:
    """Return a frame; `size` announces more than the frame has."""
    return struct.pack(">BQ", flags | 2, len(content) if size is None else size) + content


_READY = b"\x05READY\x0bSocket-Type" + struct.pack(">L", 6) + b"DEALER\x08Identity" + bytes(4)
READY = b"\x04" + bytes([len(_READY)]) + _READY  # a short command: the handshake without keys


def message(*frames: bytes) -> bytes:
    """Return a message with frames."""
    return b"".join(frame(each, flags=1) for each in frames[:-1]) + frame(frames[-1])


def connect(address: str) -> socket.socket:
    """Connect to an address of a cluster, without a library."""
    parts = urlsplit(address)
    made = socket.socket(socket.AF_UNIX if parts.scheme == "ipc" else socket.AF_INET)
    made.connect(parts.path if parts.scheme == "ipc" else (parts.hostname, parts.port))
    made.settimeout(60)  # not before: a local socket with a full backlog would refuse
    return made
