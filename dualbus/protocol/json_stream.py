"""Decodes JSON objects from a stream of bytes: one per line, pretty-printed, or several on one line. No I/O."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from dualbus.protocol.codes import MessageId, WireError
from dualbus.protocol.frames import MESSAGE_BYTES_MAX
from dualbus.protocol.values import read_msg_id

_SPACE = re.compile(r"[ \t\r\n]*")
_JUNK = re.compile(r"[^{\n]*")
_CUT_CHARS_MAX = 10  # of a token cut in two by the end of a chunk: "-Infinit", "\u12", "fals"
_TRIES_MAX = 100  # to find a message on a line with garbage: bounds the cost of a megabyte of braces
_DONE_CHARS_MAX = 4096  # kept in front of where we are: the decoder counts lines from the beginning


class Garbage(NamedTuple):
    """Garbage in the stream, with the id of the message if readable."""

    text: str
    msg_id: MessageId | None = None


class JsonStream:
    """Decodes objects, and continues after garbage with at most one error per line.

    After a broken object, decoding resumes at the next line that starts with a brace, or, if the object broke on its
    first line, at one of the next braces on that line.
    """

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")  # later checks see those
        self._json = json.JSONDecoder(object_pairs_hook=self._object)
        self._text = ""
        self._at = 0
        self._complaints = 0  # about the current line; only the first is reported
        self._skipping = False  # looking for a brace on the line we are on
        self._resuming = False  # searching for a line that starts with a brace
        self._repeated_key = False

    def feed(self, data: bytes, *, final: bool = False) -> Iterator[dict[str, Any] | Garbage]:
        """Yield the complete objects; `final` at the end of the stream."""
        self._text = self._text[self._at :] + self._utf8.decode(data, final)
        self._at = 0
        if not final and self._text[:1] == "{" and b"}" not in data and len(self._text) < MESSAGE_BYTES_MAX:
            return  # these bytes cannot complete the current object
        while True:
            if self._at > _DONE_CHARS_MAX:
                self._text, self._at = self._text[self._at :], 0
            before = self._at
            found = self._next(final)
            if found is not None:
                yield found
            elif self._at == before:
                return

    def _next(self, final: bool) -> dict[str, Any] | Garbage | None:
        """Return the next object or error; None to continue, or, without progress, to wait for input."""
        if self._skipping:
            self._skip()
        self._skip_space()
        if self._resuming:
            self._resume(final)
            return None
        if self._at == len(self._text):
            return None
        if self._text[self._at] != "{":
            return self._junk(final)
        try:
            self._repeated_key = False
            value, end = self._json.raw_decode(self._text, self._at)
        except json.JSONDecodeError as error:
            if not final and self._cut(error):
                return self._too_long()
            return self._broken(error.pos, f"That is not JSON: {error.msg}.")
        except RecursionError:
            return self._broken(None, "The message is nested too deep.")
        except ValueError:
            return self._broken(None, "A number has too many digits.")
        return self._whole(value, end)

    def _whole(self, value: dict[str, Any], end: int) -> dict[str, Any] | Garbage | None:
        size = end - self._at
        self._at = end
        if self._complaints and "body" not in value:
            return None  # part of the reported garbage
        self._complaints = 0
        msg_id = _msg_id(value)
        if size > MESSAGE_BYTES_MAX:
            return Garbage(f"The message is over {MESSAGE_BYTES_MAX} bytes.", msg_id)
        if self._repeated_key:
            return Garbage("An object has the same key twice.", msg_id)
        return value

    def _junk(self, final: bool) -> Garbage | None:
        match = _JUNK.match(self._text, self._at)
        end = match.end() if match else self._at
        if end == len(self._text) and not final and end - self._at < MESSAGE_BYTES_MAX:
            return None  # the line may continue
        self._at = end
        return self._complain("A message is a JSON object that begins with a brace.")

    def _broken(self, position: int | None, text: str) -> Garbage | None:
        self._skipping = (
            position is not None and self._complaints < _TRIES_MAX and "\n" not in self._text[self._at : position]
        )
        self._resuming = not self._skipping
        self._at = max(position or 0, self._at + 1) if self._skipping else self._at + 1
        return self._complain(text)

    def _skip(self) -> None:
        brace, line_end = self._text.find("{", self._at), self._text.find("\n", self._at)
        if brace >= 0 and (line_end < 0 or brace < line_end):
            self._at, self._skipping = brace, False
        elif line_end >= 0:
            self._at, self._skipping, self._resuming = line_end, False, True
        else:
            self._at = len(self._text)  # the line may continue

    def _resume(self, final: bool) -> None:
        next_line = self._text.find("\n{", max(0, self._at - 1))
        if next_line >= 0:
            self._at = next_line + 1
            self._resuming, self._complaints = False, 0
            return
        keep = 0 if final or not self._text.endswith("\n") else 1  # a brace may start the next chunk
        self._at = max(self._at, len(self._text) - keep)

    def _too_long(self) -> Garbage | None:
        if len(self._text) - self._at < MESSAGE_BYTES_MAX:
            return None
        return self._broken(None, f"A message is over {MESSAGE_BYTES_MAX} bytes, or has no end.")

    def _complain(self, text: str) -> Garbage | None:
        self._complaints += 1
        return Garbage(text) if self._complaints == 1 else None

    def _skip_space(self) -> None:
        match = _SPACE.match(self._text, self._at)
        end = match.end() if match else self._at
        if self._resuming and end > self._at:
            return  # only the end of the line is of interest
        if self._complaints and "\n" in self._text[self._at : end]:
            self._complaints = 0
        self._at = end

    def _cut(self, error: json.JSONDecodeError) -> bool:
        """Tell whether the end of the chunk may have caused the error."""
        if error.msg.startswith("Unterminated string") or _SPACE.fullmatch(self._text, error.pos):
            return True
        rest = self._text[error.pos : error.pos + _CUT_CHARS_MAX]
        return len(rest) < _CUT_CHARS_MAX and "\n" not in rest

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            self._repeated_key = True
        return made


def _msg_id(message: dict[str, Any]) -> MessageId | None:
    """Return the id for the reply, if the object has a valid one."""
    body = message.get("body")
    try:
        return read_msg_id(body) if isinstance(body, dict) else None
    except WireError:
        return None
