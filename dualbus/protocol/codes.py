"""Error codes, and the body of an error reply."""

from enum import IntEnum
from typing import Any, TypeAlias

MessageId: TypeAlias = int | str


class Code(IntEnum):
    """Error codes, after Maelstrom's table. After a definite error, nothing has happened or will happen."""

    TIMEOUT = 0  # indefinite
    UNKNOWN_DEST = 1
    NOT_SUPPORTED = 10
    UNAVAILABLE = 11
    MALFORMED = 12
    CRASH = 13  # indefinite
    ABORTED = 14
    EXECUTED = 15  # earlier, under the same idempotency key; the first answer can no longer be computed
    FORBIDDEN = 16

    @property
    def definite(self) -> bool:
        """Return whether the client can be sure that nothing happened."""
        return self not in (Code.TIMEOUT, Code.CRASH, Code.EXECUTED)


class WireError(ValueError):
    """Bytes or values that violate the protocol; the text is the reason."""


def error(in_reply_to: MessageId | None, code: Code, text: str, errors: list[str] | None = None) -> dict[str, Any]:
    """Return the body of an error reply."""
    body: dict[str, Any] = {"type": "error", "in_reply_to": in_reply_to, "code": int(code), "text": text}
    if errors is not None:
        body["errors"] = errors
    return body
