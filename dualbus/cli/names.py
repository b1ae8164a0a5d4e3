"""Find names, and suggest the nearest name for a typo."""

from collections.abc import Mapping
from typing import TypeVar

from dualbus.application.names import nearest
from dualbus.cli import output

T = TypeVar("T")


def find(what: str, name: str, among: Mapping[str, T]) -> T:
    """Return the value of a name; raise WrongUse with the nearest name."""
    if name in among:
        return among[name]
    raise output.WrongUse(f"Unknown {what} {name!r}{nearest(name, among)}")
