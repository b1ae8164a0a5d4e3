"""What a client of the whole cluster sees."""

from dualbus.testing import Cluster
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


def test_a_reply_names_who_answers_and_whom_and_the_position_it_was_made_at(client: RawClient) -> None:
    client.send(create("Ada", 1, src="me"), query("ListUsers", "two", src="you"))
    created, listed = client.wait_for([1, "two"])
    assert (created["src"], created["dest"], created["position"]) == ("commandbus", "me", 2)
    assert (listed["src"], listed["dest"]) == ("querybus", "you")
    assert listed["position"] in (1, 2)  # another src is another session
    assert len(listed["body"]["data"]) == listed["position"]


def test_a_command_with_a_key_happens_once_and_answers_the_same_again(client: RawClient) -> None:
    # Given a command with a key of the client's
    ada = create("Ada", key="ada-1")
    [first] = client.ask(ada)

    # When it is sent again, at once and later, then it answers in the same words
    again = client.ask(ada, ada)
    assert [{**answer, "in_reply_to": None} for answer in again] == [{**first, "in_reply_to": None}] * 2

    # And the key with another payload is refused, and nothing is written.
    [other] = client.ask(create("Bob", key="ada-1"))
    assert (other["type"], other["code"]) == ("error", 14)
    [listed] = client.ask(query("ListUsers"))
    assert sorted(row["name"] for row in listed["data"]) == ["Ada", "John Doe"]


def test_users_are_listed_a_page_at_a_time(client: RawClient) -> None:
    created = client.ask(*(create(f"U{number}") for number in range(5)))
    ids = [answer["events"][0]["payload"]["id"] for answer in created]
    assert ids == sorted(ids)  # later ids sort after earlier ones

    pages, after = [], ""
    while page := client.ask(query("ListUsers", limit=2, after=after))[0]["data"]:
        pages.append([row["name"] for row in page])
        after = page[-1]["id"]
    assert pages == [["U0", "U1"], ["U2", "U3"], ["U4", "John Doe"]]


def test_a_reply_reaches_the_client_that_asked_and_no_other(running: Cluster) -> None:
    with RawClient(running.front) as one, RawClient(running.front) as two:
        one.send(*(create(f"One {number}", number) for number in range(100)))
        two.send(*(create(f"Two {number}", number) for number in range(100)))
        for name, client in (("One", one), ("Two", two)):
            replies = client.wait_for(range(100))
            assert [reply["body"]["events"][0]["payload"]["name"] for reply in replies] == [
                f"{name} {number}" for number in range(100)
            ]
        assert one.receive(0.1) == two.receive(0.1) == []
