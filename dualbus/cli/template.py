"""The files of a new application, written by `dualbus new`. NAME is replaced by its name."""

FILES = {
    "Procfile": """\
gateway: exec python -m dualbus.gateway
commandbus: exec python -m dualbus.commandbus
projector: exec python -m dualbus.projector
querybus: exec python -m dualbus.querybus
""",
    ".env": """\
DUALBUS_APP=NAME:app
""",
    ".gitignore": """\
.venv/
__pycache__/
data/
""",
    "pyproject.toml": """\
[project]
name = "NAME"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["dualbus"]

[dependency-groups]
dev = ["pytest"]

[tool.pytest.ini_options]
testpaths = ["tests"]
pythonpath = ["."]
""",
    "README.md": """\
# NAME

    honcho start      # run it
    dualbus dev       # the same, and again after every change of a file
    pytest            # test it

While it runs, say something to it:

    dualbus command AddItem name=Lamp
    dualbus query ListItems
    dualbus describe

| file | says |
| --- | --- |
| `NAME/messages.py` | what commands, events and queries there are |
| `NAME/decisions.py` | what a command comes to: events, or a refusal |
| `NAME/projections.py` | what an event does to the read model |
| `NAME/queries.py` | what a query answers from the read model |
| `NAME/__init__.py` | which function is for which message |

What happened is kept in `data/`. Raise the version of a projection when you change it: the read model is then
made anew. Give an event that gets another shape another name, and say in `upcasts` what the old one is today.
""",
    "NAME/__init__.py": '''\
"""The table of contents of the application."""

from dualbus import App, Projection

from NAME.decisions import add_item
from NAME.messages import AddItem, GetItem, ItemAdded, ListItems
from NAME.projections import ITEMS_TABLE, insert_item
from NAME.queries import get_item, list_items

app = App(
    commands={AddItem: add_item},
    projections=[
        Projection("items", version=1, tables=ITEMS_TABLE, on={ItemAdded: insert_item}),
    ],
    queries={GetItem: get_item, ListItems: list_items},
)
''',
    "NAME/messages.py": '''\
"""What is said: commands want something, events have happened, queries ask."""

from typing import Annotated

from dualbus import Command, Event, Query, Tag, Text


class AddItem(Command):
    name: Text


class ItemAdded(Event):
    id: Annotated[str, Tag("item")]
    name: Annotated[str, Tag("name")]


class GetItem(Query):
    item_id: Text


class ListItems(Query):
    pass
''',
    "NAME/decisions.py": '''\
"""What commands come to. What a decision reads of the past protects it: see `past`."""

from collections.abc import Iterator

from dualbus import Event, Past, Rejected

from NAME.messages import AddItem, ItemAdded


def add_item(command: AddItem, past: Past) -> Iterator[Event]:
    if past.events(name=command.name):
        raise Rejected(f"There is already an item {command.name}")
    yield ItemAdded(id=past.new_id(), name=command.name)
''',
    "NAME/projections.py": '''\
"""What events do to the read model."""

from dualbus import Tables

from NAME.messages import ItemAdded

ITEMS_TABLE = "CREATE TABLE items (id TEXT PRIMARY KEY, name TEXT NOT NULL)"


def insert_item(event: ItemAdded, tables: Tables) -> None:
    tables.execute("INSERT INTO items (id, name) VALUES (?, ?)", (event.id, event.name))
''',
    "NAME/queries.py": '''\
"""What is asked of the read model."""

from typing import Any

from dualbus import ReadOnlyTables

from NAME.messages import GetItem, ListItems


def get_item(query: GetItem, tables: ReadOnlyTables) -> dict[str, Any] | None:
    return tables.one("SELECT id, name FROM items WHERE id = ?", (query.item_id,))


def list_items(query: ListItems, tables: ReadOnlyTables) -> list[dict[str, Any]]:
    return tables.all("SELECT id, name FROM items ORDER BY name LIMIT 100")
''',
    "tests/conftest.py": '''\
"""Which application `dualbus_cluster` runs."""

import pytest


@pytest.fixture
def dualbus_app() -> str:
    return "NAME:app"
''',
    "tests/test_NAME.py": '''\
"""What the application does: on values, and once in a real cluster."""

import pytest
from dualbus import Client, Rejected
from dualbus.testing import Cluster, answer, decide

from NAME import app
from NAME.decisions import add_item
from NAME.messages import AddItem, GetItem, ItemAdded, ListItems

LAMP = ItemAdded(id="id-1", name="Lamp")


def test_an_item_is_added() -> None:
    assert decide(add_item, when=AddItem(name="Lamp")) == [LAMP]


def test_a_name_is_given_once() -> None:
    with pytest.raises(Rejected, match="There is already an item Lamp"):
        decide(add_item, given=[LAMP], when=AddItem(name="Lamp"))


def test_items_are_found() -> None:
    lamp = {"id": "id-1", "name": "Lamp"}
    assert answer(app, given=[LAMP], when=GetItem(item_id="id-1")) == lamp
    assert answer(app, given=[LAMP], when=ListItems()) == [lamp]


def test_a_client_sees_what_it_did(dualbus_cluster: Cluster) -> None:
    with Client(dualbus_cluster.front) as client:
        client.command(AddItem(name="Lamp"))
        assert [item["name"] for item in client.query(ListItems())] == ["Lamp"]
''',
}
