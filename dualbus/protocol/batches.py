"""Batches: many items in few messages."""

from collections.abc import Sequence

from dualbus.protocol.codec import pack, packer
from dualbus.protocol.frames import BATCH_BYTES, BATCH_ITEMS_MAX, DONE, Frames
from dualbus.protocol.records import Response

_DONE_BYTES = 28  # at most, of a response without body and details


def batch(kind: bytes, items: Sequence[object]) -> Frames:
    """Pack items into the frames of one message."""
    return [kind, pack(items)]


def joined(kind: bytes, packed: Sequence[bytes]) -> Frames:
    """Join packed items into the frames of one message, without packing them again."""
    header: bytes = packer.pack_array_header(len(packed))
    return [kind, header + b"".join(packed)]


def batches(kind: bytes, packed: list[bytes]) -> list[Frames]:
    """Join packed items into as few messages as the size limit of a batch allows."""
    return [joined(kind, part) for part in parts(packed)]


def answer_batches(done: Sequence[Response]) -> list[Frames]:
    """Pack responses into as few messages as the size limit of a batch allows: usually one, packed in one call."""
    if sum([len(body) + len(details) for _, _, body, details in done]) + _DONE_BYTES * len(done) <= BATCH_BYTES:
        return [batch(DONE, done)] if done else []
    return batches(DONE, [pack(response) for response in done])


def parts(packed: list[bytes]) -> list[list[bytes]]:
    """Split packed items into lists that each fit into one message."""
    if len(packed) <= BATCH_ITEMS_MAX and sum(map(len, packed)) <= BATCH_BYTES:
        return [packed] if packed else []  # the usual case
    gathered: list[list[bytes]] = [[]]
    size = 0
    for item in packed:
        if gathered[-1] and (size + len(item) > BATCH_BYTES or len(gathered[-1]) == BATCH_ITEMS_MAX):
            gathered.append([])
            size = 0
        gathered[-1].append(item)
        size += len(item)
    return gathered
