"""Decode JSON objects from a stream of bytes: object per line, pretty-printed, or several on a line. Does no I/O."""

import codecs
import json
import re
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

from dualbus.protocol.codes import MessageId, WireError
from dualbus.protocol.frames import MESSAGE_BYTES_MAX
from dualbus.protocol.numbers import read_number
from dualbus.protocol.values import read_msg_id

_SPACE = re.compile(r"[ \t\r\n]*")
_JUNK = re.compile(r"[^{\n]*")
_BRACE_OR_LINE_END = re.compile(r"[{\n]")
_CUT_CHARS_MAX = 10  # at most, of a token before the end of a chunk: "-Infinit", "\u12", "fals"
_TRIES_MAX = 100  # attempts to decode an object on an invalid line: bounds the time for a megabyte of braces
_DONE_CHARS_MAX = 4096  # decoded text is dropped beyond this size: the decoder counts lines from the beginning


class DecodeError(NamedTuple):
    """The reason why input is not a message, and the id of the message, if known."""

    text: str
    msg_id: MessageId | None = None


class JsonStream:
    """Decodes objects, and continues after invalid input with at most one error per line.

    After an invalid object, decoding continues at the next line that starts with a brace. If the error was on the
    first line of the object, decoding continues at the next brace on the same line.
    """

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")  # later checks reject surrogates
        self._json = json.JSONDecoder(object_pairs_hook=self._object, parse_float=read_number)
        self._text = ""
        self._at = 0
        self._final = False
        self._repeated_key = False
        self._found = self._decode()

    def feed(self, data: bytes, *, final: bool = False) -> Iterator[dict[str, Any] | DecodeError]:
        """Yield complete objects and errors; `final` marks the end of the stream."""
        self._text = self._text[self._at :] + self._utf8.decode(data, final)
        self._at, self._final = 0, final
        if self._text[:1] == "{" and b"}" not in data and self._may_continue():
            return  # without a closing brace, the object is still incomplete
        while (found := next(self._found)) is not None:
            yield found

    def _may_continue(self) -> bool:
        """Return whether a message that reaches the end of the text may continue in the next chunk."""
        return not self._final and len(self._text) - self._at < MESSAGE_BYTES_MAX

    def _decode(self) -> Iterator[dict[str, Any] | DecodeError | None]:
        """Yield objects and errors, and None if more input is needed."""
        errors = 0  # on the current line; only the first error is reported
        while True:
            if self._at > _DONE_CHARS_MAX:
                self._text, self._at = self._text[self._at :], 0
            start, self._at = self._at, _end(_SPACE, self._text, self._at)
            if errors and "\n" in self._text[start : self._at]:
                errors = 0
            start, position = self._at, None
            try:
                value = self._value()
            except EOFError:
                yield None
                continue
            except json.JSONDecodeError as error:
                position, problem = error.pos, f"That is not JSON: {error.msg}."
            except RecursionError:
                problem = "The message is nested too deep."
            except ValueError as error:
                problem = str(error)
            else:
                if not errors or "body" in value:  # otherwise part of the invalid message that was reported
                    errors = 0
                    yield self._checked(value, self._at - start)
                continue
            errors += 1
            if errors == 1:
                yield DecodeError(problem)
            if self._at > start:
                continue  # behind input that is not an object
            if position is not None and errors <= _TRIES_MAX and "\n" not in self._text[start:position]:
                self._at = max(position, start + 1)
                if (yield from self._seek_brace()):
                    continue
            else:
                self._at += 1
            yield from self._seek_line()
            errors = 0

    def _value(self) -> dict[str, Any]:
        """Return the next object. Raise ValueError for invalid input, EOFError if more input is needed."""
        if not self._text.startswith("{", self._at):
            end = _end(_JUNK, self._text, self._at)
            if end == len(self._text) and (end == self._at or self._may_continue()):
                raise EOFError
            self._at = end
            raise ValueError("A message is a JSON object that begins with a brace.")
        self._repeated_key = False
        try:
            value, self._at = self._json.raw_decode(self._text, self._at)
        except json.JSONDecodeError as error:
            if self._final or not self._may_be_incomplete(error):
                raise
            if self._may_continue():
                raise EOFError from None
            raise ValueError(f"A message is over {MESSAGE_BYTES_MAX} bytes, or has no end.") from None
        except ValueError:
            raise ValueError("A number has too many digits.") from None
        found: dict[str, Any] = value
        return found

    def _checked(self, value: dict[str, Any], size: int) -> dict[str, Any] | DecodeError:
        if size > MESSAGE_BYTES_MAX:
            return DecodeError(f"The message is over {MESSAGE_BYTES_MAX} bytes.", msg_id(value))
        if self._repeated_key:
            return DecodeError("An object has the same key twice.", msg_id(value))
        return value

    def _seek_brace(self) -> Generator[None, None, bool]:
        """Skip to the next brace on this line; return False if the line ends before."""
        while not (match := _BRACE_OR_LINE_END.search(self._text, self._at)):
            self._at = len(self._text)
            yield
        self._at = match.start()
        return match[0] == "{"

    def _seek_line(self) -> Iterator[None]:
        """Skip to the next line that starts with a brace."""
        while (line_end := self._text.find("\n{", max(0, self._at - 1))) < 0:
            # The brace may be in the next chunk.
            self._at = max(self._at, len(self._text) - self._text.endswith("\n"))
            yield
        self._at = line_end + 1

    def _may_be_incomplete(self, error: json.JSONDecodeError) -> bool:
        """Return whether the end of the chunk may be the cause of the error."""
        if error.msg.startswith("Unterminated string") or _SPACE.fullmatch(self._text, error.pos):
            return True
        rest = self._text[error.pos : error.pos + _CUT_CHARS_MAX]
        return len(rest) < _CUT_CHARS_MAX and "\n" not in rest

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        self._repeated_key |= len(found) != len(pairs)
        return found


def _end(pattern: re.Pattern[str], text: str, start: int) -> int:
    """Return the end of a pattern that may be empty."""
    match = pattern.match(text, start)
    return match.end() if match else start


def msg_id(message: dict[str, Any]) -> MessageId | None:
    """Return the id of a message, if valid."""
    body = message.get("body")
    try:
        return read_msg_id(body) if isinstance(body, dict) else None
    except WireError:
        return None
