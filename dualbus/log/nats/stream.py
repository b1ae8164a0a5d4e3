"""Requests to JetStream about the stream of a log: create, describe, read, move the leader.

The requests are plain messages: the fresh pull consumer of nats-py can fail across servers, and a direct get of the
server returns the bodies without any state.
"""

import json
import logging
import time
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

READ_BYTES = 8 << 20  # of one direct get
READ_SECONDS = 2.0  # without a byte
READ_SECONDS_MAX = 300.0  # of one direct get: 8 MB at 0.25 Mbit/s
PROGRESS_SECONDS = 0.25  # between two looks at the bytes
TEXT_CHARS_MAX = 200  # of a strange answer in a warning
INFO_SECONDS = 2.0
SILENCE = (nats.errors.Error, TimeoutError, OSError)  # no answer; nothing is known
NOT_FOUND, STORE_FAILED = 10059, 10077
LIMIT_TEXT = "maximum bytes exceeded"

logger = logging.getLogger(__name__)

_SECURITY = {"storage": "file", "retention": "limits", "discard": "new", "deny_delete": True, "deny_purge": True}
_LIMITS = {"max_msgs": -1, "max_age": 0, "max_msgs_per_subject": -1, "allow_direct": True}


class StrangeAnswer(nats.errors.Error):
    """An answer that JetStream does not give: nothing is known, as without an answer."""

    def __init__(self, answer: object) -> None:
        super().__init__(f"a strange answer: {str(answer)[:TEXT_CHARS_MAX]}")
        logger.warning("NATS has given %s. Trying again.", self)


class ApiError(Exception):
    """A refusal by JetStream."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.number = number

    @property
    def before_proposal(self) -> bool:
        """Whether no server stores the message.

        The leader checks max_bytes before it proposes a message to the other servers. Each server checks its disk
        and max_file_store when it applies the message: the leader may answer an error for a message that the others
        store.
        """
        return self.number == STORE_FAILED and str(self) == LIMIT_TEXT


def read_answer(data: bytes) -> dict[str, Any]:
    """Return an answer of JetStream. Raises ApiError for a refusal, or StrangeAnswer."""
    try:
        match json.loads(data):
            case {"error": {"err_code": int(number), **others}}:
                raise ApiError(number, str(others.get("description")))
            case {"error": _}:
                pass
            case dict(answer):
                return answer
    except ValueError:
        pass
    raise StrangeAnswer(data)


class Stream:
    """The stream of a log, on a connection."""

    def __init__(self, client: Client, name: str) -> None:
        self.name = name
        self.subject = f"{name}.commits"
        self.announcements = f"{name}.announcements"
        self._client = client

    async def create(self, replicas: int) -> None:
        """Create the stream. Raises ApiError if a stream of this name with another configuration exists."""
        config = {
            "name": self.name,
            "subjects": [self.subject],
            "num_replicas": replicas,
            "allow_rollup_hdrs": False,
            **_SECURITY,
            **_LIMITS,
        }
        await self._request(f"STREAM.CREATE.{self.name}", config)

    async def info(self) -> dict[str, Any]:
        """Return configuration and state. Raises ApiError with NOT_FOUND for a missing stream."""
        match await self._request(f"STREAM.INFO.{self.name}", None):
            case {"config": dict(), "state": {"first_seq": int(), "last_seq": int()}} as info:
                return info
            case other:
                raise StrangeAnswer(other)

    async def move_leader(self) -> None:
        """Move the leader to the server of this connection, if the server has a current replica."""
        server = self._client._server_info.get("server_name")
        cluster = (await self.info()).get("cluster") or {}
        if server in {peer.get("name") for peer in cluster.get("replicas", ()) if peer.get("current")}:
            await self._request(f"STREAM.LEADER.STEPDOWN.{self.name}", {"placement": {"preferred": server}})

    async def step_down(self) -> None:
        """Request an election of another leader."""
        await self._request(f"STREAM.LEADER.STEPDOWN.{self.name}", None)

    async def publish(self, body: bytes, headers: dict[str, str], seconds: float) -> ApiError | None:
        """Publish a body; return the refusal, or None if stored. Raises an exception of SILENCE without an answer."""
        message = await self._client.request(self.subject, body, timeout=seconds, headers=headers)
        try:
            answer = read_answer(message.data)
        except ApiError as refusal:
            return refusal
        if not isinstance(answer.get("seq"), int):
            raise StrangeAnswer(answer)
        return None

    async def announce(self, message: bytes) -> None:
        """Send a message to all connections, if connected."""
        if self._client.is_connected:
            await self._client.publish(self.announcements, message)

    async def _request(self, api: str, content: dict[str, Any] | None) -> dict[str, Any]:
        payload = json.dumps(content).encode() if content else b""
        message = await self._client.request(f"$JS.API.{api}", payload, timeout=INFO_SECONDS)
        return read_answer(message.data)

    async def read(self, after: int, limit: int) -> list[bytes]:
        """Return the bodies after a sequence. Raises an exception of SILENCE without any answer."""
        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(inbox)
        bodies: list[bytes] = []
        until = time.monotonic() + READ_SECONDS_MAX
        try:
            request = {"seq": after + 1, "batch": limit, "max_bytes": READ_BYTES}
            subject = f"$JS.API.DIRECT.GET.{self.name}"
            await self._client.publish(subject, json.dumps(request).encode(), reply=inbox)
            while len(bodies) < limit:
                message = await self._next(subscription, until)
                headers = message.headers or {}
                if headers.get("Status") == "503":
                    raise nats.errors.NoRespondersError
                if headers.get("Nats-Sequence") != str(after + len(bodies) + 1):
                    break  # the end, or a hole: only a body in sequence is a fact
                bodies.append(message.data)
        except SILENCE:
            if not bodies:
                raise
        finally:
            await subscription.unsubscribe()
        return bodies

    async def _next(self, subscription: Subscription, until: float) -> Msg:
        """Return the next message. While its bytes arrive, as over a slow link, the deadline begins again."""
        client = self._client
        received = 0
        silent_until = time.monotonic() + READ_SECONDS
        while True:
            try:
                return await subscription.next_msg(PROGRESS_SECONDS)
            except TimeoutError:
                now, before, received = time.monotonic(), received, len(client._ps.buf)  # of a message not yet whole
                if received and received != before:
                    silent_until = now + READ_SECONDS
                    client._pings_outstanding = 0  # the answers to pings follow the message
                if now > min(silent_until, until):
                    raise


def config_errors(config: dict[str, Any], stream: Stream, replicas: int) -> list[str]:
    """Return a sentence for each reason why a stream could lose or change acknowledged commits."""
    name = config.get("name")
    errors = [
        f"The stream {name} has {key}={config.get(key)!r}, and a log needs {wanted!r}: correct the stream."
        for key, wanted in (_SECURITY | _LIMITS).items()
        if config.get(key) != wanted
    ]
    if config.get("subjects") != [stream.subject] or config.get("mirror") or config.get("sources"):
        errors.append(f"The stream {name} was not created by dualbus: use another name in DUALBUS_LOG.")
    if config.get("num_replicas", 1) < replicas:
        errors.append(
            f"The stream {name} has {config.get('num_replicas', 1)} replica, and a majority of {replicas} servers "
            "must store each commit: raise num_replicas, or accept a single copy with ?replicas=1 in DUALBUS_LOG."
        )
    return errors
