"""The stages of recent commands, from acceptance to the read model. Pure: callers pass the time.

The gateway has its own times; commandbus sends the times of a commit with the answers of this commit, and the
projector those of its transactions with its heartbeats.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any

from dualbus.protocol.outcomes import SUCCESS
from dualbus.protocol.records import CommitTimes, Transaction

from .answered import AnsweredBatch

COMMANDS_MAX = 5000
TRANSACTIONS_MAX = 5000  # of the projector

SECOND = 1_000_000  # microseconds


_FIELDS = attrgetter("key", "type", "tries", "arrived", "sent_at")
_WRITTEN = attrgetter("written")


@dataclass
class _Batch:
    """The answers of commandbus in one message."""

    commands: list[tuple[str | None, str, int, float, float]]  # _FIELDS
    positions: list[int]
    outcomes: dict[int, str]  # by the number of the command in the batch, if not a success
    late: set[int]  # the numbers of commands whose clients had been answered before, with a timeout
    written: int  # the position before the batch
    answered: float
    times: CommitTimes

    @cached_property
    def keys(self) -> frozenset[str | None]:
        """The keys of the commands; made for the first search, as most batches are never searched."""
        return frozenset(command[0] for command in self.commands)


class Timeline:
    """The last commands with an answer of commandbus. `written` is the position of the last answer."""

    def __init__(self) -> None:
        self.written = 0
        self._count = 0
        self._batches: deque[_Batch] = deque()  # with COMMANDS_MAX commands, or few more
        self._transactions: deque[Transaction] = deque(maxlen=TRANSACTIONS_MAX)

    def record(self, batch: AnsweredBatch, now: float, times: CommitTimes) -> None:
        """Record answers to commands. Answers arrive in the order of the log."""
        if not batch.requests:
            return
        outcomes, late = {}, set()
        if batch.outcomes or batch.late:
            for number, request in enumerate(batch.requests):
                outcomes[number] = batch.outcome(request)
                if request.id in batch.late:
                    late.add(number)
        commands = list(map(_FIELDS, batch.requests))
        self._batches.append(_Batch(commands, batch.positions, outcomes, late, self.written, now, times))
        self.written = max(self.written, *batch.positions)
        self._count += len(commands)
        while self._count - len(self._batches[0].commands) >= COMMANDS_MAX:
            self._count -= len(self._batches.popleft().commands)

    def projected(self, transactions: Iterable[Transaction]) -> None:
        """Record transactions of the projector."""
        self._transactions.extend(transactions)

    def clear(self) -> None:
        """Forget all commands, whose positions belonged to another log."""
        self._batches.clear()
        self._transactions.clear()
        self._count = 0

    def find(self, key: str | None, position: int | None) -> dict[str, Any] | None:
        """Return the stages of the first command with a key, or of the command that wrote a position.

        The key is not returned: only its client knows it.
        """
        batch = self._batch_of(position or 0) if key is None else self._batch_with(key)
        if batch is None:
            return None
        written = batch.written
        for number, (command, last) in enumerate(zip(batch.commands, batch.positions, strict=True)):
            if command[0] == key if key is not None else written < (position or 0) <= last:
                return self._described(batch, number, written + 1)
            written = max(written, last)
        return None

    def _batch_with(self, key: str) -> _Batch | None:
        return next((batch for batch in self._batches if key in batch.keys), None)

    def _batch_of(self, position: int) -> _Batch | None:
        """Return the only batch that may have written a position: the last that began before it."""
        number = bisect_left(self._batches, position, key=_WRITTEN)
        return self._batches[number - 1] if number else None

    def _described(self, batch: _Batch, number: int, first: int) -> dict[str, Any]:
        """Return a command for a reply: stages in microseconds since its acceptance, None if unknown."""
        _, type_, tries, arrived, sent_at = batch.commands[number]
        position, times = batch.positions[number], batch.times
        accepted = times.received - round((batch.answered - arrived) * SECOND)
        has_events = first <= position
        stages = {
            "accepted": accepted,
            "sent": times.received - round((batch.answered - sent_at) * SECOND),
            "deciding": times.deciding,
            "decided": times.decided,
            "committed": times.committed or None,
            "answered": times.received,
            "projected": self._projected_at(position) if has_events else None,
        }
        return {
            "type": type_,
            "outcome": batch.outcomes.get(number, SUCCESS),
            "first": first if has_events else None,
            "position": position,
            "late": number in batch.late,
            "tries": tries + 1,
            "accepted_us": accepted,
            "stages": {name: None if time is None else time - accepted for name, time in stages.items()},
        }

    def _projected_at(self, position: int) -> int | None:
        """Return the time at which the read model reached a position; None if not reported yet, or too long ago."""
        return next((time for before, after, time in self._transactions if before < position <= after), None)
