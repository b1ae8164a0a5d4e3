"""A session sees what it has written and nothing older than it has seen, whichever querybus answers."""

import random
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dualbus.testing import Cluster, until
from tests.conftest import ROOT
from tests.faults.seeing import status, wait_ready
from tests.raw import Envelope, RawClient, command, query

CONNECTIONS, SRCS = 8, 8
ROUNDS = 12


def put(name: str, value: int) -> Envelope:
    return command("Put", f"write {name} {value}", src=name, name=name, value=value)


def pair(name: str, value: int) -> Envelope:
    return query("Pair", f"read {name} {value}", src=name, name=name)


def querybuses(client: RawClient) -> list[dict[str, Any]]:
    return [one for one in status(client)["processes"] if one["name"] == "querybus"]


@pytest.mark.parametrize("pipelined", [True, False])
def test_64_sessions_see_their_own_writes_through_three_querybuses(folder: Path, pipelined: bool) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with Cluster(folder, "tests.faults.apps.pairs:app", cwd=ROOT) as cluster, ExitStack() as stack:
        cluster.start("gateway", "commandbus", "projector", "querybus", "querybus", "querybus")
        clients = [stack.enter_context(RawClient(cluster.front)) for _ in range(CONNECTIONS)]
        wait_ready(clients[0])
        until(lambda: len(querybuses(clients[0])) == 3)

        # given sessions that each write a row of their own and at once ask for it
        owner = {f"s{number}.{src}": client for number, client in enumerate(clients) for src in range(SRCS)}
        answers: dict[str, list[Envelope]] = {name: [] for name in owner}
        for value in range(1, ROUNDS + 1):
            for name in chance.sample(list(owner), len(owner)):
                asked = [put(name, value), pair(name, value)]
                owner[name].send(*asked if pipelined else asked[:1])
            if not pipelined:
                for name in chance.sample(list(owner), len(owner)):
                    owner[name].wait_for([f"write {name} {value}"])
                    owner[name].send(pair(name, value))
            for name, client in owner.items():
                answers[name] += client.wait_for([f"read {name} {value}"])

        # then every answer shows the write before it, from one position, and no older than the answer before
        for name, replies in answers.items():
            data = [reply["body"]["data"] for reply in replies]
            assert [one["left"]["value"] for one in data] == list(range(1, ROUNDS + 1)), name
            assert all(one["left"] == one["right"] for one in data), name
            positions = [reply["position"] for reply in replies]
            assert positions == sorted(positions)
            assert [one["left"]["all_"] for one in data] == positions

        # and all three querybuses had a part in it
        until(lambda: all(one.get("answered") for one in querybuses(clients[0])))
        assert len(querybuses(clients[0])) == 3
