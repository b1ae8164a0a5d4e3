"""The body of a commit in a commit log: the rows of the commit, and the hashes to verify them."""

from typing import Any, NamedTuple

import msgpack

from dualbus.log.chain import OutcomeRow, commit_hash, event_hash, meta_hash
from dualbus.log.contract import NO_HASH, Head, LogDamaged, LogError, RecordedEvent
from dualbus.log.identity import Identity

FORMAT = 1
_MOVED = "moved"  # begins the name of the writer of a last commit
_ADVICE = "do not start a writer with it; compare the replicas with `dualbus verify`."
_EVENT_TYPES = (str, str, str, str, list)  # type, data, time, command_id, tags
_OUTCOME_COLUMNS = 12


class End(NamedTuple):
    """The end of a log: the last commit."""

    number: int
    outcomes: int  # number of the last outcome
    hash: bytes
    head: Head


BEGINNING = End(0, 0, NO_HASH, Head(0, NO_HASH))


class NewCommit(NamedTuple):
    """The rows of a commit, and the end of the log after the commit."""

    events: list[RecordedEvent]
    tags: list[tuple[str, str, int]]  # tag, type, position
    outcomes: list[OutcomeRow]
    end: End


class Body(NamedTuple):
    """A decoded body, not verified."""

    identity: Identity
    number: int
    before: bytes  # the hash of the previous commit
    writer: str
    outcomes: list[OutcomeRow]
    events: list[Any]
    hash: bytes
    secret: bytes  # of the log, in the first body


def packed(identity: Identity, before: bytes, writer: str, commit: NewCommit, secret: bytes = b"") -> bytes:
    """Return the body of a commit. The first body of a log has the secret."""
    tags: dict[int, list[str]] = {}
    for tag, _, position in commit.tags:
        tags.setdefault(position, []).append(tag)
    events = [(*event[1:5], tags.get(event.position, ())) for event in commit.events]
    end = commit.end
    proof = meta_hash(identity, secret) if secret else b""
    body = (FORMAT, *identity, end.number, before, writer, commit.outcomes, events, end.hash, secret, proof)
    return bytes(msgpack.packb(body))


def unpacked(body: bytes, number: int) -> Body:
    """Decode the body at a number. Raises LogDamaged for a body that no writer has packed."""
    try:
        fields = msgpack.unpackb(body, strict_map_key=True)
        match fields:
            case [int(version), *_] if version != FORMAT:
                raise LogDamaged(f"Commit {number} of the commit log has format {version}: update dualbus here.")
            case [_, str(log), str(incarnation), int(at), bytes(before), str(writer), [*rows], [*events], *rest]:
                hash_, secret, proof = rest
                identity = Identity(log, incarnation)
                outcomes: Any = [tuple(row) for row in rows if len(row) == _OUTCOME_COLUMNS]
                valid = len(outcomes) == len(rows) and all(map(_is_event, events))
                if valid and (not secret or meta_hash(identity, secret) == proof):
                    return Body(identity, at, before, writer, outcomes, events, hash_, secret)
    except (ValueError, TypeError, msgpack.UnpackException):
        pass
    raise LogDamaged(f"Commit {number} of the commit log is not a commit of dualbus, or was changed: {_ADVICE}")


def verified(body: Body, identity: Identity, end: End) -> NewCommit:
    """Return the rows of a body after the end of a log. Raises LogDamaged if the body does not continue this log."""
    number = end.number + 1
    check_identity(body, identity)
    check_not_moved(body)
    if body.number != number or body.before != end.hash:
        raise LogDamaged(
            f"Commit {number} of the commit log does not continue commit {end.number} of the replica here: {_ADVICE}"
        )
    position, hash_ = end.head
    events: list[RecordedEvent] = []
    tags: list[tuple[str, str, int]] = []
    for type_, data, time, command_id, carried in body.events:
        position += 1
        row = (position, type_, data, time, command_id)
        hash_ = event_hash(hash_, row, carried)
        events.append(RecordedEvent(*row, hash_))
        tags += [(tag, type_, position) for tag in carried]
    head = Head(position, hash_)
    if commit_hash(end.hash, head, body.outcomes) != body.hash:
        raise LogDamaged(f"Commit {number} of the commit log was changed (the hashes differ): {_ADVICE}")
    return NewCommit(events, tags, body.outcomes, End(number, end.outcomes + len(body.outcomes), body.hash, head))


def check_identity(body: Body, identity: Identity) -> None:
    """Raise LogDamaged if a body belongs to another log."""
    if body.identity != identity:
        raise LogDamaged(
            f"The commit log has the log {body.identity.log}, incarnation {body.identity.incarnation}, and the "
            f"replica here is of {identity.log}, incarnation {identity.incarnation}: correct DUALBUS_LOG, or move "
            "the data folder away to copy the other log."
        )


def mover(host: str, replica: str) -> str:
    """Return the writer of the last commit of a commit log, after which the log is in one replica alone."""
    return f"{_MOVED}/{replica}/{host}"


def check_not_moved(body: Body) -> None:
    """Raise LogError for the last commit of a commit log: no process may follow it or write after it."""
    kind, _, place = body.writer.partition("/")
    if kind == _MOVED:
        host = place.partition("/")[2]
        raise LogError(
            f"The log belongs to the machine {host} alone since commit {body.number} (`dualbus move sqlite:` on "
            f"{host}): start no commandbus on the other machines, and unset DUALBUS_LOG on {host}."
        )


def _is_event(item: Any) -> bool:
    return isinstance(item, list) and tuple(map(type, item)) == _EVENT_TYPES
