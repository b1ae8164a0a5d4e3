"""A request: a message that the gateway has taken on and has not answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dualbus.wire import MessageId

if TYPE_CHECKING:
    from gateway.clients import Client
    from gateway.sessions import Session

TRIES_MAX = 3  # of a request whose worker died: perhaps it is what kills them


@dataclass(slots=True, eq=False)
class Request:
    """What is known of one until it is answered. Ids rise in the order in which requests came."""

    id: int
    client: Client
    session: Session
    src: str
    dest: str
    type: str
    msg_id: MessageId
    key: str | None
    after: int
    deadline: float
    body: bytes
    tries: int = 0
    sent: bool = False  # to a bus, which may have acted on it
    answered: bool = False  # it may lie in a queue for a while yet

    @property
    def suspect(self) -> bool:
        """Tell whether so many workers died with it that the next one must be given it alone."""
        return self.tries == TRIES_MAX - 1
