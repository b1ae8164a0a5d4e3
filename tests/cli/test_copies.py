"""dualbus backup, restore, export and import: a log goes into a file and comes back, or does not, and says so."""

import fcntl
import json
import os
import re
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from dualbus.application.loader import load
from dualbus.commandbus.node import genesis
from dualbus.log.contract import GENESIS, Decision, NewEvent
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.operations.transfer import export_lines, import_lines
from dualbus.runtime.files import lock_data
from tests.cli.conftest import Run
from tests.drain import Bus
from tests.history import History, project
from tests.in_process.library import app as library


def identity(folder: Path) -> tuple[str, str]:
    """Return which log there is in a folder, and which life of it."""
    log = SqliteLogReader(folder)
    log.close()
    return log.identity


def events_of(lines: str) -> list[str]:
    """Return the lines of events in an export."""
    return [line for line in lines.splitlines() if "position" in json.loads(line)]


def test_a_backup_that_is_restored_is_the_same_log_in_another_life(run: Run, data: Path, tmp_path: Path) -> None:
    before = run("export").out
    backup, elsewhere = tmp_path / "b.db", tmp_path / "elsewhere"

    assert run("backup", backup).out == f"{backup} holds the log up to position 45, and its chain is whole.\n"
    restored = run("restore", backup, data=elsewhere)

    assert (restored.code, restored.err) == (0, "")
    assert "goes up to position 45, and its chain is whole. Start the cluster." in restored.out
    assert run("export", data=elsewhere).out == before
    assert run("verify", data=elsewhere).code == 0
    assert identity(elsewhere)[0] == identity(data)[0]
    assert identity(elsewhere)[1] != identity(data)[1]
    assert [path.stat().st_mode & 0o777 for path in (backup, elsewhere / "log.db")] == [0o600, 0o600]


def test_a_backup_is_taken_while_the_log_is_written(run: Run, tmp_path: Path) -> None:
    history = History(tmp_path / "data")
    history.commit(20)

    first = run("backup", tmp_path / "first.db")
    history.commit(20)
    second = run("backup", tmp_path / "second.db")
    history.close()

    assert (first.code, second.code) == (0, 0)
    for name in ("first", "second"):
        assert run("restore", tmp_path / f"{name}.db", data=tmp_path / name).code == 0
    lines = [run("export", data=tmp_path / name).out for name in ("first", "second")]
    assert events_of(lines[1])[: len(events_of(lines[0]))] == events_of(lines[0])
    assert len(lines[1]) > len(lines[0])


def test_the_copy_of_a_killed_process_is_removed_by_the_next_one(run: Run, data: Path, tmp_path: Path) -> None:
    left, used = data / ".dualbus-left", data / ".dualbus-used"
    for folder in (left, used):
        folder.mkdir()
        (folder / "log.db").touch()
        os.utime(folder, (0, 0))
    descriptor = os.open(used, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)

    assert run("backup", data / "b.db").code == 0

    assert not left.exists()
    assert (used / "log.db").exists()  # of a process that runs
    os.close(descriptor)


def test_a_log_may_be_cut_at_every_position_and_holds_what_was_before_it(
    run: Run, data: Path, tmp_path: Path
) -> None:
    lines = events_of(run("export").out)

    for position in range(1, 46, 4):
        target = tmp_path / f"to-{position}"
        assert run("restore", data / "log.db", "--to", position, data=target).code == 0
        assert events_of(run("export", data=target).out) == lines[:position]
        assert run("verify", data=target).code == 0
    assert run("backup", tmp_path / "b.db", "--to", 46).err == (
        "The log has positions 1 to 45: choose one of them; 46 is not in the log.\n"
    )
    assert not (tmp_path / "b.db").exists()


def test_a_log_that_was_cut_can_be_written_on(run: Run, data: Path, tmp_path: Path) -> None:
    run("restore", data / "log.db", "--to", 20, data=tmp_path / "cut")

    history = History(tmp_path / "cut", seed=99)
    history.commit(10)
    history.project()
    history.close()

    assert run("verify", data=tmp_path / "cut").code == 0


def test_a_command_whose_events_belong_together_is_not_cut_in_two(run: Run, tmp_path: Path) -> None:
    events = [NewEvent("UserRenamed", f'{{"id":"u","name":"{n}"}}', ("user:u",)) for n in range(3)]
    log = SqliteLog(tmp_path / "data", lambda secret: Decision(GENESIS, "2026", [events[0]]))
    log.append([Decision("a", "2026", events), Decision("b", "2026", events[:1])])
    log.close()

    refused = run("backup", tmp_path / "b.db", "--to", 3)

    assert refused.code == 1
    assert refused.err.endswith(
        "is between two events of the same command, which cannot be separated: choose 1 or 4.\n"
    )
    assert run("backup", tmp_path / "b.db", "--to", 4).code == 0


def test_restore_never_overwrites_a_log(run: Run, data: Path, tmp_path: Path) -> None:
    run("backup", tmp_path / "b.db", "--to", 20)
    before = (data / "log.db").read_bytes()

    refused = run("restore", tmp_path / "b.db")

    assert refused.code == 1
    assert refused.err == f"{data}/log.db exists: move all of log.db* away together, then retry.\n"
    assert (data / "log.db").read_bytes() == before


def test_restore_never_works_beside_a_commandbus(run: Run, data: Path, tmp_path: Path) -> None:
    run("backup", tmp_path / "b.db")
    writing = SqliteLog(data, lambda secret: Decision(GENESIS, "2026"))
    (data / "log.db").unlink()

    refused = run("restore", tmp_path / "b.db")
    writing.close()

    assert refused.code == 1
    assert refused.err.startswith("Another commandbus writes the log in")


@pytest.mark.parametrize("command", ["restore", "import", "upgrade"])
def test_no_log_is_replaced_beside_a_reactor_which_would_send_it_commands_of_the_lost_events(
    run: Run, data: Path, tmp_path: Path, command: str
) -> None:
    run("backup", tmp_path / "b.db")
    (tmp_path / "lines").write_text(run("export").out)
    reacting = lock_data(data, "reactor", "reactor runs the reactions")
    if command != "upgrade":
        (data / "log.db").unlink()
    files = {"restore": [tmp_path / "b.db"], "import": [tmp_path / "lines"], "upgrade": []}

    refused = run(command, *files[command])
    reacting.release()

    assert refused.code == 1
    assert refused.err.startswith("Another reactor runs the reactions in") and "stop it first" in refused.err


def test_a_read_model_that_is_ahead_of_a_restored_log_is_made_anew(run: Run, data: Path, tmp_path: Path) -> None:
    run("backup", tmp_path / "b.db")
    for path in data.glob("log.db*"):
        path.unlink()

    run("restore", tmp_path / "b.db", "--to", 20)

    not_yet = run("verify")
    assert not_yet.code == 1
    assert "was built from an earlier incarnation of this log: start the projector" in not_yet.err
    SqliteLog(data, lambda secret: Decision(GENESIS, "2026")).close()  # commandbus starts
    log = SqliteLogReader(data)
    assert project(data, load("users:app"), log)  # projector does too
    log.close()
    assert "The read model at position 20 is what the log gives" in run("verify").out


def test_a_damaged_backup_is_refused_and_nothing_is_made(run: Run, data: Path, tmp_path: Path) -> None:
    backup, target = tmp_path / "b.db", tmp_path / "target"
    run("backup", backup)
    log = apsw.Connection(str(backup))
    log.execute("DELETE FROM events WHERE position = 7")
    log.close()

    refused = run("restore", backup, data=target)
    strange = run("restore", Path(__file__), data=target)

    assert (refused.code, refused.err) == (1, "Position 7 is missing in the log: restore the log.\n")
    assert strange.code == 1
    assert strange.err.startswith(f"{__file__} is not a readable log")
    assert sorted(path.name for path in target.iterdir()) == ["log.lock", "projector.lock", "reactor.lock"]


def test_a_backup_of_a_damaged_log_is_refused(run: Run, data: Path, tmp_path: Path) -> None:
    log = apsw.Connection(str(data / "log.db"))
    log.execute("UPDATE outcomes SET errors = '[\"No\"]' WHERE errors != '[]'")
    log.close()

    refused = run("backup", tmp_path / "b.db")

    assert refused.code == 1
    assert "or the outcome of one of its commands" in refused.err
    assert not (tmp_path / "b.db").exists()


def test_backup_never_overwrites_a_file(run: Run, data: Path, tmp_path: Path) -> None:
    (tmp_path / "b.db").write_text("mine")

    assert run("backup", tmp_path / "b.db").code == 1
    assert (tmp_path / "b.db").read_text() == "mine"


def test_a_log_goes_out_as_lines_and_comes_into_a_new_log(run: Run, data: Path, tmp_path: Path) -> None:
    lines, file, target = run("export").out, tmp_path / "events.jsonl", tmp_path / "target"
    file.write_text(lines)
    command, first = map(json.loads, lines.splitlines()[1:3])
    assert (command["command_id"], command["events"], command["errors"]) == ("genesis", 1, [])
    assert (first["position"], first["command_id"]) == (1, "genesis")
    assert first["data"] == {"id": "user-123", "name": "John Doe", "email": "john.doe@example.com"}

    imported = run("import", file, data=target)

    assert (imported.code, imported.err) == (0, "")
    assert run("export", data=target).out == lines
    assert run("verify", data=target).code == 0
    assert identity(target)[0] != identity(data)[0]
    assert [path.name for path in sorted(target.iterdir()) if not path.name.endswith(("-shm", "-wal"))] == [
        "log.db",
        "log.head",
        "log.lock",
        "projector.lock",
        "reactor.lock",
    ]


def test_keys_rejections_and_origins_are_known_after_an_import(run: Run, tmp_path: Path) -> None:
    data, file, target = tmp_path / "data", tmp_path / "events.jsonl", tmp_path / "target"
    app = load("users:app")
    create = {"type": "CreateUser", "payload": {"name": "Ada", "email": "a@example.org"}, "idempotency_key": "k1"}
    create |= {"metadata": {"tenant": "é"}, "trace": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
    rename = {"type": "RenameUser", "payload": {"user_id": "nobody", "name": "X"}, "idempotency_key": "k2"}
    with closing(SqliteLog(data, lambda secret: genesis(app, secret))) as log:
        first = Bus(log, app).send(create, rename)
        outcomes = log.outcomes(["k1", "k2"])
    file.write_text(run("export").out)

    assert run("import", file, data=target).code == 0

    with closing(SqliteLog(target, lambda secret: pytest.fail("a new log"))) as log:
        bus = Bus(log, app)
        assert bus.send(create, rename) == first
        [other] = bus.send({**create, "payload": {"name": "Eva", "email": "a@example.org"}})
        assert other["text"].startswith("This idempotency_key was used for another command")
        assert log.outcomes(["k1", "k2"]) == outcomes
        assert outcomes["k1"].origin.metadata == {"tenant": "é"}


def test_a_rejection_keeps_the_field_and_the_code_of_its_problems(tmp_path: Path) -> None:
    command = {"type": "Stumble", "payload": {"how": "several"}, "idempotency_key": "k"}
    with closing(SqliteLog(tmp_path / "one", lambda secret: genesis(library, secret))) as log:
        first = Bus(log, library).send(command)
        lines = list(export_lines(log, lambda position, head: None))

    import_lines(lines, tmp_path / "two", library, lambda position: None)

    with closing(SqliteLog(tmp_path / "two", lambda secret: pytest.fail("a new log"))) as log:
        assert Bus(log, library).send(command) == first
        assert log.outcomes(["k"])["k"].errors == ["First", {"text": "Second", "field": "how", "code": "second"}]


def test_a_log_whose_first_commands_have_no_events_is_imported(tmp_path: Path) -> None:
    shelve = {"type": "Shelve", "payload": {"number": 2}, "idempotency_key": "k"}
    with closing(SqliteLog(tmp_path / "one", lambda secret: Decision(GENESIS, ""))) as log:
        Bus(log, library).send({"type": "Stumble", "payload": {"how": "who"}}, shelve)
        lines = list(export_lines(log, lambda position, head: None))
    assert [json.loads(line).get("events") for line in lines] == [None, 0, 0, 2, None, None, None]

    assert import_lines(lines, tmp_path / "two", library, lambda position: None) == 2

    with closing(SqliteLogReader(tmp_path / "two")) as log:
        assert list(export_lines(log, lambda position, head: None)) == lines


def test_an_earlier_export_with_lines_of_events_only_is_imported(run: Run, data: Path, tmp_path: Path) -> None:
    file, target = tmp_path / "events.jsonl", tmp_path / "target"
    lines = events_of(run("export").out)
    file.write_text("\n".join(lines))

    assert run("import", file, data=target).code == 0

    assert events_of(run("export", data=target).out) == lines


def test_import_only_makes_new_logs(run: Run, data: Path, tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text(run("export").out)
    before = (data / "log.db").read_bytes()

    refused = run("import", tmp_path / "events.jsonl")

    assert refused.code == 1
    assert "log.db exists: move all of log.db* away" in refused.err
    assert (data / "log.db").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: [*lines[:9], *lines[10:]], "Position 10 is missing before 11"),
        (lambda lines: [*lines[:9], "{", *lines[10:]], "is not JSON"),
        (
            lambda lines: [
                *lines[:9],
                lines[9].replace('"data": {', '"data": {"x": 0.12345678901234567, '),
                *lines[10:],
            ],
            "The number 0.12345678901234567 has more digits than a float: write it as text.",
        ),
        (lambda lines: [*lines[:9], "{}", *lines[10:]], "has no valid position, type, data"),
        (lambda lines: [*lines[:9], lines[9].replace("User", "Loser", 1)], "cannot read position 10 as Loser"),
        (lambda lines: [*lines[:9], lines[9].replace('"name":', '"nme":')], "cannot read position 10 as User"),
        (lambda lines: [*lines[:9], lines[9].replace('"key-', '"genesis" ,"x": "')], "'genesis' appears again"),
        (lambda lines: [*lines[:9], with_time(lines[9], "yesterday"), *lines[10:]], "has no valid time: write it as"),
        (lambda lines: [*lines[:44], with_time(lines[44], "9999-12-31T23:59:59.999999Z")], "has no valid time"),
        (lambda lines: [], "The input is empty: pass the output of"),
    ],
)
@pytest.mark.parametrize("commands", [True, False], ids=["with commands", "events only"])
def test_lines_that_cannot_be_taken_are_refused_and_nothing_is_made(
    run: Run, data: Path, tmp_path: Path, change: object, said: str, commands: bool
) -> None:
    assert callable(change)
    file, target = tmp_path / "events.jsonl", tmp_path / "target"
    exported = run("export").out
    lines = change(events_of(exported))
    if commands:  # each before its first event
        before: dict[str, str] = {}
        for line in exported.splitlines():
            if "errors" in (found := json.loads(line)):
                before[found["command_id"]] = line
        lines = [one for line in lines for one in (before.pop(command_id_of(line), ""), line)]
    file.write_text("\n".join(lines))

    refused = run("import", file, data=target)

    assert refused.code == 1
    assert said in refused.err
    assert sorted(path.name for path in target.iterdir()) == ["log.lock", "projector.lock", "reactor.lock"]


def with_time(line: str, time: str) -> str:
    return re.sub('"time": "[^"]*"', f'"time": "{time}"', line)


def command_id_of(line: str) -> str:
    return str(json.loads(line).get("command_id")) if len(line) > 2 else ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda command: command.pop("fingerprint"), "Line 1 has no valid fingerprint"),
        (lambda command: command.update(fingerprint="xyz", more=1), "Line 1 has no valid fingerprint, more"),
        (lambda command: command.update(metadata={"a": 1}), "Line 1 has no valid metadata"),
        (lambda command: command.update(events=2), "The command 'genesis' has 2 events, and the input has 1"),
        (lambda command: command.update(errors=["No"]), "The command 'genesis' has events and errors"),
    ],
)
def test_a_line_of_a_command_that_is_not_valid_is_refused(
    run: Run, data: Path, tmp_path: Path, change: object, said: str
) -> None:
    assert callable(change)
    _, command, *others = run("export").out.splitlines()
    fields = json.loads(command)
    change(fields)
    (tmp_path / "events.jsonl").write_text("\n".join([json.dumps(fields), *others[:-1]]))

    refused = run("import", tmp_path / "events.jsonl", data=tmp_path / "target")

    assert (refused.code, said in refused.err) == (1, True), refused.err


def test_verify_reports_that_a_log_is_lost_with_its_acknowledged_position(run: Run, data: Path) -> None:
    for path in data.glob("log.db*"):
        path.unlink()

    lost = run("verify")

    assert (lost.code, "The log has lost acknowledged events: there is no log in" in lost.err) == (1, True)
