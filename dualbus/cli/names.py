"""Finds names, and suggests the nearest."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

from dualbus.cli import output

T = TypeVar("T")


def find(what: str, name: str, among: Mapping[str, T]) -> T:
    """Return the value of a name; raise WrongUse with the nearest name."""
    if name in among:
        return among[name]
    raise output.WrongUse(f"There is no {what} {name!r}{nearest(name, among)}")


def nearest(name: str, among: Iterable[str]) -> str:
    """Return the end of a sentence: the nearest name, or all names."""
    names = sorted(among)
    folded = {one.casefold(): one for one in names}
    close = get_close_matches(name.casefold(), folded, n=1)
    if close:
        return f": did you mean {folded[close[0]]}?"
    return f": there is {', '.join(names)}." if names else ": there is none."
