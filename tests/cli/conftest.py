"""Fixtures: a data folder with a history, and the command line called in this process."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from dualbus.cli.main import main
from dualbus.testing.cluster import TIMEOUT_MS
from tests.history import make_history


class Ran(NamedTuple):
    """What a command line came to."""

    code: int
    out: str
    err: str


ROOT = Path(__file__).parents[2]
Run = Callable[..., Ran]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history of 60 commands, made once."""
    folder = tmp_path_factory.mktemp("history") / "data"
    make_history(folder, 60, seed=3)
    return folder


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    """A copy of that history for one test."""
    return Path(shutil.copytree(made, tmp_path / "data"))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call `dualbus` with arguments, on the folder `data` of this test."""
    for name in [name for name in os.environ if name.startswith("DUALBUS_") and name != "DUALBUS_KEYS"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DUALBUS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("DUALBUS_TIMEOUT_MS", str(TIMEOUT_MS))

    def call(*arguments: object, **settings: object) -> Ran:
        capsys.readouterr()
        with monkeypatch.context() as patch:
            for name, value in settings.items():
                patch.setenv(f"DUALBUS_{name.upper()}", str(value))
            code = main([str(argument) for argument in arguments])
        return Ran(code, *capsys.readouterr())

    return call
