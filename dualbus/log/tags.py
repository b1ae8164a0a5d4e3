"""Tags as the index of the log stores them: `user:u-1`, or for a private value `email:#9f86d0…`."""

import hmac
from collections.abc import Iterable
from typing import Any

from dualbus.application import event_json
from dualbus.application.app import App
from dualbus.application.causes import Unreadable
from dualbus.application.messages import Event
from dualbus.log.contract import Log, NewEvent, RecordedEvent
from dualbus.runtime.errors import ConfigError


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


def check_privacy(app: App, log: Log, stored: Iterable[RecordedEvent]) -> None:
    """Raise ConfigError if tags of stored events were private and are not any more, or the reverse.

    Decisions would not find the earlier events, and would accept a unique name a second time.
    """
    present = Tagger(app.private_tags, log.secret)
    for recorded in stored:
        try:
            pairs = event_json.tags(app.decode(recorded.type, recorded.data))
        except Unreadable:  # logged already
            continue
        for name, value in pairs:
            former = Tagger(app.private_tags ^ {name}, log.secret)
            if _has(log, recorded, former.tag(name, value)) and not _has(log, recorded, present.tag(name, value)):
                now = "private" if name in app.private_tags else "not private"
                raise ConfigError(
                    f"The tag {name} of {recorded.type} is {now}, unlike in the log: decisions would not find the "
                    "earlier events. Undo the change of Private, or add a field with a tag of another name, and read "
                    "both tags."
                )


def _has(log: Log, recorded: RecordedEvent, tag: str) -> bool:
    found = log.history((tag,), (recorded.type,), recorded.position - 1, 1)
    return bool(found) and found[0].position == recorded.position
