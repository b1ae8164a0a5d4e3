"""Effects in a cluster: at least once, with a stable key, in order for each tag; parked after the last try."""

import json
import os
from pathlib import Path

from dualbus.testing import until
from tests.reactions.delivery import Dualbus, Make, begun, confirmed, lines, parked, tried
from tests.reactions.effects import Send


def test_an_effect_runs_in_its_lifespan_and_executes_its_command(shop: Make, office: Path) -> None:
    one = begun(shop)

    one.client.command(Send(parcel="a"))

    until(lambda: confirmed(one) == ["a0"])
    assert one.cluster.stop("reactor") == 0
    assert [line[0] for line in lines(office)] == ["open", "try", "done", "close"]
    [[_, _, number, key, _]] = lines(office, "try")
    assert number == "1" and key.startswith("delivery/1/0/")
    assert one.records()[-1][2] == "delivery/1/0"


def test_a_failed_effect_is_tried_again_under_the_same_key_and_later_events_of_its_tag_wait(
    shop: Make, office: Path
) -> None:
    (office / "fail-a-0").touch()
    one = begun(shop, "patient")
    one.client.command(Send(parcel="a"))
    one.client.command(Send(parcel="a", number=1))
    one.client.command(Send(parcel="b"))

    until(lambda: confirmed(one) == ["b0"])
    until(lambda: tried(office, "a0") >= 3)
    assert one.cluster.stop("reactor") == 0
    before = tried(office, "a0")
    one.start("reactor")
    until(lambda: tried(office, "a0") > before)
    (office / "fail-a-0").unlink()

    until(lambda: sorted(confirmed(one)) == ["a0", "a1", "b0"])
    tries = [line for line in lines(office, "try") if line[1] == "a0"]
    numbers = [int(line[2]) for line in tries]
    assert numbers[0] == 1 and numbers == sorted(numbers) and numbers[-1] >= 4  # also across the restart
    assert len({line[3] for line in tries}) == 1
    assert [line[1] for line in lines(office, "done") if line[1] != "b0"] == ["a0", "a1"]


def test_an_event_is_parked_after_the_last_try_with_what_follows_and_is_retried_in_order(
    shop: Make, office: Path, run: Dualbus
) -> None:
    # Given an event that fails three times, and events behind it
    (office / "fail-a-0").touch()
    one = begun(shop)
    for number in range(3):
        one.client.command(Send(parcel="a", number=number))
    one.client.command(Send(parcel="b"))
    until(lambda: one.cluster.data.joinpath("reactor.db").exists())

    # Then it is parked with them, and others continue
    until(lambda: [row["tries"] for row in parked(one, run)] == [3, 0, 0] and confirmed(one) == ["b0"])
    [failed, second, third] = parked(one, run)
    assert failed["reason"] == "deliver raised OSError: the log of reactor has the details."
    assert (second["follows"], third["follows"], failed["next_try"]) == (1, 1, None)
    shown = json.loads(run(one, "parked", "show", "delivery", 1))
    assert (shown["blocks"], shown["event"]["payload"]) == ([2, 3], {"parcel": "a", "number": 0})
    until(lambda: (one.status().get("parked"), one.status().get("waiting")) == (1, 2))

    # And across a restart; what comes later waits, too
    one.cluster.restart("reactor")
    one.client.command(Send(parcel="a", number=3))
    until(lambda: len(parked(one, run)) == 4)
    (office / "fail-a-0").unlink()
    run(one, "parked", "retry", "delivery", 1)

    until(lambda: confirmed(one) == ["b0", "a0", "a1", "a2", "a3"])
    until(lambda: parked(one, run) == [])
    assert [line[1] for line in lines(office, "done")] == ["b0", "a0", "a1", "a2", "a3"]


def test_a_skipped_event_lets_the_next_one_run(shop: Make, office: Path, run: Dualbus) -> None:
    (office / "fail-a-0").touch()
    one = begun(shop)
    one.client.command(Send(parcel="a"))
    one.client.command(Send(parcel="a", number=1))
    until(lambda: one.cluster.data.joinpath("reactor.db").exists())
    until(lambda: [row["tries"] for row in parked(one, run)] == [3, 0])

    run(one, "parked", "skip", "delivery", 1)

    until(lambda: confirmed(one) == ["a1"])
    until(lambda: parked(one, run) == [])


def test_an_event_under_way_is_skipped_after_its_failure(shop: Make, office: Path, run: Dualbus) -> None:
    # Given a parked event that is tried again, under way
    (office / "fail-a-0").touch()
    one = begun(shop)
    one.client.command(Send(parcel="a"))
    one.client.command(Send(parcel="a", number=1))
    until(lambda: one.cluster.data.joinpath("reactor.db").exists())
    until(lambda: [row["tries"] for row in parked(one, run)] == [3, 0])
    (office / "hold-a-0").touch()
    run(one, "parked", "retry", "delivery", 1)
    until(lambda: tried(office, "a0") == 4)

    # When an operator skips the event, and the attempt fails
    run(one, "parked", "skip", "delivery", 1)
    (office / "hold-a-0").unlink()

    until(lambda: confirmed(one) == ["a1"])
    until(lambda: parked(one, run) == [])


def test_at_most_so_many_effects_run_at_the_same_time(shop: Make, office: Path) -> None:
    for number in range(6):
        (office / f"hold-{number}-0").touch()
    one = begun(shop)
    for number in range(6):
        one.client.command(Send(parcel=str(number)))
    until(lambda: len(lines(office, "try")) == 2)

    for number in range(6):
        (office / f"hold-{number}-0").unlink()

    until(lambda: len(confirmed(one)) == 6)
    assert {line[4] for line in lines(office, "try")} <= {"1", "2"}


def test_an_effect_without_an_end_is_stopped_at_its_deadline(shop: Make, office: Path, run: Dualbus) -> None:
    (office / "hold-a-0").touch()
    one = begun(shop, "hurried")
    one.client.command(Send(parcel="a"))
    until(lambda: one.cluster.data.joinpath("reactor.db").exists())

    until(lambda: [row["reason"] for row in parked(one, run)] == ["deliver did not end within 0.2 s."])


def test_an_effect_that_blocks_the_event_loop_is_stopped_and_others_continue(
    shop: Make, office: Path, run: Dualbus
) -> None:
    one = begun(shop, "blocking")
    one.client.command(Send(parcel="a"))
    until(lambda: confirmed(one) == ["a0"])
    until(lambda: one.cluster.data.joinpath("reactor.db").exists())

    until(lambda: [row["reaction"] for row in parked(one, run)] == ["blocking"])
    [row] = parked(one, run)
    assert row["reason"] == "block blocked the event loop for 0.3 s and was stopped: await instead."
    one.client.command(Send(parcel="b"))
    until(lambda: confirmed(one) == ["a0", "b0"])


def test_a_lifespan_that_raises_is_tried_again_and_the_process_stays(shop: Make, office: Path) -> None:
    (office / "closed").touch()
    one = begun(shop)
    one.client.command(Send(parcel="a"))
    until(lambda: one.status().get("state") == "the lifespan of reaction delivery raised OSError")

    (office / "closed").unlink()

    until(lambda: confirmed(one) == ["a0"])


def test_a_reaction_since_now_ignores_the_past_and_misses_nothing_later(shop: Make, office: Path) -> None:
    # Given events from before the first start of the reaction
    one = shop("tests.reactions.effects:now")
    one.cluster.environ["OFFICE"] = os.environ["OFFICE"]
    one.start("gateway", "commandbus")
    one.client.command(Send(parcel="old"))
    one.start("reactor")
    until(lambda: one.status().get("state") == "following")

    # When more happens while it is down, also without its file
    assert one.cluster.stop("reactor") == 0
    one.client.command(Send(parcel="down"))
    for path in one.cluster.data.glob("reactor.db*"):
        path.unlink()
    one.start("reactor")

    # Then it continues where it began
    until(lambda: confirmed(one) == ["down0"])
    one.client.command(Send(parcel="new"))
    until(lambda: confirmed(one) == ["down0", "new0"])


def test_a_lifespan_that_raises_the_cancellation_of_a_task_of_its_own_has_failed(shop: Make, office: Path) -> None:
    # Given a lifespan that cancels at its start
    (office / "cancel-open").touch()
    one = begun(shop)
    one.client.command(Send(parcel="a"))
    until(lambda: one.status().get("state") == "the lifespan of reaction delivery raised LifespanCancelled")
    (office / "cancel-open").unlink()
    until(lambda: confirmed(one) == ["a0"])

    # And one that cancels at its end
    (office / "cancel-close").touch()

    assert one.cluster.stop("reactor") == 0
    assert "The lifespan of reaction delivery raised at its end." in one.cluster.process("reactor").stderr_text


def test_an_effect_that_cancels_its_own_task_is_parked(shop: Make, office: Path, run: Dualbus) -> None:
    (office / "leave-a-0").touch()
    one = begun(shop)
    one.client.command(Send(parcel="a"))
    until(lambda: [row["next_try"] for row in parked(one, run)] == [None])
    [row] = parked(one, run)
    assert row["reason"] == "The reaction raised CancelledError: the log of reactor has the details."
    one.client.command(Send(parcel="b"))
    until(lambda: confirmed(one) == ["b0"])


def test_an_effect_that_raises_the_cancellation_of_a_task_of_its_own_has_failed(
    shop: Make, office: Path, run: Dualbus
) -> None:
    (office / "cancel-a-0").touch()
    one = begun(shop)
    one.client.command(Send(parcel="a"))
    until(lambda: [(row["tries"], row["next_try"]) for row in parked(one, run)] == [(3, None)])
    (office / "cancel-a-0").unlink()
    run(one, "parked", "retry", "delivery", 1)
    until(lambda: confirmed(one) == ["a0"])
