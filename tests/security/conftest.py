"""Fixtures: a cluster with keys of its own, and the command line of its operator."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dualbus.testing import Cluster
from dualbus.transport.keys import Keys, load_keys
from tests.conftest import ROOT

Operator = Callable[..., str]


@pytest.fixture
def keyed(folder: Path) -> Iterator[Cluster]:
    """A cluster whose keys are in its data folder; nothing runs yet."""
    with Cluster(folder, cwd=ROOT) as made:
        made.environ.pop("DUALBUS_KEYS", None)
        yield made


@pytest.fixture
def operator(keyed: Cluster) -> Operator:
    """The command line of this cluster."""
    return command_line(keyed)


def command_line(keyed: Cluster) -> Operator:
    """Return a function that runs `dualbus` on a cluster, from its folder, and returns the output."""

    def run(*arguments: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "dualbus", *arguments]
        environ = {**keyed.environ, "PYTHONPATH": str(ROOT)}
        ran = subprocess.run(command, env=environ, cwd=keyed.folder, capture_output=True, text=True, check=False)
        assert ran.returncode == code, ran.stderr
        return ran.stdout + ran.stderr

    return run


@pytest.fixture
def key_of(keyed: Cluster, operator: Operator) -> Callable[..., Keys]:
    """Add a client; return its keys."""

    def add(name: str, *options: str) -> Keys:
        operator("keys", "add", name, *options)
        keys = load_keys(keyed.folder / f"{name}.key", 30)
        assert keys
        return keys

    return add
