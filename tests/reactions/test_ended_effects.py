"""Effects whose process is killed, stopped or ended by the effect, or whose reactor loses its file."""

import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from dualbus.reactor.reactions import CHUNK
from dualbus.testing import until
from tests.reactions.delivery import Dualbus, Make, begun, confirmed, last_mark, lines, parked, tried
from tests.reactions.effects import Send


def test_an_effect_that_was_killed_is_repeated_under_the_same_key(shop: Make, office: Path) -> None:
    (office / "hold-a-0").touch()
    one = begun(shop)
    one.client.command(Send(parcel="a"))
    until(lambda: lines(office, "try"))

    one.cluster.restart("reactor")
    until(lambda: len(lines(office, "try")) == 2)
    (office / "hold-a-0").unlink()

    until(lambda: confirmed(one) == ["a0"])
    first, second = lines(office, "try")
    assert first[3] == second[3]


def test_an_event_that_was_parked_far_behind_an_unfinished_event_is_tried_once_after_a_kill(
    shop: Make, office: Path, run: Dualbus
) -> None:
    # Given an unfinished event, and a failed event that the restarted reactor reads much later
    for name in ("hold-a-0", "fail-b-0"):
        (office / name).touch()
    one = begun(shop, "patient")
    one.client.command(Send(parcel="a"))
    for number in range(CHUNK):
        one.client.command(Send(parcel="c", number=number))
    one.client.command(Send(parcel="b"))
    until(lambda: tried(office, "b0") >= 1)

    one.cluster.kill("reactor")
    before = tried(office, "b0")
    (office / "fail-b-0").unlink()
    one.start("reactor")

    until(lambda: "b0" in confirmed(one))
    (office / "hold-a-0").unlink()
    until(lambda: "a0" in confirmed(one))
    until(lambda: parked(one, run) == [] and one.status().get("lag_events") == 0)
    assert tried(office, "b0") == before + 1


def test_an_effect_that_ends_the_process_is_parked_after_the_last_try(shop: Make, office: Path, run: Dualbus) -> None:
    (office / "exit-a-0").touch()
    one = begun(shop)
    one.client.command(Send(parcel="a"))
    for number in range(1, 4):
        until(lambda: not one.cluster.process("reactor").running)
        assert [line[2] for line in lines(office, "try") if line[1] == "a0"] == [str(n + 1) for n in range(number)]
        one.start("reactor")

    one.client.command(Send(parcel="b"))
    until(lambda: confirmed(one) == ["b0"])
    until(lambda: [(row["tries"], row["next_try"]) for row in parked(one, run)] == [(3, None)])
    [row] = parked(one, run)
    assert (row["position"], row["reason"]) == (1, "The process ended during attempt 3.")

    # A retry has all tries again, and no more
    run(one, "parked", "retry", "delivery", 1)
    for _ in range(3):
        one.restart_ended()
    columns = ("tries", "next_try", "command")
    until(lambda: [[row[name] for name in columns] for row in parked(one, run)] == [[3, None, ""]])
    assert tried(office, "a0") == 6
    (office / "exit-a-0").unlink()
    run(one, "parked", "retry", "delivery", 1)
    until(lambda: confirmed(one) == ["b0", "a0"])
    assert tried(office, "a0") == 7


def test_events_behind_a_retried_event_run_also_after_a_kill(shop: Make, office: Path, run: Dualbus) -> None:
    # Given two events behind a parked event; after a retry, the second is under way
    (office / "fail-a-0").touch()
    one = begun(shop)
    for number in range(3):
        one.client.command(Send(parcel="a", number=number))
    until(lambda: one.cluster.data.joinpath("reactor.db").exists())
    until(lambda: [row["tries"] for row in parked(one, run)] == [3, 0, 0])
    (office / "hold-a-1").touch()
    (office / "fail-a-0").unlink()
    run(one, "parked", "retry", "delivery", 1)
    until(lambda: tried(office, "a1") == 1)

    one.cluster.kill("reactor")
    (office / "hold-a-1").unlink()
    one.start("reactor")

    until(lambda: confirmed(one) == ["a0", "a1", "a2"])
    until(lambda: parked(one, run) == [])


def test_an_effect_that_was_cancelled_by_a_stop_has_not_failed(shop: Make, office: Path) -> None:
    (office / "hold-a-0").touch()
    one = begun(shop)
    one.client.command(Send(parcel="a"))
    until(lambda: lines(office, "try"))

    assert one.cluster.stop("reactor") == 0
    (office / "hold-a-0").unlink()
    one.start("reactor")

    until(lambda: confirmed(one) == ["a0"])
    assert [line[2] for line in lines(office, "try")] == ["1", "1"]


def test_an_effect_under_way_finishes_after_sigterm(shop: Make, office: Path) -> None:
    (office / "hold-a-0").touch()
    one = begun(shop)
    one.client.command(Send(parcel="a"))
    until(lambda: lines(office, "try"))

    reactor = one.cluster.process("reactor")
    reactor.send(signal.SIGTERM)
    (office / "hold-a-0").unlink()

    assert reactor.wait() == 0
    assert confirmed(one) == ["a0"]
    one.start("reactor")
    until(lambda: one.status().get("lag_events") == 0)
    assert len(lines(office, "try")) == 1


def test_effects_continue_after_the_loss_of_the_file_where_the_log_remembers(shop: Make, office: Path) -> None:
    one = begun(shop)
    one.client.command(Send(parcel="a"))
    until(lambda: confirmed(one) == ["a0"])
    until(lambda: last_mark(one).position >= 1 and not last_mark(one).unfinished)
    assert one.cluster.stop("reactor") == 0

    for path in one.cluster.data.glob("reactor.db*"):
        path.unlink()
    one.client.command(Send(parcel="b"))
    one.cluster.start("reactor")

    until(lambda: confirmed(one) == ["a0", "b0"])
    assert [line[1] for line in lines(office, "try")] == ["a0", "b0"]


def test_an_event_that_is_tried_again_is_not_lost_with_the_file(shop: Make, office: Path) -> None:
    # Given an event behind the position of the reaction, whose next try is under way
    (office / "fail-a-0").touch()
    one = begun(shop, "patient")
    one.client.command(Send(parcel="a"))
    until(lambda: tried(office, "a0") >= 1)
    (office / "hold-a-0").touch()
    (office / "fail-a-0").unlink()
    for parcel in ("b", "c", "d"):
        one.client.command(Send(parcel=parcel))
        until(lambda: f"{parcel}0" in confirmed(one))  # noqa: B023

    # When the file is lost
    one.cluster.kill("reactor")
    for path in one.cluster.data.glob("reactor.db*"):
        path.unlink()
    (office / "hold-a-0").unlink()
    one.start("reactor")

    # Then the event is tried, also if others are finished for the log
    until(lambda: "a0" in confirmed(one))


@pytest.mark.parametrize("lost", [False, True])
def test_events_finished_behind_one_under_way_are_not_repeated_after_a_kill(
    shop: Make, office: Path, lost: bool
) -> None:
    # Given an event under way, and finished events after it
    (office / "hold-a-0").touch()
    one = begun(shop)
    for parcel in "abc":
        one.client.command(Send(parcel=parcel))
    until(lambda: sorted(confirmed(one)) == ["b0", "c0"] and tried(office, "a0") == 1)
    until(lambda: last_mark(one).position >= 3 and last_mark(one).unfinished == (1,))

    # When the reactor is killed, and perhaps its file is lost
    one.cluster.kill("reactor")
    for path in one.cluster.data.glob("reactor.db*") if lost else ():
        path.unlink()
    (office / "hold-a-0").unlink()
    one.start("reactor")

    # Then only the first runs again
    until(lambda: "a0" in confirmed(one))
    one.client.command(Send(parcel="d"))
    until(lambda: "d0" in confirmed(one))
    assert [tried(office, f"{parcel}0") for parcel in "abcd"] == [2, 1, 1, 1]


def test_an_event_waits_for_an_earlier_one_of_its_tag_that_ended_the_process(shop: Make, office: Path) -> None:
    # Given two unfinished events of a tag that the reactor of another host has left, and an attempt of the first
    (office / "hold-a-0").touch()
    one = begun(shop)
    for number in range(2):
        one.client.command(Send(parcel="a", number=number))
    until(lambda: tried(office, "a0") == 1)
    one.cluster.kill("reactor")
    with closing(sqlite3.connect(one.cluster.data / "reactor.db")) as db, db:
        db.execute("UPDATE reactions SET position = 2")
        for position in (1, 2):
            db.execute("INSERT INTO parked VALUES ('delivery', ?, 'left', '', 0, 1, 0, '')", (position,))

    # When the reactor starts
    (office / "hold-a-0").unlink()
    one.start("reactor")

    until(lambda: confirmed(one) == ["a0", "a1"])
    assert [line[1] for line in lines(office, "done")] == ["a0", "a1"]


def test_a_skipped_event_stays_skipped_after_a_kill_behind_an_event_under_way(
    shop: Make, office: Path, run: Dualbus
) -> None:
    (office / "hold-a-0").touch()
    (office / "fail-b-0").touch()
    one = begun(shop)
    one.client.command(Send(parcel="a"))
    one.client.command(Send(parcel="b"))
    until(lambda: tried(office, "b0") == 3 and [row["next_try"] for row in parked(one, run)] == [None])
    run(one, "parked", "skip", "delivery", 2)
    until(lambda: parked(one, run) == [])

    one.cluster.kill("reactor")
    for name in ("hold-a-0", "fail-b-0"):
        (office / name).unlink()
    one.start("reactor")
    one.client.command(Send(parcel="c"))

    until(lambda: sorted(confirmed(one)) == ["a0", "c0"])
    assert tried(office, "b0") == 3


def test_a_stop_while_the_command_of_an_effect_waits_is_no_failure(shop: Make, office: Path, run: Dualbus) -> None:
    # Given an effect with a single try that has ended, and whose command waits for commandbus
    (office / "hold-a-0").touch()
    one = begun(shop, "once")
    one.client.command(Send(parcel="a"))
    until(lambda: tried(office, "a0") == 1)
    one.cluster.kill("commandbus")
    (office / "hold-a-0").unlink()
    until(lambda: lines(office, "done"))

    assert one.cluster.stop("reactor") == 0
    one.start("commandbus", "reactor")

    until(lambda: confirmed(one) == ["a0"])
    assert parked(one, run) == []
