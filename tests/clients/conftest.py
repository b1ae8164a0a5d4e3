"""A cluster that a whole file of tests shares, and both clients under the same tests."""

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dualbus import AsyncClient, Client
from dualbus.testing import Cluster
from tests.conftest import ROOT

APP = "tests.clients.notes:app"


@pytest.fixture(scope="module")
def notes() -> Iterator[Cluster]:
    """A running cluster of the notes application, for one file of tests."""
    folder = Path(tempfile.mkdtemp(prefix="db"))
    with Cluster(folder, APP, cwd=ROOT) as made:
        made.start()
        yield made
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def orders() -> Iterator[Cluster]:
    """A running cluster of the orders application, with standard input, for one file of tests."""
    folder = Path(tempfile.mkdtemp(prefix="db"))
    with Cluster(folder, "tests.clients.orders:app", cwd=ROOT) as made:
        made.start(stdin=subprocess.PIPE)
        yield made
    shutil.rmtree(folder)


class AwaitedSession:
    """A session whose calls are waited for one by one, so that one test serves both clients."""

    def __init__(self, runner: asyncio.Runner, session: Any) -> None:
        self._runner = runner
        self._session = session

    @property
    def position(self) -> Any:
        return self._session.position

    def command(self, *args: Any, **more: Any) -> Any:
        return self._runner.run(self._session.command(*args, **more))

    def query(self, *args: Any, **more: Any) -> Any:
        return self._runner.run(self._session.query(*args, **more))


class Awaited(AwaitedSession):
    """An AsyncClient whose calls are waited for one by one."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(asyncio.Runner(), AsyncClient(*args, **more))

    def session(self, *args: Any, **more: Any) -> AwaitedSession:
        return AwaitedSession(self._runner, self._session.session(*args, **more))

    def status(self, *args: Any, **more: Any) -> Any:
        return self._runner.run(self._session.status(*args, **more))

    def rates(self, *args: Any, **more: Any) -> Any:
        return self._runner.run(self._session.rates(*args, **more))

    def timeline(self, *args: Any, **more: Any) -> Any:
        return self._runner.run(self._session.timeline(*args, **more))

    def events(self, *args: Any, **more: Any) -> Iterator[Any]:
        events = self._session.events(*args, **more)

        async def following() -> Any:
            return await anext(events, None)

        while record := self._runner.run(following()):
            yield record

    def close(self) -> None:
        self._runner.run(self._session.close())

    def end(self) -> None:
        """Close it, and the loop it ran in."""
        self.close()
        self._runner.close()


@pytest.fixture(params=[Client, Awaited], ids=["Client", "AsyncClient"])
def make(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Make the one client, then the other; they are closed at the end."""
    made = []

    def make(*args: Any, **more: Any) -> Any:
        made.append(request.param(*args, **more))
        return made[-1]

    yield make
    for one in made:
        one.end() if isinstance(one, Awaited) else one.close()


@pytest.fixture
def caller(notes: Cluster, make: Callable[..., Any]) -> Any:
    """A client of the cluster of notes: the one, then the other."""
    return make(notes.front)
