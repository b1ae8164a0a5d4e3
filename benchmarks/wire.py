"""The client side of the protocol: packs envelopes and reads replies, without a socket.

The load generator shares the cores with the cluster, so the cost per item must be small: requests fill a packed
template (a quarter of the time of packing a dict), and successful replies are counted without decoding.
"""

from collections.abc import Iterable, Iterator
from itertools import count, cycle
from typing import Any
from uuid import uuid4

import msgpack  # type: ignore[import-untyped, unused-ignore]

SEND = b"\x92\xa4send"  # the head of a message, before the array of its envelopes
HEAD_BYTES = len(b"\x92\xa5reply")
SRC = "client"
FIRST_MSG_ID = 1 << 16
ITEMS_A_MESSAGE = 256  # splits a first window of thousands, so the gateway can start with the first message

# Bytes of a packed reply.
SUCCESS = b"\xa7success\xc3"
ANSWER, NOTHING_FOUND = b"\xacquery_result", b"\xa4data\xc0"

Reply = dict[str, Any]

_packer = msgpack.Packer(autoreset=True)


class ClusterError(Exception):
    """The cluster did not reply, or replied with an error."""


def commands() -> Iterator[bytes]:
    """Yield envelopes with CreateUser, each with a unique name and email."""
    run = uuid4().hex[:8]
    payload = {"name": f"user {run} 00000000", "email": f"{run}.00000000@example.com"}
    template = pack_command(payload)[:-1].replace(b"%", b"%%").replace(b"00000000", b"%08d") + b"%b"
    for number in count():
        yield template % (number, number, _msg_id(number))


def queries(user_ids: Iterable[str]) -> Iterator[bytes]:
    """Yield envelopes with GetUser for these users, endlessly in turn."""
    heads = cycle([pack_query(user_id)[:-1] for user_id in user_ids])
    for number in count():
        yield next(heads) + _msg_id(number)


def pack_command(payload: dict[str, str], src: str = SRC, msg_id: int = 0, timeout_ms: int | None = None) -> bytes:
    body = {"type": "CreateUser", "payload": payload, "msg_id": msg_id}
    return _pack(src, "commandbus", body, timeout_ms)


def pack_query(user_id: str, src: str = SRC, msg_id: int = 0, timeout_ms: int | None = None) -> bytes:
    body = {"type": "GetUser", "params": {"user_id": user_id}, "msg_id": msg_id}
    return _pack(src, "querybus", body, timeout_ms)


def _pack(src: str, dest: str, body: dict[str, Any], timeout_ms: int | None) -> bytes:
    limit = {} if timeout_ms is None else {"timeout_ms": timeout_ms}
    packed: bytes = msgpack.packb({"src": src, "dest": dest, **limit, "body": body})
    return packed


def messages(envelopes: list[bytes]) -> Iterator[bytes]:
    """Yield the envelopes as messages, each with a bounded number."""
    for first in range(0, len(envelopes), ITEMS_A_MESSAGE):
        part = envelopes[first : first + ITEMS_A_MESSAGE]
        yield SEND + _packer.pack_array_header(len(part)) + b"".join(part)


def alone(envelope: bytes) -> bytes:
    """Return a message with only this envelope."""
    return SEND + b"\x91" + envelope


def count_good(frame: bytes) -> int:
    """Return the number of replies; raise ClusterError with the first failed reply."""
    found = frame.count(SUCCESS) + frame.count(ANSWER) - frame.count(NOTHING_FOUND)
    if found != _items(frame):
        for reply in unpack(frame):
            refuse_unless_good(reply)
    return found


def unpack(frame: bytes) -> list[Reply]:
    replies: list[Reply] = msgpack.unpackb(frame)
    return replies


def refuse_unless_good(reply: Reply) -> None:
    body = reply["body"]
    if body.get("success") is not True and body.get("data") is None:
        raise ClusterError(f"The cluster answered {body}.")


def created_id(reply: Reply) -> str:
    refuse_unless_good(reply)
    return str(reply["body"]["events"][0]["payload"]["id"])


def _msg_id(number: int) -> bytes:
    """Return the five packed bytes of a number: they replace the final 0 of a packed envelope."""
    return b"\xce" + (FIRST_MSG_ID + number).to_bytes(4, "big")


def _items(frame: bytes) -> int:
    """Return the length in the header of a msgpack array."""
    if frame[0] & 0xF0 == 0x90:
        return frame[0] & 0x0F
    return int.from_bytes(frame[1:3] if frame[0] == 0xDC else frame[1:5], "big")
