"""Validate the envelope of a message: `{"src", "dest", "body": {"type", "msg_id", …}}`, without unknown fields."""

from typing import Any

from dualbus.protocol.codec import pack
from dualbus.protocol.codes import MessageId, WireError
from dualbus.protocol.feed import EVENTS
from dualbus.protocol.frames import MESSAGE_BYTES_MAX
from dualbus.protocol.origin import PARTS, check_origin
from dualbus.protocol.values import INT_MAX, TIMEOUT_MS_MAX, check, read_msg_id, read_text

from .access import Holder, scoped_key
from .request import Request

_ENVELOPE = frozenset({"src", "dest", "body", "timeout_ms", "after"})
_BODY = PARTS | {"type", "msg_id", "payload", "params", "idempotency_key"}
_OF_CLUSTER = frozenset({"actor", "cause", "correlation"})  # with keys: a client's name is that of its key
_FREE = ("payload", "params")  # validated by the application; the gateway validates all other fields


class BadEnvelope(WireError):
    """An invalid message; `msg_id` is the id for the error reply, or None if missing."""

    def __init__(self, text: str, msg_id: MessageId | None) -> None:
        super().__init__(text)
        self.msg_id = msg_id


def read_request(message: Any, holder: Holder) -> Request:
    """Validate a message and return the request; raise BadEnvelope with an error text.

    A named client sends its commands as this actor. Only the processes of the cluster may name another actor.
    """
    msg_id: MessageId | None = None
    try:
        if type(message) is not dict:
            if isinstance(message, WireError):
                raise message  # in place of bytes that cannot be unpacked
            raise WireError('A message is an object: {"src": …, "dest": …, "body": {…}}.')
        body = message.get("body")
        if type(body) is not dict:
            raise WireError("body must be an object.")
        msg_id = read_msg_id(body)
        if not _ENVELOPE.issuperset(message):
            raise WireError(_unknown("The message", message.keys() - _ENVELOPE))
        if not _BODY.issuperset(body):
            raise WireError(_unknown("body", body.keys() - _BODY))
        for name in _FREE:
            if name in body:
                check(body[name], 1, decimals=True)
        if not holder.trusted and not _OF_CLUSTER.isdisjoint(body):
            raise WireError("body.actor, cause and correlation are for the processes of the cluster.")
        if holder.actor is not None:
            body = {**body, "actor": holder.actor}
        packed = pack(body)
        if len(packed) > MESSAGE_BYTES_MAX:
            raise WireError(f"The message is over {MESSAGE_BYTES_MAX} bytes.")
        check_origin(body)
        request = Request(
            read_text(message, "src", ""),
            read_text(message, "dest", ""),
            read_text(body, "type"),
            msg_id,
            scoped_key(body.get("actor"), read_text(body, "idempotency_key")) if "idempotency_key" in body else None,
            _whole(message, "timeout_ms", 1, TIMEOUT_MS_MAX) if "timeout_ms" in message else None,
            (_whole(message, "after", 0, INT_MAX) or 0) if "after" in message else 0,
            packed,
        )
        if request.type == EVENTS and not holder.trusted:
            request.events_allowed = holder.permissions.allow_events(body.get("params"))
        return request
    except WireError as error:
        raise BadEnvelope(str(error), msg_id) from None


def _whole(values: dict[str, Any], name: str, least: int, most: int) -> int | None:
    value = values.get(name)
    if value is None:
        return None
    if type(value) is not int or not least <= value <= most:
        raise WireError(f"{name} must be a whole number from {least} to {most}.")
    return value


def _unknown(where: str, names: set[Any]) -> str:
    shown = ", ".join(sorted(repr(name)[:60] for name in names)[:5])
    return f"{where} has unknown fields: {shown}."
