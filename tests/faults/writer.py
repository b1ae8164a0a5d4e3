"""A writer for the power cuts: appends group commits to a log, and says after each which position it reached.

python -m tests.faults.writer FOLDER COMMITS [normal | early | head | killed]: `normal` syncs only at checkpoints,
`early` says it before it is so, `head` records it in log.head before it is so. Each breaks the promise, and the test
must see it. `killed` is killed between
the last commit's write and its fsync. With no commits at all it says what it finds, as an answer to a key
that is sent again would.
"""

import os
import sys
from pathlib import Path

import apsw

from dualbus.log.contract import Decision, NewEvent
from dualbus.log.sqlite.writer import SqliteLog, new_commit
from tests.faults.launch import disk

EVENTS = 3  # of a commit
SYNC_COMMITS = 7  # after so many, log.head is synced
CHECKPOINT_PAGES = 60  # small, so that there are many checkpoints among the cuts
KEPT: list[apsw.VFS] = []


def decision(number: int) -> Decision:
    """Return the events that position `number` begins."""
    data = '{"id":"u-%d","name":"%d","email":"w@example.com"}'
    events = [NewEvent("UserCreated", data % (n, n), (f"user:u-{n}",)) for n in range(number, number + EVENTS)]
    return Decision(f"key-{number}", "2026-01-01T00:00:00.000000Z", events)


def record_early(log: SqliteLog, position: int) -> None:
    """Record in log.head, before it is written, the commit that appends the next decision."""
    end = new_commit(log._end, [decision(position + 1)]).end
    assert log._head_file
    log._head_file.write(end.number, end.head, end.hash)


def main(folder: Path, commits: int, wrong: str = "") -> None:
    """Append, and say so."""
    arm = folder.with_name("arm")
    if wrong == "killed":
        arm.unlink(missing_ok=True)
        KEPT.append(disk(arm, "kill"))
    log = SqliteLog(folder, lambda secret: decision(1))
    log._db.wal_autocheckpoint(CHECKPOINT_PAGES)
    if wrong == "normal":
        log._db.pragma("synchronous", "normal")
    if not commits:
        os.write(1, b"%d\n" % log.head().position)
    for number in range(commits):
        if wrong == "killed" and number == commits - 1:
            arm.touch()
        position = log.head().position
        if wrong == "early":
            os.write(1, b"%d\n" % (position + EVENTS))
        if wrong == "head":
            record_early(log, position)
        log.append([decision(position + 1)])
        if number % SYNC_COMMITS == 0 and log._head_file:
            log._head_file.sync()  # as when it is idle
        if wrong != "early":
            os.write(1, b"%d\n" % log.head().position)
    os.kill(os.getpid(), 9)  # power does not say goodbye, and SQLite would tidy up


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
