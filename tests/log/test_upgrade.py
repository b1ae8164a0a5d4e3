"""dualbus upgrade: a log of format 1, written by dualbus before format 2, and killed with commits in its -wal."""

import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from dualbus.application.loader import load
from dualbus.commandbus.node import genesis
from dualbus.log.contract import GENESIS, Decision, LogDamaged, LogError, OldFormatError
from dualbus.log.engine import open_log, open_reader, put_in_place
from dualbus.log.head import read_head
from dualbus.runtime.errors import AlreadyRunningError
from dualbus.runtime.files import lock_data
from tests.cli.conftest import ROOT, Run
from tests.cli.conftest import run as run  # a fixture
from tests.drain import Bus
from tests.faults.launch import launched
from tests.log.format_1 import append_users

FIXTURE = Path(__file__).with_name("format_1.tar.gz")
HEAD = 38
MANY = int(os.environ.get("DUALBUS_TEST_EVENTS", "3000"))
OLD = ("log.db", "log.db-wal", "log.head")
KEPT = ("log-format-1.db", "log-format-1.db-wal", "log-format-1.head")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder of format 1."""
    return unpacked(tmp_path / "data")


def unpacked(folder: Path) -> Path:
    with tarfile.open(FIXTURE) as tar:
        tar.extractall(folder, filter="data")
    return folder


def contents(data: Path, names: tuple[str, ...]) -> list[bytes]:
    return [(data / name).read_bytes() for name in names]


def rows(path: Path, sql: str) -> list[Any]:
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as db:
        return db.execute(sql).fetchall()


def start(data: Path) -> None:
    """Open the log as commandbus does."""
    open_log(data, lambda secret: genesis(load("users:app"), secret)).close()


def test_a_log_of_format_1_is_refused_until_it_is_upgraded(data: Path) -> None:
    before = contents(data, OLD)

    for opened in (start, open_reader):
        with pytest.raises(
            OldFormatError, match=r"has format 1, and this dualbus reads format 2: stop .* `dualbus upg"
        ):
            opened(data)

    assert contents(data, OLD) == before


def test_an_upgraded_log_has_the_same_events_and_outcomes_and_the_old_log_is_kept(run: Run, data: Path) -> None:
    before = contents(data, OLD)

    done = run("upgrade")

    assert (done.code, done.err) == (0, "")
    assert f"has the new format, up to position {HEAD}, and its chain is whole. The old log is kept as" in done.out
    assert contents(data, KEPT) == before
    old, new = data / KEPT[0], data / "log.db"
    for sql in (
        "SELECT position, type, data, time, command_id FROM events ORDER BY position",
        "SELECT number, command_id, fingerprint, first, events, errors FROM outcomes ORDER BY number",
        "SELECT number, position, outcomes FROM commits ORDER BY number",
        "SELECT tag, position FROM tags ORDER BY 2, 1",
        "SELECT id, secret FROM meta",
    ):
        assert rows(new, sql) == rows(old, sql)
    assert rows(new, "SELECT incarnation FROM meta") != rows(old, "SELECT incarnation FROM meta")
    assert {len(hash_) for (hash_,) in rows(new, "SELECT hash FROM events UNION ALL SELECT hash FROM commits")} == {
        32
    }
    assert run("verify").code == 0
    assert not (data / "upgrade").exists()
    assert "has the format of this dualbus: nothing to upgrade." in run("upgrade").out


def test_a_long_log_is_upgraded(run: Run, data: Path) -> None:
    append_users(data, MANY)

    began = time.monotonic()
    done = run("upgrade")
    seconds = time.monotonic() - began

    assert (done.code, done.err) == (0, "")
    assert f"up to position {HEAD + MANY}, and its chain is whole" in done.out
    with closing(open_reader(data)) as log:
        last = f"many-{MANY - 1}"
        assert log.outcomes([last])[last].position == HEAD + MANY == log.head().position
    print(f"{MANY} events upgraded in {seconds:.1f} s")


def test_log_head_belongs_to_the_upgraded_log(run: Run, data: Path) -> None:
    run("upgrade")

    with closing(open_reader(data)) as log:
        head = read_head(data)
        assert head
        assert (head.identity, head.head) == (log.identity, log.head())
    start(data)


def test_a_command_that_was_executed_before_the_upgrade_has_its_first_answer(run: Run, data: Path) -> None:
    run("upgrade")
    [key, row, position] = rows(
        data / "log.db",
        "SELECT outcomes.command_id, data, position FROM outcomes JOIN events ON position = first "
        "WHERE fingerprint IS NOT NULL AND events.type = 'UserCreated' LIMIT 1",
    )[0]
    user = json.loads(row)
    payload = {"name": user["name"], "email": user["email"]}
    with closing(open_log(data, lambda secret: pytest.fail("a new log"))) as log:
        bus = Bus(log, load("users:app"))  # type: ignore[arg-type]

        [again] = bus.send({"type": "CreateUser", "payload": payload, "idempotency_key": key})
        [other] = bus.send({"type": "CreateUser", "payload": payload | {"name": "X"}, "idempotency_key": key})

        assert again["events"] == [{"type": "UserCreated", "payload": {"id": user["id"], "name": user["name"]}}], (
            position
        )
        assert other["text"].startswith("This idempotency_key was used for another command")
        assert log.head().position == HEAD
        assert log.outcomes([GENESIS])[GENESIS].origin.type == ""


def test_upgrade_refuses_beside_a_commandbus(run: Run, data: Path) -> None:
    lock = lock_data(data, "log", "commandbus writes the log")

    refused = run("upgrade")
    lock.release()

    assert refused.code == 1
    assert refused.err.startswith("Another commandbus writes the log in")
    assert AlreadyRunningError.__name__ not in refused.err
    assert (data / "log.db").exists()


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("UPDATE events SET data = replace(data, 'Ada', 'Eva') WHERE position = 20", "Position 20 was changed"),
        ("UPDATE outcomes SET errors = '[]' WHERE errors != '[]'", "Commit 4, from position 8 on, was changed"),
        ("INSERT INTO tags VALUES ('user:x', 9)", "Position 9 was changed"),
        ("DELETE FROM events WHERE position = 38", "The log has lost acknowledged events from position 38 on"),
        ("DELETE FROM commits WHERE number = 3", "was changed"),
    ],
)
def test_a_damaged_log_is_not_upgraded_and_stays_as_it_is(run: Run, data: Path, sql: str, said: str) -> None:
    with closing(apsw.Connection(str(data / "log.db"))) as db:
        db.execute(sql)
    before = (data / "log.db").read_bytes()

    refused = run("upgrade")

    assert refused.code == 1
    assert said in refused.err
    assert (data / "log.db").read_bytes() == before
    assert not (data / "upgrade").exists()


def test_a_log_that_is_lost_after_the_upgrade_is_no_interrupted_upgrade(run: Run, data: Path, tmp_path: Path) -> None:
    # given an upgraded log with a commit in its -wal, of which the file is lost
    run("upgrade")
    with closing(open_log(data, lambda secret: pytest.fail("a new log"))) as log:
        log.append([Decision("later", "2026-11-28T04:00:00.000000Z", [])])
        shutil.copy(data / "log.db-wal", tmp_path / "wal")
    (data / "log.db").unlink()
    shutil.copy(tmp_path / "wal", data / "log.db-wal")
    before = contents(data, (*KEPT, "log.db-wal", "log.head"))

    # then neither a start nor the command takes this for an upgrade to finish, and no file is changed
    with pytest.raises(LogDamaged, match=f"of which position {HEAD} was acknowledged"):
        start(data)
    refused = run("upgrade")

    assert (refused.code, "There is no log at" in refused.err) == (1, True), refused.err
    assert contents(data, (*KEPT, "log.db-wal", "log.head")) == before


@pytest.mark.parametrize("kept", ["log-format-1.db", "log-format-1.db-wal"])
def test_an_upgrade_replaces_no_file_that_an_earlier_upgrade_has_kept(run: Run, data: Path, kept: str) -> None:
    (data / kept).write_bytes(b"kept")
    before = contents(data, OLD)

    refused = run("upgrade")

    assert refused.code == 1
    assert refused.err == f"{data / kept} exists, of an earlier upgrade: move it away, then retry.\n"
    assert contents(data, (kept, *OLD)) == [b"kept", *before]
    (data / kept).unlink()
    assert run("upgrade").code == 0
    assert contents(data, KEPT) == before


def test_an_old_log_is_not_moved_without_a_copy_to_take_its_place(data: Path) -> None:
    before = contents(data, OLD)

    with pytest.raises(LogError, match=r"There is no upgraded log at .*: run `dualbus upgrade` again"):
        put_in_place(data)

    assert contents(data, OLD) == before


def test_an_upgrade_that_is_killed_is_finished_by_the_next(tmp_path: Path, run: Run) -> None:
    environ = {**os.environ, "DUALBUS_APP": "users:app"}
    states = set()
    for when in ("before", "after"):
        for number in range(1, 6):
            # given an upgrade that is killed at one of its renames
            data = unpacked(tmp_path / f"{when}-{number}")
            before = contents(data, OLD)
            command = [*launched("dualbus", "/", "kill", when, "pathlib:Path.rename", number), "--", "upgrade"]
            killed = subprocess.run(
                command, env={**environ, "DUALBUS_DATA": str(data)}, cwd=ROOT, capture_output=True, text=True
            )
            assert killed.returncode == -signal.SIGKILL, killed.stderr
            # then the log is the new log, or a start says what to do
            if (when, number) == ("after", 5):
                start(data)
            else:
                with pytest.raises(LogError, match="`dualbus upgrade`") as refused:
                    start(data)
                assert not isinstance(refused.value, LogDamaged)
                states.add("interrupted" in str(refused.value))
            # and the next run leaves the new log, and the old log as it was
            assert run("upgrade", data=data).code == 0
            start(data)
            assert run("verify", data=data).code == 0
            assert contents(data, KEPT) == before
    assert states == {True, False}
