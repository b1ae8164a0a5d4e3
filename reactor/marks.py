"""Marks: the log remembers the progress of the effects and the skipped events.

A reactor reads the marks if its file is missing, or perhaps behind the reactor of another host.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from itertools import accumulate, pairwise
from typing import NamedTuple, Self

from dualbus.log.contract import ReadableLog
from dualbus.protocol.origin import MARK

FINISHED, SKIPPED = "finished", "skipped"  # parts of the keys
POSITION, UNFINISHED = "position", "unfinished"  # in the metadata
UNFINISHED_CHARS_MAX = 3800  # of a mark: the metadata of a command is bounded
OUTCOMES_AT_ONCE = 10_000


class Finished(NamedTuple):
    """The progress of an effect: all events up to the position are finished, except the unfinished ones."""

    position: int = 0
    unfinished: tuple[int, ...] = ()  # parked or under way, in order

    def bounded(self) -> Self:
        """Return the progress as far as a mark can describe it."""
        chars = 0
        for number, distance in enumerate(self._distances()):
            chars += len(distance) + 1
            if chars > UNFINISHED_CHARS_MAX:
                return type(self)(self.unfinished[number] - 1, self.unfinished[:number])
        return self

    def _distances(self) -> list[str]:
        """Return the distance of each unfinished event from the one before, which is shorter than its position."""
        return [str(after - before) for before, after in pairwise((0, *self.unfinished))]

    def metadata(self) -> dict[str, str]:
        """Return the metadata of a mark."""
        return {POSITION: str(self.position), UNFINISHED: " ".join(self._distances())}

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> Self:
        """Return the progress in the metadata of a mark."""
        distances = map(int, metadata.get(UNFINISHED, "").split())
        return cls(int(metadata[POSITION]), tuple(accumulate(distances)))


class Marks(NamedTuple):
    """The marks of a reaction."""

    finished: Finished = Finished()
    skipped: frozenset[int] = frozenset()  # positions of the events skipped by an operator

    def has_finished(self, position: int) -> bool:
        """Return whether an event is finished or skipped."""
        finished = position <= self.finished.position and position not in self.finished.unfinished
        return finished or position in self.skipped


class LogMarks:
    """Reads the marks of all reactions from the log."""

    def __init__(self, log: ReadableLog) -> None:
        self._log = log
        self._read = 0
        self._finished: defaultdict[str, Finished] = defaultdict(Finished)
        self._skipped: defaultdict[str, set[int]] = defaultdict(set)

    async def of(self, reaction: str) -> Marks:
        """Read on to the end of the log; return the marks of a reaction."""
        while outcomes := self._log.commands(self._read, OUTCOMES_AT_ONCE):
            self._read += len(outcomes)
            for outcome in outcomes:
                if outcome.origin.type == MARK:
                    self._add(outcome.command_id, outcome.origin.metadata)
            await asyncio.sleep(0)  # so that a long log does not delay heartbeats
        return Marks(self._finished[reaction], frozenset(self._skipped[reaction]))

    def _add(self, key: str, metadata: Mapping[str, str]) -> None:
        reaction, kind, _ = f"{key}//".split("/", 2)
        if kind == FINISHED:
            found = Finished.of(metadata)
            if found.position >= self._finished[reaction].position:  # a reactor that was paused may be behind
                self._finished[reaction] = found
        elif kind == SKIPPED:
            self._skipped[reaction].add(int(metadata[POSITION]))
