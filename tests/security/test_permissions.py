"""Named clients: what a client may not send never reaches a bus; keys and sessions belong to their client."""

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from dualbus import Client, Rejected
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.testing import Cluster, until
from dualbus.transport.keys import Keys, load_keys
from tests.faults.seeing import stopped
from tests.raw import STATUS, RawClient, command, create, query

from .conftest import Operator

KeyOf = Callable[..., Keys]


def events(*types: str) -> dict[str, Any]:
    return {"src": "t", "body": {"type": "Events", "msg_id": 1, "params": {"types": list(types)}}}


@contextmanager
def started(keyed: Cluster) -> Iterator[RawClient]:
    """Start the cluster; yield a client with the keys of the cluster, once everything answers."""
    keyed.start()
    with RawClient(keyed.front, load_keys(keyed.data / "keys", 30)) as own:
        assert own.ask(query("GetUser", user_id="user-123"))[0]["data"]
        yield own


def code(body: dict[str, Any]) -> Any:
    """Return the error code of a reply, or its type."""
    return body.get("code", body["type"])


def test_a_client_sends_what_its_key_permits_and_nothing_else(keyed: Cluster, key_of: KeyOf) -> None:
    shop = key_of("shop", "--commands", "Create*", "--queries", "Get*")
    with started(keyed) as own, RawClient(keyed.front, shop) as client:
        rename = command("RenameUser", user_id="user-123", name="X")
        permitted = [create("Ada"), query("GetUser", user_id="user-123")]
        forbidden = [
            rename,
            {**rename, "dest": ""},
            {**rename, "dest": "querybus"},
            query("ListUsers"),
            {**query("ListUsers"), "dest": "commandbus"},
            events(),
            events("UserCreated"),
            STATUS,
            {"dest": "gateway", "body": {"type": "CreateUser"}},
            {"dest": "elsewhere", "body": {"type": "Delete"}},
        ]
        assert [code(body) for body in client.ask(*permitted)] == ["command_result", "query_result"]
        assert [code(body) for body in client.ask(*forbidden)] == [16] * len(forbidden)
        [said] = client.ask(rename)
        assert said["text"] == "shop may not send RenameUser: change the permissions of this key."
        [found] = own.ask(query("GetUser", user_id="user-123"))
        assert found["data"]["name"] == "John Doe"
        # The control: the key of the cluster sends the same, and renames the user
        assert 16 not in [code(body) for body in own.ask(*forbidden)]
        [found] = own.ask(query("GetUser", user_id="user-123"))
        assert found["data"]["name"] == "X"


def test_a_client_reads_the_events_that_its_key_permits(keyed: Cluster, key_of: KeyOf) -> None:
    audit, all_ = key_of("audit", "--events", "*Renamed"), key_of("all", "--events", "*")
    with started(keyed), RawClient(keyed.front, audit) as client, RawClient(keyed.front, all_) as reader:
        assert [code(body) for body in client.ask(events("UserRenamed"))] == ["query_result"]
        refused = [events(), events("UserCreated"), events("UserRenamed", "UserCreated")]
        odd: list[Any] = [[], None, {"types": [1]}, {"types": "UserRenamed"}]
        refused += [{**events(), "body": {"type": "Events", "params": params}} for params in odd]
        assert [code(body) for body in client.ask(*refused)] == [16] * len(refused)
        [read] = reader.ask(events())
    assert [event["type"] for event in read["data"]["events"]] == ["UserCreated"]


def test_the_type_decides_the_bus_only_after_the_permission_of_the_bus(keyed: Cluster, key_of: KeyOf) -> None:
    # Given a client that may query everything and command nothing, and no bus yet that has told its types
    reader = key_of("reader", "--queries", "*")
    keyed.start("gateway")
    with RawClient(keyed.front, reader) as client:
        client.send({"src": "t", "body": {**create("Ada")["body"], "msg_id": 1}})
        keyed.start("commandbus", "projector", "querybus")
        [reply] = client.wait_for([1])
    assert reply["body"]["code"] == 16


def test_the_name_of_the_key_is_the_actor_and_cannot_be_chosen(keyed: Cluster, key_of: KeyOf) -> None:
    shop = key_of("shop", "--commands", "*", "--queries", "*")
    with started(keyed) as own, RawClient(keyed.front, shop) as client:
        named = create("Ada", key="k")
        named["body"]["actor"] = "root"
        assert [code(body) for body in client.ask(create("Ada", key="k"), named)] == ["command_result", 12]
        for_another = create("Bob", key="k")  # the cluster's own processes vouch for others
        for_another["body"]["actor"] = "web.ada"
        assert own.ask(for_another, create("Cyd", key="k"))[0]["success"]
    log = SqliteLogReader(keyed.data)
    commands = [(outcome.command_id, outcome.origin.actor) for outcome in log.commands(1, 10)]
    log.close()
    assert commands == [("@shop/k", "shop"), ("@web.ada/k", "web.ada"), ("k", None)]


def test_another_clients_idempotency_key_reveals_and_changes_nothing(keyed: Cluster, key_of: KeyOf) -> None:
    ada, eve = key_of("ada", "--commands", "*"), key_of("eve", "--commands", "*")
    with started(keyed) as own, RawClient(keyed.front, ada) as first, RawClient(keyed.front, eve) as second:
        same = create("Ada", key="order-1")
        [mine] = first.ask(same)
        # When Eve sends the same command and another under Ada's key, and under the name of that key in the log
        theirs = second.ask(same, create("Eve", key="order-2"), create("Ada", key="@ada/order-1"))
        # Then she gets events of her own, and Ada's next keys are free
        assert all(reply["success"] for reply in theirs)
        assert mine["events"] not in [reply["events"] for reply in theirs]
        assert first.ask(same) == [{**mine, "in_reply_to": 2}]
        [next_] = first.ask(create("Ada", key="order-2"))
        assert next_["success"]
        # And even a process that uses the name in the log learns nothing of the first answer
        [same_name] = own.ask(create("Ada", key="@ada/order-1"))
    assert (same_name["code"], "another command" in same_name["text"]) == (14, True)


def test_a_timeline_is_found_by_a_clients_own_key(keyed: Cluster, key_of: KeyOf) -> None:
    ada, eve = (key_of(name, "--commands", "*", "--queries", "Timeline") for name in ("ada", "eve"))
    asked = {"dest": "gateway", "body": {"type": "Timeline", "params": {"key": "k"}}}
    with started(keyed), RawClient(keyed.front, ada) as first, RawClient(keyed.front, eve) as second:
        assert first.ask(create("Ada", key="k"))[0]["success"]
        assert first.ask(asked)[0]["data"]["type"] == "CreateUser"
        assert second.ask(asked)[0]["data"] is None


def test_the_session_of_another_client_under_the_same_name_is_another_session(keyed: Cluster, key_of: KeyOf) -> None:
    ada, eve = (key_of(name, "--commands", "*", "--queries", "*") for name in ("ada", "eve"))
    asked = query("GetUser", src="s", user_id="user-123")
    with started(keyed), RawClient(keyed.front, ada) as first, RawClient(keyed.front, eve) as second:
        # Given a session of Ada that waits for her own write
        projector = keyed.process("projector")
        projector.send(signal.SIGSTOP)
        until(lambda: stopped(projector.pid))
        assert first.ask(create("Ada", src="s"))[0]["success"]
        # When Eve guesses its name, then she neither waits with it nor learns its position
        [found] = second.ask(asked)
        assert found["data"]["name"] == "John Doe"
        assert max(reply["position"] for reply in second.replies.values()) == 1
        # The control: Ada's own query waits
        assert [code(body) for body in first.ask({**asked, "timeout_ms": 500})] == [11]
        projector.send(signal.SIGCONT)
        # And Eve's commands do not move Ada's session
        assert second.ask(create("Eve", src="s"))[0]["success"]
        assert first.ask(asked)[0]["data"]["name"] == "John Doe"


def test_keys_sent_before_there_were_names_are_known_afterwards(keyed: Cluster, key_of: KeyOf) -> None:
    # Given a command done under a key by a cluster with keys off
    keyed.environ["DUALBUS_KEYS"] = "off"
    keyed.start()
    with Client(keyed.front, keys="off") as client:
        first = client.command("CreateUser", name="Ada", email="a@example.org", idempotency_key="@x/1")
    for name in ("gateway", "commandbus", "projector", "querybus"):
        keyed.stop(name)
    del keyed.environ["DUALBUS_KEYS"]
    # When the same program sends it again after keys were turned on, then it gets the first answer
    keyed.start()
    with Client(keyed.front, keys=keyed.data / "keys") as client:
        again = client.command("CreateUser", name="Ada", email="a@example.org", idempotency_key="@x/1")
    assert (again, again.repeated) == (first, True)


def test_a_removed_key_is_refused_also_on_open_connections(keyed: Cluster, key_of: KeyOf, operator: Operator) -> None:
    shop = key_of("shop", "--commands", "*", "--queries", "*")
    with started(keyed), RawClient(keyed.front, shop) as client, RawClient(keyed.front, shop) as idle:
        assert client.ask(create("Ada"))[0]["success"]
        assert idle.ask(create("Ada"))[0]["success"]
        operator("keys", "remove", "shop")
        until(lambda: code(client.ask(create("Ada"), seconds=2)[0]) == 16)
        assert code(idle.ask(query("GetUser", user_id="user-123"))[0]) == 16
        with RawClient(keyed.front, shop) as stolen:
            stolen.send(create("Eve", 1))
            assert stolen.receive(1.0) == []


def test_an_added_and_a_rotated_key_work_without_a_restart(keyed: Cluster, key_of: KeyOf, operator: Operator) -> None:
    with started(keyed):
        shop = key_of("shop", "--commands", "*")
        with RawClient(keyed.front, shop) as old:
            assert old.ask(create("Ada"))[0]["success"]
            operator("keys", "rotate", "shop", "--file", "new.key")
            with RawClient(keyed.front, load_keys(keyed.folder / "new.key", 30)) as new:
                assert new.ask(create("Ada"))[0]["success"]
            until(lambda: code(old.ask(create("Ada"), seconds=2)[0]) == 16)  # a command may be lost with its key


def test_a_damaged_file_of_clients_removes_nobody_and_admits_nobody(keyed: Cluster, key_of: KeyOf) -> None:
    shop = key_of("shop", "--commands", "*")
    path = keyed.data / "keys" / "clients.json"
    with started(keyed), RawClient(keyed.front, shop) as client:
        good = json.loads(path.read_text())
        path.write_text(json.dumps({**good, "eve": {"public": "x"}}))
        until(lambda: "has an invalid entry" in keyed.process("gateway").stderr_text)
        assert client.ask(create("Ada"))[0]["success"]


def test_a_named_client_is_refused_in_python_with_a_code_of_its_own(keyed: Cluster, key_of: KeyOf) -> None:
    key_of("shop", "--queries", "*")
    with started(keyed), Client(keyed.front, keys=keyed.folder / "shop.key") as client:
        with pytest.raises(Rejected) as refused:
            client.command("CreateUser", name="Ada", email="a@example.org")
        assert [problem.code for problem in refused.value.problems] == ["forbidden"]
        assert len(client.query("ListUsers")) == 1
