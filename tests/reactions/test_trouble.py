"""Reactions that raise, hang, loop or yield wrong values are parked, loudly; the others continue."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from dualbus.cli.main import main
from dualbus.reactions.store import STANDBY_NAME
from dualbus.testing import until
from tests.faults.launch import launched
from tests.reactions.conftest import Shop
from tests.reactions.troubled import Note

Make = Callable[..., Shop]
Rows = Callable[[Shop], list[dict[str, Any]]]


@pytest.fixture
def parked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Rows:
    """List the parked events of a shop."""

    def call(one: Shop) -> list[dict[str, Any]]:
        monkeypatch.setenv("DUALBUS_DATA", str(one.cluster.data))
        if not one.cluster.data.joinpath("reactor.db").exists():
            return []
        capsys.readouterr()
        assert main(["parked", "list", "--json"]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return call


def test_a_chain_of_a_hundred_reactions_is_stopped(shop: Make, parked: Rows) -> None:
    one = shop("tests.reactions.troubled:looping")
    one.start()

    one.client.command(Note(item="a"))

    until(lambda: parked(one) != [])
    [row] = parked(one)
    assert (row["position"], row["next_try"]) == (101, None)
    assert row["reason"].startswith("The event ends a chain of 100 reactions, which looks endless")
    assert "loop/101 is parked after 1 tries: The event ends a chain" in one.cluster.process("reactor").stderr_text
    assert len(one.events()) == 101


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise", "react raised ValueError: the log of reactor has the details."),
        ("hang", "The reaction ran for more than 0.3 s and was stopped."),
        ("wrong", "react yields Note, which its return annotation does not name."),
        ("endless", "react yields more than 1000 commands for one event."),
        ("decision", "The decision on Echo raised RuntimeError: nothing was written; the log of commandbus has the"),
    ],
)
def test_a_reaction_that_fails_is_parked_with_what_follows_and_others_continue(
    shop: Make, parked: Rows, text: str, reason: str
) -> None:
    one = shop("tests.reactions.troubled:failing")
    one.start()

    one.client.command(Note(item="a", text=text))
    one.client.command(Note(item="a", text="after"))
    one.client.command(Note(item="b", text="other"))

    until(lambda: ("Echoed", {"item": "b", "text": "other"}, "echo/3/0") in one.records())
    until(lambda: [row["next_try"] for row in parked(one)] == [None, None])
    first, second = parked(one)
    assert first["reason"].startswith(reason)
    assert second["follows"] == 1
    assert [fields["text"] for type_, fields, _ in one.records() if type_ == "Echoed"] == ["other"]
    assert "secret" not in first["reason"]
    assert one.cluster.process("reactor").running


def test_a_new_version_that_yields_another_command_under_the_same_key_is_parked(shop: Make, parked: Rows) -> None:
    # Given a reaction whose command is in the log, killed before it knows
    one = shop("tests.reactions.troubled:failing")
    arm = one.cluster.folder / "arm"
    arm.touch()
    where = "dualbus.reactions.store:ReactionStore.write"
    one.cluster.commands["reactor"] = launched("reactor", arm, "kill", "before", where, 2)
    one.start()
    one.client.command(Note(item="a", text="first"))
    one.cluster.process("reactor").wait()
    until(lambda: ("Echoed", {"item": "a", "text": "first"}, "echo/1/0") in one.records())
    arm.unlink()

    # When another version of the reaction runs
    one.cluster.start("reactor", DUALBUS_APP="tests.reactions.troubled:other")

    # Then a person must decide
    until(lambda: parked(one) != [])
    [row] = parked(one)
    assert row["reason"].startswith("The log has another command under echo/1/0 (Echo): an earlier version")
    assert len(one.events()) == 2


def test_after_the_loss_of_the_file_the_commands_of_an_earlier_version_stand(shop: Make, parked: Rows) -> None:
    one = shop("tests.reactions.troubled:failing")
    one.start()
    one.client.command(Note(item="a", text="first"))
    until(lambda: len(one.events()) == 2)
    assert one.cluster.stop("reactor") == 0

    for path in one.cluster.data.glob("reactor.db*"):
        path.unlink()
    one.cluster.start("reactor", DUALBUS_APP="tests.reactions.troubled:other")

    until(lambda: len(one.events()) == 3)
    assert one.records()[1:] == [
        ("Echoed", {"item": "a", "text": "first"}, "echo/1/0"),
        ("Echoed", {"item": "a", "text": "more"}, "echo/1/1"),
    ]
    assert parked(one) == []


def test_a_reaction_with_an_unreadable_parked_event_waits_and_others_continue(
    shop: Make, parked: Rows, run: Callable[..., str]
) -> None:
    # Given a parked event that the next version of the application cannot read
    one = shop("tests.reactions.troubled:failing")
    one.start()
    one.client.command(Note(item="a", text="raise"))
    until(lambda: [row["position"] for row in parked(one)] == [1])
    one.cluster.stop("reactor")

    # When that version starts
    one.cluster.start("reactor", DUALBUS_APP="tests.reactions.troubled:unreadable")

    # Then its reaction waits, and the other reaction runs
    sentence = "reaction echo cannot read a parked event: This version of the application cannot read Noted"
    until(lambda: sentence in one.status().get("state", ""))
    until(lambda: one.status()["lags"] == {"other": 0})
    one.client.command(Note(item="b"))
    until(lambda: {origin for _, _, origin in one.records()[2:]} == {"other/2/0", "other/2/1"})
    assert one.cluster.process("reactor").running
    one.cluster.environ["DUALBUS_APP"] = "tests.reactions.troubled:unreadable"
    with pytest.raises(AssertionError, match="cannot read position 1 as Noted"):
        run(one, "parked", "show", "echo", 1)

    # And the next readable version continues
    one.cluster.stop("reactor")
    one.cluster.start("reactor", DUALBUS_APP="tests.reactions.troubled:failing")
    run(one, "parked", "skip", "echo", 1)
    until(lambda: one.records()[-1][2] == "echo/2/0")


def test_a_skipped_event_stays_skipped_without_the_file(shop: Make, parked: Rows, run: Callable[..., str]) -> None:
    # Given an event whose process manager raises, skipped by an operator
    one = shop("tests.reactions.troubled:failing")
    one.start()
    one.client.command(Note(item="a", text="raise"))
    one.client.command(Note(item="a", text="after"))
    until(lambda: [row["position"] for row in parked(one)] == [1, 2])
    run(one, "parked", "skip", "echo", 1)
    until(lambda: one.records()[-1][2] == "echo/2/0")
    until(lambda: parked(one) == [])

    # When the file is derived again
    assert one.cluster.stop("reactor") == 0
    for path in one.cluster.data.glob("reactor.db*"):
        path.unlink()
    one.client.command(Note(item="a", text="last"))
    one.cluster.start("reactor")

    until(lambda: one.records()[-1][2] == "echo/4/0")
    assert parked(one) == []


def test_a_process_manager_that_ends_the_process_is_parked_after_the_last_try(
    shop: Make, parked: Rows, run: Callable[..., str]
) -> None:
    # Given an event whose process manager ends the process
    one = shop("tests.reactions.troubled:failing")
    one.start()
    one.client.command(Note(item="a", text="exit"))
    for _ in range(2):
        one.restart_ended()

    # Then the event is parked, and other events continue
    one.client.command(Note(item="b", text="other"))
    until(lambda: one.records()[-1][2] == "echo/2/0")
    until(lambda: [row["next_try"] for row in parked(one)] == [None])
    [row] = parked(one)
    assert (row["position"], row["tries"], row["reason"]) == (1, 2, "The process ended during attempt 2.")

    # And an operator can skip the event
    run(one, "parked", "skip", "echo", 1)
    until(lambda: parked(one) == [])


def test_a_reaction_to_a_refusal_that_ends_the_process_is_postponed_and_the_others_continue(
    shop: Make, run: Callable[..., str]
) -> None:
    one = shop("tests.reactions.troubled:ending")
    one.start()
    one.client.command(Note(item="a", text="refuse"))
    for number in range(2):
        one.restart_ended()
        one.client.command(Note(item="b", text=str(number)))
        until(lambda number=number: one.records()[-1][1]["text"] == str(number))  # type: ignore[misc]

    assert "The process ended during the reaction to a refusal." in run(one, "timers", "list", "--json")


def test_a_standby_accepts_no_commands_of_an_operator(
    shop: Make, parked: Rows, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = shop("tests.reactions.troubled:failing")
    one.start()
    one.client.command(Note(item="a", text="raise"))
    until(lambda: [row["position"] for row in parked(one)] == [1])
    (one.cluster.data / STANDBY_NAME).touch()
    monkeypatch.setenv("DUALBUS_DATA", str(one.cluster.data))

    for command in ("parked skip echo 1", "parked retry echo 1", "timers cancel echo x"):
        assert main(command.split()) != 0
        assert "The reactor of this host stands by" in capsys.readouterr().err
