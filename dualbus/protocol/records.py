"""The items of frames: written as tuples, and checked when they are read."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from dualbus.log.contract import RecordedEvent
from dualbus.log.identity import Identity
from dualbus.protocol.codes import WireError
from dualbus.protocol.values import (
    check,
)


class Work(NamedTuple):
    """A sending of a command or a query to a bus."""

    id: int  # of this sending, unique also among sendings of the same request
    registration: int  # of the worker at the time of sending: a later registration discards this sending
    src: str
    ms: int  # until the deadline, at the time of sending
    key: str | None  # the idempotency key of a command; None for a query
    after: int  # a query's answer must not be older than this position
    body: dict[str, Any]


Response: TypeAlias = tuple[int, int, bytes]
"""An answer on its way back: the id of the sending, the position of the log at which it was made, and the body, which
stays packed, since the gateway only passes it on."""


class Registration(NamedTuple):
    """How a worker registers. `life` is new for every start of a process."""

    dest: str
    instance_id: str
    registration: int  # rises with every READY of the process, which discards the work of earlier registrations
    pid: int
    types: list[str]
    credit: int  # requests in flight, at most
    identity: Identity | None
    position: int


class Heartbeat(NamedTuple):
    """The regular report of a worker."""

    registration: int
    running: int  # the sending whose handler has been running for long; 0 without such a handler
    identity: Identity | None
    position: int
    credit: int
    status: dict[str, Any]


class Published(NamedTuple):
    """The events of a commit, or of a part of a commit; empty for a repeated head."""

    identity: Identity
    before: int  # the position before the first of `events`: how a subscriber sees a gap
    events: Sequence[Any]  # of log.RecordedEvent: position, type, data, time, command_id, hash


class Progress(NamedTuple):
    """How far the read model is."""

    identity: Identity
    position: int


class Job(NamedTuple):
    """A received Work; its remaining time has become a deadline of the local clock."""

    id: int
    registration: int
    deadline: float
    key: str | None
    after: int
    body: dict[str, Any]

    @property
    def what(self) -> str:
        """Return the type of the command or query."""
        return str(self.body["type"])


def read_registration(items: Any) -> Registration:
    """Return the Registration in a READY."""
    match items:
        case [
            [str(dest), str(instance_id), int(registration), int(pid), [*types], int(credit), identity, int(position)]
        ]:
            if all(type(one) is str for one in types):
                return Registration(
                    dest, instance_id, registration, pid, types, credit, _identity(identity), position
                )
    raise WireError("It is not the greeting of a worker.")


def read_heartbeat(items: Any) -> Heartbeat:
    """Return the Heartbeat in a BEAT."""
    match items:
        case [[int(registration), int(running), identity, int(position), int(credit), dict(status)]]:
            check(status)  # becomes part of the answer to Status
            return Heartbeat(registration, running, _identity(identity), position, credit, status)
    raise WireError("It is not the beat of a worker.")


def read_done(items: Any) -> list[Response]:
    """Return the answers in a DONE."""
    return [_done(item) for item in _list(items)]


def read_work(items: Any, since: float) -> list[Job]:
    """Return the jobs in a WORK received at a moment."""
    return [_work(item, since) for item in _list(items)]


def read_numbers(items: Any) -> list[int]:
    """Return the numbers in a RETURNED, a CANCEL or an ANNOUNCE."""
    if type(items) is not list or not all(type(one) is int for one in items):
        raise WireError("It is not a list of numbers.")
    return items


def read_published(items: Any) -> list[Published]:
    """Return the publication in an EVENTS."""
    return [_published(item) for item in _list(items)]


def _list(items: Any) -> list[Any]:
    if type(items) is not list:
        raise WireError("It is not a list of items.")
    return items


def _identity(item: Any) -> Identity | None:
    if item is None:
        return None
    if type(item) is list and len(item) == 2 and type(item[0]) is str and type(item[1]) is str:
        return Identity(*item)
    raise WireError("It is not the identity of a log.")


# Frequent records are checked without `match`, which is ten times slower.


def _done(item: Any) -> Response:
    if type(item) is list and len(item) == 3:
        id_, position, body = item
        if type(id_) is int and type(position) is int and type(body) is bytes:
            return id_, position, body
    raise WireError("It is not an answer.")


def _work(item: Any, since: float) -> Job:
    if type(item) is list and len(item) == 7:
        id_, registration, src, ms, key, after, body = item
        numbers = type(id_) is int and type(registration) is int and type(ms) is int and type(after) is int
        envelope = numbers and type(src) is str
        named = type(body) is dict and type(body.get("type")) is str and type(body.get("msg_id")) in (int, str)
        if envelope and named and (key is None or type(key) is str):
            return Job(id_, registration, since + ms / 1000, key, after, body)
    raise WireError("It is not a command or a query.")


def _event(item: Any, position: int) -> RecordedEvent:
    if type(item) is list and len(item) == 6:
        at, type_, data, time, command_id, hash_ = item
        texts = type(type_) is str and type(data) is str and type(time) is str and type(command_id) is str
        if type(at) is int and at == position and texts and type(hash_) is bytes:
            return RecordedEvent(at, type_, data, time, command_id, hash_)
    raise WireError("It is not an event, or not the one whose turn it is.")


def _published(item: Any) -> Published:
    if type(item) is list and len(item) == 3:
        identity, before, events = item[0] and _identity(item[0]), item[1], item[2]
        if identity and type(before) is int and type(events) is list:
            found = [_event(event, position) for position, event in enumerate(events, before + 1)]
            return Published(identity, before, found)
    raise WireError("It is not a publication.")
