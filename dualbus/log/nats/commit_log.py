"""The commit log on NATS JetStream: a stream with a message for each commit; the sequence is the number.

A put is a publication with an expected last sequence. Each server of the stream checks the expectation when it
applies the message, so that only one message can be at a sequence. Sending the same body again is therefore harmless,
and a lost answer is resolved by a further attempt, or by reading the sequence.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from dualbus.log.commits import CommitLogRefused, CommitLogUnreachable, OutcomeUnknown, nothing
from dualbus.log.contract import LogError, LogUnavailable
from dualbus.log.inbox import Inbox
from dualbus.log.nats.address import NatsAddress
from dualbus.log.nats.servers import server_errors
from dualbus.log.nats.stream import NOT_FOUND, READ_SECONDS_MAX, SILENCE, ApiError, Stream, config_errors
from dualbus.log.nats.thread import LoopThread

CONNECT_SECONDS = 30.0  # for the servers to start and elect a leader
TRY_SECONDS, TRY_SECONDS_MAX = 0.25, 2.0  # of one publication, before the next attempt; doubled each time
PAUSE_SECONDS = 0.05
CLOSED_SECONDS = 0.25  # between two checks that nats-py has not closed the connection
LEADER_SECONDS = 20.0  # an election takes up to 9 seconds
PING_SECONDS = 1  # two lost answers: the server is stopped, and the client connects to another
OVERHEAD_BYTES = 4096  # of the headers of a message
RESULT_SECONDS = 5.0  # beyond the deadline of an operation, for the thread
OTHER_SEQUENCE = 10071

logger = logging.getLogger(__name__)


class NatsCommitLog:
    """A connection to the stream of a log. Creates a missing stream if `create` is true."""

    def __init__(self, address: NatsAddress, *, create: bool) -> None:
        self.name = f"NATS stream {address.stream}"
        self.resolved = 0  # puts whose first answer was lost
        self._address = address
        self._announced = b""
        self._unanswered = 0.0  # seconds of puts without an answer, since the last answer
        self._reason = ""  # the last error of the connection
        self._tls = _tls(address.ca) if address.ca else None
        self._client: Client | None = None  # until connected
        self._stream: Stream
        self._info: dict[str, Any] = {}
        self._inbox = Inbox()
        self.wakeup = self._inbox.wakeup
        self._thread = LoopThread("nats")
        try:
            self._client = client = self._thread.run(self._connect(), CONNECT_SECONDS)
            if errors := server_errors(address):
                raise CommitLogRefused(*errors)
            self._stream = Stream(client, address.stream)
            self._thread.run(self._open(client, create), CONNECT_SECONDS)
            self._thread.start(self._keep_open())
        except TimeoutError:
            self._stop()
            servers = ", ".join(address.servers) + self._reason
            raise CommitLogUnreachable(
                f"No majority of the NATS servers answers ({servers}): start them, or correct DUALBUS_LOG."
            ) from None
        except BaseException:
            self._stop()
            raise

    @property
    def body_bytes_max(self) -> int:
        """The limit of the server of this connection; after a reconnection, perhaps that of another server."""
        return (self._client.max_payload if self._client else 0) - OVERHEAD_BYTES

    async def _connect(self) -> Client:
        while True:
            with suppress(*SILENCE):
                return await nats.connect(
                    self._address.servers,
                    user=self._address.user or None,
                    password=self._address.password or None,
                    error_cb=self._failed,
                    tls=self._tls,
                    tls_handshake_first=self._tls is not None,  # else a server without TLS receives the password
                    dont_randomize=True,  # the first server is on this machine
                    connect_timeout=1,
                    reconnect_time_wait=0.1,
                    max_reconnect_attempts=-1,
                    ping_interval=PING_SECONDS,
                    max_outstanding_pings=2,
                    pending_size=32 << 20,
                )
            await asyncio.sleep(PAUSE_SECONDS)

    async def _keep_open(self) -> None:
        """Connect again after an error that a server reports, such as of its new limits: nats-py then gives up."""
        while current := self._client:
            await asyncio.sleep(CLOSED_SECONDS)
            if not current.is_closed or self._client is None:
                continue
            with suppress(*SILENCE):
                client = await self._connect()
                await client.subscribe(self._stream.announcements, cb=self._receive)
                self._stream, self._client = Stream(client, self._address.stream), client
                logger.warning("Connected to NATS again, after an error of the server%s.", self._reason)

    async def _failed(self, error: Exception) -> None:
        """Record an error of the connection: each operation has a deadline of its own."""
        self._reason = f"; {error}" if str(error) else ""

    @property
    def _refusal(self) -> str:
        """The reason why the servers refuse a connection; a lost connection has none for an operator."""
        return self._reason if "authorization" in self._reason.lower() else ""

    async def _open(self, client: Client, create: bool) -> None:
        while True:
            try:
                self._info = await self._stream.info()
                break
            except ApiError as error:
                if error.number == NOT_FOUND and create:
                    with suppress(ApiError, *SILENCE):  # another process may create the stream at the same time
                        await self._stream.create(self._address.replicas)
                elif error.number == NOT_FOUND:
                    raise LogError(
                        f"There is no stream {self._stream.name} at {', '.join(self._address.servers)}: correct "
                        "DUALBUS_LOG, or fill the stream from a replica with `dualbus refill`."
                    ) from None
            except SILENCE:
                pass
            await asyncio.sleep(PAUSE_SECONDS)
        if errors := config_errors(self._info["config"], self._stream, self._address.replicas):
            raise CommitLogRefused(*errors)
        await client.subscribe(self._stream.announcements, cb=self._receive)

    # Bodies.

    def put(self, number: int, body: bytes, seconds: float, meanwhile: Callable[[], None] = nothing) -> bool:
        put = self._put(number, body, time.monotonic() + seconds)
        try:
            stored = self._thread.run(put, seconds + RESULT_SECONDS, meanwhile)
        except (OutcomeUnknown, TimeoutError) as problem:
            self._unanswered += seconds
            if self._unanswered >= LEADER_SECONDS:
                self._unanswered = 0.0
                self._thread.start(self._replace_leader(number))
            if isinstance(problem, OutcomeUnknown):
                raise
            raise _unknown(number, None) from None
        self._unanswered = 0.0
        return stored

    async def _replace_leader(self, number: int) -> None:
        """Request an election: a leader that is up and stores nothing would keep its role (nats-server #8519)."""
        with suppress(ApiError, *SILENCE):
            await self._stream.step_down()
            logger.error("The leader of %s has not stored commit %d: requested another.", self._stream.name, number)

    async def _put(self, number: int, body: bytes, until: float) -> bool:
        seconds = TRY_SECONDS
        lost = False  # an attempt without a definite answer, which may still be stored
        refusal: ApiError | None = None
        headers = {"Nats-Expected-Last-Sequence": str(number - 1), "Nats-Expected-Stream": self._stream.name}
        while (left := until - time.monotonic()) > 0:
            if len(body) > self.body_bytes_max and not lost:  # nothing was sent, and nothing will be
                raise LogUnavailable(
                    f"Commit {number} has {len(body)} bytes, and the NATS server accepts {self.body_bytes_max}: "
                    "set max_payload: 8MB on each server."
                )
            try:
                refusal = await self._stream.publish(body, headers, min(left, seconds))
                if refusal is None:
                    self.resolved += lost
                    return True
                if refusal.before_proposal and not lost:
                    raise LogUnavailable(f"The log cannot be written now ({refusal}): raise max_bytes of the stream.")
                if refusal.number != OTHER_SEQUENCE:
                    lost = True
                    await asyncio.sleep(min(left, seconds))  # a full disk: send a large body rarely
                    seconds = min(2 * seconds, TRY_SECONDS_MAX)
                elif found := await self._stream.read(number - 1, 1):
                    self.resolved += found[0] == body
                    return found[0] == body
                # Without a body at the number, the leader counts messages that no majority has stored yet.
            except SILENCE:
                lost = True
                seconds = min(2 * seconds, TRY_SECONDS_MAX)
                await self._announce(self._announced)  # this writer is alive, although no leader answers
            await asyncio.sleep(PAUSE_SECONDS)
        raise _unknown(number, refusal)

    def get(self, after: int, limit: int) -> list[bytes]:
        try:
            bodies = self._thread.run(self._stream.read(after, limit), READ_SECONDS_MAX + RESULT_SECONDS)
        except SILENCE:
            text = f"No NATS server with the stream {self._stream.name} answers{self._refusal}."
            raise CommitLogUnreachable(text) from None
        self._reason = ""
        return bodies

    def tail(self) -> int | None:
        try:
            self._info = self._thread.run(self._stream.info(), RESULT_SECONDS)
        except ApiError as error:
            return 0 if error.number == NOT_FOUND else None
        except SILENCE:
            return None
        state = self._info["state"]
        return int(state["last_seq"]) if state["first_seq"] <= 1 else 0

    # Announcements.

    def announce(self, message: bytes) -> None:
        self._announced = message
        self._thread.start(self._announce(message))

    async def _announce(self, message: bytes) -> None:
        with suppress(*SILENCE):
            if message:
                await self._stream.announce(message)

    async def _receive(self, message: Msg) -> None:
        self._inbox.put(message.data)

    def announcements(self) -> list[bytes]:
        return self._inbox.pop_all()

    # The leader.

    def lead(self) -> None:
        self._thread.start(self._lead())

    async def _lead(self) -> None:
        """Move the leader of the stream to the server of this connection: a single failure then stops both."""
        with suppress(ApiError, *SILENCE):
            await self._stream.move_leader()

    def status(self) -> dict[str, Any]:
        """Return the state as of the last call of `tail`."""
        leader = (self._info.get("cluster") or {}).get("leader")
        return {"stream": self._stream.name, "stream_leader": leader, "resolved": self.resolved}

    def close(self) -> None:
        """Disconnect."""
        if self._client:
            with suppress(*SILENCE):
                self._thread.run(self._client.flush(), 1.0)
        self._stop()

    def _stop(self) -> None:
        client, self._client = self._client, None
        if client:
            with suppress(*SILENCE):
                self._thread.run(client.close(), RESULT_SECONDS)
        self._thread.stop()
        self._inbox.close()


def _unknown(number: int, refusal: ApiError | None) -> OutcomeUnknown:
    if refusal is None or refusal.number == OTHER_SEQUENCE:
        return OutcomeUnknown(f"No majority of the NATS servers has answered for commit {number}.")
    return OutcomeUnknown(
        f"A NATS server refuses commit {number} ({refusal}), and the others may store it: check the disks and "
        "max_file_store of the servers."
    )


def _tls(path: str) -> ssl.SSLContext:
    """Return the context for servers with a certificate that a file of certificates has signed."""
    try:
        return ssl.create_default_context(cafile=path)
    except (OSError, ssl.SSLError) as error:
        raise CommitLogRefused(
            f"DUALBUS_LOG has ca={path}, which has no readable certificates ({error}): correct the path."
        ) from None
