"""The stages of recent commands, from acceptance to the read model. Pure: callers pass the time.

The gateway has its own times; commandbus sends the times of a commit with the answers of this commit, and the
projector those of its transactions with its heartbeats.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from dualbus.protocol.records import CommitTimes, Transaction

from .request import Request

COMMANDS_MAX = 5000
TRANSACTIONS_MAX = 5000  # of the projector

SECOND = 1_000_000  # microseconds


class _Command(NamedTuple):
    """A command with the answer of commandbus."""

    key: str | None
    type: str
    outcome: str
    first: int  # the position of the first event; above `position` without events
    position: int
    late: bool  # the client had been answered before, with a timeout
    tries: int
    arrived: float
    sent_at: float
    answered: float
    times: CommitTimes


class Timeline:
    """The last commands with an answer of commandbus. `written` is the position of the last answer."""

    def __init__(self) -> None:
        self.written = 0
        self._commands: deque[tuple[Any, ...]] = deque(maxlen=COMMANDS_MAX)  # the fields of _Command
        self._transactions: deque[Transaction] = deque(maxlen=TRANSACTIONS_MAX)

    def record(self, request: Request, position: int, outcome: str, now: float, times: CommitTimes) -> None:
        """Record the answer to a command. Answers arrive in the order of the log."""
        first, self.written = self.written + 1, max(self.written, position)
        self._commands.append((
            request.key, request.type, outcome, first, position, request.answered, request.tries,
            request.arrived, request.sent_at, now, times,
        ))  # fmt: skip

    def projected(self, transactions: Iterable[Transaction]) -> None:
        """Record transactions of the projector."""
        self._transactions.extend(transactions)

    def clear(self) -> None:
        """Forget all commands, whose positions belonged to another log."""
        self._commands.clear()
        self._transactions.clear()

    def find(self, key: str | None, position: int | None) -> dict[str, Any] | None:
        """Return the stages of the first command with a key, or of the command that wrote a position.

        The key is not returned: only its client knows it.
        """
        for command in map(_Command._make, self._commands):
            if command.key == key if key is not None else command.first <= (position or 0) <= command.position:
                return self._described(command)
        return None

    def _described(self, command: _Command) -> dict[str, Any]:
        """Return a command for a reply: stages in microseconds since its acceptance, None if unknown."""
        times = command.times
        accepted = times.received - round((command.answered - command.arrived) * SECOND)
        has_events = command.first <= command.position
        stages = {
            "accepted": accepted,
            "sent": times.received - round((command.answered - command.sent_at) * SECOND),
            "deciding": times.deciding,
            "decided": times.decided,
            "committed": times.committed or None,
            "answered": times.received,
            "projected": self._projected_at(command.position) if has_events else None,
        }
        return {
            "type": command.type,
            "outcome": command.outcome,
            "first": command.first if has_events else None,
            "position": command.position,
            "late": command.late,
            "tries": command.tries + 1,
            "accepted_us": accepted,
            "stages": {name: None if time is None else time - accepted for name, time in stages.items()},
        }

    def _projected_at(self, position: int) -> int | None:
        """Return the time at which the read model reached a position; None if not reported yet, or too long ago."""
        return next((time for before, after, time in self._transactions if before < position <= after), None)
