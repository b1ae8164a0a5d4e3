"""JSON objects out of a stream of bytes, however it is cut."""

import json
import random
from typing import Any

import pytest

from dualbus.protocol.frames import MESSAGE_BYTES_MAX
from dualbus.protocol.json_stream import DecodeError, JsonStream

Found = list[dict[str, Any] | str]


def read(*chunks: bytes | str) -> Found:
    """Feed chunks and the end; return the objects, and of garbage the text."""
    stream = JsonStream()
    found = [one for chunk in chunks for one in stream.feed(_bytes(chunk))]
    found += stream.feed(b"", final=True)
    return [one.text if isinstance(one, DecodeError) else one for one in found]


def _bytes(chunk: bytes | str) -> bytes:
    return chunk if isinstance(chunk, bytes) else chunk.encode()


def objects(found: Found) -> list[dict[str, Any]]:
    """Return what was found and is no garbage."""
    return [one for one in found if isinstance(one, dict)]


MESSAGE: dict[str, Any] = {
    "src": "c",
    "dest": "commandbus",
    "body": {"type": "T", "msg_id": 1, "payload": {"a": "{["}},
}
BODY = {"body": {"msg_id": 2}}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(MESSAGE),
        json.dumps(MESSAGE, indent=2),
        json.dumps(MESSAGE, indent="\t").replace("\n", "\r\n"),
        f"\n\n  {json.dumps(MESSAGE)}  \n\n",
        "\ufeff" + json.dumps(MESSAGE),
        json.dumps(MESSAGE) + "\n",
    ],
    ids=["one line", "pretty", "crlf and tabs", "space around", "byte order mark", "newline"],
)
def test_an_object_is_found_however_it_is_printed(text: str) -> None:
    assert read(text) == [MESSAGE]
    assert read(*text) == [MESSAGE]


def test_several_objects_may_stand_on_a_line() -> None:
    one = json.dumps(MESSAGE)

    assert read(f"{one}{one} {one}\n{one}\t{one}") == [MESSAGE] * 5


def test_text_may_hold_anything_that_looks_like_json() -> None:
    tricky = {"body": {"payload": {'{"}{\\': 'a\n{"b": "\\"}"\u2028 ü 🔑'}}}

    assert read(json.dumps(tricky, ensure_ascii=False)) == [tricky]
    assert read(*json.dumps(tricky, ensure_ascii=False)) == [tricky]


def test_a_character_cut_between_its_bytes_is_whole_again() -> None:
    data = '{"body": "🔑"}'.encode()

    assert read(*[data[at : at + 1] for at in range(len(data))]) == [{"body": "🔑"}]


def test_an_object_is_given_out_as_soon_as_it_is_whole() -> None:
    stream = JsonStream()

    assert list(stream.feed(b'{"body": ')) == []
    assert list(stream.feed(b'{}}{"body"')) == [{"body": {}}]
    assert list(stream.feed(b": 5}")) == [{"body": 5}]


# DecodeError.


@pytest.mark.parametrize(
    "garbage",
    [
        "hello",
        '["body"]',
        "5 6 7 true null",
        '"body"',
        "}}}}",
        "{body: 1}",
        "{'body': 1}",
        '{"body": 1,}',
        '{"body": NaN',
        '{"a": 01}',
        '{"a": "\t"}',
        '{"a": "\\x"}',
        '{"a": 1} x',
        "{{{{",
        '{"a": tru}',
        '{"body": [}',
    ],
)
def test_a_line_of_garbage_is_complained_about_once_and_the_next_line_is_heard(garbage: str) -> None:
    found = read(f"{garbage}\n{json.dumps(MESSAGE)}\n")

    assert objects(found)[-1] == MESSAGE
    assert len([one for one in found if isinstance(one, str)]) == 1


def test_an_object_after_garbage_on_the_same_line_is_heard() -> None:
    assert objects(read(f"hello {json.dumps(MESSAGE)}")) == [MESSAGE]
    assert objects(read(f'{{"a": tru {json.dumps(MESSAGE)}')) == [MESSAGE]


def test_a_broken_pretty_printed_object_costs_one_complaint_and_nothing_after_it() -> None:
    broken = json.dumps(MESSAGE, indent=2).replace('"msg_id": 1', '"msg_id": 1 1')

    found = read(f"{broken}\n{json.dumps(BODY, indent=2)}\n")

    assert len(found) == 2
    assert objects(found) == [BODY]


def test_what_hangs_on_a_line_that_is_broken_is_not_taken_for_messages() -> None:
    broken = '{"src": c,\n  "body": {"msg_id": 1},\n  {"body": {"msg_id": 3}}\n}'

    found = read(f"{broken}\n{json.dumps(BODY)}\n")

    assert len(found) == 2
    assert objects(found) == [BODY]


def test_an_object_that_has_no_end_is_complained_about_at_the_end() -> None:
    found = read('{"body": {"msg_id": 1')

    assert len(found) == 1
    assert isinstance(found[0], str)


def test_an_object_with_no_end_does_not_swallow_what_follows_without_bound() -> None:
    found = read('{"body": "' + "x" * (MESSAGE_BYTES_MAX + 10), "\n", json.dumps(MESSAGE) + "\n")

    assert objects(found) == [MESSAGE]
    assert len(found) == 2


def test_bytes_that_are_not_utf_8_reach_the_check_that_refuses_them() -> None:
    [found] = read(b'{"body": {"msg_id": "\xff"}}')

    assert found == {"body": {"msg_id": "\udcff"}}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
def test_another_encoding_is_no_reason_to_be_silent(encoding: str) -> None:
    found = read('{"body": {"type": "ü"}}\n'.encode(encoding) * 3 + b"\n" + json.dumps(BODY).encode())

    assert len(found) > 1
    assert objects(found)[-1] == BODY


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"body": {"msg_id": 7, "a": 1, "a": 2}}', "An object has the same key twice."),
        ('{"body": {"msg_id": 7, "a": "' + "x" * MESSAGE_BYTES_MAX + '"}}', "The message is over 1048576 bytes."),
    ],
    ids=["key twice", "too long"],
)
def test_a_whole_object_that_is_refused_is_answered_under_its_id(text: str, complaint: str) -> None:
    [found] = JsonStream().feed(text.encode())

    assert found == DecodeError(complaint, 7)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "The message is nested too deep."),
        ('{"a": [' + "[" * 100_000 + "]" * 100_000 + "]}", "The message is nested too deep."),
        ('{"a": ' + "9" * 5000 + "}", "A number has too many digits."),
    ],
    ids=["objects", "lists", "digits"],
)
def test_what_python_will_not_read_is_refused_and_the_next_line_is_heard(text: str, complaint: str) -> None:
    assert read(f"{text}\n{json.dumps(BODY)}\n") == [complaint, BODY]


@pytest.mark.parametrize("bad", [True, None, 1.5, [1], {}, 2**63])
def test_only_an_id_that_an_answer_can_carry_is_answered_to(bad: object) -> None:
    text = json.dumps({"body": {"msg_id": bad}})[:-2] + ', "a": 1, "a": 2}}'

    [found] = JsonStream().feed(text.encode())

    assert found == DecodeError("An object has the same key twice.", None)


# However it is cut.


def _some_text(chance: random.Random) -> str:
    """Make a text of messages, broken messages and garbage."""
    words = ["{", "}", "[", "]", '"', "\\", "\n", " ", "tru", "true", "1", "-Infinity", "NaN", "é", "x", ",", ":"]
    parts = []
    for number in range(chance.randint(1, 12)):
        message = {"body": {"msg_id": number, "payload": {"t": chance.choice(["", "a}b{c", 'q"q', "\n{", "é\\"])}}}
        text = json.dumps(message, indent=chance.choice([None, 1]), ensure_ascii=chance.random() < 0.5)
        kind = chance.random()
        if kind < 0.2:
            text = "".join(chance.choices(words, k=chance.randint(1, 8)))
        elif kind < 0.4:
            at = chance.randrange(len(text))
            text = text[:at] + chance.choice(["", *words]) + text[at + chance.randint(0, 3) :]
        parts.append(text + chance.choice(["", " ", "\n", "\n", "\n", "\r\n\n"]))
    return "".join(parts)


def _cut(data: bytes, chance: random.Random) -> list[bytes]:
    cuts = sorted(chance.choices(range(len(data) + 1), k=chance.choice([1, 3, 30, len(data)])))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def test_where_the_stream_is_cut_never_changes_what_comes_out() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(1500):
        data = _some_text(chance).encode()

        whole, cut = read(data), read(*_cut(data, chance))

        assert cut == whole, data


def test_on_lines_of_their_own_good_messages_are_found_whatever_stands_on_the_others() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(500):
        garbage = [_some_text(chance).replace("{", "").replace("\n", " ") for _ in range(5)]
        good = [{"body": {"msg_id": number}} for number in range(5)]
        lines = [line for pair in zip(garbage, map(json.dumps, good), strict=True) for line in pair]

        assert objects(read("\n".join(lines))) == good, lines
