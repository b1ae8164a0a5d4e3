"""The contract of a commit log: the engine of a log on several machines.

A commit log stores numbered bodies, a body for each commit. The number is the fence between writers: of all bodies
that any process puts at a number, one is stored, durably on a majority of the machines. `SharedLog` combines a commit
log with a replica in SQLite.

`dualbus.testing.commit_log_contract` has the tests for an engine.
"""

from collections.abc import Callable
from typing import Any, Protocol

from dualbus.log.contract import Log, LogError, LogUnavailable, RecordedEvent
from dualbus.runtime.errors import EXIT_UNAVAILABLE, ConfigError


class OutcomeUnknown(LogError):
    """No majority answered before the deadline: the body is stored, or will be, or never will be."""

    exit_code = EXIT_UNAVAILABLE  # at the start of a process: a supervisor starts the process again


class CommitLogUnreachable(LogUnavailable):
    """The engine does not answer. Nothing was written."""

    exit_code = EXIT_UNAVAILABLE


class CommitLogRefused(ConfigError):
    """The engine is configured in a way that can lose acknowledged commits, or stores another log."""


def nothing() -> None:
    """Do nothing."""


class CommitLog(Protocol):
    """A log of bodies, numbered from 1 without holes. Each number is assigned once."""

    name: str  # for error texts, without credentials
    wakeup: int  # a descriptor, readable after an announcement until the next call of `announcements`

    @property
    def body_bytes_max(self) -> int:
        """The size of the largest body. May change."""
        ...

    def put(self, number: int, body: bytes, seconds: float, meanwhile: Callable[[], None] = nothing) -> bool:
        """Store the body durably at the next number. Return False if the number has another body.

        `meanwhile` is called once, after the body was sent and before the answer is awaited.
        True: this body is at the number, from this call or an earlier call. False: this body never will be.
        Raises LogUnavailable (nothing was stored and never will be) or OutcomeUnknown (after `seconds`).
        """
        ...

    def get(self, after: int, limit: int) -> list[bytes]:
        """Return up to `limit` bodies after a number, in order.

        A member of the engine that lags may return fewer bodies, never different bodies. Raises LogUnavailable.
        """
        ...

    def tail(self) -> int | None:
        """Return the last number according to a member of the engine, or None without an answer.

        The number may be old: no proof of a loss, and no proof of the end.
        """
        ...

    def announce(self, message: bytes) -> None:
        """Send a message to the other processes that are connected now. Delivery is not guaranteed."""
        ...

    def announcements(self) -> list[bytes]:
        """Return the messages received since the last call, those of this process included; old ones are dropped."""
        ...

    def lead(self) -> None:
        """Request that the engine leads from the machine of this process, and return at once."""
        ...

    def status(self) -> dict[str, Any]:
        """Return the state of the engine for Status."""
        ...

    def close(self) -> None:
        """Disconnect."""
        ...


class SharedLog(Log, Protocol):
    """A log on a commit log, with a replica on this machine. Any number of machines open the same log.

    A writer becomes active with a claim, a commit of its own, and stands by again after a commit of another writer.
    Two active writers are harmless: only a single writer can put a body at a number.
    """

    since: int | None  # the commit of the claim of this writer while active; None while standing by
    reachable: bool  # the engine has answered, as of the last turn
    wakeup: int  # a descriptor, readable when `turn` has work

    @property
    def seconds_to_turn(self) -> float:
        """Seconds until `turn` has work without a signal of `wakeup`."""
        ...

    def turn(self) -> list[RecordedEvent]:
        """Copy commits of other writers into the replica, and return their events. Claim if no writer is active.

        Raises LogDamaged if the commit log differs from the replica, or has lost commits.
        """
        ...

    def stay_active(self) -> None:
        """Announce this writer while a long decision delays `turn`. May be called from another thread."""
        ...

    def leave(self) -> None:
        """Stand by, and request the other writers to claim at once."""
        ...

    def status(self) -> dict[str, Any]:
        """Return the writers, the roles and the lags for Status."""
        ...
