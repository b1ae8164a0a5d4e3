"""A request: a message that the gateway has read, and then has taken on, and has not answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dualbus.protocol.codes import MessageId

if TYPE_CHECKING:
    from .clients import Client
    from .sessions import Session

TRIES_MAX = 3  # of a request whose worker died: perhaps it is what kills them


class Request:
    """What is known of one. The body stays packed from here on."""

    __slots__ = (
        "after", "answered", "body", "client", "deadline", "dest", "id", "key", "msg_id", "sent", "session", "src",
        "timeout_ms", "tries", "type",
    )  # fmt: skip

    # Given when the gateway takes it on. Ids rise in the order in which requests came.
    id: int
    client: Client
    session: Session
    deadline: float

    def __init__(
        self,
        src: str,
        dest: str,  # empty where the sender left it out: the type tells
        type_: str,
        msg_id: MessageId,
        key: str | None,
        timeout_ms: int | None,
        after: int,
        body: bytes,
    ) -> None:
        self.src = src
        self.dest = dest
        self.type = type_
        self.msg_id = msg_id
        self.key = key
        self.timeout_ms = timeout_ms
        self.after = after
        self.body = body
        self.tries = 0
        self.sent = False  # to a bus, which may act on it, or have acted on it
        self.answered = False  # it may lie in a queue for a while yet

    @property
    def needs(self) -> int:
        """The position that the answer to a query must not be older than."""
        return max(self.after, self.session.position)

    @property
    def suspect(self) -> bool:
        """Tell whether so many workers died with it that the next one must be given it alone."""
        return self.tries == TRIES_MAX - 1
