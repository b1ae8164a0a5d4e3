"""commandbus is killed the hard way, anywhere: a client loses nothing but time."""

import random
import signal
from pathlib import Path

from dualbus.testing import Cluster
from tests.faults.judge import judge, read_log
from tests.faults.launch import launched
from tests.faults.load import Load
from tests.raw import RawClient, create, query

POINTS = {
    "received, and nothing done": ("before", "dualbus.commandbus.node:CommandBus._process_batch"),
    "decided, and not committed": ("before", "dualbus.log.sqlite.writer:SqliteLog.append"),
    "committed, and not answered": ("before", "dualbus.worker.link:WorkerLink.answer"),
    "answered, and not published": ("before", "dualbus.commandbus.publisher:Publisher.publish"),
    "published": ("after", "dualbus.commandbus.publisher:Publisher.publish"),
}


def test_killed_at_any_point_a_command_still_has_one_effect_and_one_answer(cluster: Cluster, folder: Path) -> None:
    usual = cluster.commands["commandbus"]
    cluster.start()
    with RawClient(cluster.front) as client:
        client.ask(create("Ada"))
        for number, (point, where) in enumerate(POINTS.items()):
            # Given a commandbus that will die at the point
            cluster.stop("commandbus")
            arm, key = folder / f"arm{number}", f"key{number}"
            cluster.commands["commandbus"] = launched("commandbus", arm, "kill", *where, 1)
            cluster.start("commandbus")
            client.ask(create("Eve"))
            arm.touch()

            # When a command is sent, commandbus dies, and comes back
            client.send(create(point, key, key=key))
            assert cluster.process("commandbus").wait() == -signal.SIGKILL, point
            cluster.commands["commandbus"] = usual
            cluster.start("commandbus")

            # Then the client gets its answer, and the same again for the same key
            [first] = client.wait_for([key])
            assert first["body"]["success"] is True, point
            client.send(create(point, "again" + key, key=key))
            [again] = client.wait_for(["again" + key])
            assert again["body"]["events"] == first["body"]["events"], point
            assert again["position"] == first["position"], point

            # And the event is in the log once, and in the read model
            assert [one.command_id for one in read_log(cluster.data).events].count(key) == 1, point
            [event] = first["body"]["events"]
            [found] = client.ask(query("GetUser", user_id=event["payload"]["id"]))
            assert found["data"] == event["payload"], point


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
