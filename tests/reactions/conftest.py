"""Fixtures: a cluster with a reactor."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dualbus import Client
from dualbus.cli.main import main
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.testing import Cluster, until
from tests.conftest import ROOT

Start = Callable[..., Cluster]
NAMES = ("gateway", "commandbus", "reactor")


class Shop:
    """A cluster with a reactor and without a read model; a client, and its log."""

    def __init__(self, folder: Path, app: str) -> None:
        self.cluster = Cluster(folder, app, cwd=ROOT)
        self.client = Client(self.cluster.front)

    def connect(self) -> Client:
        """Return a new client: after a restore, an old client expects later positions."""
        return Client(self.cluster.front)

    def start(self, *names: str) -> None:
        """Start processes."""
        self.cluster.start(*(names or NAMES))

    def restart_ended(self) -> None:
        """Wait until the reactor has ended by itself, and start another."""
        until(lambda: not self.cluster.process("reactor").running)
        self.cluster.start("reactor")

    def events(self) -> list[tuple[str, str]]:
        """Return type and order of each event."""
        return [(type_, fields.get("order", "")) for type_, fields, _ in self.records()]

    def records(self) -> list[tuple[str, dict[str, Any], str]]:
        """Return type, fields and command id of each event."""
        log = SqliteLogReader(self.cluster.data)
        found = [(one.type, json.loads(one.data), one.command_id) for one in log.read(0, 1_000_000)]
        log.close()
        return found

    def status(self) -> dict[str, Any]:
        """Return the reactor's part of Status."""
        from tests.raw import RawClient

        with RawClient(self.cluster.front) as raw:
            [reply] = raw.ask({"dest": "gateway", "body": {"type": "Status", "msg_id": 1}})
        return next((one for one in reply["data"]["processes"] if one["name"] == "reactor"), {})


@pytest.fixture
def shop(folder: Path) -> Iterator[Callable[..., Shop]]:
    """A function that makes a Shop of an application."""
    made: list[Shop] = []

    def make(app: str = "tests.reactions.shop:app") -> Shop:
        made.append(Shop(folder, app))
        return made[-1]

    yield make
    for one in made:
        one.client.close()
        one.cluster.__exit__(None, None, None)


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the other side of effects."""
    monkeypatch.setenv("OFFICE", str(tmp_path))
    return tmp_path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Call `dualbus` on the folder of a shop; return its output."""

    def call(one: Shop, *arguments: object) -> str:
        monkeypatch.setenv("DUALBUS_DATA", str(one.cluster.data))
        monkeypatch.setenv("DUALBUS_APP", one.cluster.environ["DUALBUS_APP"])
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    return call
