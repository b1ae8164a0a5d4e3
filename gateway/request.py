"""A request: a checked message of a client, until its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dualbus.protocol.codes import MessageId

if TYPE_CHECKING:
    from .clients import Client
    from .sessions import Session

TRIES_MAX = 3  # of a request whose worker was lost: the request may be the cause


class Request:
    """A request and its state. The body stays packed from here on."""

    __slots__ = (
        "after", "answered", "body", "client", "deadline", "dest", "id", "key", "msg_id", "sent", "session", "src",
        "timeout_ms", "tries", "type",
    )  # fmt: skip

    # Assigned on acceptance. Ids rise in order of arrival.
    id: int
    client: Client
    session: Session
    deadline: float

    def __init__(
        self,
        src: str,
        dest: str,  # empty if omitted by the client: the type determines the bus
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
        self.sent = False  # to a bus, which may have acted on it
        self.answered = False  # an answered request may still be queued

    @property
    def needs(self) -> int:
        """The position below which a query must not be answered."""
        return max(self.after, self.session.position)

    @property
    def suspect(self) -> bool:
        """Tell whether the next worker must receive this request alone: others were lost with it."""
        return self.tries == TRIES_MAX - 1
