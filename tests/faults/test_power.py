"""The power fails at every write and every fsync of a writer: nothing that it acknowledged is lost.

log.head is among the files that a cut tears: a log that is not lost is never refused because of it.
"""

import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dualbus.log.contract import LogDamaged
from dualbus.log.head import read_head
from dualbus.log.sqlite.writer import SqliteLog
from tests.faults.judge import chain, read_log
from tests.faults.needs import need_strace
from tests.faults.power import Disk, cuts, trace
from tests.faults.writer import decision

COMMITS = 150
SEED = 20_260_101


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory, where there is such a place: thousands of logs are written and opened there."""
    made = Path(tempfile.mkdtemp(prefix="db", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    yield made
    shutil.rmtree(made)


def lost(folder: Path, *lives: str) -> Iterator[bool]:
    """Yield, for each cut in the lives of a writer, whether an acknowledged position is gone or the log refused."""
    print(f"seed {SEED}")
    need_strace()
    (folder / "data").mkdir()
    writer = shlex.join([sys.executable, "-m", "tests.faults.writer", str(folder / "data")])
    writers = "; ".join(f"{writer} {life}" for life in lives)
    calls = trace(["sh", "-c", writers], folder / "data", folder / "trace")
    positions = [int(call.data) for call in calls if call.name == "said"]
    assert positions == sorted(set(positions)) != []
    for left, said in cuts(calls, SEED, folder):
        try:
            log = SqliteLog(left, lambda secret: decision(1))
        except LogDamaged as refused:
            print(f"after {said!r}: {refused}")
            yield True
            continue
        position = log.head().position
        log.close()
        assert list(chain(read_log(left))) == [], f"after {said!r}"
        head = read_head(left)
        assert head
        assert head.head.position == position
        yield position < int(said or 0)
        shutil.rmtree(left)


def test_no_acknowledged_commit_is_lost_in_a_power_cut(memory: Path) -> None:
    results = list(lost(memory, f"{COMMITS}"))
    assert len(results) > 10 * COMMITS
    assert results.count(True) == 0


@pytest.mark.parametrize("wrong", ["normal", "early", "head"])
def test_a_writer_that_acknowledges_or_records_before_the_fsync_is_seen_to_lose(memory: Path, wrong: str) -> None:
    assert any(lost(memory, f"{COMMITS} {wrong}"))


def test_what_a_writer_finds_after_it_was_killed_before_an_fsync_is_durable_before_it_is_said(memory: Path) -> None:
    assert list(lost(memory, "2 killed", "0", "2 killed", "0")).count(True) == 0


def test_a_built_read_model_is_durable_before_it_has_its_final_name(folder: Path) -> None:
    need_strace()
    data = folder / "data"
    calls = trace([sys.executable, "-m", "tests.faults.building", str(data)], data, folder / "trace")
    [renamed] = [at for at, call in enumerate(calls) if call.name == "rename" and "/building-read-" in call.path]
    disk = Disk()
    for call in calls[:renamed]:
        disk.do(call)
    file = disk.names[calls[renamed].path]
    assert (len(file.durable) > 0, file.pending) == (True, [])
    assert any(call.name == "fsync" and call.path == str(data) for call in calls[renamed:])
