"""The wheel, installed in an environment of its own: one import name, types, and a new application that runs."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from dualbus.testing import Cluster, until
from tests.conftest import ROOT
from tests.raw import RawClient, command, query

# Of those that come from an index, every version that is allowed must do: CI tries the oldest and the newest.
FROM_AN_INDEX = pytest.mark.skipif(not os.environ.get("CI"), reason="Downloads packages: runs under CI=true.")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built of a copy of the source."""
    folder = tmp_path_factory.mktemp("source")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    copied = subprocess.run(
        ["tar", "--create", "--null", "--files-from=-"],
        cwd=ROOT,
        input=tracked.stdout,
        capture_output=True,
        check=True,
    )
    subprocess.run(["tar", "--extract"], cwd=folder, input=copied.stdout, check=True)
    build = [
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(folder / "dist"),
        str(folder),
    ]
    run(sys.executable, "-m", "pip", *build)
    [built] = (folder / "dist").iterdir()
    return built


def run(*command: object, cwd: Path = ROOT, **environ: str) -> str:
    """Run a command that must do; return its standard output."""
    clean = {
        name: value for name, value in os.environ.items() if name != "PYTHONPATH" and not name.startswith("DUALBUS_")
    }
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=clean | environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def dependencies() -> list[str]:
    """Return the requirements of the project."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [str(one) for one in project["dependencies"]]


@pytest.fixture(
    params=["locked", pytest.param("oldest", marks=FROM_AN_INDEX), pytest.param("newest", marks=FROM_AN_INDEX)]
)
def python(request: pytest.FixtureRequest, wheel: Path, tmp_path: Path) -> Path:
    """The interpreter of an environment with the wheel, and these versions of what it depends on."""
    found = tmp_path / "environment"
    python = found / "bin" / "python"
    venv.create(found, with_pip=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if request.param == "locked":
        run(*pip, "--no-deps", wheel)
        # A path, and not the packages that are installed there by links: the checkout stays out.
        path = sysconfig.get_path("purelib", vars={"base": str(found)})
        Path(path, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
        return python
    exactly = [re.sub(r">=", "==", one) for one in dependencies()] if request.param == "oldest" else []
    run(*pip, "--upgrade", wheel, "pytest", "pytest-timeout", "mypy", *exactly)
    return python


def test_the_wheel_has_one_import_name_and_its_types(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"dualbus"}
    packages = {str(path.parent) for path in map(Path, names) if path.name == "__init__.py"}
    assert {"dualbus", "dualbus/gateway", "dualbus/commandbus", "dualbus/projector", "dualbus/querybus"} <= packages
    assert {"dualbus/py.typed", "dualbus/cli/template/dotenv", "dualbus/cli/template/myapp/messages.py"} <= {*names}
    # and the same modules as the checkout
    processes = ("gateway", "commandbus", "projector", "querybus", "reactor", "web")
    tracked = run("git", "ls-files", "dualbus", *processes).splitlines()
    assert len([name for name in names if name.endswith(".py")]) == len(
        [one for one in tracked if one.endswith(".py")]
    )


@pytest.fixture
def shop(python: Path, tmp_path: Path) -> Path:
    """A new application, beside folders that are called as the processes are."""
    run(python, "-m", "dualbus", "new", "shop", cwd=tmp_path)
    for name in ("gateway", "commandbus", "projector", "querybus", "reactor", "users"):
        (tmp_path / "shop" / name).mkdir()
        (tmp_path / "shop" / name / "__init__.py").write_text("raise SystemExit('not the one of dualbus')\n")
        (tmp_path / "shop" / name / "__main__.py").touch()
    return tmp_path / "shop"


@pytest.mark.timeout(300)
def test_a_new_application_runs_on_the_installed_wheel_is_tested_and_typed(python: Path, shop: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert run(python, "-m", "dualbus", "--version", cwd=shop) == f"dualbus {version}\n"
    assert " passed" in run(python, "-m", "pytest", "-p", "no:cacheprovider", cwd=shop)
    assert "Success" in run(python, "-m", "mypy", "--strict", "shop", "tests", cwd=shop)
    with Cluster(shop, "shop:app", cwd=shop) as cluster:
        cluster.environ.pop("PYTHONPATH", None)
        cluster.commands = {name: [str(python), *line[1:]] for name, line in cluster.commands.items()}
        cluster.start()
        with RawClient(cluster.front) as client:
            [added] = until(lambda: client.ask(command("AddItem", name="Lamp")))
            assert added["success"], added
            [listed] = client.ask(query("ListItems"))
            assert "Lamp" in json.dumps(listed["data"])
        assert "position 1" in run(python, "-m", "dualbus", "verify", cwd=shop, **_settings(cluster))


def _settings(cluster: Cluster) -> dict[str, str]:
    return {name: value for name, value in cluster.environ.items() if name.startswith("DUALBUS_")}
