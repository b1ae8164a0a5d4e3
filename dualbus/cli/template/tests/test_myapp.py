"""Tests of the application: of its functions, in this process, and in a cluster."""

import pytest
from dualbus import Client, Rejected
from dualbus.testing import Cluster, InProcess, answer, decide

from myapp import app
from myapp.messages import AddItem, GetItem, ItemAdded, ListItems

LAMP = ItemAdded(id="id-1", name="Lamp")


def test_an_item_is_added() -> None:
    assert decide(app, when=AddItem(name="Lamp")) == [LAMP]


def test_a_name_is_unique() -> None:
    with pytest.raises(Rejected, match="There is already an item Lamp"):
        decide(app, given=[LAMP], when=AddItem(name="Lamp"))


def test_items_are_found() -> None:
    lamp = {"id": "id-1", "name": "Lamp"}
    assert answer(app, given=[LAMP], when=GetItem(item_id="id-1")) == lamp
    assert answer(app, given=[LAMP], when=ListItems()) == [lamp]


def test_a_name_is_added_once() -> None:
    with InProcess(app) as client:
        client.command(AddItem(name="Lamp"))
        with pytest.raises(Rejected, match="There is already an item Lamp"):
            client.command(AddItem(name="Lamp"))
        assert [item["name"] for item in client.query(ListItems())] == ["Lamp"]


def test_a_client_reads_its_own_writes(dualbus_cluster: Cluster) -> None:
    with Client(dualbus_cluster.front) as client:
        client.command(AddItem(name="Lamp"))
        assert [item["name"] for item in client.query(ListItems())] == ["Lamp"]
