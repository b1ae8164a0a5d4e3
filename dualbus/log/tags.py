"""Tags as the index of the log stores them: `user:u-1`, or for a private value `email:#9f86d0…`."""

import hmac
from collections.abc import Iterable
from typing import Any

from dualbus.application import event_json
from dualbus.application.messages import Event
from dualbus.log.contract import NewEvent


class Tagger:
    """Format tags. Values of private tags are replaced by a keyed hash, so that a lookup by value still works."""

    def __init__(self, private: frozenset[str], secret: bytes) -> None:
        self._private = private
        self._secret = secret

    def new_event(self, event: Event) -> NewEvent:
        """Return an event for the log; raise WireError for an event that cannot be stored."""
        return self.encoded(event)[0]

    def encoded(self, event: Event) -> tuple[NewEvent, dict[str, Any]]:
        """Return an event for the log, and its fields; raise WireError for an event that cannot be stored."""
        text, fields = event_json.stored(event)
        return NewEvent(type(event).__name__, text, self.tags(event_json.tags(event))), fields

    def tags(self, pairs: Iterable[tuple[str, str]]) -> tuple[str, ...]:
        """Return the tags for an event's names and values."""
        private = self._private
        return tuple([self.tag(name, value) if name in private else f"{name}:{value}" for name, value in pairs])

    def tag(self, name: str, value: str) -> str:
        """Return the tag for a name and a value."""
        if name in self._private:
            value = "#" + hmac.digest(self._secret, f"{name}:{value}".encode(), "sha256").hex()[:32]
        return f"{name}:{value}"
