"""The command line without enough disk space: a log is whole or absent, and the error text names the space."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from dualbus.application.loader import load
from dualbus.commandbus.node import genesis
from dualbus.log.contract import Decision, NewEvent
from dualbus.log.sqlite.writer import SqliteLog
from tests.cli.conftest import ROOT, Run
from tests.drain import NOW
from tests.history import project

LONG = 4000  # characters of a tag: few events fill the temporary tables
Disk = Callable[[int], Path]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Make a disk of so many KiB; needs the right to mount."""
    with ExitStack() as mounted:

        def make(kib: int) -> Path:
            path = tmp_path / f"disk-{kib}"
            path.mkdir()
            mount = ["mount", "-t", "tmpfs", "-o", f"size={kib}k,mode=0700", "tmpfs", str(path)]
            if subprocess.run(mount, check=False, capture_output=True).returncode:
                pytest.skip("This user may not mount a small disk.")
            mounted.callback(subprocess.run, ["umount", "--lazy", str(path)], check=True)
            return path

        yield make


def test_an_import_on_a_disk_that_is_too_small_creates_the_whole_log_or_none(
    run: Run, data: Path, tmp_path: Path, disk: Disk
) -> None:
    lines = tmp_path / "lines"
    lines.write_text(run("export").out)
    codes = set()
    for kib in range(128, 512, 32):
        target = disk(kib) / "data"

        imported = run("import", lines, data=target)

        codes.add(imported.code)
        if imported.code == 0:
            assert run("export", data=target).out == lines.read_text()
        else:
            assert "free some space" in imported.err, imported.err
            assert sorted(path.name for path in target.iterdir()) == ["log.lock", "projector.lock", "reactor.lock"]
    assert codes == {0, 1}


@pytest.mark.parametrize("command", ["verify", "backup"])
def test_a_log_is_not_reported_as_damaged_if_the_folder_for_temporary_files_is_full(
    tmp_path: Path, disk: Disk, command: str
) -> None:
    # Given a whole log with more tags than SQLite keeps in memory, and its read model
    data, app = tmp_path / "data", load("users:app")
    users = [f"{number:x<{LONG}}" for number in range(1500)]
    with closing(SqliteLog(data, lambda secret: genesis(app, secret))) as log:
        log.append([Decision(user[:9], NOW, [created(user)]) for user in users])
        project(data, app, log)
    environ = {**os.environ, "DUALBUS_DATA": str(data), "DUALBUS_APP": "users:app"}
    found = set()
    for kib in (256, 11_500, 12_500, 65_536):
        files = [str(tmp_path / f"{kib}.db")] if command == "backup" else []
        call = [sys.executable, "-m", "dualbus", command, *files]

        # When the folder for temporary files is too small for the tags, for the replay, for neither
        done = subprocess.run(
            call, env={**environ, "TMPDIR": str(disk(kib))}, cwd=ROOT, capture_output=True, text=True
        )

        # Then the reason is the space
        found.add(done.returncode)
        if done.returncode:
            assert done.stderr.endswith("set TMPDIR to a folder with more space, and repeat.\n"), (kib, done.stderr)
    assert found == {0, 1}


def created(user: str) -> NewEvent:
    return NewEvent("UserCreated", f'{{"id":"{user}","name":"Ada","email":"a@example.org"}}', (f"user:{user}",))
