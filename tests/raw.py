"""A client that speaks the wire by hand, so that tests see what any client could see."""

import itertools
import time
from collections.abc import Iterable
from typing import Any, Self

import msgpack
import zmq

from dualbus.transport.keys import Keys
from tests.keyring import as_client

Envelope = dict[str, Any]
STATUS: Envelope = {"src": "t", "dest": "gateway", "body": {"type": "Status"}}
SECONDS = 60  # until a test that waits for a reply is failed; no test depends on when a reply comes


def command(type_: str, msg_id: int | str = 1, src: str = "t", key: str | None = None, **payload: Any) -> Envelope:
    """Make an envelope with a command."""
    body = {"type": type_, "msg_id": msg_id, "payload": payload}
    return {"src": src, "dest": "commandbus", "body": body if key is None else {**body, "idempotency_key": key}}


def query(type_: str, msg_id: int | str = 1, src: str = "t", **params: Any) -> Envelope:
    """Make an envelope with a query."""
    return {"src": src, "dest": "querybus", "body": {"type": type_, "msg_id": msg_id, "params": params}}


def create(name: str, msg_id: int | str = 1, **more: Any) -> Envelope:
    """Make a CreateUser of that name."""
    return command("CreateUser", msg_id, **{"name": name, "email": "t@example.com", **more})


def wire(kind: str, packed: bytes) -> bytes:
    """Return the frame of a message: its kind, and packed items or other bytes in their place."""
    head: bytes = msgpack.packb(kind)
    return b"\x92" + head + packed


class RawClient:
    """One DEALER, with a client's keys or, without any, with the cluster's; `plain` for a cluster without keys."""

    def __init__(self, address: str, keys: Keys | None = None, *, plain: bool = False) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        if not plain:
            as_client(self.socket, keys)
        self.socket.connect(address)
        self.ids = itertools.count(1)
        self.replies: dict[int | str | None, Envelope] = {}

    def send(self, *envelopes: Envelope) -> None:
        """Send envelopes as one batch."""
        self.send_frames(wire("send", msgpack.packb(envelopes)))

    def send_frames(self, *frames: bytes) -> None:
        """Send any frames at all."""
        self.socket.send_multipart(frames)

    def receive(self, seconds: float = 0) -> list[Envelope]:
        """Wait for a message, and return the envelopes of all that are there."""
        found: list[Envelope] = []
        if self.socket.poll(round(seconds * 1000)):
            try:
                while True:
                    kind, replies = msgpack.unpackb(self.socket.recv(zmq.NOBLOCK))
                    assert kind == "reply"
                    found += replies
            except zmq.Again:
                pass
        self.replies |= {one["body"]["in_reply_to"]: one for one in found}
        return found

    def wait_for(self, msg_ids: Iterable[int | str], seconds: float = SECONDS) -> list[Envelope]:
        """Wait until all of these are answered; return the replies in the order asked for."""
        wanted = list(msg_ids)
        deadline = time.monotonic() + seconds
        while missing := [msg_id for msg_id in wanted if msg_id not in self.replies]:
            left = deadline - time.monotonic()
            assert left > 0, f"no answer within {seconds} s to {missing[:10]}"
            self.receive(left)
        return [self.replies[msg_id] for msg_id in wanted]

    def ask(self, *envelopes: Envelope, seconds: float = SECONDS) -> list[dict[str, Any]]:
        """Send envelopes under message ids of our own; return the bodies of their replies, in order."""
        sent = [{**one, "body": {**one["body"], "msg_id": next(self.ids)}} for one in envelopes]
        self.send(*sent)
        return [one["body"] for one in self.wait_for([one["body"]["msg_id"] for one in sent], seconds)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close(0)
        self.context.term()
