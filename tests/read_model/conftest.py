"""A read model of three users, its writer and its reader."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dualbus import Projection
from dualbus.log.identity import Identity
from dualbus.readmodel.file import create
from dualbus.readmodel.reader import ReadModelReader
from dualbus.readmodel.writer import ReadModelWriter

LOG = Identity("log-1", "life-1")
USERS = Projection(
    "users", 1, "CREATE TABLE users (id TEXT PRIMARY KEY, age INTEGER); CREATE INDEX a ON users (age)", []
)


@pytest.fixture
def path(folder: Path) -> Path:
    """The file of an empty read model."""
    made = folder / "read-model.db"
    create(made, [USERS], LOG)
    return made


@pytest.fixture
def writer(path: Path) -> Iterator[ReadModelWriter]:
    with closing(ReadModelWriter(path)) as made:
        yield made


@pytest.fixture
def reader(writer: ReadModelWriter, path: Path) -> Iterator[ReadModelReader]:
    """A reader beside a writer that has written three users."""
    writer.begin()
    for number in range(3):
        writer.execute("INSERT INTO users VALUES (?, ?)", (f"u{number}", 20 + number))
    writer.commit(3, b"three")
    with closing(ReadModelReader(path)) as made:
        yield made


def ages(reader: ReadModelReader) -> list[int]:
    return [row["age"] for row in reader.all("SELECT age FROM users ORDER BY id")]
