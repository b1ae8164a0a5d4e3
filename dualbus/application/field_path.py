"""Paths of fields in problems: `email`, `address.zip`, `lines[0].amount`, `prices["a.b"]`."""

import re
from collections.abc import Iterable

_NAME = re.compile(r'[^.\[\]"]+')
_STEP = re.compile(rf'\["((?:[^"\\]|\\.)*)"\]|\[(\d+)\]|({_NAME.pattern})', re.DOTALL)


def field_path(steps: Iterable[str | int]) -> str:
    """Return the path of a field: ("lines", 0, "amount") is `lines[0].amount`. Unusual names are quoted."""
    return "".join(map(_part, steps)).removeprefix(".")


def _part(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    if _NAME.fullmatch(step):
        return f".{step}"
    escaped = re.sub(r'(["\\])', r"\\\1", step)
    return f'["{escaped}"]'


def field_steps(path: str) -> list[str]:
    """Return the names and indexes of a path."""
    return [
        index or name or re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)
        for quoted, index, name in _STEP.findall(path)
    ]
