"""What may come down a pipe and is no message: each of these is one line, and gets one complaint."""

import json
from collections.abc import Iterator

from tests.raw import create

MiB = 1 << 20
GOOD = json.dumps(create("Ada", msg_id=77))


def lines() -> Iterator[bytes]:
    """Yield them, each without the end of its line."""
    yield from (text.encode() for text in _values())
    yield from (text.encode() for text in _objects())
    yield from (text.encode() for text in _broken())
    yield from _bytes()


def _values() -> Iterator[str]:
    """JSON, but not a message; and numbers and texts that have no place in one, wherever they stand."""
    yield from ("null", "true", "1", "1.5", '"text"', "[]", "[{}]", "{}", '{"src": "t"}', '{"body": {}}', "-")
    digits = "9" * 5000
    numbers = ("NaN", "Infinity", "-Infinity", "1e999", "-1e400", str(2**63), str(-(2**63) - 1), str(2**64), digits)
    others = ("null", "true", "1.5", "[]", "{}", '"\\ud800"', '"\\udfff\\ud800"', '"' + "x" * 70_000 + '"')
    for value in (*numbers, *others):
        for where in ('"src"', '"dest"', '"body"', '"timeout_ms"', '"after"', '"unknown"'):
            if value != "null" or where in ('"body"', '"unknown"'):
                yield GOOD.replace('{"src"', f'{{{where}: {value}, "_"', 1).replace('"_": "t", ', "")
        for where in ('"type"', '"msg_id"', '"idempotency_key"', '"unknown"'):
            yield GOOD.replace('"type": "CreateUser", "msg_id": 77', f'{where}: {value}, "x": 1')
    for value in (*numbers, '"\\ud800"'):
        yield GOOD.replace('"Ada"', value)
        yield GOOD.replace('"Ada"', f"[{value}]")


def _objects() -> Iterator[str]:
    """Objects with a key twice, too deep, too long."""
    yield '{"a": 1, "a": 1}'
    yield GOOD.replace('{"src"', '{"src": "t", "src"', 1)
    yield GOOD.replace('"name"', '"name": "Ada", "name"')
    yield GOOD.replace('"name"', '"\\u006eame": "Ada", "name"')
    for msg_id in (str(2**70), '"\\ud800"', "1.5", "null", "[]", "true", "NaN", '"' + "x" * 100_000 + '"'):
        yield f'{{"body": {{"msg_id": {msg_id}, "a": 1, "a": 2}}}}'
    for depth in (33, 900, 1100, 100_000):
        yield GOOD.replace('"Ada"', "[" * depth + "]" * depth)
        yield GOOD.replace('"Ada"', '{"d":' * depth + "1" + "}" * depth)
    yield "[" * 100_000
    yield GOOD.replace("Ada", "x" * MiB)
    yield GOOD.replace('"Ada"', "[" + "{}," * 400_000 + "{}]")


def _broken() -> Iterator[str]:
    """What is not JSON."""
    yield from ("garbage", "}", "]", "}{", "{", "{{", '{"', '{"src', '{"src": "t",', "{'src': 't'}", "{src: 1}")
    yield from ('{"src": "t",}', '{"src": undefined}', '{"src": 01}', '{"src": +1}', '{"src": .5}', '{"src": 0x10}')
    yield from ('{"src": "\t"}', '{"src": "\\x41"}', '{"src": "\\u12"}', '{"src": "t" "dest": 1}', '{"src": tru}')
    yield from ('// {"src": 1}', '/* */ {"src": 1', '{"src": "t"', '{"a": [1, 2}', '{"a": (1)}', '{"a": 1;}', "{,}")
    yield from (
        '{"src": nul',
        '{"src": -',
        '{"src": 1e',
        '{"src": "\\',
        "\x00",
        "\x00{",
        "\x1b[A",
        "\ufeff",
        "\u2028",
    )
    for cut in range(1, len(GOOD) - 1, 9):
        if not GOOD[:cut].rstrip().endswith(":"):  # there the next line may be the value
            yield GOOD[:cut]


def _bytes() -> Iterator[bytes]:
    """What is not UTF-8."""
    for encoding in ("utf-16-le", "utf-16-be", "utf-16", "utf-32"):
        yield GOOD.encode(encoding)
    for bad in (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82"):
        yield GOOD.encode().replace(b"Ada", bad)
        yield GOOD.encode().replace(b'"src"', b'"' + bad + b'"')
        yield bad
    yield bytes(range(256)).replace(b"\n", b"")
    yield b"\x93\xa4send\x91\x81"
