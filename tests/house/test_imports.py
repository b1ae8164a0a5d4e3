"""The rules of the house: who may import whom, and how long a file and a function may be."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import dualbus

ROOT = Path(__file__).parents[2]
PROCESSES = {"gateway", "commandbus", "projector", "querybus", "reactor", "web"}
APPLICATIONS = {"users", "examples"}
PRODUCT = [*PROCESSES, "dualbus", "users"]
NOT_OURS = {".git", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", "__pycache__", "data", "build"}

FILE_LINES_MAX = 350
FUNCTION_LINES_MAX = 60
MAIN_LINES_MAX = 12

LAYERS = [  # of dualbus: a room imports those above it
    ["runtime.errors", "runtime.files", "runtime.honcho", "runtime.temporary", "runtime.signals"],
    ["log.contract", "log.identity"],
    ["protocol"],
    ["application"],
    ["log.head", "log.chain", "runtime.sqlite_errors"],
    ["readmodel"],
    ["log"],
    ["reactions"],
    ["transport"],
    ["runtime"],
    ["telemetry"],
    ["worker", "client"],
    ["operations"],
    ["testing", "cli"],
]
OWNERS = {  # of a driver: the only files that name it
    "zmq": {"dualbus/transport/sockets.py", "dualbus/transport/curve.py"},
    "apsw": {
        "dualbus/log/sqlite/writer.py",
        "dualbus/log/sqlite/reader.py",
        "dualbus/log/sqlite/memory.py",
        "dualbus/runtime/sqlite_errors.py",
        "dualbus/readmodel/guard.py",
        "dualbus/readmodel/file.py",
        "dualbus/readmodel/reader.py",
        "dualbus/readmodel/copying.py",
        "dualbus/readmodel/functions.py",
        "dualbus/readmodel/comparison.py",
        "dualbus/readmodel/writer.py",
        "dualbus/readmodel/tables.py",
        "dualbus/readmodel/memory.py",
        "dualbus/log/sqlite/audit.py",  # verify reads the log's own tables
        "dualbus/log/sqlite/copy.py",  # and copies of it are cut
        "dualbus/log/sqlite/index.py",
        "dualbus/log/sqlite/upgrade.py",  # the tables of format 1
        "dualbus/reactions/store.py",
        "dualbus/readmodel/replay.py",  # and compares two read models row by row
    },
    "sqlite3": set(),
    "nats": {"dualbus/log/nats/commit_log.py", "dualbus/log/nats/stream.py"},
    "psycopg": {"dualbus/log/postgresql/commit_log.py", "dualbus/log/postgresql/connection.py"},
}
OF_ALL_PROCESSES = {"dualbus/testing/in_process.py", "dualbus/testing/in_process_reactions.py"}  # import processes
PURE = [
    "gateway/router.py",
    "gateway/scheduler.py",
    "gateway/deadlines.py",
    "gateway/access.py",
    "gateway/bus.py",
    "gateway/clients.py",
    "gateway/sessions.py",
    "gateway/envelope.py",
    "gateway/workers.py",
    "gateway/worker.py",
    "gateway/request.py",
    "gateway/intake.py",
    "gateway/lane.py",
    "gateway/throughput.py",
    "gateway/deferred.py",
    "gateway/followers.py",
    "gateway/metrics.py",
    "gateway/answered.py",
    "gateway/timeline.py",
    "gateway/rates.py",
    "gateway/positions.py",
    "dualbus/telemetry/histogram.py",
    "commandbus/batch.py",
    "commandbus/fingerprint.py",
    "commandbus/history.py",
    "commandbus/state_cache.py",
    "projector/follower.py",
    "dualbus/readmodel/applier.py",
    "querybus/responder.py",
    "dualbus/protocol/json_stream.py",
    "dualbus/protocol/codec.py",
    "dualbus/protocol/permissions.py",
    "dualbus/client/call.py",
    "dualbus/client/calls.py",
    "dualbus/client/events.py",
    "dualbus/client/sessions.py",
    "dualbus/worker/clock.py",
    "dualbus/worker/credit.py",
    "reactor/role.py",
    "web/request_rate.py",
]
IMPURE = {"time", "datetime", "random", "secrets", "uuid", "uuid_utils", "socket", "os", *OWNERS}


def files(*folders: str) -> list[Path]:
    """Return the Python files in these folders of the house, their tests left out."""
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in found if not {"tests", *NOT_OURS} & set(path.relative_to(ROOT).parts)]


def shown(path: Path) -> str:
    """Return a path as a person says it."""
    return path.relative_to(ROOT).as_posix()


@cache
def imports(path: Path) -> list[tuple[str, str]]:
    """Return (module, name) for each import of a file that runs; the name is empty for `import module`."""
    return list(_imports(path))


def _imports(path: Path) -> Iterator[tuple[str, str]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if not ast.unparse(node).startswith("if TYPE_CHECKING:")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # Of a process, which is `gateway` in a checkout and `dualbus.gateway` in a wheel.
            own = f"dualbus.{path.relative_to(ROOT).parts[0]}." if node.level else ""
            yield from ((own + (node.module or ""), alias.name) for alias in node.names)


def imported(path: Path) -> set[str]:
    """Return the top-level packages that a file imports."""
    return {module.partition(".")[0] for module, _ in imports(path)}


def process_of(module: str) -> str:
    """Return the process that a module belongs to, if it belongs to one."""
    room = module.removeprefix("dualbus.").partition(".")[0]
    return room if room in PROCESSES else ""


@pytest.mark.parametrize("process", sorted(PROCESSES))
def test_a_process_imports_dualbus_and_no_other_process_and_no_application(process: str) -> None:
    wrong = [
        f"{shown(path)}: {module}"
        for path in files(process)
        for module, _ in imports(path)
        if process_of(module) not in ("", process) or module.partition(".")[0] in {process, *APPLICATIONS}
    ]

    assert wrong == []


def test_the_gateway_imports_neither_the_log_nor_the_read_model() -> None:
    rooms = ("dualbus.log.", "dualbus.readmodel")
    allowed = {"dualbus.log.identity"}

    assert [
        f"{shown(path)}: {module}"
        for path in files("gateway")
        for module, _ in imports(path)
        if module.startswith(rooms) and module not in allowed
    ] == []


def layer(module: str) -> int:
    """Return the number of a module's layer: of the longest name that fits."""
    fitting = [
        (len(room), number)
        for number, rooms in enumerate(LAYERS)
        for room in rooms
        if f"{module}.".startswith(f"dualbus.{room}.")
    ]
    return max(fitting)[1]


def test_each_room_imports_only_rooms_of_the_layers_above_it_in_the_list() -> None:
    wrong = []
    for path in files("dualbus"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if name in ("dualbus", "dualbus.__main__"):
            continue
        for module, _ in imports(path):
            if module.startswith("dualbus.") and not (process_of(module) and shown(path) in OF_ALL_PROCESSES):
                same_room = name.split(".")[1] == module.split(".")[1]
                allowed = layer(module) < layer(name) or (layer(module) == layer(name) and same_room)
                if not allowed or process_of(module):
                    wrong.append(f"{shown(path)}: {module}")

    assert wrong == []


def test_no_files_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for path in files(*PRODUCT):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(("dualbus", *parts) if parts[0] in PROCESSES else parts)
        graph[name] = {module for module, _ in imports(path)}
    reached: dict[str, set[str]] = {}

    def reach(name: str) -> set[str]:
        if name not in reached:
            reached[name] = set()
            reached[name] = {found for module in graph.get(name, ()) for found in (module, *reach(module))}
        return reached[name]

    assert [name for name in sorted(graph) if name in reach(name)] == []


def test_an_application_imports_public_names_of_dualbus_and_no_process() -> None:
    wrong = [
        f"{shown(path)}: {module} {name}"
        for path in files(*sorted(APPLICATIONS))
        for module, name in imports(path)
        if module.startswith("dualbus.") or (module == "dualbus" and name not in dualbus.__all__)
    ]

    assert wrong == []


@pytest.mark.parametrize("driver", OWNERS)
def test_a_driver_is_named_only_in_the_files_that_own_it(driver: str) -> None:
    naming = {shown(path) for path in files(*PRODUCT, "examples") if driver in imported(path)}

    assert naming - OWNERS[driver] == set()


def test_only_the_engine_module_names_an_engine_of_the_log() -> None:
    naming = {
        shown(path)
        for path in files(*PRODUCT)
        for module, _ in imports(path)
        if module.startswith("dualbus.log.sqlite") and "dualbus/log/sqlite" not in shown(path)
    }

    assert naming == {"dualbus/log/engine.py"}


@pytest.mark.parametrize("name", PURE)
def test_a_pure_half_imports_no_socket_no_clock_and_no_driver(name: str) -> None:
    assert imported(ROOT / name) & IMPURE == set()


def test_an_application_is_loaded_with_no_process_and_no_driver_of_sockets() -> None:
    # The import rule above is about files; this is about what they come to.
    assert {module for module in _loaded_by("import users") if module in {*PROCESSES, "zmq"}} == set()


def test_the_gateway_is_loaded_without_an_application() -> None:
    assert _loaded_by("import dualbus.gateway.node") & {"pydantic", "sqlite3", "asyncio"} == set()


def test_the_public_names_are_all_there() -> None:
    public = {name: getattr(dualbus, name) for name in dualbus.__all__ if name != "__version__"}

    assert set(dualbus._MODULES) == set(public)
    assert {name for name, found in public.items() if found is None} == set()
    assert set(dualbus.__all__) < set(dir(dualbus))


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
