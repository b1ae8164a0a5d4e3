"""A tag as the log's index holds it: `user:u-1`, or for a private value `email:#9f86d0…`."""

import hmac
from collections.abc import Iterable


class Tagger:
    """Writes tags; values of private tags are hidden behind the log's secret, and still found by value."""

    def __init__(self, private: frozenset[str], secret: bytes) -> None:
        self._private = private
        self._secret = secret

    def tags(self, pairs: Iterable[tuple[str, str]]) -> tuple[str, ...]:
        """Return the tags of an event: of its names and values."""
        private = self._private
        return tuple([self.tag(name, value) if name in private else f"{name}:{value}" for name, value in pairs])

    def tag(self, name: str, value: str) -> str:
        """Return the tag of a name and a value."""
        if name in self._private:
            value = "#" + hmac.digest(self._secret, f"{name}:{value}".encode(), "sha256").hex()[:32]
        return f"{name}:{value}"
