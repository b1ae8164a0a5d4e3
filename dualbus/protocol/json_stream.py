"""Decode JSON objects from a stream of bytes: object per line, pretty-printed, or several on a line. Does no I/O."""

import codecs
import json
import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import Any, NamedTuple

from dualbus.protocol.codes import MessageId, WireError
from dualbus.protocol.frames import MESSAGE_BYTES_MAX
from dualbus.protocol.values import read_msg_id

_SPACE = re.compile(r"[ \t\r\n]*")
_JUNK = re.compile(r"[^{\n]*")
_CUT_CHARS_MAX = 10  # at most, of a token before the end of a chunk: "-Infinit", "\u12", "fals"
_TRIES_MAX = 100  # attempts to decode an object on an invalid line: bounds the time for a megabyte of braces
_DONE_CHARS_MAX = 4096  # decoded text is dropped beyond this size: the decoder counts lines from the beginning


class DecodeError(NamedTuple):
    """The reason why input is not a message, and the id of the message, if known."""

    text: str
    msg_id: MessageId | None = None


class _State(Enum):
    READING = auto()
    SEEKING_BRACE = auto()  # on the current line
    SEEKING_LINE = auto()  # a line that starts with a brace


class JsonStream:
    """Decodes objects, and continues after invalid input with at most one error per line.

    After an invalid object, decoding continues at the next line that starts with a brace. If the error was on the
    first line of the object, decoding continues at the next brace on the same line.
    """

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")(
            "surrogateescape"
        )  # later checks reject the surrogates
        self._json = json.JSONDecoder(object_pairs_hook=self._object)
        self._text = ""
        self._at = 0
        self._state = _State.READING
        self._errors = 0  # on the current line; only the first error is reported
        self._repeated_key = False

    def feed(self, data: bytes, *, final: bool = False) -> Iterator[dict[str, Any] | DecodeError]:
        """Yield complete objects and errors; `final` marks the end of the stream."""
        self._text = self._text[self._at :] + self._utf8.decode(data, final)
        self._at = 0
        if not final and self._text[:1] == "{" and b"}" not in data and len(self._text) < MESSAGE_BYTES_MAX:
            return  # without a closing brace, the object is still incomplete
        while True:
            if self._at > _DONE_CHARS_MAX:
                self._text, self._at = self._text[self._at :], 0
            before = self._at
            found = self._next(final)
            if found is not None:
                yield found
            elif self._at == before:
                return

    def _next(self, final: bool) -> dict[str, Any] | DecodeError | None:
        """Return the next object or error; None after skipping input, or without progress if more input is needed."""
        if self._state is _State.SEEKING_BRACE:
            self._seek_brace()
        self._skip_space()
        if self._state is _State.SEEKING_LINE:
            self._seek_line(final)
            return None
        if self._at == len(self._text):
            return None
        if self._text[self._at] != "{":
            return self._not_an_object(final)
        try:
            self._repeated_key = False
            value, end = self._json.raw_decode(self._text, self._at)
        except json.JSONDecodeError as error:
            if not final and self._may_be_incomplete(error):
                return self._too_long()
            return self._invalid(error.pos, f"That is not JSON: {error.msg}.")
        except RecursionError:
            return self._invalid(None, "The message is nested too deep.")
        except ValueError:
            return self._invalid(None, "A number has too many digits.")
        return self._checked(value, end)

    def _checked(self, value: dict[str, Any], end: int) -> dict[str, Any] | DecodeError | None:
        size = end - self._at
        self._at = end
        if self._errors and "body" not in value:
            return None  # part of the invalid message that was reported
        self._errors = 0
        id_ = msg_id(value)
        if size > MESSAGE_BYTES_MAX:
            return DecodeError(f"The message is over {MESSAGE_BYTES_MAX} bytes.", id_)
        if self._repeated_key:
            return DecodeError("An object has the same key twice.", id_)
        return value

    def _not_an_object(self, final: bool) -> DecodeError | None:
        match = _JUNK.match(self._text, self._at)
        end = match.end() if match else self._at
        if end == len(self._text) and not final and end - self._at < MESSAGE_BYTES_MAX:
            return None  # the line may continue in the next chunk
        self._at = end
        return self._report("A message is a JSON object that begins with a brace.")

    def _invalid(self, position: int | None, text: str) -> DecodeError | None:
        if position is not None and self._errors < _TRIES_MAX and "\n" not in self._text[self._at : position]:
            self._state = _State.SEEKING_BRACE
            self._at = max(position, self._at + 1)
        else:
            self._state = _State.SEEKING_LINE
            self._at += 1
        return self._report(text)

    def _seek_brace(self) -> None:
        brace, line_end = self._text.find("{", self._at), self._text.find("\n", self._at)
        if brace >= 0 and (line_end < 0 or brace < line_end):
            self._at, self._state = brace, _State.READING
        elif line_end >= 0:
            self._at, self._state = line_end, _State.SEEKING_LINE
        else:
            self._at = len(self._text)  # the line may continue in the next chunk

    def _seek_line(self, final: bool) -> None:
        next_line = self._text.find("\n{", max(0, self._at - 1))
        if next_line >= 0:
            self._at = next_line + 1
            self._state, self._errors = _State.READING, 0
            return
        keep = 0 if final or not self._text.endswith("\n") else 1  # the brace may be in the next chunk
        self._at = max(self._at, len(self._text) - keep)

    def _too_long(self) -> DecodeError | None:
        if len(self._text) - self._at < MESSAGE_BYTES_MAX:
            return None
        return self._invalid(None, f"A message is over {MESSAGE_BYTES_MAX} bytes, or has no end.")

    def _report(self, text: str) -> DecodeError | None:
        self._errors += 1
        return DecodeError(text) if self._errors == 1 else None

    def _skip_space(self) -> None:
        match = _SPACE.match(self._text, self._at)
        end = match.end() if match else self._at
        if self._state is _State.SEEKING_LINE and end > self._at:
            return  # _seek_line needs the end of the line
        if self._errors and "\n" in self._text[self._at : end]:
            self._errors = 0
        self._at = end

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


def msg_id(message: dict[str, Any]) -> MessageId | None:
    """Return the id of a message, if valid."""
    body = message.get("body")
    try:
        return read_msg_id(body) if isinstance(body, dict) else None
    except WireError:
        return None
