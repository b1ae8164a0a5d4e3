"""Items of batches: written as tuples, and checked when read."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from dualbus.log.contract import RecordedEvent
from dualbus.log.identity import Identity
from dualbus.protocol.codes import WireError
from dualbus.protocol.origin import check_origin
from dualbus.protocol.values import check


class Work(NamedTuple):
    """A sending of a request to a bus. A request may be sent several times."""

    id: int  # of the sending: unique, also among sendings of the same request
    registration: int  # of the worker at the time of sending; a later registration discards the sending
    src: str
    ms: int  # until the deadline, at the time of sending
    key: str | None  # idempotency key of a command; None for a query
    after: int  # the position that the read model must have reached to answer a query
    body: dict[str, Any]


Response: TypeAlias = tuple[int, int, bytes, bytes]
"""An answer: the id of the sending, the position of the log that the answer is based on, the packed body, and packed
details for clients, or NO_DETAILS. The gateway forwards body and details without unpacking."""

NO_DETAILS = b""


class CommitTimes(NamedTuple):
    """The times of a command batch, in microseconds since 1970."""

    deciding: int  # the first decision began
    decided: int  # the last decision ended
    committed: int  # 0 without a commit
    received: int  # the gateway received the answers


class Transaction(NamedTuple):
    """A transaction of the projector: the positions of the read model before and after, and the time of its end."""

    before: int
    after: int
    time: int  # microseconds since 1970


class Registration(NamedTuple):
    """The registration of a worker. `instance_id` is new for every start of a process."""

    dest: str
    instance_id: str
    registration: int  # rises with every READY; the worker has discarded the sendings of earlier registrations
    pid: int
    types: list[str]
    credit: int  # how many items the worker accepts before its first answer
    identity: Identity | None
    position: int
    active_since: int | None = 0  # the claim of an active commandbus on a shared log; None for a standby
    lock: str = ""  # names the lock that a commandbus holds on the log of one machine: a copy has another lock


class Heartbeat(NamedTuple):
    """The periodic report of a worker."""

    registration: int
    running: int  # the id of the sending whose handler has been running for long; 0 without such a handler
    identity: Identity | None
    position: int
    credit: int
    status: dict[str, Any]


class Published(NamedTuple):
    """The events of a commit, or of a part of a commit; no events if only the head is repeated."""

    identity: Identity
    before: int  # the position before the first event: subscribers detect gaps with this position
    events: Sequence[Any]  # RecordedEvent: position, type, data, time, command_id, hash
    active: bool  # the publisher writes the log; of a shared log, a standby publishes the events of other writers


class Progress(NamedTuple):
    """The position of the projector's read model."""

    identity: Identity
    position: int
    model: str  # the name of the file: of these versions of the projections
    failure: str  # the reason, while an event cannot be applied; else empty


class Job(NamedTuple):
    """A received Work, with the deadline on the clock of this process."""

    id: int
    registration: int
    deadline: float
    key: str | None
    after: int
    body: dict[str, Any]

    @property
    def what(self) -> str:
        """The type of the command or query."""
        return str(self.body["type"])


def read_registration(items: Any) -> Registration:
    """Return the registration in a READY."""
    match items:
        case [
            [
                str(dest),
                str(instance_id),
                int(registration),
                int(pid),
                [*types],
                int(credit),
                identity,
                int(at),
                since,
                str(lock),
            ]
        ]:
            if all(type(name) is str for name in types) and (since is None or type(since) is int):
                known = _identity(identity)
                return Registration(dest, instance_id, registration, pid, types, credit, known, at, since, lock)
    raise WireError("Invalid registration of a worker.")


def read_heartbeat(items: Any) -> Heartbeat:
    """Return the heartbeat in a worker's BEAT."""
    match items:
        case [[int(registration), int(running), identity, int(position), int(credit), dict(status)]]:
            check(status)  # the answer to Status contains this
            return Heartbeat(registration, running, _identity(identity), position, credit, status)
    raise WireError("Invalid heartbeat of a worker.")


def read_done(items: list[Any], received: int) -> tuple[list[Response], CommitTimes | None]:
    """Return the responses in a DONE, and the times of their commit if it is from commandbus."""
    times, *responses = items or [None]
    return [_done(item) for item in responses], _commit_times(times, received)


def _commit_times(times: Any, received: int) -> CommitTimes | None:
    match times:
        case None:
            return None
        case [int(deciding), int(decided), int(committed)]:
            return CommitTimes(deciding, decided, committed, received)
    raise WireError("Invalid times of a commit.")


def read_transactions(items: Any) -> list[Transaction]:
    """Return the transactions in the status of a projector."""
    found = [Transaction(*item) for item in _list(items) if type(item) is list and len(item) == 3]
    if len(found) == len(items) and all(type(value) is int for transaction in found for value in transaction):
        return found
    raise WireError("Invalid transactions of a projector.")


def read_work(items: Any, since: float) -> list[Job]:
    """Return the jobs in a WORK that arrived at `since`."""
    return [_work(item, since) for item in _list(items)]


def read_returned(items: Any) -> tuple[int, list[int]]:
    """Return the position of the read model, -1 without one, and the sendings in a RETURNED."""
    numbers = read_numbers(items)
    if not numbers:
        raise WireError("Invalid list of returned work.")
    return numbers[0], numbers[1:]


def read_refusal(items: Any) -> str:
    """Return the sentence in a REFUSED."""
    match items:
        case [str(text)]:
            return text
    raise WireError("Invalid refusal.")


def read_numbers(items: Any) -> list[int]:
    """Return the numbers in a CANCEL or an ANNOUNCE."""
    if type(items) is not list or not all(type(number) is int for number in items):
        raise WireError("Invalid list of numbers.")
    return items


def read_published(items: Any) -> list[Published]:
    """Return the publications in an EVENTS."""
    return [_published(item) for item in _list(items)]


def read_progress(items: Any) -> Progress:
    """Return the progress in a PROGRESS."""
    match items:
        case [[identity, int(position), str(model), str(failure)]]:
            if found := _identity(identity):
                return Progress(found, position, model, failure)
    raise WireError("Invalid progress of a projector.")


def _list(items: Any) -> list[Any]:
    if type(items) is not list:
        raise WireError("Invalid list of items.")
    return items


def _identity(item: Any) -> Identity | None:
    if item is None:
        return None
    if type(item) is list and len(item) == 2 and type(item[0]) is str and type(item[1]) is str:
        return Identity(*item)
    raise WireError("Invalid identity of a log.")


# Frequent items are checked without `match`, which is ten times slower.


def _done(item: Any) -> Response:
    if type(item) is list and len(item) == 4:
        id_, position, body, details = item
        if type(id_) is int and type(position) is int and type(body) is bytes and type(details) is bytes:
            return id_, position, body, details
    raise WireError("Invalid response.")


def _work(item: Any, since: float) -> Job:
    if type(item) is list and len(item) == 7:
        id_, registration, src, ms, key, after, body = item
        numbers = type(id_) is int and type(registration) is int and type(ms) is int and type(after) is int
        envelope = numbers and type(src) is str
        named = type(body) is dict and type(body.get("type")) is str and type(body.get("msg_id")) in (int, str)
        if envelope and named and (key is None or type(key) is str):
            check_origin(body)
            return Job(id_, registration, since + ms / 1000, key, after, body)
    raise WireError("Invalid command or query.")


def _event(item: Any, position: int) -> RecordedEvent:
    if type(item) is list and len(item) == 6:
        at, type_, data, time, command_id, hash_ = item
        texts = type(type_) is str and type(data) is str and type(time) is str and type(command_id) is str
        if type(at) is int and at == position and texts and type(hash_) is bytes:
            return RecordedEvent(at, type_, data, time, command_id, hash_)
    raise WireError("Invalid event record, or out of sequence.")


def _published(item: Any) -> Published:
    if type(item) is list and len(item) == 4:
        identity, before, events, active = item[0] and _identity(item[0]), *item[1:]
        if identity and type(before) is int and type(events) is list and type(active) is bool:
            found = [_event(event, position) for position, event in enumerate(events, before + 1)]
            return Published(identity, before, found, active)
    raise WireError("Invalid publication.")
