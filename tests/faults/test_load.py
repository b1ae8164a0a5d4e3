"""The load records what the judge needs, also where the load is mixed."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from dualbus.testing import Cluster
from tests.conftest import ROOT
from tests.faults.apps.sleepy import app
from tests.faults.judge import Answer, judge
from tests.faults.load import Load, Mix
from tests.faults.rude import RudeClient


@pytest.fixture
def sleepy(folder: Path) -> Iterator[Cluster]:
    """A cluster of the application with slow handlers."""
    with Cluster(folder, "tests.faults.apps.sleepy:app", cwd=ROOT) as cluster:
        cluster.start()
        yield cluster


def test_a_mixed_load_sends_commands_again_and_waits_for_slow_handlers(sleepy: Cluster) -> None:
    mix = Mix(timeouts_ms=(300, 2500), again=0.2, slow=0.02)
    with Load(sleepy.front, random.randrange(1 << 32), mix=mix) as load:
        load.more(200)
        while not (load.sent_again and load.slow):  # by chance
            load.more(50)
    assert load.unknown == set()
    attempts = [one.key for one in load.history if not one.query and one.answer is Answer.ACKNOWLEDGED]
    assert len(attempts) - len(set(attempts)) == load.sent_again
    assert judge(load.history, sleepy.data, app) == []


def test_a_load_that_is_not_mixed_sends_no_acknowledged_command_again(running: Cluster) -> None:
    with Load(running.front, random.randrange(1 << 32)) as load:
        load.more(100)
    assert (load.sent_again, load.slow) == (0, 0)


def test_commands_are_served_beside_a_hostile_client(running: Cluster) -> None:
    seed = random.randrange(1 << 32)
    with RudeClient(running.front, random.Random(seed)), Load(running.front, seed) as load:
        load.more(100)
    assert load.unknown == set()
    assert judge(load.history, running.data) == []
