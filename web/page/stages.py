"""The stages of a command as bars on a scale of microseconds."""

from typing import NamedTuple

_STEPS = (  # name, from a stage, to a stage
    ("waits in the gateway", "accepted", "sent"),
    ("on the way, waits in commandbus", "sent", "deciding"),
    ("decisions of the batch", "deciding", "decided"),
    ("commit with fsync", "decided", "committed"),
    ("answer on the way back", "committed", "answered"),
    ("projected to the read model", "committed", "projected"),
)
WIDTH = 1000


class Bar(NamedTuple):
    """A step between two stages: times in seconds, and the place on the scale."""

    name: str
    stage: str
    begins: float
    seconds: float
    x: int
    width: int


class Stages:
    """The bars of a command. `missing` names the stages without a time."""

    def __init__(self, stages: dict[str, int | None]) -> None:
        times = {name: time for name, time in stages.items() if time is not None}
        self.missing = [name for name, time in stages.items() if time is None]
        self.total = max(times.values(), default=0) / 1e6
        self.answered = times.get("answered", 0) / 1e6
        self.bars: list[Bar] = []
        if "committed" not in times and "decided" in times:
            times["committed"] = times["decided"]  # nothing was written
        scale = WIDTH / max(1, *times.values())
        for name, first, last in _STEPS:
            if first in times and last in times and last not in self.missing:
                begins, ends = times[first], max(times[first], times[last])
                width = max(3, round((ends - begins) * scale))
                x = min(round(begins * scale), WIDTH - width)
                self.bars.append(Bar(name, last, begins / 1e6, (ends - begins) / 1e6, x, width))
