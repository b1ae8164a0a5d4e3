"""mypy and pyright find the mistakes of an author, and accept an application without mistakes."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT

HERE = Path(__file__).parent
SHOP, MISTAKEN = HERE / "shop.py", HERE / "mistaken.py"
Lines = set[int]


def mypy(path: Path, folder: Path) -> Lines:
    """Return the lines of a file in which `mypy --strict` finds a mistake."""
    options = ["--strict", "--no-pretty", "--follow-imports=silent", f"--cache-dir={folder}", "--config-file="]
    ran = subprocess.run([sys.executable, "-m", "mypy", *options, path], cwd=ROOT, capture_output=True, text=True)
    found = re.findall(rf"^{path.relative_to(ROOT)}:(\d+): error: ", ran.stdout, flags=re.M)
    assert found or "Success" in ran.stdout, ran.stdout + ran.stderr
    return set(map(int, found))


def pyright(path: Path, folder: Path) -> Lines:
    """Return the lines of a file in which pyright finds a mistake."""
    settings = folder / "pyrightconfig.json"
    venv = {"venvPath": str(ROOT), "venv": ".venv"} if (ROOT / ".venv").exists() else {}
    paths = {"include": [str(path)], "extraPaths": [str(ROOT)]}
    settings.write_text(json.dumps({"typeCheckingMode": "standard", **paths, **venv}))
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--project", str(settings)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    report = json.loads(ran.stdout)
    assert report["summary"]["filesAnalyzed"] == 1, report
    found = [one for one in report["generalDiagnostics"] if one["severity"] == "error"]
    print(*(f"{one['range']['start']['line'] + 1}: {one['message']}" for one in found), sep="\n")
    return {one["range"]["start"]["line"] + 1 for one in found}


@pytest.mark.processes
@pytest.mark.timeout(300)
@pytest.mark.parametrize("check", [mypy, pyright])
def test_a_checker_finds_each_mistake_of_an_author_and_no_other(
    check: Callable[[Path, Path], Lines], folder: Path
) -> None:
    marked = {number for number, line in enumerate(MISTAKEN.read_text().splitlines(), 1) if line.endswith("# error")}
    assert len(marked) > 20

    assert check(MISTAKEN, folder) == marked
    assert check(SHOP, folder) == set()
