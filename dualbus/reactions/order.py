"""The order of the events of a reaction: in sequence for each tag, independent otherwise. No socket, no clock."""

from collections import deque
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar


class Ordered(Protocol):
    """An event, waiting, running or parked."""

    @property
    def position(self) -> int: ...
    @property
    def tags(self) -> frozenset[str]: ...


J = TypeVar("J", bound=Ordered)


class TagOrder(Generic[J]):
    """Unfinished and parked events by tag.

    An event is ready when no earlier event with a common tag is unfinished. A parked event blocks all later events
    with a common tag, which are parked in their turn.
    """

    def __init__(self) -> None:
        self.parked: dict[int, J] = {}
        self._unfinished: dict[int, J] = {}
        self._queues: dict[str, deque[J]] = {}
        self._parked_at: dict[str, set[int]] = {}  # positions by tag

    @property
    def unfinished(self) -> list[int]:
        """The positions of the unfinished and parked events."""
        return [*self._unfinished, *self.parked]

    def blocked(self, job: J) -> bool:
        """Return whether an earlier event with a tag of this event is parked."""
        positions = (self._parked_at.get(tag) for tag in job.tags)
        return any(found and min(found) < job.position for found in positions)

    def add(self, job: J) -> bool:
        """Add an event behind the earlier events with a common tag; return whether the event is ready."""
        self._unfinished[job.position] = job
        for tag in job.tags:
            self._queues.setdefault(tag, deque()).append(job)
        return self._ready(job)

    def finish(self, job: J) -> list[J]:
        """Remove a finished event; return the events ready now."""
        return [following for following in self._remove(job) if self._ready(following)]

    def park(self, job: J) -> list[J]:
        """Park an unfinished event and all blocked events; return these, in order."""
        reached = set(job.tags)
        parked = []
        for position in sorted(self._unfinished):
            one = self._unfinished[position]
            if one is job or (position > job.position and reached & one.tags):
                reached |= one.tags
                parked.append(one)
        for one in parked:
            self._remove(one)
            self.mark_parked(one)
        return parked

    def mark_parked(self, job: J) -> None:
        """Record a parked event."""
        self.parked[job.position] = job
        for tag in job.tags:
            self._parked_at.setdefault(tag, set()).add(job.position)

    def release(self, position: int) -> list[J]:
        """Remove a parked event; return the event and the unblocked parked events, in order."""
        job = self._unpark(position)
        released, reached = [job], set(job.tags)
        for later in sorted(self.parked):
            following = self.parked[later]
            if later > position and reached & following.tags and not self.blocked(following):
                reached |= following.tags
                released.append(self._unpark(later))
        return released

    def _unpark(self, position: int) -> J:
        job = self.parked.pop(position)
        for tag in job.tags:
            self._parked_at[tag].discard(position)
            if not self._parked_at[tag]:
                del self._parked_at[tag]
        return job

    def _ready(self, job: J) -> bool:
        return all(self._queues[tag][0] is job for tag in job.tags)

    def _remove(self, job: J) -> Iterable[J]:
        """Remove an event from all queues; return the new first events, each once."""
        first: dict[int, J] = {}
        del self._unfinished[job.position]
        for tag in job.tags:
            queue = self._queues[tag]
            if queue[0] is job:
                queue.popleft()
                if queue:
                    first[queue[0].position] = queue[0]
            else:
                queue.remove(job)
            if not queue:
                del self._queues[tag]
        return first.values()
