"""commandbus is killed the hard way, anywhere: a client loses nothing but time."""

import random
import signal
from pathlib import Path

import pytest

from dualbus.testing import Cluster
from tests.faults.judge import judge, read_log
from tests.faults.launch import launched
from tests.faults.load import Load
from tests.raw import RawClient, create, query

POINTS = {
    "received, and nothing done": ("before", "commandbus.node:CommandBus._drain"),
    "decided, and not committed": ("before", "dualbus.sqlite_log:SqliteLog.append"),
    "committed, and not published": ("before", "commandbus.publisher:Publisher.publish"),
    "published, and not answered": ("before", "dualbus.link:Link.answer"),
    "answered": ("after", "dualbus.link:Link.answer"),
}


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_point_a_command_still_has_one_effect_and_one_answer(
    cluster: Cluster, folder: Path, point: str
) -> None:
    # Given a cluster that has taken a command, and whose commandbus will die at the point
    usual = cluster.commands["commandbus"]
    cluster.commands["commandbus"] = launched("commandbus", folder / "arm", "kill", *POINTS[point], 1)
    cluster.start()
    with RawClient(cluster.front) as client:
        client.ask(create("Ada", key="a"))
        (folder / "arm").touch()

        # When a command is sent, commandbus dies, and comes back
        client.send(create("Bob", "b1", key="b"))
        assert cluster.process("commandbus").wait() == -signal.SIGKILL
        cluster.commands["commandbus"] = usual
        cluster.start("commandbus")

        # Then the client gets its answer, and the same again for the same key
        [first] = client.wait_for(["b1"])
        assert first["body"]["success"] is True
        client.send(create("Bob", "b2", key="b"))
        [again] = client.wait_for(["b2"])
        assert again["body"]["events"] == first["body"]["events"]
        assert again["position"] == first["position"]

        # And the event is in the log once, and in the read model
        assert [event.command_id for event in read_log(cluster.data).events] == ["genesis", "a", "b"]
        [event] = first["body"]["events"]
        [found] = client.ask(query("GetUser", user_id=event["payload"]["id"]))
        assert found["data"] == event["payload"]


def test_killed_twenty_times_under_load_nothing_is_lost_doubled_or_stale(running: Cluster) -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    with Load(running.front, seed) as load:
        for _ in range(20):
            load.more(chance.randrange(5, 100))
            running.restart("commandbus")
        load.more(100)
    assert load.unknown == set()
    assert judge(load.history, running.data) == []
