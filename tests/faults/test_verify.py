"""FAULTS, lines 7 and 8: whatever is changed in the log or the read model, and whatever is missing, is noticed.

Trials run in this process, on copies of one data folder, so that hundreds take seconds. Which bits are data: a
page of SQLite has free bytes, and the old content of free pages, that nobody ever reads. So a bit is tried only
if its flip changes a row, or is seen by SQLite's own check of a file; another bit is chosen where it is not.
"""

import os
import random
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import pytest

from dualbus.application.app import App
from dualbus.application.loader import load
from dualbus.log.contract import GENESIS, Decision, LogError, NewEvent, VerificationError
from dualbus.log.sqlite.schema import FILE_NAME
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.operations.verify import verify
from dualbus.runtime.errors import EXIT_DATA
from dualbus.testing import Cluster, until
from tests.faults.seeing import rows
from tests.history import History, make_history
from tests.raw import RawClient, create

SEED = 20
BITS, EDITS = 120, 80
KEYS = {"events": "position", "outcomes": "number", "commits": "number", "meta": "one", "tags": "position"}


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, App]:
    """A log of some two hundred events, a third of its commands refused or keyed, and its read model."""
    folder = tmp_path_factory.mktemp("history") / "data"
    return folder, make_history(folder, 300, SEED)


def files(folder: Path) -> list[Path]:
    """Return the log and the read model."""
    return [folder / FILE_NAME, *folder.glob("read-*.db")]


def copy(source: Path, to: Path) -> list[Path]:
    """Copy log and read model, which nobody has open, and return the copies."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir()
    return [Path(shutil.copy(path, to)) for path in files(source)]


def content(path: Path) -> Any:
    """Return all that can be read of a file, and what SQLite finds wrong with it."""
    db = apsw.Connection(f"file:{path}?immutable=1", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    try:
        found: list[Any] = [db.execute("PRAGMA integrity_check").fetchall()]
        if path.name == FILE_NAME:  # the read model has nothing in these
            found += [db.pragma("application_id"), db.pragma("user_version")]
        found += db.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema").fetchall()
        for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall():
            found += db.execute(f"SELECT * FROM {name}").fetchall()
        return repr(found)
    except (apsw.Error, UnicodeDecodeError) as error:
        return repr(error)
    finally:
        db.close()


def flip(path: Path, chance: random.Random) -> str:
    """Flip one bit that is data; return which."""
    before, raw = content(path), path.read_bytes()
    while True:
        byte, bit = chance.randrange(len(raw)), chance.randrange(8)
        with path.open("r+b") as file:
            file.seek(byte)
            file.write(bytes([raw[byte] ^ (1 << bit)]))
        if content(path) != before:
            return f"bit {bit} of byte {byte} of {path.name}"
        path.write_bytes(raw)


@pytest.mark.slow
def test_every_flipped_bit_is_detected(history: tuple[Path, App], tmp_path: Path) -> None:
    source, app = history
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    for _ in range(BITS):
        path = chance.choice(copy(source, tmp_path / "copy"))
        what = flip(path, chance)
        with pytest.raises(LogError) as found:
            print(f"{what} was not detected:", verify(tmp_path / "copy", app))
        assert "\n" not in str(found.value) and str(found.value).endswith("."), what


class Edit(NamedTuple):
    """What was done to a table."""

    table: str
    before: list[tuple[Any, ...]]
    after: list[tuple[Any, ...]]

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """The rows that are there only before or only after."""
        return sorted(set(self.before) ^ set(self.after), key=repr)


def edit(path: Path, chance: random.Random) -> Edit:
    """Change a column of one row, delete one row, or swap what two rows hold."""
    db = apsw.Connection(str(path))
    tables: list[Any] = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
    while True:
        [table] = chance.choice(tables)
        before = db.execute(f"SELECT * FROM {table}").fetchall()
        after = edited(before, chance)
        try:
            with db:
                db.execute(f"DELETE FROM {table}")
                db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(before[0]))})", after)
        except apsw.ConstraintError:
            continue  # SQLite would not have it
        if set(before) != set(after):
            db.close()
            return Edit(table, before, after)


def edited(rows: list[tuple[Any, ...]], chance: random.Random) -> list[tuple[Any, ...]]:
    """Return the rows with one column changed, one row gone, or all but the keys of two rows swapped."""
    found = list(rows)
    one, other = chance.randrange(len(rows)), chance.randrange(len(rows))
    how = chance.choice(["edit", "delete", "swap"])
    if how == "delete":
        del found[one]
    elif how == "swap":
        found[one], found[other] = (*rows[one][:1], *rows[other][1:]), (*rows[other][:1], *rows[one][1:])
    else:
        column = chance.randrange(len(rows[one]))
        found[one] = (*rows[one][:column], changed(rows[one][column], chance), *rows[one][column + 1 :])
    return found


def changed(value: Any, chance: random.Random) -> Any:
    """Return another value of the same type."""
    if isinstance(value, int):
        return value + chance.choice([-1000, -1, 1, 2, 1000])
    if isinstance(value, str):
        at = chance.randrange(len(value) + 1)
        return value[:at] + chance.choice("aZ0é") + value[at + chance.randrange(2) :]
    if value is None:
        return b"0123456789abcdef"
    return bytes([value[0] ^ 1]) + value[1:]


def first_bad_position(path: Path, done: Edit, head: int) -> int | None:
    """Return where verify must see the edit of a row first; None if the row belongs to no position."""
    if path.name != FILE_NAME:
        return head if done.table == "users" else None  # the position at which the read model is compared
    if done.table in ("events", "tags"):
        positions: list[int] = [row[0] if done.table == "events" else row[2] for row in done.rows]
        return max(1, min(positions))
    if done.table == "meta":
        return None
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    commits: list[Any] = done.before if done.table == "commits" else db.execute("SELECT * FROM commits").fetchall()
    db.close()
    number = min(row[0] for row in done.rows)
    column = 0 if done.table == "commits" else 2  # its own number, or the number of its last outcome
    ends: list[int] = [commit[1] for commit in commits if commit[column] < number]
    return 1 + max(ends, default=0)


@pytest.mark.slow
def test_every_edited_deleted_or_swapped_row_is_detected_and_its_position_named(
    history: tuple[Path, App], tmp_path: Path
) -> None:
    source, app = history
    head = verify(source, app).position
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    for _ in range(EDITS):
        path = chance.choice(copy(source, tmp_path / "copy"))
        done = edit(path, chance)
        with pytest.raises(LogError) as found:
            print(f"{done.table}, {done.rows} was not detected:", verify(tmp_path / "copy", app))
        position = first_bad_position(path, done, head)
        if position is not None:
            assert isinstance(found.value, VerificationError)
            assert (found.value.position, done.rows) == (position, done.rows), str(found.value)
            assert f"position {position}" in str(found.value).lower()


@pytest.fixture
def killed(cluster: Cluster) -> Path:
    """The data of a cluster whose processes were all killed at once, after 20 acknowledged commands."""
    cluster.start()
    with RawClient(cluster.front) as client:
        replies = client.ask(*(create(f"Ada {number}") for number in range(20)))
        assert all(reply["success"] for reply in replies)
        app = load("users:app")
        until(lambda: rows(cluster.data, app, "SELECT * FROM users")[0] == 21, what="the read model has seen it all")
    for process in cluster.processes:
        process.send(signal.SIGKILL)
    for process in cluster.processes:
        process.wait()
    assert (cluster.data / "log.db-wal").stat().st_size > 0
    return cluster.data


def test_a_log_whose_wal_is_cut_or_gone_after_a_crash_is_refused_at_start(cluster: Cluster, killed: Path) -> None:
    whole = killed.with_name("whole")
    shutil.copytree(killed, whole)
    wal = killed / "log.db-wal"
    half = wal.stat().st_size // 2

    for left in (half, 0, None):
        shutil.rmtree(killed)
        shutil.copytree(whole, killed)
        (killed / "log.db-shm").unlink()
        if left is None:
            wal.unlink()
        else:
            os.truncate(wal, left)

        [commandbus] = cluster.start("commandbus")

        assert commandbus.wait() == EXIT_DATA
        assert "the log has lost acknowledged events" in commandbus.stderr_text.lower()
        assert "Restore it from a backup" in commandbus.stderr_text
        with pytest.raises(VerificationError, match="The log has lost acknowledged events from position"):
            verify(killed, load("users:app"))

    shutil.rmtree(killed)
    shutil.copytree(whole, killed)
    assert verify(killed, load("users:app")).position == 21


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("log", "INSERT INTO events SELECT position + 1, type, data, time, command_id, hash FROM events "
                "ORDER BY position DESC LIMIT 1", "Position {next} is in the log but in no commit"),
        ("log", "INSERT INTO outcomes SELECT max(number) + 1, 'x', NULL, {next}, 0, '[]', 'X', NULL, NULL, NULL, "
                "NULL, NULL FROM outcomes",
         "After position {head}, an outcome is in no commit"),
        ("log", "INSERT INTO tags VALUES ('user:x', 'UserCreated', 5)", "The tags of position 5 were changed"),
        ("log", "UPDATE tags SET type = 'UserRemoved' WHERE position = 7", "The tags of position 7 were changed"),
        ("log", "INSERT INTO tags VALUES ('user:x', 'User', 0)", "A tag before position 1 belongs to no event"),
        ("log", "INSERT INTO tags VALUES ('user:x', 'UserCreated', {next})", "The log has a tag for position {next}"),
        ("log", "UPDATE commits SET number = number + 1 WHERE number = (SELECT max(number) FROM commits)",
         "is missing; the next commit has the number"),
        ("log", "CREATE TRIGGER t AFTER INSERT ON events BEGIN DELETE FROM tags; END", "is not the schema of a log"),
        ("read", "CREATE TABLE more (x)", "is not the schema of the projections"),
        ("read", "CREATE INDEX by_name ON users (name)", "is not the schema of the projections"),
        ("read", "INSERT INTO users VALUES ('zzz', 'Zoe')", "in key order, is superfluous"),
        ("read", "UPDATE dualbus_checkpoint SET log = 'x'", "was built from another log (x)"),
        ("read", "UPDATE dualbus_checkpoint SET incarnation = 'x'", "was built from an earlier incarnation"),
        ("read", "UPDATE dualbus_checkpoint SET position = {next}", "The log has lost acknowledged events"),
    ],
)  # fmt: skip
def test_what_is_too_much_or_of_another_log_is_detected(
    history: tuple[Path, App], tmp_path: Path, file: str, change: str, said: str
) -> None:
    source, app = history
    head = verify(source, app).position
    log, read_model = copy(source, tmp_path / "copy")
    db = apsw.Connection(str(log if file == "log" else read_model))
    db.execute(change.format(head=head, next=head + 1))
    db.close()

    with pytest.raises(VerificationError) as found:
        verify(tmp_path / "copy", app)

    assert said.format(head=head, next=head + 1) in str(found.value)


def test_an_event_that_lacks_a_tag_of_the_application_is_a_warning_and_all_behind_it_is_verified(
    tmp_path: Path,
) -> None:
    data = '{"id":"u","name":"Ada"}'
    log = SqliteLog(
        tmp_path,
        lambda secret: Decision(
            GENESIS, "2026", [NewEvent("UserCreated", '{"id":"u","name":"Ada","email":"a@b.c"}', ())]
        ),
    )
    log.append([Decision("a", "2026", [NewEvent("UserRenamed", data, ())])])
    log.append([Decision("b", "2026", [NewEvent("UserRenamed", data, ("user:u",))])])
    log.close()

    report = verify(tmp_path, load("users:app"))

    assert report.position == 3
    types = r"UserCreated \(from position 1 on\), UserRenamed \(from position 2 on\)"
    assert re.search(f"assigns tags to events that were not written with them: {types}", report.warning)
    db = apsw.Connection(str(tmp_path / "log.db"))
    db.execute("UPDATE events SET data = replace(data, 'Ada', 'Eva') WHERE position = 3")
    db.close()
    with pytest.raises(VerificationError, match="Position 3 was changed"):
        verify(tmp_path, load("users:app"))


def test_a_damaged_index_of_a_read_model_is_detected(tmp_path: Path) -> None:
    users = load("users:app")
    [users_projection] = users.projections
    tables = f"{users_projection.tables}; CREATE INDEX by_name ON users (name)"
    app = replace(users, projections=[replace(users_projection, tables=tables)])
    history = History(tmp_path, SEED, app)
    history.project()
    history.close()
    [path] = tmp_path.glob("read-*.db")
    db = apsw.Connection(str(path))
    page = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'by_name'").get
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    raw = path.read_bytes()
    at = raw.index(b"John Doe", (page - 1) * 4096, page * 4096)
    path.write_bytes(raw[:at] + b"Jane Doe" + raw[at + 8 :])

    with pytest.raises(VerificationError, match=r"SQLite reports a damaged file .*by_name"):
        verify(tmp_path, app)
