"""The attendant of a worker: maintains the link to the gateway while a handler runs for long.

A thread, since handlers run in the main thread. During a slow handler the attendant sends heartbeats, returns queued
requests and stops the handler at its deadline; a hanging process does none of this. docs/guarantees.md describes how
the gateway distinguishes them.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from dualbus.protocol.codec import pack
from dualbus.protocol.codes import Code, MessageId, error
from dualbus.protocol.records import NO_DETAILS
from dualbus.runtime.errors import EXIT_SOFTWARE
from dualbus.worker.clock import CHECK_SECONDS  # a handler running at two checks is slow
from dualbus.worker.interrupt import Interrupt
from dualbus.worker.link import WorkerLink
from dualbus.worker.links import WorkerLinks

WARN_SECONDS = 1.0
FLUSH_SECONDS = 0.25  # for the last answers to leave

logger = logging.getLogger(__name__)

Status = Callable[[], dict[str, Any]]


class Running(Protocol):
    """The work of a running handler: a job, or an event."""

    @property
    def id(self) -> int: ...
    @property
    def what(self) -> str: ...
    @property
    def deadline(self) -> float: ...


class Attendant:
    """Watches `interrupt.running`. `returns`: return the jobs behind a slow handler, for other workers.

    `attend` is called often during a slow handler, from the attendant's thread.
    """

    def __init__(
        self,
        link: WorkerLink | WorkerLinks,
        interrupt: Interrupt,
        status: Status,
        *,
        handler: str,
        returns: bool = False,
        give_up_seconds: float = float("inf"),
        attend: Callable[[], None] | None = None,
    ) -> None:
        self._link = link
        self._interrupt = interrupt
        self._status = status
        self._handler = handler  # "decision", "query", "projection": for the log
        self._returns = returns
        self._give_up_seconds = give_up_seconds  # beyond its deadline, for an unstoppable handler
        self._attend_more = attend
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="attendant", daemon=True)
        self._running: Running | None = None
        self._since = 0.0
        self._warned = False
        self._slowest: dict[str, Any] = {}

    def start(self) -> None:
        """Start the thread. Call from the main thread."""
        self._interrupt.listen()
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join()

    def status(self) -> dict[str, Any]:
        """Return the running slow handler and the slowest handler so far, for Status."""
        running = self._running
        shown: dict[str, Any] = {"slowest": self._slowest} if self._slowest else {}
        if running and self._interrupt.running is running and (seconds := self._seconds()) >= CHECK_SECONDS:
            shown["running"] = {"type": running.what, "seconds": round(seconds, 2)}
        return shown

    def _seconds(self) -> float:
        return time.monotonic() - self._since

    def _watch(self) -> None:
        while not self._ended.wait(CHECK_SECONDS):
            now = time.monotonic()
            for link in self._link.links:
                link.clock.record_check(now)
            running: Any = self._interrupt.running
            if running is not self._running:
                self._report_end(now)
                self._running, self._since = running, now
            elif running is not None:
                self._attend(running)

    def _report_end(self, now: float) -> None:
        """Log the end of a slow handler."""
        ended, seconds = self._running, now - self._since
        if ended and seconds > self._slowest.get("seconds", WARN_SECONDS):
            self._slowest = {"type": ended.what, "seconds": round(seconds, 2)}
        if self._warned and ended:
            logger.warning("The %s %s ended after %.1f s.", self._handler, ended.what, seconds)
        self._warned = False

    def _attend(self, running: Running) -> None:
        if not self._link.lock.acquire(timeout=CHECK_SECONDS):
            return
        try:
            if self._interrupt.running is not running:
                return
            self._maintain_link(running)
            late = time.monotonic() - running.deadline
            if late > self._give_up_seconds:
                self._give_up(running)
            if late > 0 or running.id in self._link.cancelled:
                self._interrupt.stop(running)
        finally:
            self._link.lock.release()
        if not self._warned and self._seconds() >= WARN_SECONDS:
            self._warned = True
            behind = "" if self._returns else "; later work waits"
            logger.warning(
                "The %s %s has been running for %.1f s%s.", self._handler, running.what, WARN_SECONDS, behind
            )

    def _maintain_link(self, running: Running) -> None:
        """Receive, return the jobs behind the handler, and send a heartbeat."""
        link = self._link
        link.receive_while_handling()
        first = self._returns and not link.credit.busy
        link.credit.busy = self._returns
        if self._returns:
            queued = list(link.jobs)
            link.jobs.clear()
            link.return_jobs(queued, link.position)
        link.send_heartbeat(self._status, now=first, running=running.id)
        if self._attend_more:
            self._attend_more()

    def _give_up(self, running: Any) -> None:
        """End a process with an unstoppable handler. Answer its request, so that no other worker runs the handler."""
        text = f"{running.what} ran past its deadline and could not be stopped; its process was ended."
        msg_id: MessageId | None = running.body["msg_id"]
        self._link.answer([(running.id, 0, pack(error(msg_id, Code.CRASH, text)), NO_DETAILS)])
        logger.error("The %s %s ran %g s past its deadline and cannot be stopped: exiting.",
                     self._handler, running.what, self._give_up_seconds)  # fmt: skip
        self._ended.wait(FLUSH_SECONDS)
        os._exit(EXIT_SOFTWARE)
