"""What the other processes say, read with care: whoever can reach an address can speak there.

The shapes are those of `wire`. What is not of its shape is a WireError, and goes no further.
"""

from typing import Any, NamedTuple

from dualbus.log import RecordedEvent
from dualbus.wire import Beat, Done, Greeting, Identity, Published, WireError, check


class Job(NamedTuple):
    """A Work that has come; what was left of its time is now the moment, by our clock, when it ends."""

    id: int
    registration: int
    deadline: float
    key: str | None
    after: int
    body: dict[str, Any]

    @property
    def what(self) -> str:
        """The type of its command or query."""
        return str(self.body["type"])


def read_greeting(items: Any) -> Greeting:
    """Return what is in a READY."""
    match items:
        case [[str(dest), str(life), int(registration), int(pid), [*types], int(credit), identity, int(position)]]:
            if all(type(one) is str for one in types):
                return Greeting(dest, life, registration, pid, types, credit, _identity(identity), position)
    raise WireError("It is not the greeting of a worker.")


def read_beat(items: Any) -> Beat:
    """Return what is in a worker's BEAT."""
    match items:
        case [[int(registration), int(running), identity, int(position), int(credit), dict(status)]]:
            check(status)  # it goes into the answer to Status
            return Beat(registration, running, _identity(identity), position, credit, status)
    raise WireError("It is not the beat of a worker.")


def read_done(items: Any) -> list[Done]:
    """Return what is in a DONE."""
    return [_done(item) for item in _list(items)]


def read_work(items: Any, since: float) -> list[Job]:
    """Return what is in a WORK that is here since a moment."""
    return [_work(item, since) for item in _list(items)]


def read_numbers(items: Any) -> list[int]:
    """Return what is in a RETURNED, a CANCEL or an ANNOUNCE."""
    if type(items) is not list or not all(type(one) is int for one in items):
        raise WireError("It is not a list of numbers.")
    return items


def read_published(items: Any) -> list[Published]:
    """Return what is in an EVENTS."""
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


# Those that come by the ten thousand are looked at without `match`, which takes ten times as long.


def _done(item: Any) -> Done:
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
