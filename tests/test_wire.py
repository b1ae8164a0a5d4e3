"""The wire as bytes: batches of any size, answers that are passed on unopened, and bytes that mean no good."""

import random
import struct
import tracemalloc
from typing import Any

import msgpack
import pytest

from dualbus.protocol.batches import answer_batches, batch, batches, joined, parts, read_batch
from dualbus.protocol.codec import pack, packed_reply, packed_work, unpack, unpack_hostile
from dualbus.protocol.codes import Code, WireError, error
from dualbus.protocol.frames import (
    BATCH_BYTES,
    BATCH_ITEMS_MAX,
    FRAME_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    REPLY,
    WORK,
)
from dualbus.protocol.records import Response, Work, read_done, read_returned
from dualbus.protocol.values import DEPTH_MAX, INT_MAX, INT_MIN, check

BODY: dict[str, Any] = {"type": "CreateUser", "msg_id": 1, "payload": {"name": "Ünï 🔑", "n": [1.5, -7, None, True]}}


def nested(depth: int) -> Any:
    """Make a list in a list, so many deep."""
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


# Packing.


@pytest.mark.parametrize("value", [None, True, 0, INT_MIN, INT_MAX, 1.5, "ü🔑\0", b"\0\xff", [], {}, BODY])
def test_what_is_packed_is_what_is_unpacked(value: object) -> None:
    assert unpack(pack(value)) == value


@pytest.mark.parametrize("value", ["\ud800", 2**64, object(), {1, 2}], ids=["surrogate", "2**64", "object", "set"])
def test_what_cannot_be_packed_is_said_and_harms_nothing_after_it(value: object) -> None:
    with pytest.raises(WireError, match="cannot be packed"):
        pack(["something", value])

    assert unpack(pack(BODY)) == BODY


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 65535, 65536])
def test_packed_items_are_joined_into_the_batch_that_packing_them_at_once_would_make(count: int) -> None:
    items = list(range(count))

    assert joined(WORK, [pack(item) for item in items]) == batch(WORK, items)


@pytest.mark.parametrize("key", [None, "k", "k" * 256])
@pytest.mark.parametrize("src", ["", "client", "ü" * 256])
@pytest.mark.parametrize("body", [BODY, {"x": "y" * 100_000}, {}])
def test_work_packed_around_a_packed_body_is_the_work_packed_plainly(
    src: str, key: str | None, body: dict[str, Any]
) -> None:
    work = Work(2**62, 3, src, 5000, key, 123_456_789, body)

    assert packed_work(work[:6], pack(body)) == pack(work)


@pytest.mark.parametrize("src", ["", "client", "ü" * 256])
@pytest.mark.parametrize("position", [0, 127, 2**40])
def test_a_reply_packed_around_a_packed_body_is_the_reply_packed_plainly(src: str, position: int) -> None:
    plainly = {"src": src, "dest": "d", "position": position, "body": BODY}

    assert packed_reply(src, "d", position, pack(BODY)) == pack(plainly)
    assert packed_reply(src, "d", position, pack(BODY), pack({"a": 1})) == pack({**plainly, "details": {"a": 1}})


def test_an_answer_is_passed_on_without_being_opened() -> None:
    done: Response = (7, 9, pack(BODY), pack({"repeated": True}))

    [message] = answer_batches([done], (1, 2, 3))
    [received], times = read_done(read_batch([message])[1], 4)

    assert received == done
    assert times == (1, 2, 3, 4)
    reply = unpack(packed_reply("a", "b", *received[1:]))
    assert (reply["body"], reply["details"]) == (BODY, {"repeated": True})


def test_work_is_returned_also_without_a_read_model() -> None:
    assert read_returned([-1, 5, 6]) == (-1, [5, 6])


# Batches.


def test_batches_keep_the_order_and_stay_within_their_size() -> None:
    chance = random.Random(seed := random.randrange(2**32))
    print(f"seed {seed}")
    items = [b"\xc4" + bytes([n]) + b"x" * n for n in chance.choices(range(256), k=30_000)]

    messages = list(batches(WORK, items))

    assert [item for message in messages for item in read_batch([message])[1]] == [unpack(item) for item in items]
    assert all(read_batch([message])[0] == WORK and len(message) <= BATCH_BYTES + 11 for message in messages)
    assert len(messages) < 2 * sum(map(len, items)) / BATCH_BYTES + 2


def test_a_large_item_goes_alone_and_the_largest_fits_into_a_frame() -> None:
    small, large = pack("s"), pack("x" * MESSAGE_BYTES_MAX)

    assert parts([small, large, small, small]) == [[small], [large], [small, small]]
    assert parts([large, small]) == [[large], [small]]
    assert len(joined(REPLY, [large])) <= FRAME_BYTES_MAX


def test_a_batch_has_a_limit_of_items() -> None:
    assert [len(part) for part in parts([b"\0"] * (BATCH_ITEMS_MAX + 1))] == [BATCH_ITEMS_MAX, 1]


def test_of_nothing_there_is_no_batch() -> None:
    assert list(batches(WORK, [])) == []


# Bytes from outside.


def test_a_batch_from_outside_is_what_it_says() -> None:
    messages = [{"src": "a", "dest": "b", "body": BODY}, {"body": {"x": [[], {}, "é", 2**63]}}]

    assert unpack_hostile(pack(messages)) == messages


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "not msgpack"),
        (b"\xc1", "not msgpack"),
        (pack([BODY])[:-1], "not msgpack"),
        (pack([BODY]) + b"\0", "not msgpack"),
        (b"\x91\xa2\xff\xfe", "not msgpack"),
        (b'{"src": "json"}', "not msgpack"),
        (b"\xdd\xff\xff\xff\xff", "over the limit"),
        (b"\x91\xdf\xff\xff\xff\xff", "not msgpack"),
        (b"\x91\xc6\xff\xff\xff\xff", "not msgpack"),
        (b"\x91" * 100_000 + b"\xc0", "not msgpack|too many"),
        (pack({"src": "a"}), "A batch is a list"),
        (pack("text"), "A batch is a list"),
        (pack(None), "A batch is a list"),
        (msgpack.packb([msgpack.ExtType(5, b"x")]), "extension types"),
        (b"\x91\x82\xa1a\x01\xa1a\x02", "same key twice"),
        (b"\x91\x82\xa1b\x01\xa1a\x82\xa1a\x01\xa1a\x01", "same key twice"),
        (b"\x91\x81\x01\x02", "not msgpack"),
        (b"\x91\x81\x91\x01\x02", "not msgpack|unhashable"),
        (pack([None] * (BATCH_ITEMS_MAX + 1)), "A batch of 10001 messages is over the limit of 10000"),
        (b"\0" * (FRAME_BYTES_MAX + 1), "over the limit"),
    ],
    ids=range(20),
)
def test_hostile_bytes_are_refused_in_a_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(WireError, match=sentence):
        unpack_hostile(data)


@pytest.mark.parametrize("empty", [b"\x80", b"\x90"], ids=["objects", "lists"])
def test_a_bomb_of_empty_containers_costs_little_memory(empty: bytes) -> None:
    inner = b"\xdd" + struct.pack(">I", 1_000_000) + empty * 1_000_000
    tracemalloc.start()
    try:
        with pytest.raises(WireError, match="within the limits: 1000000 exceeds max"):
            unpack_hostile(b"\x91" + inner)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 32 << 20


def test_a_thousand_random_changes_of_a_batch_never_do_more_than_raise() -> None:
    chance = random.Random(seed := random.randrange(2**32))
    print(f"seed {seed}")
    good = pack([{"src": "a", "dest": "b", "body": BODY}] * 3)
    for _ in range(1000):
        data = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            items = unpack_hostile(bytes(data))
        except WireError:
            continue
        assert isinstance(items, list)


@pytest.mark.parametrize("extension", [msgpack.ExtType(5, b"x"), msgpack.ExtType(127, b"")])
def test_our_own_processes_send_no_extension_types_either(extension: msgpack.ExtType) -> None:
    with pytest.raises(WireError):
        unpack(msgpack.packb([extension]))


# Values.


@pytest.mark.parametrize(
    "value",
    [None, True, "", "\0", 0.0, -1.5e308, INT_MIN, INT_MAX, [], {}, BODY, nested(DEPTH_MAX), ("a", [1])],
    ids=repr,
)
def test_json_that_sqlite_can_hold_is_right(value: object) -> None:
    check(value)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (INT_MAX + 1, "does not fit in 64 bits"),
        (INT_MIN - 1, "does not fit in 64 bits"),
        (float("nan"), "not finite"),
        (float("inf"), "not finite"),
        (float("-inf"), "not finite"),
        (b"bytes", "type bytes has no place"),
        ({1: "a"}, "key of an object is not text"),
        ({b"a": "a"}, "key of an object is not text"),
        ({1, 2}, "type set has no place"),
        (nested(DEPTH_MAX + 1), "nested more than 32 deep"),
        ({"a": nested(DEPTH_MAX)}, "nested more than 32 deep"),
        (msgpack.Timestamp(1), "type Timestamp has no place"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_not_is_refused_however_deep_it_lies(value: object, sentence: str) -> None:
    for hidden in (value, {"a": value}, [value], {"a": [{"b": value}]}):
        with pytest.raises(WireError, match=sentence):
            check(hidden)


# Errors.


def test_an_error_is_definite_unless_the_bus_may_have_acted() -> None:
    assert {code.name for code in Code if not code.definite} == {"TIMEOUT", "CRASH", "EXECUTED"}


def test_an_error_says_what_it_answers_and_why() -> None:
    assert error(5, Code.MALFORMED, "No.") == {"type": "error", "in_reply_to": 5, "code": 12, "text": "No."}
    assert error("a", Code.MALFORMED, "No.", ["A", "B"])["errors"] == ["A", "B"]
    assert pack(error(None, Code.TIMEOUT, "")) == pack({"type": "error", "in_reply_to": None, "code": 0, "text": ""})
