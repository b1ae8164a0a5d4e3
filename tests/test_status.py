"""What the gateway says of the cluster when it is asked for its Status."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dualbus.testing import Cluster, until
from tests.raw import STATUS, RawClient, command, create, query

POISON_APP = """\
from dualbus import App, Command, Event, Projection, Text

class Say(Command):
    word: Text

class Said(Event):
    word: str

def say(command: Say, past) -> list[Said]:
    yield Said(word=command.word)

def write_down(event: Said, tables):
    if event.word == "poison":
        raise ValueError("I cannot write this down")
    tables.execute("INSERT INTO words VALUES (?)", (event.word,))

TABLE = "CREATE TABLE words (word TEXT)"
app = App(
    commands=[say],
    projections=[Projection("words", version=1, tables=TABLE, on=[write_down])],
    queries=[],
    genesis=[Said(word="first")],
)
"""


def status(client: RawClient) -> dict[str, Any]:
    [answer] = client.ask(STATUS)
    assert answer["type"] == "status_result"
    data: dict[str, Any] = answer["data"]
    return data


def of(data: dict[str, Any], name: str) -> dict[str, Any]:
    """What a status says of the only process of that name."""
    found = [one for one in data["processes"] if one["name"] == name]
    assert len(found) == 1
    return dict(found[0])


def test_status_shows_each_process_how_far_it_is_and_what_it_has_done(running: Cluster, client: RawClient) -> None:
    # Given a cluster with a second querybus, three commands and two queries
    running.start("querybus")
    created = client.ask(create("Ada"), create("Bob"), create(""))
    assert [one["success"] for one in created] == [True, True, False]
    client.ask(query("GetUser", user_id="user-123"), query("ListUsers"))

    def settled() -> dict[str, Any]:
        data = status(client)
        assert len(data["processes"]) == 5
        assert all("uptime_s" in one for one in data["processes"])
        assert data["read_model_position"] == data["log_position"] == 3
        assert of(data, "commandbus").get("decided") == 2
        assert of(data, "projector").get("state") == "following"
        assert sum(one.get("answered", 0) for one in data["processes"] if one["name"] == "querybus") == 2
        return data

    # When it is asked for its status, then all of it is there
    data = until(settled)
    pids = sorted((one["name"], one["pid"]) for one in data["processes"])
    assert pids == sorted((process.name, process.pid) for process in running.processes)
    assert all(0 <= one["uptime_s"] < 600 for one in data["processes"])
    assert (data["lag_events"], data["lag_s"]) == (0, 0)
    assert data["gateway"]["queued"] == {"commandbus": 0, "querybus": 0}
    assert data["gateway"]["under_way"] == 0
    assert data["gateway"]["accepted"] == 5
    assert data["gateway"]["refused"] == data["gateway"]["malformed"] == 0
    assert of(data, "commandbus") | {"queue": 0, "events": 2, "position": 3} == of(data, "commandbus")
    assert of(data, "projector") | {"lag_events": 0, "applied": 3, "position": 3} == of(data, "projector")
    assert all(one["queue"] == 0 for one in data["processes"] if one["name"] == "querybus")

    # When a process is gone, then it is not shown any more, and what it alone knows is unknown
    running.stop("projector")
    until(lambda: len(status(client)["processes"]) == 4)
    gone = status(client)
    assert gone["log_position"] == 3
    assert gone["read_model_position"] is gone["lag_events"] is gone["lag_s"] is None


def test_status_is_answered_by_a_gateway_that_is_alone(cluster: Cluster) -> None:
    [gateway] = cluster.start("gateway")
    with RawClient(cluster.front) as client:
        client.send(create("Ada", 1), query("GetUser", 2, user_id="user-123"), query("ListUsers", 3, src="u"))
        data = status(client)
    assert [(one["name"], one["pid"]) for one in data["processes"]] == [("gateway", gateway.pid)]
    assert data["log"] is data["log_position"] is data["read_model_position"] is data["lag_events"] is None
    assert data["gateway"]["under_way"] == 3
    # A query behind its own session's command is not queued for its bus yet.
    assert data["gateway"]["queued"] == {"commandbus": 1, "querybus": 1}


@pytest.fixture
def poisoned(folder: Path) -> Iterator[Cluster]:
    """A cluster whose projection fails at a certain word."""
    (folder / "words.py").write_text(POISON_APP)
    with Cluster(folder, "words:app", cwd=folder) as made:
        yield made


def test_a_projection_that_fails_shows_as_lag_with_the_position_of_its_event(poisoned: Cluster) -> None:
    # Given a cluster that has been idle for a while
    poisoned.start("gateway", "commandbus", "projector")
    with RawClient(poisoned.front) as client:
        until(lambda: of(status(client), "projector").get("uptime_s", 0) > 1.5)

        # When an event cannot be projected, and two more follow
        client.ask(*(command("Say", word=word) for word in ("poison", "after", "later")))
        until(lambda: of(status(client), "projector")["lag_events"] == 3)
        data = status(client)

        # Then the read model stays before it; it has been behind since then, and not since it began
        assert (data["log_position"], data["read_model_position"], data["lag_events"]) == (4, 1, 3)
        assert 0 < data["lag_s"] < of(data, "projector")["uptime_s"] - 1
        assert "Projection words raised ValueError at position 2 (Said)" in of(data, "projector")["state"]
        until(lambda: status(client)["lag_s"] > data["lag_s"])
