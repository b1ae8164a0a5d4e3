"""Pack and unpack msgpack, with limits for bytes from untrusted peers."""

from bisect import bisect_right
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from typing import Any

import msgpack

from dualbus.protocol.codes import WireError
from dualbus.protocol.frames import BATCH_ITEMS_MAX, FRAME_BYTES_MAX
from dualbus.protocol.numbers import packed_number, unpacked_decimal, unpacked_number

NODES_MAX = 20_000  # values in one message: an empty list is 1 byte on the wire and 64 in memory
PIECE_ITEMS, PIECE_BYTES = 64, 1 << 14  # of a batch, unpacked in one call; a larger item is a piece of its own

packer = msgpack.Packer(autoreset=True, default=packed_number)


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
        return msgpack.unpackb(data, strict_map_key=False, ext_hook=unpacked_number)
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise WireError(f"The bytes are not msgpack: {error}.") from None


class HostileBatch:
    """The unread items of a batch from a client, unpacked in pieces, so that none takes long.

    Raises WireError for bytes that are not a list of items within the limits.
    """

    def __init__(self, data: bytes) -> None:
        if len(data) > FRAME_BYTES_MAX:
            raise WireError(f"A batch of {len(data)} bytes is over the limit of {FRAME_BYTES_MAX}.")
        self._data = memoryview(data)
        self._ends = _ends(data)  # of the header and of each item
        self._read = 0

    def __bool__(self) -> bool:
        return self._read + 1 < len(self._ends)

    def pop(self) -> list[Any]:
        """Return the items of the next piece, with a WireError in place of an invalid item."""
        ends, first = self._ends, self._read
        start, most = ends[first], min(first + PIECE_ITEMS, len(ends) - 1)
        last = self._read = max(bisect_right(ends, start + PIECE_BYTES, first, most + 1) - 1, min(first + 1, most))
        if ends[last] - start <= PIECE_BYTES:
            items = _unpack_quickly(packer.pack_array_header(last - first) + self._data[start : ends[last]])
            if items is not None:
                return items
        return [_unpack_slowly(self._data[begin:end]) for begin, end in pairwise(ends[first : last + 1])]


def unpack_hostile(data: bytes) -> list[Any]:
    """Unpack a whole batch from a client; raise WireError for an invalid item."""
    batch = HostileBatch(data)
    items: list[Any] = []
    while batch:
        items += batch.pop()
    for item in items:
        if isinstance(item, WireError):
            raise item
    return items


def _ends(data: bytes) -> list[int]:
    """Return the ends of the header and of each item of a batch, without unpacking the items."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(data))
    unpacker.feed(data)
    try:
        count = unpacker.read_array_header() if _is_list(data) else unpacker.skip()
        if count and count > BATCH_ITEMS_MAX:
            raise WireError(f"A batch of {count} messages is over the limit of {BATCH_ITEMS_MAX}.")
        skip, tell = unpacker.skip, unpacker.tell
        ends = [tell(), *[skip() or tell() for _ in range(count or 0)]]
    except WireError:
        raise
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise _not_msgpack(error or "they end too early") from None
    if ends[-1] < len(data):
        raise _not_msgpack("more bytes follow")
    if count is None:
        raise WireError("A batch is a list of messages.")
    return ends


def _is_list(data: bytes) -> bool:
    return bool(data) and (0x90 <= data[0] <= 0x9F or data[0] in (0xDC, 0xDD))


def _unpack_quickly(data: bytes) -> list[Any] | None:
    """Unpack a piece; return None if the slow check must decide.

    Duplicate keys are found by packing again: an object with a duplicate key packs into other bytes.
    """
    try:
        items: list[Any] = msgpack.unpackb(data, ext_hook=_slowly)
        return items if packer.pack(items) == data else None
    except (ValueError, OverflowError, TypeError, RecursionError, msgpack.exceptions.UnpackException):
        packer.reset()
        return None


def _slowly(code: int, data: bytes) -> Any:
    raise ValueError("The slow check counts the numbers of the extension type.")


def _unpack_slowly(data: memoryview) -> Any:
    """Unpack an item and check every list and object; return a WireError with the cause if the item is invalid."""
    values = 0

    def count(number: int) -> None:
        nonlocal values
        values += number + 1
        if values > NODES_MAX:
            raise WireError(f"The message has more than {NODES_MAX} values.")

    def as_list(items: list[Any]) -> list[Any]:
        count(len(items))
        return items

    def as_number(code: int, data: bytes) -> Decimal:
        count(2 * len(data))  # its conversion takes ten times as long as that of other values
        return unpacked_decimal(code, data)

    def as_dict(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
        count(len(pairs))
        return unique(pairs)

    try:
        return msgpack.unpackb(
            data,
            object_pairs_hook=as_dict,
            list_hook=as_list,
            ext_hook=as_number,
            max_array_len=NODES_MAX,
            max_map_len=NODES_MAX,
        )
    except WireError as error:
        return error
    except (ValueError, RecursionError, TypeError, msgpack.exceptions.UnpackException) as error:
        return _not_msgpack(error)


def unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """Return a dict of the pairs; raise WireError for a duplicate key."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise WireError("An object has the same key twice.")
    return made


def _not_msgpack(problem: object) -> WireError:
    return WireError(f"The bytes are not msgpack within the limits: {problem}.")
