"""The links of a worker to the gateways of several machines, used like a single link."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dualbus.log.identity import Identity
from dualbus.protocol.records import Job, Response
from dualbus.runtime.signals import Stop
from dualbus.transport.poller import Poll
from dualbus.transport.sockets import Socket
from dualbus.worker.link import WorkerLink


class WorkerLinks:
    """Links with a common queue of jobs and a common credit.

    Gateways number their sendings independently, so each job receives a number of its own here.
    """

    def __init__(self, links: Sequence[WorkerLink]) -> None:
        self.links = links
        self.jobs: deque[Job] = deque()
        self.cancelled: set[int] = set()  # gateways cancel queries only, and these links are of a commandbus
        self.credit = links[0].credit
        self.lock = threading.Lock()
        self.lock.acquire()
        self._origins: dict[int, tuple[WorkerLink, Job]] = {}  # by own number
        self._number = 0
        for link in links:
            link.credit = self.credit

    @property
    def identity(self) -> Identity | None:
        """The identity of the log."""
        return self.links[0].identity

    @property
    def position(self) -> int:
        """The position of the log."""
        return self.links[0].position

    @property
    def registration(self) -> int:
        """A number that rises with every registration at any gateway."""
        return sum(link.registration for link in self.links)

    @property
    def seconds_to_heartbeat(self) -> float:
        """Seconds until the next heartbeat is due."""
        return min(link.seconds_to_heartbeat for link in self.links)

    def report(self, identity: Identity, position: int) -> None:
        """Set the log and its position for the next heartbeats."""
        for link in self.links:
            link.report(identity, position)

    def register(self, active_since: int | None = 0) -> None:
        """Register at all gateways; discard all jobs."""
        for link in self.links:
            link.register(active_since)
        self._drop_outdated()

    @contextmanager
    def handling(self) -> Iterator[None]:
        """Surround the running of handlers: meanwhile the attendant may use the links."""
        self.lock.release()
        try:
            yield
        finally:
            self.lock.acquire()

    def wait(self, poll: Poll, seconds: float) -> set[Socket | int]:
        """Wait for messages of any gateway."""
        began = ended = time.monotonic()
        ready = poll.wait(0)
        waits = not ready and seconds > 0
        if waits:
            ready = poll.wait(seconds)
            ended = time.monotonic()
        for link in self.links:
            link.waited(ready, began, ended, seconds, ended if waits else link.socket.empty_at)
        return ready

    def receive(self) -> None:
        """Queue received work in `jobs`, and handle the other messages of the gateways."""
        for link in self.links:
            link.receive()
        self._collect()

    def receive_while_handling(self) -> None:
        """Receive from the attendant's thread."""
        for link in self.links:
            link.receive_while_handling()
        self._collect()

    def _collect(self) -> None:
        self._drop_outdated()
        for link in self.links:
            while link.jobs:
                job = link.jobs.popleft()
                self._number += 1
                self._origins[self._number] = link, job
                self.jobs.append(job._replace(id=self._number))

    def _drop_outdated(self) -> None:
        """Discard the jobs of earlier registrations; their gateways send them again."""
        outdated = {number for number, (link, job) in self._origins.items() if not link.is_current(job)}
        if outdated:
            kept = [job for job in self.jobs if job.id not in outdated]
            self.jobs.clear()
            self.jobs += kept
            self._origins = {number: found for number, found in self._origins.items() if number not in outdated}

    def is_current(self, job: Job) -> bool:
        """Return whether a job belongs to the current registration at its gateway."""
        found = self._origins.get(job.id)
        return found is not None and found[0].is_current(found[1])

    def answer(self, responses: Sequence[Response], times: Sequence[int] | None = None) -> None:
        """Send each answer to the gateway of its job, with the times of their commit."""
        by_link: dict[WorkerLink, list[Response]] = {link: [] for link in self.links}
        for number, position, body, details in responses:
            link, job = self._origins.pop(number, (None, None))
            if link and job and link.is_current(job):
                by_link[link].append((job.id, position, body, details))
        for link, found in by_link.items():
            link.answer(found, times)

    def return_jobs(self, jobs: Iterable[Job], position: int) -> None:
        """Return unstarted work to the gateways."""
        for returned in jobs:
            link, job = self._origins.pop(returned.id, (None, None))
            if link and job and link.is_current(job):
                link.return_jobs([job], position)

    def send_heartbeat(self, status: Callable[[], dict[str, Any]], *, now: bool = False, running: int = 0) -> None:
        """Send heartbeats if due. A gateway knows the running job by its own number."""
        origin = self._origins.get(running)
        for link in self.links:
            own = origin[1].id if origin and origin[0] is link else 0
            link.send_heartbeat(status, now=now, running=own)

    def finished(self, stop: Stop) -> bool:
        """Return whether to end: a stop was requested, and each gateway has all answers or is unreachable."""
        finished = [link.finished(stop) for link in self.links]  # each sends LEAVING
        return all(finished)
