"""The wire: what the processes and their clients say to each other, as bytes. No socket is named here.

A ZeroMQ message is two frames: a kind, and one msgpack array of items. A batch of one is legal; everyone
sends what has gathered while it was busy. docs/protocol.md is this page in prose.
"""

from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import msgpack

Frames: TypeAlias = list[bytes]
MessageId: TypeAlias = int | str

# Between a client and the gateway.
SEND = b"send"  # envelopes {"src", "dest", "body"}, and if wanted "timeout_ms", "after"
REPLY = b"reply"  # envelopes {"src", "dest", "position", "body"}
# Between the gateway and a worker (a bus, or the projector).
READY = b"ready"  # worker: one Greeting, which begins a registration
BEAT = b"beat"  # worker: one Beat; gateway: nothing
WORK = b"work"  # gateway: Work items
DONE = b"done"  # worker: Done items
RETURNED = b"returned"  # worker: numbers of sendings that it has not begun, or was told to stop
CANCEL = b"cancel"  # gateway: numbers of sendings whose answers are not wanted from this worker any more
LEAVING = b"leaving"  # worker: send no more work
BYE = b"bye"  # gateway: every answer has arrived
ANNOUNCE = b"announce"  # gateway: the number of a registration that it does not know; register again
REFUSED = b"refused"  # gateway: one sentence why this worker is turned away
# From the publishers.
EVENTS = b"events"  # commandbus: one Published
PROGRESS = b"progress"  # projector: one Progress

MESSAGE_BYTES_MAX = 1 << 20  # of one envelope, one event, one answer
BATCH_BYTES = 1 << 18  # a batch is closed at this size; one large item may pass it
FRAME_BYTES_MAX = BATCH_BYTES + 2 * MESSAGE_BYTES_MAX
BATCH_ITEMS_MAX = 10_000
DEPTH_MAX = 32
NODES_MAX = 50_000  # lists and objects in one batch: an empty one is 1 byte on the wire and 64 in memory
_CONTAINERS = bytes([*range(0x80, 0xA0), *range(0xDC, 0xE0)])  # the bytes that begin one (or stand in text)
INT_MIN, INT_MAX = -(2**63), 2**63 - 1
ID_CHARS_MAX = 256  # of src, dest, type, a textual msg_id, an idempotency key


class Code(IntEnum):
    """Error codes, after Maelstrom's table. Definite: nothing happened, and never will."""

    TIMEOUT = 0  # indefinite
    UNKNOWN_DEST = 1
    NOT_SUPPORTED = 10
    UNAVAILABLE = 11
    MALFORMED = 12
    CRASH = 13  # indefinite
    ABORTED = 14
    EXECUTED = 15  # under this idempotency key, earlier; the first answer cannot be made any more

    @property
    def definite(self) -> bool:
        """Tell whether a client may be sure that nothing happened."""
        return self not in (Code.TIMEOUT, Code.CRASH, Code.EXECUTED)


class WireError(ValueError):
    """Bytes or values that are not what the protocol says; the text says what is wrong."""


class Work(NamedTuple):
    """A command or a query on its way to a bus: one sending of a request, which may be sent again."""

    id: int  # of this sending; no other sending has it, not even of the same request
    registration: int  # under which the worker was sent it: a later registration discards it
    src: str
    ms: int  # what is left until the deadline, when the gateway sent it
    key: str | None  # a command's id: what makes it happen once. None for a query
    after: int  # a query's answer must not be older than this position
    body: dict[str, Any]


Done: TypeAlias = tuple[int, int, bytes]
"""An answer on its way back: the id of the sending, the position of the log at which it was made, and the body, which
stays packed, since the gateway only passes it on."""


class Identity(NamedTuple):
    """Which log: a new log has a new id, a restored one a new incarnation."""

    log: str
    incarnation: str


class Greeting(NamedTuple):
    """How a worker registers. `life` is new for every start of a process."""

    dest: str
    life: str
    registration: int  # rises with every READY of the process; it has discarded what earlier ones were sent
    pid: int
    types: list[str]
    credit: int  # how many items it takes before it has answered the first
    identity: Identity | None
    position: int


class Beat(NamedTuple):
    """What a worker says of itself every so often."""

    registration: int
    running: int  # the id of the sending whose handler has been running for long; 0 if there is none
    identity: Identity | None
    position: int
    credit: int
    status: dict[str, Any]


class Published(NamedTuple):
    """The events of a commit, or of a part of one; none when it only repeats the head."""

    identity: Identity
    before: int  # the position before the first of `events`: how a subscriber sees a gap
    events: Sequence[Any]  # of log.RecordedEvent: position, type, data, time, command_id, hash


class Progress(NamedTuple):
    """How far the read model is."""

    identity: Identity
    position: int


_DONE_BYTES = 24  # of a Done around its body, at most

_packer = msgpack.Packer(autoreset=True)


def pack(value: object) -> bytes:
    """Pack one value; raise WireError if msgpack has no place for it (a lone surrogate, 2**64)."""
    try:
        packed: bytes = _packer.pack(value)
    except (ValueError, OverflowError, TypeError) as error:
        _packer.reset()
        raise WireError(f"The message cannot be packed: {error}.") from None
    return packed


def batch(kind: bytes, items: Sequence[object]) -> Frames:
    """Pack items into the frames of one message."""
    return [kind, pack(items)]


def joined(kind: bytes, packed: Sequence[bytes]) -> Frames:
    """Put items that are already packed into the frames of one message, without touching them again."""
    header: bytes = _packer.pack_array_header(len(packed))
    return [kind, header + b"".join(packed)]


def packed_work(head: tuple[int, int, str, int, str | None, int], body: bytes) -> bytes:
    """Pack a Work whose body is packed already: an array of six becomes one of seven."""
    return b"\x97" + pack(head)[1:] + body


def packed_reply(src: str, dest: str, position: int, body: bytes) -> bytes:
    """Pack a reply's envelope around a body that is packed already: a map of three becomes one of four."""
    return _reply_head(src, dest) + pack(position) + b"\xa4body" + body


@lru_cache(4096)  # sessions ask again and again
def _reply_head(src: str, dest: str) -> bytes:
    return b"\x84" + pack({"src": src, "dest": dest})[1:] + b"\xa8position"


def batches(kind: bytes, packed: list[bytes]) -> list[Frames]:
    """Join packed items into as few messages as the size of a batch allows."""
    return [joined(kind, part) for part in parts(packed)]


def answer_batches(done: Sequence[Done]) -> list[Frames]:
    """Pack answers into as few messages as the size of a batch allows: as a rule it is one, and packed at once."""
    if sum([len(body) for _, _, body in done]) + _DONE_BYTES * len(done) <= BATCH_BYTES:
        return [batch(DONE, done)] if done else []
    return batches(DONE, [pack(one) for one in done])


def parts(packed: list[bytes]) -> list[list[bytes]]:
    """Gather packed items into lists that each fit into one message."""
    if len(packed) <= BATCH_ITEMS_MAX and sum(map(len, packed)) <= BATCH_BYTES:
        return [packed] if packed else []  # as nearly always
    gathered: list[list[bytes]] = [[]]
    size = 0
    for item in packed:
        if gathered[-1] and (size + len(item) > BATCH_BYTES or len(gathered[-1]) == BATCH_ITEMS_MAX):
            gathered.append([])
            size = 0
        gathered[-1].append(item)
        size += len(item)
    return gathered


def unpack(data: bytes) -> Any:
    """Unpack one value that one of our own processes packed."""
    try:
        return msgpack.unpackb(data, strict_map_key=False, ext_hook=_no_extensions)
    except (ValueError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise WireError(f"The bytes are not msgpack: {error}.") from None


def unpack_hostile(data: bytes) -> list[Any]:
    """Unpack a batch from outside: bounded in size and nodes, no key twice, an array of items."""
    if len(data) > FRAME_BYTES_MAX:
        raise WireError(f"A batch of {len(data)} bytes is over the limit of {FRAME_BYTES_MAX}.")
    items = _unpack_quickly(data)
    if items is None:
        items = _unpack_slowly(data)
    if not isinstance(items, list):
        raise WireError("A batch is a list of messages.")
    if len(items) > BATCH_ITEMS_MAX:
        raise WireError(f"A batch of {len(items)} messages is over the limit of {BATCH_ITEMS_MAX}.")
    return items


def _unpack_quickly(data: bytes) -> Any | None:
    """Unpack what is plainly harmless: few bytes that could begin a container, and no key twice.

    An object that had a key twice does not pack into the bytes it came from. None says: look closely.
    """
    if len(data) > NODES_MAX and len(data) - len(data.translate(None, _CONTAINERS)) > NODES_MAX:
        return None
    try:
        items = msgpack.unpackb(data, ext_hook=_no_extensions)
        return items if _packer.pack(items) == data else None
    except (ValueError, OverflowError, TypeError, RecursionError, msgpack.exceptions.UnpackException):
        _packer.reset()
        return None


def _unpack_slowly(data: bytes) -> Any:
    """Unpack with an eye on every list and object; raise WireError with what is wrong."""
    nodes = 0

    def count() -> None:
        nonlocal nodes
        nodes += 1
        if nodes > NODES_MAX:
            raise WireError("A batch holds too many lists and objects.")

    def as_list(items: list[Any]) -> list[Any]:
        count()
        return items

    def as_dict(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
        count()
        return unique(pairs)

    try:
        return msgpack.unpackb(data, object_pairs_hook=as_dict, list_hook=as_list, ext_hook=_no_extensions)
    except WireError:
        raise
    except (ValueError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise WireError(f"The bytes are not msgpack: {error}.") from None


def unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """Make a dict of pairs whose keys are all different, or raise WireError."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise WireError("An object has the same key twice.")
    return made


def check(value: Any, depth: int = 0) -> None:
    """Raise WireError unless the value is JSON that SQLite can hold: finite, int64, text, not too deep."""
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return
    if kind is int:
        if not INT_MIN <= value <= INT_MAX:
            raise WireError("A whole number does not fit in 64 bits.")
    elif kind is dict:
        if depth == DEPTH_MAX:
            raise WireError(f"The message is nested more than {DEPTH_MAX} deep.")
        for key, item in value.items():
            if type(key) is not str:
                raise WireError("A key of an object is not text.")
            if type(item) is not str:  # as most are
                check(item, depth + 1)
    elif kind is list or kind is tuple:
        if depth == DEPTH_MAX:
            raise WireError(f"The message is nested more than {DEPTH_MAX} deep.")
        for item in value:
            check(item, depth + 1)
    elif kind is float:
        if value - value != 0:  # infinities and NaN are the floats that are not themselves less themselves
            raise WireError("A number is not finite.")
    else:
        raise WireError(f"A value of type {kind.__name__} has no place in a message.")


def read_msg_id(body: dict[str, Any]) -> MessageId:
    """Return the id of a body, checked; raise WireError if it has none."""
    msg_id = body.get("msg_id")
    if msg_id is None:
        raise WireError("body.msg_id is required: the reply carries it as in_reply_to.")
    if type(msg_id) is int:
        if not INT_MIN <= msg_id <= INT_MAX:
            raise WireError("body.msg_id does not fit in 64 bits.")
        return msg_id
    return read_text(body, "msg_id", what="a whole number or text")


def read_text(values: dict[str, Any], name: str, default: str | None = None, what: str = "text") -> str:
    """Return a short text of an envelope or a body, checked; raise WireError if it is not one."""
    value = values.get(name, default)
    if type(value) is str and 0 < len(value) <= ID_CHARS_MAX and value.isascii():
        return value
    if value is None:
        raise WireError(f"{name} is required.")
    if type(value) is not str or (not value and value != default):
        raise WireError(f"{name} must be {what}.")
    if len(value) > ID_CHARS_MAX:
        raise WireError(f"{name} is longer than {ID_CHARS_MAX} characters.")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise WireError(f"{name} is not valid Unicode.") from None
    return value


def error(in_reply_to: MessageId | None, code: Code, text: str, errors: list[str] | None = None) -> dict[str, Any]:
    """Make the body of an error reply."""
    body: dict[str, Any] = {"type": "error", "in_reply_to": in_reply_to, "code": int(code), "text": text}
    if errors is not None:
        body["errors"] = errors
    return body


def _no_extensions(code: int, data: bytes) -> Any:
    raise WireError("msgpack extension types have no place in a message.")
