"""Further commits of a log of format 1, with the hashes of that format."""

import json
from contextlib import closing
from pathlib import Path

import apsw

from dualbus.log.chain import commit_hash, event_hash
from dualbus.log.contract import Head
from dualbus.log.sqlite.upgrade import HASH_BYTES

COMMIT_EVENTS = 500
TIME = "2026-11-27T04:00:00.000000Z"


def append_users(folder: Path, count: int) -> None:
    """Append users, each the only event of a command, to a log without other users of these ids."""
    with closing(apsw.Connection(str(folder / "log.db"))) as db, db:
        (position, hash_) = db.execute("SELECT max(position), hash FROM events").get
        (number, outcomes, chain) = db.execute("SELECT max(number), outcomes, hash FROM commits").get
        for begin in range(0, count, COMMIT_EVENTS):
            events, tags, done = [], [], []
            for user in range(begin, min(begin + COMMIT_EVENTS, count)):
                position, outcomes = position + 1, outcomes + 1
                id_ = f"user-{user:016x}"
                data = json.dumps({"id": id_, "name": f"User {user}", "email": f"u{user}@example.org"})
                row = (position, "UserCreated", data, TIME, f"many-{user}")
                hash_ = event_hash(hash_, row, [f"user:{id_}"])[:HASH_BYTES]
                events.append((*row, hash_))
                tags.append((f"user:{id_}", position))
                done.append((outcomes, f"many-{user}", None, position, 1, "[]"))
            db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", events)
            db.executemany("INSERT INTO tags VALUES (?, ?)", tags)
            db.executemany("INSERT INTO outcomes VALUES (?, ?, ?, ?, ?, ?)", done)
            number, chain = number + 1, commit_hash(chain, Head(position, hash_), done)[:HASH_BYTES]  # type: ignore[arg-type]
            db.execute("INSERT INTO commits VALUES (?, ?, ?, ?)", (number, position, outcomes, chain))
