"""Permissions: the messages that a client may send, as patterns of their types."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, NamedTuple

from dualbus.protocol.feed import EVENTS

COMMANDS, GATEWAY = "commandbus", "gateway"


class Permissions(NamedTuple):
    """Patterns such as "Create*" for commands, for queries, and for the events of a subscription."""

    commands: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()
    events: tuple[str, ...] = ()

    def allow(self, dest: str, type_: str) -> bool:
        """Return whether the client may send a type to a bus; to any bus, if `dest` is empty.

        The reports of the gateway need their names among the queries, not a pattern: they show the work of all
        clients. `allow_events` checks the types of a subscription.
        """
        if dest == GATEWAY:
            return type_ in self.queries
        if type_ == EVENTS and dest != COMMANDS:
            return bool(self.events)
        sends = self.commands if dest == COMMANDS else self.queries if dest else self.commands + self.queries
        return _match(sends, type_)

    def allow_events(self, params: Any) -> bool:
        """Return whether the client may read the events of a subscription: without types, the events of all types."""
        types = params.get("types") if isinstance(params, dict) else None
        if not isinstance(types, list) or not types:
            return "*" in self.events
        return all(isinstance(name, str) and _match(self.events, name) for name in types)


EVERYTHING = Permissions(("*",), ("*",), ("*",))
NOTHING = Permissions()


def patterns(names: Iterable[str]) -> tuple[str, ...]:
    """Return patterns without duplicates, in order."""
    return tuple(dict.fromkeys(names))


@lru_cache(4096)  # bounded: clients choose the names
def _match(allowed: tuple[str, ...], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in allowed)
