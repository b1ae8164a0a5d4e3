"""An export has a first and a last line: a part of an export is not imported as a log."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Run


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
