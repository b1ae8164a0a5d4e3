"""Stores the number of each attempt of an effect before the attempt runs.

So an effect that ends the process counts as failed at the next start, and is parked after the last try. The attempt
of a process manager is stored at the next start.
"""

import asyncio
from collections.abc import Callable, Mapping

from dualbus.reactions.store import ATTEMPT_FINISHED, Attempted, Changes

from .job import Job


class Attempts:
    """The attempts of a reaction."""

    def __init__(self, reaction: str, wake: Callable[[], None]) -> None:
        self._reaction = reaction
        self._wake = wake
        self._interrupted: dict[int, int] = {}  # by position, an attempt during which the process has ended
        self._stored: set[int] = set()  # positions
        self._changes = Changes()
        self._storing: list[asyncio.Future[None]] = []

    def load(self, stored: Mapping[int, int]) -> None:
        """Restore the last attempts of unfinished events."""
        self._interrupted.update(stored)
        self._stored.update(stored)

    def interrupted(self, position: int, tries: int) -> int:
        """Return the number of the attempt during which the process has ended, if after these tries, or 0."""
        number = self._interrupted.pop(position, 0)
        return number if number > tries else 0

    async def begin(self, job: Job) -> None:
        """Wait until the number of the next attempt is stored."""
        self._changes.attempts.append(Attempted(self._reaction, job.position, job.tries + 1))
        self._stored.add(job.position)
        stored = asyncio.get_running_loop().create_future()
        self._storing.append(stored)
        self._wake()
        await stored

    def withdraw(self, job: Job) -> None:
        """Forget the attempt under way: reactor was stopped, and the attempt does not count."""
        self.reset(job)

    def reset(self, job: Job) -> None:
        """Store the number of tries of an event."""
        if job.position in self._stored:
            self._changes.attempts.append(Attempted(self._reaction, job.position, job.tries))

    def skip(self, job: Job) -> None:
        """Store a skipped event as finished: the reaction's position may not have passed it."""
        self._stored.add(job.position)
        self.finish(job, keep=True)

    def finish(self, job: Job, *, keep: bool = False) -> None:
        """Remove a finished event, or `keep` it as finished until the reaction's position has passed it."""
        if job.position in self._stored:
            self._stored.remove(job.position)
            if keep:
                self._changes.attempts.append(Attempted(self._reaction, job.position, ATTEMPT_FINISHED))
            else:
                self._changes.finished.append((self._reaction, job.position))

    def collect(self) -> Changes:
        """Return the changes since the last call."""
        changes, self._changes = self._changes, Changes()
        return changes

    def stored(self) -> None:
        """Run the attempts with a stored number."""
        storing, self._storing = self._storing, []
        for future in storing:
            if not future.done():
                future.set_result(None)
