"""The hash chain through a log: the input of each hash."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import msgpack

from dualbus.log.contract import Head
from dualbus.log.identity import Identity

_pack = msgpack.Packer(autoreset=True).pack

OutcomeRow = tuple[
    int, str, bytes | None, int, int, str, str, str | None, int | None, str | None, str | None, str | None
]  # number, command_id, fingerprint, first, events, errors, type, actor, cause, correlation, trace, metadata


def event_hash(previous: bytes, row: tuple[Any, ...], tags: Sequence[str]) -> bytes:
    """Return the hash of an event: (position, type, data, time, command_id), with tags and the previous hash."""
    return sha256(previous + _pack((row, tags))).digest()


def commit_hash(previous: bytes, head: Head, outcomes: Sequence[OutcomeRow]) -> bytes:
    """Return the hash of a commit: its head, its outcomes and the hash of the previous commit."""
    return sha256(previous + _pack((head, outcomes))).digest()


def meta_hash(identity: Identity, secret: bytes) -> bytes:
    """Return the hash of the identity and the secret of a log."""
    return sha256(_pack((identity, secret))).digest()
