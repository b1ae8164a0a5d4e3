"""A subscription to the events of the log: the next request, and the events of a reply. No socket, no clock."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dualbus.application.errors import DualbusError
from dualbus.client.call import Call, checked_position
from dualbus.client.calls import PendingCalls
from dualbus.client.sessions import SessionState
from dualbus.protocol.feed import EVENTS

REQUEST_SECONDS = 10.0  # for the reply to one request, including retries; then the next request
PAUSE_SECONDS = 0.05  # after a reply in which all new events were of other types, or without new events

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An event of the log, without its private fields. `time` is UTC: "2026-01-31T12:00:00.000000Z".

    `hash` is that of the log up to this event: with `position`, it resumes a subscription.
    """

    position: int
    type: str
    payload: dict[str, Any]
    time: str
    hash: str


class Subscription:
    """The state of a subscription: the position after which the next request reads, and the hash of the log there."""

    def __init__(self, after: int, after_hash: str, types: Iterable[str], tag: str | None) -> None:
        self.paused = False  # wait before the next request
        self._position = checked_position(after)
        self._hash = after_hash
        self._filter = {"types": list(types), "tag": tag}
        self._warned = False

    def request(self, calls: PendingCalls) -> Call:
        """Create the next request. The gateway reads the position in the envelope, to hold the request.

        The session is new for each request: an answer's position, that of the read model, can be beyond the events.
        """
        params = {"after": self._position, "after_hash": self._hash, **self._filter}
        return calls.query(EVENTS, params, REQUEST_SECONDS).in_session(SessionState(), self._position)

    def received(self, data: dict[str, Any]) -> list[EventRecord]:
        """Return the events of a reply; the next request continues after them."""
        records = [EventRecord(**event) for event in data["events"]]
        self.paused = not records and data["position"] in (self._position, data["head"])
        self._position, self._hash = data["position"], data["hash"]
        self._warned = False
        return records

    def failed(self, problem: DualbusError) -> None:
        """Log the first failure of an outage: the next request resumes where the last reply ended."""
        if not self._warned:
            logger.warning("The subscription waits for the cluster: %s", problem)
        self._warned = True
