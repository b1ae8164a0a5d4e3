"""Commands of reactions: sent under their keys until the log has an outcome."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Self, TypeAlias

from dualbus.application.errors import (
    ClientClosed,
    DeadlineExceeded,
    Executed,
    HandlerError,
    KeyUsed,
    Rejected,
    Unavailable,
    problems_from,
)
from dualbus.log.contract import Outcome, ReadableLog
from dualbus.protocol.origin import MARK

PAUSE_SECONDS, PAUSE_SECONDS_MAX = 0.05, 1.0  # while the cluster is unavailable
DEPTH = "depth"  # in the metadata of a command: the length of the chain of reactions

Send: TypeAlias = Callable[[str, Mapping[str, Any], str, Mapping[str, Any]], Awaitable[Any]]
"""Sends type, payload, key and origin of a command; raises a DualbusError."""

logger = logging.getLogger(__name__)


class Cause(NamedTuple):
    """The origin of the commands caused by an event."""

    position: int
    correlation: str
    depth: int = 0  # reactions before this event, in the same chain
    trace: str | None = None

    @classmethod
    def of(cls, position: int, outcome: Outcome | None) -> Self:
        """Return the cause for an event, from the outcome of the event's command."""
        if outcome is None:
            return cls(position, str(position))
        origin = outcome.origin
        depth = origin.metadata.get(DEPTH, "") if origin.cause is not None else ""
        return cls(position, origin.correlation, int(depth) if depth.isdecimal() else 0, origin.trace)

    def origin(self, *, after_pause: bool = False) -> dict[str, Any]:
        """Return the fields of a command's body. A timer with a delay starts another chain."""
        depth = 0 if after_pause else self.depth + 1
        body = {"cause": self.position, "correlation": self.correlation, "metadata": {DEPTH: str(depth)}}
        return body if self.trace is None else {**body, "trace": self.trace}


class CommandFailed(Exception):
    """The cluster has refused to decide the command, and nothing was executed; a later try may succeed."""


class OtherCommand(Exception):
    """The log has another command under the key: an earlier version of the reaction has reacted to the event."""


class Commands:
    """Executes commands. Waits without an end while the cluster is unavailable: the key makes a repetition safe."""

    def __init__(self, send: Send, log: ReadableLog) -> None:
        self.counters = {"commands": 0, "refused": 0}
        self.log = log
        self.in_flight = 0
        self._send = send

    async def execute(
        self, type_: str, payload: Mapping[str, Any], key: str, origin: Mapping[str, Any]
    ) -> Rejected | None:
        """Execute a command once; return its refusal, or None. Raises CommandFailed and OtherCommand."""
        tries = 0
        while True:
            self.in_flight += 1
            try:
                await self._send(type_, payload, key, origin)
            except Executed:
                pass
            except Rejected as refused:
                return self._refused(type_, refused, key)
            except HandlerError as failed:
                # Several command buses may have died during the command, and one of them perhaps after the commit.
                outcome = None if failed.outcome_known else self.log.outcomes([key]).get(key)
                if outcome is None:
                    raise self._failure(failed, key) from None
                return self.known(type_, outcome)
            except (Unavailable, DeadlineExceeded, ClientClosed) as unavailable:
                if tries == 1:
                    logger.warning("%s waits for the cluster: %s", key, unavailable)
                await asyncio.sleep(random.random() * min(PAUSE_SECONDS * 2 ** min(tries, 10), PAUSE_SECONDS_MAX))  # noqa: S311
                tries += 1
                continue
            finally:
                self.in_flight -= 1
            self.counters["commands"] += 1
            return None

    async def mark(self, key: str, metadata: Mapping[str, str]) -> Outcome:
        """Reserve a key in the log, with metadata; return the outcome, also of an earlier mark under the key.

        Raises OtherCommand for the outcome of a client's command: its metadata may have any text.
        """
        while not (found := self.log.outcomes([key])):
            try:
                await self.execute(MARK, {}, key, {"correlation": key, "metadata": dict(metadata)})
            except (CommandFailed, OtherCommand):
                await asyncio.sleep(PAUSE_SECONDS_MAX)
        if (type_ := found[key].origin.type) != MARK:
            raise OtherCommand(f"The log has a command of a client under {key} ({type_}): rename the reaction.")
        return found[key]

    def known(self, type_: str, outcome: Outcome) -> Rejected | None:
        """Return the result of an executed command. Raises OtherCommand for a command of another type."""
        if outcome.origin.type == MARK:  # of a cancelled timer
            return None
        if outcome.origin.type not in (type_, ""):
            raise OtherCommand(_other(outcome))
        return Rejected(*problems_from(outcome.errors)) if outcome.errors else None

    def _refused(self, type_: str, refused: Rejected, key: str) -> Rejected:
        """Return a refusal of the log; raise CommandFailed for another, of which the log remembers nothing.

        While a deployment is under way, commandbus may refuse the form of a command of another version.
        """
        if not self.log.outcomes([key]):
            raise CommandFailed(
                f"{type_} was refused before its decision: {refused}. Run the same version of the application in "
                "commandbus and reactor, or correct the reaction."
            )
        self.counters["refused"] += 1
        return refused

    def _failure(self, failed: HandlerError, key: str) -> Exception:
        if isinstance(failed, KeyUsed):
            return OtherCommand(_other(self.log.outcomes([key])[key]))
        return CommandFailed(str(failed))


def _other(outcome: Outcome) -> str:
    return (
        f"The log has another command under {outcome.command_id} ({outcome.origin.type or 'of unknown type'}): an "
        "earlier version of the reaction has reacted to this event. Compare them, then skip the event."
    )
