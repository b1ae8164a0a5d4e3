"""A request: a message of a client, checked and not answered yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dualbus.protocol.codes import MessageId
from dualbus.protocol.feed import EVENTS

if TYPE_CHECKING:
    from .clients import Client
    from .sessions import Session

TRIES_MAX = 3  # of a request whose worker was lost: the request itself may be the cause


class Request:
    """The fields that the gateway needs. The body remains packed."""

    __slots__ = (
        "after", "answered", "arrived", "body", "client", "deadline", "dest", "events_allowed", "id", "key", "msg_id",
        "sent", "sent_at", "session", "src", "timeout_ms", "tries", "type",
    )  # fmt: skip

    # Set by the router on acceptance. Ids rise in the order of arrival.
    id: int
    client: Client
    session: Session
    arrived: float
    sent_at: float  # the last sending
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
        self.sent = False  # to a worker, which may have executed the request
        self.events_allowed = True  # false for a subscription to events that the client may not read
        self.answered = False  # an answered request may remain in a queue for a while

    @property
    def needs(self) -> int:
        """The lowest position of the read model at which a query may be answered."""
        return 0 if self.type == EVENTS else max(self.after, self.session.position)

    @property
    def suspect(self) -> bool:
        """Whether all but the last try lost a worker, so that the last try must run alone."""
        return self.tries == TRIES_MAX - 1
