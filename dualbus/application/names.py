"""Suggest the nearest name for a typo."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, among: Iterable[str]) -> str:
    """Return the end of a sentence: the nearest name, or all names."""
    names = sorted(among)
    folded = {known.casefold(): known for known in names}
    close = get_close_matches(name.casefold(), folded, n=1)
    if close:
        return f": did you mean {folded[close[0]]}?"
    return f": known are {', '.join(names)}." if names else ": none are defined."
