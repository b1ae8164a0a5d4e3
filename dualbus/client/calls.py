"""The pending calls of a client: queued, in flight, or deferred until a retry.

No socket, no clock, no thread: the caller passes in time and randomness. Both clients add only a loop.
"""

import heapq
import logging
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from dualbus.application.errors import ClientClosed, DeadlineExceeded, DualbusError, HandlerError, Unavailable
from dualbus.application.messages import Message, Query
from dualbus.client.call import (
    COMMANDS,
    GATEWAY,
    QUERIES,
    SHARED_BYTES_MAX,
    Call,
    Future,
    checked_timeout,
    packed_body,
    type_and_fields,
)
from dualbus.client.sessions import SessionNames
from dualbus.protocol.batches import joined, read_batch
from dualbus.protocol.codes import WireError
from dualbus.protocol.frames import REPLY, SEND, Frames
from dualbus.protocol.values import ID_CHARS_MAX
from dualbus.telemetry.tracing import current_trace

if TYPE_CHECKING:
    from dualbus.transport.keys import Keys

IN_FLIGHT_MAX, IN_FLIGHT_BYTES_MAX = 4000, 8 << 20  # below the gateway's limits per client
BACKOFF_SECONDS, BACKOFF_SECONDS_MAX = 0.05, 1.0
REPLY_GRACE_SECONDS = 0.25  # after the deadline: the gateway's own reply is more precise
EXPIRY_CHECK_SECONDS = 0.01  # the minimal pause between checks for expired calls
NEVER = float("inf")
_NO_ORIGIN: Mapping[str, Any] = MappingProxyType({})

logger = logging.getLogger(__name__)


class Batch(NamedTuple):
    """A message for the gateway, and its calls."""

    message: bytes
    calls: list[Call]


class PendingCalls:
    """The calls of a client without a reply. `jitter` returns 0 to 1; `new_name` returns unique names."""

    def __init__(
        self, address: str, src: str | None, timeout: float, jitter: Callable[[], float], new_name: Callable[[], str]
    ) -> None:
        self.addresses: tuple[str, ...] = (address,)  # of the gateways, all of the same cluster
        self.src = new_name() if src is None else src
        if not isinstance(self.src, str) or not 0 < len(self.src) <= ID_CHARS_MAX:
            raise ValueError(f"src must be text of 1 to {ID_CHARS_MAX} characters, not {src!r}.")
        self.connected = False
        self.keys: Keys | None = None
        self.refused = False  # the keys of this client, or of the gateway
        self._names = SessionNames(self.src)
        self.session = self._names.own
        self._timeout = checked_timeout(timeout)
        self._jitter = jitter
        self._new_name = new_name
        self._key_prefix = ""  # created at the first command, because a process may fork after it creates a client
        self._last_id = 0
        self._queued: deque[Call] = deque()
        self._in_flight: dict[int, Call] = {}
        self._bytes_in_flight = 0
        self._deferred: list[tuple[float, int, Call]] = []  # a heap by the time of the retry
        self._next_expiry = NEVER

    # Creating calls.

    def command(
        self,
        message: Message | str,
        fields: Mapping[str, Any],
        timeout: float | None,
        key: str | None,
        metadata: Mapping[str, str] | None = None,
        origin: Mapping[str, Any] = _NO_ORIGIN,
    ) -> Call:
        """Create the call of a command. Its key, also if generated, prevents a second execution on retries.

        `origin` is for processes: actor, cause, correlation and trace.
        """
        type_, payload = type_and_fields(message, fields)
        if key is None:
            self._key_prefix = self._key_prefix or self._new_name()
            key = f"{self._key_prefix}/{self._last_id + 1:x}"
        body = {"type": type_, "payload": payload, "idempotency_key": key, **origin}
        return self._call(COMMANDS, key, timeout, body if metadata is None else {**body, "metadata": dict(metadata)})

    def query(self, message: Message | str, fields: Mapping[str, Any], timeout: float | None) -> Call:
        """Create the call of a query."""
        type_, params = type_and_fields(message, fields)
        call = self._call(QUERIES, None, timeout, {"type": type_, "params": params})
        call.query = message if isinstance(message, Query) else None
        return call

    def report(self, type_: str, timeout: float | None, **params: str | int | None) -> Call:
        """Create the call of a request that the gateway answers itself."""
        given = {name: value for name, value in params.items() if value is not None}
        return self._call(GATEWAY, None, timeout, {"type": type_, "params": given})

    def _call(self, dest: str, key: str | None, timeout: float | None, body: dict[str, Any]) -> Call:
        seconds = self._timeout if timeout is None else checked_timeout(timeout)
        if trace := current_trace():
            body = {**body, "trace": trace}
        self._last_id += 1
        packed = packed_body({"msg_id": self._last_id, **body})
        return Call(self._last_id, body["type"], dest, key, packed, seconds, self.session)

    def add(self, call: Call, future: Future, now: float) -> None:
        """Queue a call. Its future is resolved in every case, at the latest after the deadline."""
        self._names.begin(call)
        call.future = future
        call.deadline = now + call.seconds
        self._queued.append(call)
        self._next_expiry = min(self._next_expiry, call.deadline)

    @property
    def address(self) -> str:
        """The address of the current gateway."""
        return self.addresses[0]

    @property
    def waiting(self) -> bool:
        """Whether calls wait to be sent."""
        return bool(self._queued or self._deferred)

    @property
    def idle(self) -> bool:
        """Whether no call waits for a reply."""
        return not (self._queued or self._in_flight or self._deferred)

    def next_address(self) -> None:
        """Continue with the next gateway. Each call has a position, so that a session reads its own writes there."""
        self.addresses = (*self.addresses[1:], self.addresses[0])

    # Sending.

    def next_batch(self, now: float) -> Batch | None:
        """Return queued calls for a message, within the limits in flight; None if no call can be sent."""
        self._queue_due_retries(now)
        packed: list[bytes] = []
        calls: list[Call] = []
        size = 0
        while self._queued and len(self._in_flight) < IN_FLIGHT_MAX and self._bytes_in_flight < IN_FLIGHT_BYTES_MAX:
            call = self._queued.popleft()
            ms = int((call.deadline - now) * 1000)
            if ms <= 0 or call.future.done():
                self._finish(call, self._unsent_error(call))
                continue
            envelope = call.envelope(ms)
            size += len(envelope)
            if calls and size > SHARED_BYTES_MAX:
                self._queued.appendleft(call)
                break
            packed.append(envelope)
            calls.append(call)
            self._in_flight[call.id] = call
            self._bytes_in_flight += len(call.body)
        return Batch(joined(SEND, packed), calls) if calls else None

    def put_back(self, batch: Batch) -> None:
        """Queue the calls of an unsent batch again, in front."""
        for call in batch.calls:
            self._remove_in_flight(call)
        self._queued.extendleft(reversed(batch.calls))

    def disconnected(self) -> None:
        """Queue the calls in flight again: the gateway lost them. Idempotency keys prevent a second effect."""
        self.connected = False
        calls = list(self._in_flight.values())
        for call in calls:
            self._remove_in_flight(call)
            call.lost()
        self._queued.extendleft(reversed(calls))

    def _remove_in_flight(self, call: Call) -> None:
        del self._in_flight[call.id]
        self._bytes_in_flight -= len(call.body)

    # Replies.

    def received(self, frames: Frames, now: float) -> None:
        """Process a message with replies."""
        try:
            kind, replies = read_batch(frames)
            if kind != REPLY:
                raise WireError("The message is not a batch of replies.")
            for reply in replies:
                self._reply(reply["position"], reply["body"], reply.get("details") or {}, now)
        except (WireError, KeyError, TypeError, ValueError) as error:
            logger.warning("Dropped an invalid message from %s: %s", self.address, error)

    def _reply(self, position: int, body: dict[str, Any], details: dict[str, Any], now: float) -> None:
        call = self._in_flight.get(body["in_reply_to"])
        if call is None:  # the call has expired, or the gateway could not read its id
            if body["in_reply_to"] is None:
                logger.warning(
                    "The gateway at %s could not decode a message of this client: %s", self.address, body["text"]
                )
            return
        outcome, retryable = call.outcome(position, body, details)
        call.session.position = max(call.session.position, position)
        self._remove_in_flight(call)
        if self._is_early(call, outcome):
            self._send_again(call)
        elif not (retryable and self._defer(call, now)):
            self._finish(call, outcome)

    def _is_early(self, call: Call, outcome: Any) -> bool:
        """Return whether a query was answered before an earlier command of its session, which is sent again.

        The gateway knows the command as answered: it was refused, or lost with a connection. A query function may
        have raised because of what the command would have changed; a refusal of the query itself is final.
        """
        first = self._first_command(call)
        early = first is not None and first.id < call.id
        answered = isinstance(outcome, HandlerError) or not isinstance(outcome, DualbusError)
        return early and call.dest == QUERIES and answered

    def _first_command(self, call: Call) -> Call | None:
        """Return the first pending command of a call's session."""
        return next(iter(call.session.commands.values()), None) if call.session.commands else None

    def _send_again(self, query: Call) -> None:
        """Queue a query behind the first pending command of its session."""
        first = self._first_command(query)
        if first and first.retry_at:
            heapq.heappush(self._deferred, (min(first.retry_at, query.deadline), query.id, query))
        else:
            self._queued.append(query)

    def _finish(self, call: Call, outcome: Any) -> None:
        self._names.end(call)
        call.finish(outcome)

    def _defer(self, call: Call, now: float) -> bool:
        """Defer a retry with exponential backoff and jitter; return False if the deadline is too close."""
        retry_at = now + self._jitter() * min(BACKOFF_SECONDS_MAX, BACKOFF_SECONDS * 2.0**call.tries)
        call.tries += 1
        if retry_at >= call.deadline:
            return False
        call.retry_at = retry_at
        heapq.heappush(self._deferred, (retry_at, call.id, call))
        return True

    def _queue_due_retries(self, now: float) -> None:
        while self._deferred and self._deferred[0][0] <= now:
            call = heapq.heappop(self._deferred)[2]
            call.retry_at = 0.0
            self._queued.append(call)

    # Time.

    def expire(self, now: float) -> None:
        """Finish the calls whose deadline has passed."""
        if now < self._next_expiry:
            return
        self._queue_due_retries(now)
        for call in [call for call in self._in_flight.values() if call.deadline + REPLY_GRACE_SECONDS <= now]:
            self._remove_in_flight(call)
            call.lost()
            text = f"{call.type} was not answered within {call.seconds:g} s."
            text = f"{text} The outcome is not known." if call.outcome_unknown else text
            self._finish(call, call.unknown(DeadlineExceeded, text))
        if expired := [call for call in self._queued if call.deadline <= now]:
            self._queued = deque(call for call in self._queued if call.deadline > now)
            for call in expired:
                self._finish(call, self._unsent_error(call))
        times = [call.deadline + REPLY_GRACE_SECONDS for call in self._in_flight.values()]
        times += [call.deadline for call in self._queued] + [call.deadline for _, _, call in self._deferred]
        self._next_expiry = max(min(times, default=NEVER), now + EXPIRY_CHECK_SECONDS)

    def next_time(self) -> float:
        """Return the time of the next deadline or retry."""
        if self.connected and self._deferred:
            return min(self._next_expiry, self._deferred[0][0])
        return self._next_expiry

    def _unsent_error(self, call: Call) -> DualbusError:
        """Return the error of a call that was not sent, or not sent again, before its deadline."""
        if call.outcome_unknown:
            text = f"The connection was lost after {call.type} was sent. The outcome is not known."
            return call.unknown(DeadlineExceeded, text)
        if self.connected:
            return Unavailable(
                "This call waited behind earlier calls until its deadline, and was not sent: retry later."
            )
        return Unavailable(self.unreachable())

    def unreachable(self) -> str:
        """Return the reason why there is no connection."""
        if self.refused:
            return (
                f"The gateway at {self.address} and this client do not accept each other's keys: set DUALBUS_DATA to "
                "the data folder of the cluster, or DUALBUS_KEYS to a key of a client."
            )
        return f"Cannot reach a gateway at {' or '.join(self.addresses)}. Is it running? Is DUALBUS_FRONT correct?"

    def close(self) -> None:
        """Finish all calls with ClientClosed."""
        for call in self._in_flight.values():
            call.lost()
        for call in (*self._in_flight.values(), *self._queued, *(call for _, _, call in self._deferred)):
            call.finish(call.unknown(ClientClosed, "The client was closed before the reply arrived."))
        self._in_flight.clear()
        self._queued.clear()
        self._deferred.clear()
