"""The keys of folded states: an initial state, and the tags and types of the events."""

from typing import Any, NamedTuple, TypeAlias

from dualbus.application.exact import exact
from dualbus.application.past import State
from dualbus.application.signatures import name_of

Tags: TypeAlias = tuple[str, ...]  # as in the index of the log
Types: TypeAlias = frozenset[str]  # as stored in the log; empty: any type


class Initial:
    """An initial state in a key. Python finds 1, 1.0 and Decimal("1.00") equal; here they are different states."""

    __slots__ = ("_exact", "_hash", "state")

    def __init__(self, state: State) -> None:
        """Raise TypeError for a state that may change, such as a dataclass that is not frozen, or is incomparable."""
        self.state = state
        self._hash = hash(state)
        self._exact = exact(state)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Initial) and self._exact == other._exact


class Key(NamedTuple):
    """A state of the events of these types that carry all these tags."""

    initial: Initial | type[State]
    tags: Tags
    types: Types

    @property
    def kind(self) -> type[Any]:
        """The class."""
        return self.initial if isinstance(self.initial, type) else type(self.initial.state)

    @property
    def name(self) -> str:
        """The name of the class."""
        return name_of(self.kind)


def key_of(state: State | type[State], tags: Tags, types: Types) -> Key | None:
    """Return the key of a state; None for an initial state that cannot be cached."""
    try:
        return Key(state if isinstance(state, type) else Initial(state), tags, types)
    except TypeError:
        return None
