"""What a client of the whole cluster sees."""

from tests.raw import RawClient, command, create, query


def test_a_command_changes_state_and_a_query_sees_it(client: RawClient) -> None:
    [created] = client.ask(create("Ada"))
    [event] = created["events"]
    assert created["success"] is True
    assert event["type"] == "UserCreated"
    assert event["payload"] == {"id": event["payload"]["id"], "name": "Ada"}

    [found] = client.ask(query("GetUser", user_id=event["payload"]["id"]))
    assert found["data"] == {"id": event["payload"]["id"], "name": "Ada"}


def test_a_pipelined_query_sees_the_commands_before_it(client: RawClient) -> None:
    for number in range(100):
        name = f"John {number}"
        renamed, found = client.ask(
            command("RenameUser", user_id="user-123", name=name), query("GetUser", user_id="user-123")
        )
        assert renamed["success"] is True
        assert found["data"] == {"id": "user-123", "name": name}
