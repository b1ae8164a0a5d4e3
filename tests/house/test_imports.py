"""The rules of the house: who may import whom, and how long a file and a function may be."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dualbus

ROOT = Path(__file__).parents[2]
PROCESSES = {"gateway", "commandbus", "projector", "querybus"}
APPLICATIONS = {"users", "examples"}
PRODUCT = [*PROCESSES, "dualbus", "users"]
NOT_OURS = {".git", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", "__pycache__", "data", "build"}

FILE_LINES_MAX = 350
FUNCTION_LINES_MAX = 60
MAIN_LINES_MAX = 12

OWNERS = {  # of a driver: the only files that name it
    "zmq": {"dualbus/sockets.py"},
    "apsw": {
        "dualbus/sqlite_log.py",
        "dualbus/sqlite_errors.py",
        "dualbus/read_model.py",
        "dualbus/walk.py",  # verify reads the log's own tables
        "dualbus/backup.py",  # and copies of it are cut
        "dualbus/scratch.py",  # and compares two read models row by row
    },
    "sqlite3": set(),
}
PURE = [
    "gateway/routing.py",
    "gateway/placing.py",
    "gateway/pending.py",
    "gateway/buses.py",
    "gateway/clients.py",
    "gateway/sessions.py",
    "gateway/envelope.py",
    "gateway/workers.py",
    "gateway/worker.py",
    "gateway/request.py",
    "gateway/lanes.py",
    "gateway/pace.py",
    "gateway/deferred.py",
    "commandbus/deciding.py",
    "commandbus/fingerprint.py",
    "commandbus/folds.py",
    "projector/projecting.py",
    "querybus/answering.py",
    "dualbus/json_stream.py",
    "dualbus/wire.py",
    "dualbus/call.py",
    "dualbus/calls.py",
    "dualbus/arrival.py",
    "dualbus/credit.py",
]
IMPURE = {"time", "datetime", "random", "secrets", "uuid", "uuid_utils", "socket", "os", *OWNERS}


def files(*folders: str) -> list[Path]:
    """Return the Python files in these folders of the house, their tests left out."""
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in found if not {"tests", *NOT_OURS} & set(path.relative_to(ROOT).parts)]


def shown(path: Path) -> str:
    """Return a path as a person says it."""
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (module, name) for each import of a file; the name is empty for `import module`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{shown(path)} imports by a relative name; write where it is from."
            yield from ((node.module or "", alias.name) for alias in node.names)


def imported(path: Path) -> set[str]:
    """Return the top-level packages that a file imports."""
    return {module.partition(".")[0] for module, _ in imports(path)}


@pytest.mark.parametrize("process", sorted(PROCESSES))
def test_a_process_imports_dualbus_and_no_other_process_and_no_application(process: str) -> None:
    others = (PROCESSES | APPLICATIONS) - {process}

    wrong = {shown(path): found for path in files(process) if (found := imported(path) & others)}

    assert wrong == {}


def test_dualbus_imports_no_process_and_no_application() -> None:
    wrong = {
        shown(path): found for path in files("dualbus") if (found := imported(path) & (PROCESSES | APPLICATIONS))
    }

    assert wrong == {}


def test_an_application_imports_public_names_of_dualbus_and_no_process() -> None:
    wrong = [
        f"{shown(path)}: {module} {name}"
        for path in files(*sorted(APPLICATIONS))
        for module, name in imports(path)
        if module.partition(".")[0] in PROCESSES
        or module.startswith("dualbus.")
        or (module == "dualbus" and name not in dualbus.__all__)
    ]

    assert wrong == []


@pytest.mark.parametrize("driver", OWNERS)
def test_a_driver_is_named_only_in_the_files_that_own_it(driver: str) -> None:
    naming = {shown(path) for path in files(*PRODUCT, "examples") if driver in imported(path)}

    assert naming - OWNERS[driver] == set()


@pytest.mark.parametrize("name", PURE)
def test_a_pure_half_imports_no_socket_no_clock_and_no_driver(name: str) -> None:
    assert imported(ROOT / name) & IMPURE == set()


def test_an_application_is_loaded_with_no_process_and_no_driver_of_sockets() -> None:
    # The import rule above is about files; this is about what they come to.
    assert {module for module in _loaded_by("import users") if module in {*PROCESSES, "zmq"}} == set()


def _loaded_by(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(ran.stdout.split())


@pytest.mark.parametrize("process", sorted(PROCESSES))
def test_an_entry_point_is_a_few_lines(process: str) -> None:
    assert len((ROOT / process / "__main__.py").read_text().splitlines()) < MAIN_LINES_MAX


def test_a_file_is_short() -> None:
    lengths = {shown(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files(*PRODUCT)}

    assert {name: length for name, length in lengths.items() if length > FILE_LINES_MAX} == {}


def test_a_function_fits_on_a_screen() -> None:
    too_long = [
        f"{shown(path)}:{node.lineno} {node.name}"
        for path in files(*PRODUCT)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= FUNCTION_LINES_MAX
    ]

    assert too_long == []


def test_no_file_names_the_host_of_a_package_registry() -> None:
    # Where packages come from is for whoever installs them to say.
    hosts = re.compile(
        "|".join([r"pypi" + r"\.org", "python" + r"hosted\.", r"npmjs" + r"\.", "anaconda" + r"\.org"])
    )
    ours = (path for path in ROOT.rglob("*") if path.is_file() and not NOT_OURS & set(path.relative_to(ROOT).parts))

    naming = [shown(path) for path in ours if hosts.search(path.read_text(encoding="utf-8", errors="replace"))]

    assert naming == []
