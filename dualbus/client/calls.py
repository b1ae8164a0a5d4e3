"""The calls of a client: what waits, what is under way, what is tried again and when, and who is too late.

No socket, no clock, no thread: time and chance are handed in. Both clients are this with a way to wait.
"""

import heapq
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from dualbus.application.errors import ClientClosed, DeadlineExceeded, DualbusError, Unavailable
from dualbus.application.messages import Message
from dualbus.client.call import (
    COMMANDS,
    QUERIES,
    SHARED_BYTES_MAX,
    Call,
    Future,
    checked_timeout,
    packed_body,
    type_and_fields,
)
from dualbus.protocol.batches import joined
from dualbus.protocol.codec import unpack
from dualbus.protocol.codes import WireError
from dualbus.protocol.frames import REPLY, SEND, Frames
from dualbus.protocol.values import ID_CHARS_MAX

UNDER_WAY_MAX, UNDER_WAY_BYTES_MAX = 4000, 8 << 20  # below what the gateway takes on from one client
BACKOFF_SECONDS, BACKOFF_SECONDS_MAX = 0.05, 1.0
PATIENCE_SECONDS = 0.25  # beyond the deadline: the gateway answers then, and knows more than we do
LOOK_SECONDS = 0.01  # between two looks at who is too late
NEVER = float("inf")

logger = logging.getLogger(__name__)


class Batch(NamedTuple):
    """Calls, and the message that carries them."""

    frames: Frames
    calls: list[Call]


class PendingCalls:
    """The calls of one client that are not answered. `chance` is from 0 to 1; no two `new_name` are the same."""

    def __init__(
        self, address: str, src: str | None, timeout: float, chance: Callable[[], float], new_name: Callable[[], str]
    ) -> None:
        self.address = address
        self.src = new_name() if src is None else src
        if not isinstance(self.src, str) or not 0 < len(self.src) <= ID_CHARS_MAX:
            raise ValueError(f"src is {src!r}: give a text of 1 to {ID_CHARS_MAX} characters.")
        self.connected = False
        self.seen = 0  # the highest position of an answer: nothing older may be shown to us
        self._timeout = checked_timeout(timeout)
        self._chance = chance
        self._new_name = new_name
        self._key_prefix = ""  # what our keys begin with. Made late: a process may make a client and then fork
        self._last_id = 0
        self._waiting: deque[Call] = deque()
        self._under_way: dict[int, Call] = {}
        self._bytes_under_way = 0
        self._resting: list[tuple[float, int, Call]] = []  # a heap: until when, before it is sent again
        self._next_look = NEVER

    # Making calls.

    def command(
        self, message: Message | str, fields: Mapping[str, Any], timeout: float | None, key: str | None
    ) -> Call:
        """Make the call of a command. It always has a key, so that to send it twice is to do it once."""
        type_, payload = type_and_fields(message, fields)
        if key is None:
            self._key_prefix = self._key_prefix or self._new_name()
            key = f"{self._key_prefix}/{self._last_id + 1:x}"
        return self._call(COMMANDS, key, timeout, {"type": type_, "payload": payload, "idempotency_key": key})

    def query(self, message: Message | str, fields: Mapping[str, Any], timeout: float | None) -> Call:
        """Make the call of a query."""
        type_, params = type_and_fields(message, fields)
        return self._call(QUERIES, None, timeout, {"type": type_, "params": params})

    def _call(self, dest: str, key: str | None, timeout: float | None, body: dict[str, Any]) -> Call:
        seconds = self._timeout if timeout is None else checked_timeout(timeout)
        self._last_id += 1
        packed = packed_body({"msg_id": self._last_id, **body})
        return Call(self._last_id, body["type"], dest, key, packed, seconds)

    def add(self, call: Call, future: Future, now: float) -> None:
        """Take on a call: its future will be done, whatever happens."""
        call.future = future
        call.deadline = now + call.seconds
        self._waiting.append(call)
        self._next_look = min(self._next_look, call.deadline)

    # Sending.

    def next_batch(self, now: float) -> Batch | None:
        """Take what may be sent now, or as much of it as one message holds; None if there is nothing."""
        self._rested(now)
        packed: list[bytes] = []
        calls: list[Call] = []
        size = 0
        while self._waiting and len(self._under_way) < UNDER_WAY_MAX and self._bytes_under_way < UNDER_WAY_BYTES_MAX:
            call = self._waiting.popleft()
            ms = int((call.deadline - now) * 1000)
            if ms <= 0 or call.future.done():
                call.finish(self._too_late(call))
                continue
            envelope = call.envelope(self.src, ms, self.seen)
            size += len(envelope)
            if calls and size > SHARED_BYTES_MAX:
                self._waiting.appendleft(call)
                break
            packed.append(envelope)
            calls.append(call)
            self._under_way[call.id] = call
            self._bytes_under_way += len(call.body)
        return Batch(joined(SEND, packed), calls) if calls else None

    def put_back(self, batch: Batch) -> None:
        """Take back what could not be sent."""
        for call in batch.calls:
            self._landed(call)
        self._waiting.extendleft(reversed(batch.calls))

    def disconnected(self) -> None:
        """The gateway is gone with all it had: that is sent again, and each command has one effect."""
        self.connected = False
        calls = list(self._under_way.values())
        for call in calls:
            self._landed(call)
            call.lost()
        self._waiting.extendleft(reversed(calls))

    def _landed(self, call: Call) -> None:
        del self._under_way[call.id]
        self._bytes_under_way -= len(call.body)

    # Answers.

    def received(self, frames: Frames, now: float) -> None:
        """Take in a message with replies."""
        try:
            kind, packed = frames
            if kind != REPLY:
                raise WireError("It is no batch of replies.")
            for reply in unpack(packed):
                self._reply(reply["position"], reply["body"], now)
        except (WireError, KeyError, TypeError, ValueError) as problem:
            logger.warning("Dropped a message from %s that is not of the protocol: %s", self.address, problem)

    def _reply(self, position: int, body: dict[str, Any], now: float) -> None:
        self.seen = max(self.seen, position)
        call = self._under_way.get(body["in_reply_to"])
        if call is None:  # it was late, and its caller was told so; or nobody can say whose it is
            if body["in_reply_to"] is None:
                logger.warning("%s could not read a message of ours: %s", self.address, body["text"])
            return
        outcome, retryable = call.outcome(position, body)
        self._landed(call)
        if not (retryable and self._rests(call, now)):
            call.finish(outcome)

    def _rests(self, call: Call, now: float) -> bool:
        """Let a call be tried again after a while: by chance, and longer each time. False if there is no time."""
        until = now + self._chance() * min(BACKOFF_SECONDS_MAX, BACKOFF_SECONDS * 2.0**call.tries)
        call.tries += 1
        if until >= call.deadline:
            return False
        heapq.heappush(self._resting, (until, call.id, call))
        return True

    def _rested(self, now: float) -> None:
        while self._resting and self._resting[0][0] <= now:
            self._waiting.append(heapq.heappop(self._resting)[2])

    # Time.

    def expire(self, now: float) -> None:
        """Tell those whose time has passed."""
        if now < self._next_look:
            return
        self._rested(now)
        for call in [call for call in self._under_way.values() if call.deadline + PATIENCE_SECONDS <= now]:
            self._landed(call)
            call.lost()
            text = f"{call.type} was not answered within {call.seconds:g} s."
            call.finish(
                call.unknown(DeadlineExceeded, f"{text} The outcome is not known." if call.doubtful else text)
            )
        if late := [call for call in self._waiting if call.deadline <= now]:
            self._waiting = deque(call for call in self._waiting if call.deadline > now)
            for call in late:
                call.finish(self._too_late(call))
        ends = [call.deadline + PATIENCE_SECONDS for call in self._under_way.values()]
        ends += [call.deadline for call in self._waiting] + [call.deadline for _, _, call in self._resting]
        self._next_look = max(min(ends, default=NEVER), now + LOOK_SECONDS)

    def next_time(self) -> float:
        """Return when there is something to do, if nothing comes before that."""
        if self.connected and self._resting:
            return min(self._next_look, self._resting[0][0])
        return self._next_look

    def _too_late(self, call: Call) -> DualbusError:
        """Say why a call was not sent, or not sent again, while there was time."""
        if call.doubtful:
            text = f"{call.type} was sent, and the connection was lost before its answer. The outcome is not known."
            return call.unknown(DeadlineExceeded, text)
        if self.connected:
            return Unavailable("Too many calls came before this one, and it was not sent: try again later.")
        return Unavailable(f"There is no gateway at {self.address}: start it, or give the address it has.")

    def close(self) -> None:
        """Tell all that are left that there will be no answer."""
        for call in self._under_way.values():
            call.lost()
        for call in (*self._under_way.values(), *self._waiting, *(call for _, _, call in self._resting)):
            call.finish(call.unknown(ClientClosed, "The client was closed before the answer came."))
        self._under_way.clear()
        self._waiting.clear()
        self._resting.clear()
