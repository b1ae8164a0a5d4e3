"""What may come over a socket and is no message: each of these ZeroMQ messages gets one complaint."""

import json
import struct
from collections.abc import Iterator
from typing import Any

import msgpack

from tests.raw import create, wire

MiB = 1 << 20
Frames = list[bytes]
GOOD = create("Ada", msg_id=77)


def packed(value: Any) -> bytes:
    data: bytes = msgpack.packb(value)
    return data


def envelopes() -> Iterator[tuple[str, Any]]:
    """Yield what msgpack can carry and no message may be."""
    wrong: list[Any] = [
        None,
        True,
        1,
        -1,
        1.5,
        "text",
        b"bytes",
        [],
        {},
        [[]],
        msgpack.Timestamp(1),
        msgpack.ExtType(5, b"x"),
    ]
    wrong += [2**63, 2**64 - 1, float("nan"), float("inf"), float("-inf"), "\x00", "x" * 70_000]
    for value in wrong:
        yield f"a message that is {str(value)[:20]!r}", value
        for where in ("src", "dest", "body", "timeout_ms", "after"):
            if (where, value) not in [
                ("src", "text"),
                ("dest", "text"),
                ("src", "\x00"),
                ("dest", "\x00"),
                ("timeout_ms", 1),
                ("after", 1),
            ] and not (value is None and where != "body"):
                yield f"{where} {str(value)[:20]!r}", {**GOOD, where: value}
        for where in ("type", "msg_id", "idempotency_key"):
            if value in ("text", "\x00") or (where == "msg_id" and value in (1, -1) and value is not True):
                continue
            yield f"body.{where} {str(value)[:20]!r}", {**GOOD, "body": {**GOOD["body"], where: value}}
    for value in [
        b"bytes",
        2**63,
        2**64 - 1,
        float("nan"),
        float("-inf"),
        msgpack.Timestamp(1),
        msgpack.ExtType(5, b"x"),
    ]:
        for payload in ({"name": value}, {"name": [value]}, {"name": {"deep": value}}, [value], value):
            yield f"payload {payload!r}", {**GOOD, "body": {**GOOD["body"], "payload": payload}}
    yield "an unknown field", {**GOOD, "more": 1}
    yield "an unknown field of the body", {**GOOD, "body": {**GOOD["body"], "more": 1}}
    for missing in ("body",):
        yield f"no {missing}", {name: value for name, value in GOOD.items() if name != missing}
    for missing in ("type", "msg_id"):
        yield (
            f"no {missing}",
            {**GOOD, "body": {name: value for name, value in GOOD["body"].items() if name != missing}},
        )
    for key in (b"bytes", 1, None, 1.5, True):
        yield f"a key {key!r}", {**GOOD, key: 1}
        yield f"a key {key!r} in the payload", {**GOOD, "body": {**GOOD["body"], "payload": {key: 1}}}
    deep: Any = 1
    for _ in range(33):
        deep = {"d": deep}
    yield "33 deep", {**GOOD, "body": {**GOOD["body"], "payload": deep}}
    yield "over a mebibyte", {**GOOD, "body": {**GOOD["body"], "payload": {"name": "x" * MiB}}}


def sent(messages: bytes) -> Frames:
    """Return the frame that has these bytes in place of the messages."""
    return [wire("send", messages)]


def frames() -> Iterator[tuple[str, Frames]]:
    """Yield ZeroMQ messages that are not a single frame with `send` and a list of messages."""
    good = packed([GOOD])
    yield "no array", [b"send"]
    yield "one empty frame", [b""]
    yield "a message and no kind", [good]
    yield "three frames", [wire("send", good), b"", b""]
    yield "a hundred frames", [wire("send", good)] * 100
    for kind in (b"", b"SEND", b"reply", b"ready", b"beat", b"work", b"done", b"\x00", b"send\x00", b"x" * 70_000):
        yield f"kind {kind[:10]!r}", [kind, good]
        yield f"kind {kind[:10]!r} in a frame", [wire(kind.decode(), good)]
    for value in (None, 1, "text", {}, {"src": "t"}, 1.5, b"bytes", GOOD):
        yield f"no list but {value!r}"[:40], sent(packed(value))
    for cut in (0, 1, 2, 5, len(good) // 2, len(good) - 1):
        yield f"cut after {cut} bytes", sent(good[:cut])
    yield "trailing bytes", sent(good + b"\x00")
    yield "two values", sent(good + good)
    yield "100,000 lists deep", sent(b"\x91" * 100_000 + b"\xc0")
    yield "100,000 maps deep", sent(b"\x91" + b"\x81\xa1d" * 100_000 + b"\xc0")
    yield "a million empty maps", sent(b"\xdd" + struct.pack(">I", MiB) + b"\x80" * MiB)
    yield "60,000 empty lists in a message", sent(packed([{**GOOD, "body": [[]] * 60_000}]))
    yield "20,000 messages", sent(packed([1] * 20_000))
    for kind_byte in (b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9"):
        yield (
            f"four gibibytes promised by {kind_byte!r}",
            [wire("send", kind_byte + b"\xff\xff\xff\xff" + b"x" * 100)],
        )
    yield "the byte that is never used", sent(b"\x91\xc1")
    yield "text that is not UTF-8", sent(b"\x91\x81\xa3src\xa2\xff\xfe")
    yield "a lone surrogate", sent(b"\x91\x81\xa3src\xa3\xed\xa0\x80")
    yield "JSON", sent(json.dumps([GOOD]).encode())
    yield "UTF-16", sent(json.dumps([GOOD]).encode("utf-16"))
    twice = b"\x82\xa1a\x01\xa1a\x02"
    yield "a key twice", sent(b"\x91" + twice)
    yield (
        "a body twice",
        [wire("send", b"\x91\x82\xa4body" + packed(GOOD["body"]) + b"\xa4body" + packed(GOOD["body"]))],
    )
    # A short float is longer once it is packed again: as many bytes more as the key that goes missing had.
    payload = b"\x83\xa1a\xcc\x01\xa1a\xcc\x01\xa1f\xca" + struct.pack(">f", 1.5)
    message = packed([{"dest": "commandbus", "body": {"type": "CreateUser", "msg_id": 1, "payload": 0}}])
    yield "a key twice that the length does not tell", sent(message[:-1] + payload)


BROKEN = sent(b"\xc1")


def cases() -> Iterator[tuple[str, Frames]]:
    """Yield all of them, each with what is wrong with it."""
    yield from ((name, sent(packed([value]))) for name, value in envelopes())
    yield from frames()
