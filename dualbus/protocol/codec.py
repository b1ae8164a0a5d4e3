"""Bytes and values: msgpack, with care for bytes from outside."""

from functools import lru_cache
from typing import Any

import msgpack

from dualbus.protocol.codes import WireError
from dualbus.protocol.frames import BATCH_ITEMS_MAX, FRAME_BYTES_MAX

NODES_MAX = 50_000  # lists and objects in one batch: an empty list is 1 byte packed and 64 bytes in memory
_CONTAINERS = bytes([*range(0x80, 0xA0), *range(0xDC, 0xE0)])  # first bytes of a list or object; also part of text

packer = msgpack.Packer(autoreset=True)


def pack(value: object) -> bytes:
    """Pack a value; raise WireError for values outside of msgpack (a lone surrogate, 2**64)."""
    try:
        packed: bytes = packer.pack(value)
    except (ValueError, OverflowError, TypeError) as error:
        packer.reset()
        raise WireError(f"The message cannot be packed: {error}.") from None
    return packed


def packed_work(head: tuple[int, int, str, int, str | None, int], body: bytes) -> bytes:
    """Pack a Work around a packed body: an array of six items becomes an array of seven."""
    return b"\x97" + pack(head)[1:] + body


def packed_reply(src: str, dest: str, position: int, body: bytes) -> bytes:
    """Pack a reply's envelope around a packed body: a map of three keys becomes a map of four."""
    return _reply_head(src, dest) + pack(position) + b"\xa4body" + body


@lru_cache(4096)  # sessions repeat
def _reply_head(src: str, dest: str) -> bytes:
    return b"\x84" + pack({"src": src, "dest": dest})[1:] + b"\xa8position"


def unpack(data: bytes) -> Any:
    """Unpack a value packed by another dualbus process."""
    try:
        return msgpack.unpackb(data, strict_map_key=False, ext_hook=_no_extensions)
    except (ValueError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise WireError(f"The bytes are not msgpack: {error}.") from None


def unpack_hostile(data: bytes) -> list[Any]:
    """Unpack a batch from outside: bounded in size and nodes, no key twice, an array of items."""
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
    """Unpack plainly harmless bytes: few possible containers, and no duplicate key.

    An object with a duplicate key does not pack into its original bytes. Returns None if a closer check is needed.
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
    """Unpack and check every list and object; raise WireError with the first problem."""
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
    """Return a dict of pairs with unique keys, or raise WireError."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise WireError("An object has the same key twice.")
    return made


def _no_extensions(code: int, data: bytes) -> Any:
    raise WireError("msgpack extension types have no place in a message.")
