"""The attendant of a worker: serves the connection to the gateway during long handlers.

A thread, since handlers run in the main thread. With a long handler the process still sends heartbeats, returns the
requests behind it, and stops it at its deadline; a hung process does none of that. docs/guarantees.md explains how
the gateway distinguishes the two.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from dualbus.protocol.codec import pack
from dualbus.protocol.codes import Code, MessageId, error
from dualbus.runtime.errors import EXIT_SOFTWARE
from dualbus.worker.interrupt import Interrupt
from dualbus.worker.link import WorkerLink

LOOK_SECONDS = 0.05  # between checks: a handler seen twice has been running for as long
WARN_SECONDS = 1.0
FLUSH_SECONDS = 0.25  # for the last answers to leave

logger = logging.getLogger(__name__)

Status = Callable[[], dict[str, Any]]


class Running(Protocol):
    """The subject of a running handler: a job, or an event."""

    @property
    def id(self) -> int: ...
    @property
    def what(self) -> str: ...
    @property
    def deadline(self) -> float: ...


class Attendant:
    """Watches `interrupt.running`. `returns` the jobs behind a long handler where another worker can do them."""

    def __init__(
        self,
        link: WorkerLink,
        interrupt: Interrupt,
        status: Status,
        *,
        handler: str,
        returns: bool = False,
        give_up_seconds: float = float("inf"),
    ) -> None:
        self._link = link
        self._interrupt = interrupt
        self._status = status
        self._handler = handler  # "decision", "query", "projection": for the log
        self._returns = returns
        self._give_up_seconds = give_up_seconds  # past its deadline, for a handler that cannot be stopped
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="attendant", daemon=True)
        self._running: Running | None = None
        self._since = 0.0
        self._warned = False
        self._slowest: dict[str, Any] = {}

    def start(self) -> None:
        """Begin to watch. Called in the main thread."""
        self._interrupt.listen()
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join()

    def status(self) -> dict[str, Any]:
        """Return the handlers for `Status`: the one running for long, and the slowest so far."""
        running = self._running
        shown: dict[str, Any] = {"slowest": self._slowest} if self._slowest else {}
        if running and self._interrupt.running is running and (seconds := self._seconds()) >= LOOK_SECONDS:
            shown["running"] = {"type": running.what, "seconds": round(seconds, 2)}
        return shown

    def _seconds(self) -> float:
        return time.monotonic() - self._since

    def _watch(self) -> None:
        began = time.monotonic()
        while not self._ended.wait(LOOK_SECONDS):
            now = time.monotonic()
            self._link.clock.waited(began, now, LOOK_SECONDS)
            began = now
            running: Any = self._interrupt.running
            if running is not self._running:
                self._note_end(now)
                self._running, self._since = running, now
            elif running is not None:
                self._attend(running)

    def _note_end(self, now: float) -> None:
        """Report the end of a long handler."""
        ended, seconds = self._running, now - self._since
        if ended and seconds > self._slowest.get("seconds", WARN_SECONDS):
            self._slowest = {"type": ended.what, "seconds": round(seconds, 2)}
        if self._warned and ended:
            logger.warning("The %s %s ended after %.1f s.", self._handler, ended.what, seconds)
        self._warned = False

    def _attend(self, running: Running) -> None:
        if not self._link.lock.acquire(timeout=LOOK_SECONDS):
            return
        try:
            if self._interrupt.running is not running:
                return
            self._use_line(running)
            late = time.monotonic() - running.deadline
            if late > self._give_up_seconds:
                self._give_up(running)
            if late > 0 or running.id in self._link.cancelled:
                self._interrupt.stop(running)
        finally:
            self._link.lock.release()
        if not self._warned and self._seconds() >= WARN_SECONDS:
            self._warned = True
            behind = "" if self._returns else "; whatever comes after it waits"
            logger.warning(
                "The %s %s has been running for %.1f s%s.", self._handler, running.what, WARN_SECONDS, behind
            )

    def _use_line(self, running: Running) -> None:
        """Receive, return the requests behind the handler, and send a heartbeat."""
        link = self._link
        link.receive_while_handling()
        first = self._returns and not link.credit.busy
        link.credit.busy = self._returns
        if self._returns:
            waiting = list(link.jobs)
            link.jobs.clear()
            link.give_back(waiting, link.position)
        link.beat(self._status, now=first, running=running.id)

    def _give_up(self, running: Any) -> None:
        """End a process whose handler cannot be stopped. The answer leaves first, so no other worker runs it."""
        text = f"{running.what} ran past its deadline and could not be stopped; its process was ended."
        msg_id: MessageId | None = running.body["msg_id"]
        self._link.answer([(running.id, 0, pack(error(msg_id, Code.CRASH, text)))])
        logger.error("The %s %s ran %g s past its deadline and cannot be stopped: this process ends.",
                     self._handler, running.what, self._give_up_seconds)  # fmt: skip
        self._ended.wait(FLUSH_SECONDS)
        os._exit(EXIT_SOFTWARE)
