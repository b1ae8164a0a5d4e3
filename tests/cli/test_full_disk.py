"""The command line without enough disk space: a log is whole or absent, and the error text names the space."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cli.conftest import Run

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
