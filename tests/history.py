"""A data folder with a history in it, made in this process: a log with refusals and keyed commands, a read model."""

import itertools
import random
from datetime import UTC, datetime
from pathlib import Path

from dualbus.application.app import App
from dualbus.application.loader import load
from dualbus.commandbus.batch import CommandBatch
from dualbus.commandbus.node import genesis
from dualbus.commandbus.state_cache import StateCache
from dualbus.log.contract import Outcome, ReadableLog
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.protocol.records import Job
from dualbus.readmodel.builder import Builder
from dualbus.readmodel.file import file_name
from dualbus.worker.interrupt import Interrupt


def project(folder: Path, app: App, log: ReadableLog) -> bool:
    """Bring the read model to the head of the log, as projector does; return whether it was built anew."""
    builder = Builder(folder / file_name(app.projections), app, log, Interrupt())
    anew = not builder.done
    while not builder.done or not builder.updater or builder.updater.behind:
        builder.build()
    builder.updater.writer.close()
    return anew


class History:
    """Writes a log the way commandbus does, and a read model the way projector does."""

    def __init__(self, folder: Path, seed: int = 1, app: App | None = None) -> None:
        self.folder = folder
        self.app = app or load("users:app")
        self._seed = seed
        self._random = random.Random(seed)
        self._numbers = itertools.count(1)
        self._users = ["user-123"]
        self._log = SqliteLog(folder, lambda secret: genesis(self.app, secret))
        self._states = StateCache()

    def commit(self, commands: int) -> None:
        """Decide so many commands and append what they come to in one commit."""
        known: dict[str, Outcome] = {}
        drain = CommandBatch(self.app, self._log, self._states, _now(), self._new_id, known)
        for _ in range(commands):
            drain.decide(self._work(next(self._numbers)))
        drain.update_states(self._log.append(drain.decisions))

    def project(self) -> None:
        """Bring the read model to the head of the log."""
        reader = SqliteLogReader(self.folder)
        project(self.folder, self.app, reader)
        reader.close()

    def close(self) -> None:
        """Let go of the log."""
        self._log.close()

    def _work(self, number: int) -> Job:
        body = {"msg_id": number, **self._random.choice([self._create, self._create, self._rename, self._refused])()}
        key = f"key-{self._seed}-{number}"
        if self._random.random() < 0.3:
            body["idempotency_key"] = key
        return Job(number, 1, 5000.0, key, 0, body)

    def _create(self) -> dict[str, object]:
        payload = {"name": f"Ada {self._random.random()}", "email": "ada@example.org"}
        return {"type": "CreateUser", "payload": payload}

    def _rename(self) -> dict[str, object]:
        payload = {"user_id": self._random.choice(self._users), "name": f"Bob {self._random.random()}"}
        return {"type": "RenameUser", "payload": payload}

    def _refused(self) -> dict[str, object]:
        return {"type": "RenameUser", "payload": {"user_id": f"nobody-{self._random.random()}", "name": "X"}}

    def _new_id(self) -> str:
        self._users.append(f"user-{self._random.getrandbits(64):016x}")
        return self._users[-1]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def make_history(folder: Path, commands: int = 300, seed: int = 1) -> App:
    """Write a history of so many commands, some in a commit of their own and some in one with others."""
    history = History(folder, seed)
    sizes = random.Random(seed)
    while commands > 0:
        size = min(commands, sizes.choice([1, 1, 2, 5, 20]))
        history.commit(size)
        commands -= size
    history.project()
    history.close()
    return history.app
