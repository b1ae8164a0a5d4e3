"""Batches: many items in few messages, each `[kind, items]` in msgpack.

A message has a single frame: each frame costs 3 microseconds, and twice as much with CURVE.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from dualbus.protocol.codec import pack, packer, unpack
from dualbus.protocol.codes import WireError
from dualbus.protocol.frames import BATCH_BYTES, BATCH_ITEMS_MAX, DONE, SEND, Frames
from dualbus.protocol.records import Response

_DONE_BYTES = 28  # at most, of a response without body and details


def batch(kind: str, items: Sequence[object]) -> bytes:
    """Pack items into a message."""
    return pack((kind, items))


def joined(kind: str, packed: Sequence[bytes]) -> bytes:
    """Join packed items into a message, without packing them again."""
    header: bytes = packer.pack_array_header(len(packed))
    return _head(kind) + header + b"".join(packed)


def batches(kind: str, packed: list[bytes]) -> list[bytes]:
    """Join packed items into as few messages as the size limit of a batch allows."""
    return [joined(kind, part) for part in parts(packed)]


def answer_batches(done: Sequence[Response], times: Sequence[int] | None = None) -> list[bytes]:
    """Pack responses, after the times of their commit, into as few messages as the size limit of a batch allows.

    Usually one, packed in one call.
    """
    if sum([len(body) + len(details) for _, _, body, details in done]) + _DONE_BYTES * len(done) <= BATCH_BYTES:
        return [batch(DONE, (times, *done))] if done else []
    return [joined(DONE, [pack(times), *part]) for part in parts([pack(response) for response in done])]


def read_batch(frames: Frames) -> tuple[str, list[Any]]:
    """Return the kind and the items of a message from another process of the cluster. Raises WireError."""
    content = unpack(frames[0]) if len(frames) == 1 else None
    if type(content) is not list or len(content) != 2 or type(content[0]) is not str or type(content[1]) is not list:
        raise WireError("The message is not a kind with a list of items.")
    return content[0], content[1]


def packed_messages(frames: Frames) -> bytes:
    """Return the packed list of messages in a client's batch, not checked yet. Raises WireError for another kind."""
    head = _head(SEND)
    if len(frames) != 1 or frames[0][: len(head)] != head:
        raise WireError(
            'A message to the gateway is one frame: the msgpack array ["send", messages], in the shortest encoding.'
        )
    return frames[0][len(head) :]


@cache
def _head(kind: str) -> bytes:
    """Pack the beginning of a message, up to the array of its items."""
    return b"\x92" + pack(kind)


def first_part(packed: Iterable[bytes]) -> list[bytes]:
    """Return the first of many packed items, as many as fit into one message; the others are not visited."""
    part: list[bytes] = []
    size = 0
    for item in packed:
        size += len(item)
        if part and (size > BATCH_BYTES or len(part) == BATCH_ITEMS_MAX):
            break
        part.append(item)
    return part


def parts(packed: list[bytes]) -> list[list[bytes]]:
    """Split packed items into lists that each fit into one message."""
    if len(packed) <= BATCH_ITEMS_MAX and sum(map(len, packed)) <= BATCH_BYTES:
        return [packed] if packed else []  # the usual case
    gathered = []
    while packed:
        gathered.append(first_part(packed))
        packed = packed[len(gathered[-1]) :]
    return gathered
