"""An export has a first and a last line: a part of an export is not imported as a log."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, Run


def test_an_export_names_its_format_and_the_numbers_of_its_lines(run: Run, data: Path) -> None:
    first, *lines, last = map(json.loads, run("export").out.splitlines())

    events = sum("position" in line for line in lines)
    assert first == {"export": 2}
    assert last == {"end": {"commands": len(lines) - events, "events": events}}
    assert events == 45


CUT = "The input ends before the last line of the export, because `dualbus export` has failed or its output was cut"
Lines = list[str]


@pytest.mark.parametrize("left", [1, 2, 3, -9, -2, -1])
def test_a_part_of_an_export_is_refused_and_nothing_is_made(run: Run, data: Path, tmp_path: Path, left: int) -> None:
    whole = run("export").out.splitlines()
    command_begins = [at for at, line in enumerate(whole) if "errors" in json.loads(line)]
    end = left if left > 0 else [*command_begins, len(whole) - 1][left]
    (tmp_path / "part").write_text("\n".join(whole[:end]))

    refused = run("import", tmp_path / "part", data=tmp_path / "target")

    assert refused.code == 1
    assert CUT in refused.err
    assert sorted(path.name for path in (tmp_path / "target").iterdir()) == [
        "log.lock",
        "projector.lock",
        "reactor.lock",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: [line for line in lines if '"errors": ["' not in line], "and its last line has other numbers"),
        (lambda lines: [*lines, *lines], "is behind the last line of an export: pass a single export"),
        (lambda lines: [lines[0], lines[-1]], "and its last line has other numbers"),
        (lambda lines: ['{"export": 2}', '{"end": {"commands": 0, "events": 0}}'], "The input is empty"),
        (lambda lines: ['{"export": 3}', *lines[1:]], "an export of format 3: install the version of dualbus"),
    ],
)
def test_an_export_that_its_last_line_contradicts_is_refused(
    run: Run, data: Path, tmp_path: Path, change: Callable[[Lines], Lines], said: str
) -> None:
    (tmp_path / "changed").write_text("\n".join(change(run("export").out.splitlines())))

    refused = run("import", tmp_path / "changed", data=tmp_path / "target")

    assert (refused.code, said in refused.err) == (1, True), refused.err
    assert sorted(path.name for path in (tmp_path / "target").iterdir()) == [
        "log.lock",
        "projector.lock",
        "reactor.lock",
    ]


def test_an_export_of_an_earlier_version_without_these_lines_is_imported(
    run: Run, data: Path, tmp_path: Path
) -> None:
    whole = run("export").out
    (tmp_path / "earlier").write_text("\n".join(whole.splitlines()[1:-1]))

    assert run("import", tmp_path / "earlier", data=tmp_path / "target").code == 0

    assert run("export", data=tmp_path / "target").out == whole


NAME = "Zoë 漢"


def dualbus(command: str, data: Path, lines: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a command in a process with another encoding than UTF-8."""
    environ = {**os.environ, "DUALBUS_DATA": str(data), "DUALBUS_APP": "users:app", "PYTHONIOENCODING": "latin-1"}
    call = [sys.executable, "-m", "dualbus", command]
    return subprocess.run(call, input=lines, env=environ, cwd=ROOT, capture_output=True, check=False)


def test_standard_input_is_imported_as_utf_8_whatever_the_encoding_of_the_locale(
    run: Run, data: Path, tmp_path: Path
) -> None:
    lines = run("export").out.replace("John Doe", NAME)

    imported = dualbus("import", tmp_path / "target", lines.encode())

    assert imported.returncode == 0, imported.stderr
    assert run("export", data=tmp_path / "target").out == lines


def test_an_export_is_utf_8_whatever_the_encoding_of_the_locale(run: Run, data: Path, tmp_path: Path) -> None:
    (tmp_path / "lines").write_text(run("export").out.replace("John Doe", NAME), encoding="utf-8")
    assert run("import", tmp_path / "lines", data=tmp_path / "target").code == 0

    exported = dualbus("export", tmp_path / "target")

    assert exported.returncode == 0, exported.stderr
    assert exported.stdout == (tmp_path / "lines").read_bytes()


def test_lines_on_standard_input_that_are_not_utf_8_are_refused_and_nothing_is_made(
    run: Run, data: Path, tmp_path: Path
) -> None:
    lines = run("export").out.replace("John Doe", "Zoë").encode("latin-1")

    refused = dualbus("import", tmp_path / "target", lines)

    assert refused.returncode == 2
    assert refused.stderr.startswith(b"Standard input cannot be read ('utf-8' codec can't decode byte 0xeb")
    assert refused.stderr.endswith(b": pass the output of `dualbus export`.\n")
    assert not (tmp_path / "target" / "log.db").exists()
