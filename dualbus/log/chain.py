"""The hash chain through a log: what each hash is made of."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import msgpack

from dualbus.log.contract import Head
from dualbus.log.identity import Identity

_pack = msgpack.Packer(autoreset=True).pack
OutcomeRow = tuple[int, str, bytes | None, int, int, str]


def event_hash(before: bytes, row: tuple[Any, ...], tags: Sequence[str]) -> bytes:
    """Return the hash of an event: (position, type, data, time, command_id), its tags, the hash before."""
    return sha256(before + _pack((row, tags))).digest()[:16]


def commit_hash(before: bytes, head: Head, outcomes: Sequence[OutcomeRow]) -> bytes:
    """Return the hash of a commit: the head it reached, the outcomes it wrote, the commit before."""
    return sha256(before + _pack((head, outcomes))).digest()[:16]


def meta_hash(identity: Identity, secret: bytes) -> bytes:
    """Return the hash of what a log says of itself."""
    return sha256(_pack((identity, secret))).digest()[:16]
