"""Pack and unpack msgpack, with limits for bytes from untrusted peers."""

from functools import lru_cache
from typing import Any

import msgpack

from dualbus.protocol.codes import WireError
from dualbus.protocol.frames import BATCH_ITEMS_MAX, FRAME_BYTES_MAX

NODES_MAX = 50_000  # lists and objects in one batch: an empty list is 1 byte on the wire and 64 in memory
_CONTAINERS = bytes(
    [*range(0x80, 0xA0), *range(0xDC, 0xE0)]
)  # the first bytes of lists and objects (text may contain them too)

packer = msgpack.Packer(autoreset=True)


def pack(value: object) -> bytes:
    """Pack a value; raise WireError if msgpack cannot represent the value (a lone surrogate, 2**64)."""
    try:
        packed: bytes = packer.pack(value)
    except (ValueError, OverflowError, TypeError) as error:
        packer.reset()
        raise WireError(f"The message cannot be packed: {error}.") from None
    return packed


def packed_work(head: tuple[int, int, str, int, str | None, int], body: bytes) -> bytes:
    """Pack a Work around a packed body: an array of six becomes an array of seven."""
    return b"\x97" + pack(head)[1:] + body


def packed_reply(src: str, dest: str, position: int, body: bytes, details: bytes = b"") -> bytes:
    """Pack the envelope of a reply around a packed body and packed details."""
    reply = _reply_head(src, dest) + pack(position) + b"\xa4body" + body
    return b"\x85" + reply[1:] + b"\xa7details" + details if details else reply


@lru_cache(4096)  # a session sends many requests
def _reply_head(src: str, dest: str) -> bytes:
    return b"\x84" + pack({"src": src, "dest": dest})[1:] + b"\xa8position"


def packed_answer(body: dict[str, Any]) -> tuple[bytes, bytes]:
    """Pack the body of an answer, and its `details` separately: standard output receives the body only."""
    details = body.pop("details", None)
    return pack(body), pack(details) if details else b""


def unpack(data: bytes) -> Any:
    """Unpack a value from another process of the cluster."""
    try:
        return msgpack.unpackb(data, strict_map_key=False, ext_hook=_no_extensions)
    except (ValueError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise WireError(f"The bytes are not msgpack: {error}.") from None


def unpack_hostile(data: bytes) -> list[Any]:
    """Unpack a batch from a client: a list of items within the limits, without duplicate keys."""
    if len(data) > FRAME_BYTES_MAX:
        raise WireError(f"A batch of {len(data)} bytes is over the limit of {FRAME_BYTES_MAX}.")
    items = _unpack_quickly(data)
    if items is None:
        items = _unpack_slowly(data)
    if not isinstance(items, list):
        raise WireError("A batch is a list of messages.")
    if len(items) > BATCH_ITEMS_MAX:
        raise WireError(f"A batch of {len(items)} messages is over the limit of {BATCH_ITEMS_MAX}.")
    return items


def _unpack_quickly(data: bytes) -> Any | None:
    """Unpack a batch that is within the limits for certain; return None if the slow check must decide.

    Duplicate keys are found by packing again: an object with a duplicate key packs into other bytes.
    """
    if len(data) > NODES_MAX and len(data) - len(data.translate(None, _CONTAINERS)) > NODES_MAX:
        return None
    try:
        items = msgpack.unpackb(data, ext_hook=_no_extensions)
        return items if packer.pack(items) == data else None
    except (ValueError, OverflowError, TypeError, RecursionError, msgpack.exceptions.UnpackException):
        packer.reset()
        return None


def _unpack_slowly(data: bytes) -> Any:
    """Unpack and check every list and object; raise WireError with the cause."""
    nodes = 0

    def count() -> None:
        nonlocal nodes
        nodes += 1
        if nodes > NODES_MAX:
            raise WireError("A batch holds too many lists and objects.")

    def as_list(items: list[Any]) -> list[Any]:
        count()
        return items

    def as_dict(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
        count()
        return unique(pairs)

    try:
        return msgpack.unpackb(data, object_pairs_hook=as_dict, list_hook=as_list, ext_hook=_no_extensions)
    except WireError:
        raise
    except (ValueError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise WireError(f"The bytes are not msgpack: {error}.") from None


def unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """Return a dict of the pairs; raise WireError for a duplicate key."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise WireError("An object has the same key twice.")
    return made


def _no_extensions(code: int, data: bytes) -> Any:
    raise WireError("msgpack extension types have no place in a message.")
