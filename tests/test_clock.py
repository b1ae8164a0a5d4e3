"""Times and ids of decisions never go back, wherever the clock of the machine is set, and in whichever life."""

import itertools
import json
import random
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from dualbus.commandbus.clock import Clock
from dualbus.testing import Cluster, until
from tests.conftest import ROOT
from tests.faults.judge import read_log
from tests.faults.launch import launched
from tests.raw import Envelope, RawClient, command

HOUR = 3_600_000_000
NOON = 1_769_860_800_000_000  # 2026-01-31T12:00:00Z, in microseconds


class Wall:
    """A clock on the wall that a test sets."""

    def __init__(self, time: int = NOON) -> None:
        self.time = time

    def __call__(self) -> int:
        return self.time


def milliseconds(id_: str) -> int:
    return uuid.UUID(id_).int >> 80


def test_the_time_is_that_of_the_wall() -> None:
    wall = Wall()
    clock = Clock(wall)
    assert clock.now() == "2026-01-31T12:00:00.000000Z"
    wall.time += 1_000_001
    assert clock.now() == "2026-01-31T12:00:01.000001Z"


def test_an_id_is_a_uuid7_of_the_time_of_its_decision() -> None:
    clock = Clock(Wall(NOON + 999))
    clock.now()
    for _ in range(1000):
        made = uuid.UUID(clock.new_id())
        assert (made.version, made.variant, milliseconds(str(made))) == (7, uuid.RFC_4122, NOON // 1000)


def test_ids_grow_within_a_millisecond_and_nobody_guesses_the_next() -> None:
    clock = Clock(Wall())
    clock.now()
    ids = [clock.new_id() for _ in range(10_000)]
    assert ids == sorted(set(ids))
    steps = {uuid.UUID(after).int - uuid.UUID(before).int for before, after in itertools.pairwise(ids)}
    assert len(steps) > 9_900


def test_a_clock_that_is_set_back_stands_still_until_the_wall_has_caught_up(caplog: pytest.LogCaptureFixture) -> None:
    wall = Wall()
    clock = Clock(wall)
    before, first = clock.now(), clock.new_id()
    wall.time -= HOUR
    times, ids = [], []
    for _ in range(5):
        times.append(clock.now())
        ids += [clock.new_id(), clock.new_id()]
    assert set(times) == {before}
    assert [first, *ids] == sorted({first, *ids})
    assert caplog.text.count("The clock of this machine is 3600 s behind the last event") == 1
    wall.time = NOON + 1
    assert clock.now() > before


@pytest.mark.parametrize("last", [NOON - 1, NOON, NOON + 1, NOON + 500, NOON + 999, NOON + HOUR])
@pytest.mark.parametrize("set_to", [-HOUR, -1, 0, 1, 999, 1000])
def test_after_another_start_times_and_ids_follow_those_before_it(last: int, set_to: int) -> None:
    wall = Wall(last)
    clock = Clock(wall)
    time, ids = clock.now(), [clock.new_id() for _ in range(3)]

    wall.time = last + set_to
    again = Clock(wall, after=time)

    assert again.now() >= time
    assert again.new_id() > max(ids)


@pytest.mark.parametrize("time", ["", "yesterday", "2026-01-31", "2026-01-31T12:00:00", "1850-01-01T00:00:00Z", "٣"])
def test_a_time_that_an_import_has_brought_and_that_is_none_holds_nothing_up(time: str) -> None:
    clock = Clock(Wall(), after=time)
    assert clock.now() == "2026-01-31T12:00:00.000000Z"


def test_however_the_clock_is_set_and_restarted_nothing_goes_back() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    wall = Wall()
    clock, times, ids = Clock(wall), [""], [""]
    for _ in range(2000):
        wall.time += chance.choice([0, 0, 1, 300, 1000, 5000, HOUR, -1, -1000, -HOUR])
        times.append(clock.now())
        ids += [clock.new_id() for _ in range(chance.randrange(4))]
        if chance.random() < 0.1:
            clock = Clock(wall, after=times[-1])
    assert times == sorted(times)
    assert ids[1:] == sorted(set(ids[1:]))


STAMPS = """\
from datetime import datetime
from dualbus import App, Command, Event

class Stamp(Command):
    pass

class Stamped(Event):
    id: str
    at: datetime

def stamp(command: Stamp, past) -> list[Stamped]:
    for _ in range(3):
        yield Stamped(id=past.new_id(), at=past.now())

app = App(commands=[stamp], projections=[], queries=[])
"""


@pytest.fixture
def stamps(folder: Path) -> Iterator[Cluster]:
    """A cluster whose events hold ids and times, and whose commandbus sees an hour less than there is, if armed."""
    (folder / "stamps.py").write_text(STAMPS)
    with Cluster(folder, "stamps:app", cwd=ROOT) as cluster:
        cluster.environ["PYTHONPATH"] = f"{ROOT}:{folder}"
        cluster.commands["commandbus"] = launched("commandbus", folder / "arm", "clock", "back")
        yield cluster


def check(cluster: Cluster, number: int) -> None:
    events = read_log(cluster.data).events
    assert len(events) == number
    assert [event.time for event in events] == sorted(event.time for event in events)
    stamped = [json.loads(event.data) for event in events]
    assert [one["at"] for one in stamped] == [event.time for event in events]
    ids = [one["id"] for one in stamped]
    assert ids == sorted(set(ids))


@pytest.mark.parametrize("restarted", [True, False], ids=["between two starts", "while it runs"])
def test_a_clock_that_is_set_back_by_an_hour_leaves_times_and_ids_in_order(stamps: Cluster, restarted: bool) -> None:
    stamps.start("gateway", "commandbus")
    sent: list[Envelope] = [command("Stamp", number) for number in range(50)]
    with RawClient(stamps.front) as client:
        assert all(body["success"] for body in client.ask(*sent))
        (stamps.folder / "arm").touch()
        if restarted:
            stamps.restart("commandbus")
        for _ in range(5):
            assert all(body["success"] for body in client.ask(*sent))
    until(lambda: "The clock of this machine is" in stamps.process("commandbus").stderr_text)
    check(stamps, 6 * 50 * 3)
