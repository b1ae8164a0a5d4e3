"""Commands in, decisions and answers out, over a real log in a file; no socket and no clock."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dualbus.application.state_keys import Key
from dualbus.commandbus.state_cache import StateCache
from dualbus.log.contract import GENESIS, Decision
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.protocol.codes import Code
from tests.drain import AT, MISDEEDS, NOW, Account, Bus, Paid, app, new_event, said


@pytest.fixture
def bus(folder: Path) -> Iterator[Bus]:
    begin = app.genesis[0]
    genesis = Decision(GENESIS, NOW, [new_event(begin)])
    with closing(SqliteLog(folder, lambda secret: genesis)) as log:
        yield Bus(log)


def test_a_command_is_answered_with_its_public_events_and_the_log_holds_all_of_them(bus: Bus) -> None:
    [answer] = bus.send({**said("Open", owner=" Ada "), "msg_id": "m"})

    assert answer == {
        "type": "command_result",
        "in_reply_to": "m",
        "success": True,
        "events": [{"type": "Opened", "payload": {"account": "id-1", "at": AT}}],
    }
    [recorded] = bus.log.read(1, 10)
    assert recorded.data == f'{{"account":"id-1","owner":"Ada","at":"{AT}"}}'
    assert recorded.time == NOW


def test_the_value_of_a_private_tag_is_not_in_the_index_and_is_found_by_value(bus: Bus) -> None:
    bus.send(said("Open", owner="Ada"))
    tags = [tag for (tag,) in bus.log._db.execute("SELECT tag FROM tags")]

    assert not [tag for tag in tags if "Ada" in tag]
    [again] = bus.send(said("Open", owner="Ada"))
    assert again["errors"] == ["Ada has an account"]


# Refusals.


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        (said("Open"), ["Owner is required"]),
        ({"type": "Open"}, ["Owner is required"]),
        ({"type": "Open", "payload": None}, ["Owner is required"]),
        (said("Pay", account=5, amount="x"), ["Account must be text", "Amount must be a whole number"]),
        (said("Open", owner="A", more=1), ["More is not a field of Open"]),
        (said("Pay", account="none", amount=1), ["Account does not exist"]),
        (said("Pay", account="bank", amount=-5), ["There is not enough money", "There is only 0"]),
    ],
)
def test_a_refusal_says_every_reason_and_writes_no_event(bus: Bus, body: dict[str, Any], errors: list[str]) -> None:
    [answer] = bus.send(body)

    assert answer == {"type": "command_result", "in_reply_to": 0, "success": False, "errors": errors}
    assert bus.events == []


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        (said("Balance"), Code.NOT_SUPPORTED, "Balance is a query: send it to querybus."),
        (said("Nonsense"), Code.NOT_SUPPORTED, "There is no command 'Nonsense' in this application."),
        (said("Opened"), Code.NOT_SUPPORTED, "There is no command 'Opened' in this application."),
        ({"type": "Open", "payload": []}, Code.MALFORMED, "body.payload must be an object."),
        ({"type": "Open", "payload": "x"}, Code.MALFORMED, "body.payload must be an object."),
    ],
)
def test_what_is_not_a_command_is_an_error(bus: Bus, body: dict[str, Any], code: Code, text: str) -> None:
    [answer] = bus.send(body)

    assert (answer["code"], answer["text"]) == (code, text)


@pytest.mark.parametrize("how", MISDEEDS)
def test_a_decision_that_misbehaves_leaves_nothing_and_harms_nobody(bus: Bus, how: str) -> None:
    before, bad, after = bus.send(
        said("Pay", account="bank", amount=1), said("Misbehave", how=how), said("Pay", account="bank", amount=2)
    )

    assert (bad["type"], bad["code"]) == ("error", Code.ABORTED)
    assert "Misbehave raised" in bad["text"] or "Misbehave was aborted" in bad["text"]
    assert "secret" not in bad["text"]
    assert before["success"] is after["success"] is True
    assert bus.events == [(2, "Paid"), (3, "Paid")]


def test_a_validation_that_fails_in_a_decision_is_not_a_refusal_and_shows_no_value_of_the_past(bus: Bus) -> None:
    [answer] = bus.send(said("Misbehave", how="makes a command of the past"))

    assert (answer["code"], "raised Invalid: nothing was written" in answer["text"]) == (Code.ABORTED, True)
    assert "The bank" not in answer["text"]


def test_a_refusal_that_cannot_be_said_as_it_is_is_said_all_the_same(bus: Bus) -> None:
    [answer] = bus.send(said("Misbehave", key="k", how="rejects with half a character"))

    assert answer["errors"] == ["No ?"]
    assert bus.send(said("Misbehave", key="k", how="rejects with half a character")) == [answer]


def test_a_decision_may_come_to_nothing_and_may_come_to_many(bus: Bus) -> None:
    [nothing] = bus.send(said("Misbehave", how="not at all"))

    assert (nothing["success"], nothing["events"]) == (True, [])
    [many] = bus.send(said("Misbehave", how="gives a thousand events"))
    assert [event["payload"]["what"] for event in many["events"]] == list(range(1000))


# What a decision reads.


def test_commands_of_one_drain_see_each_other_as_if_they_had_come_one_by_one(bus: Bus) -> None:
    bodies = [
        said("Open", owner="Ada"),
        said("Open", owner="Ada"),
        said("Pay", account="id-1", amount=10),
        said("Pay", account="id-1", amount=-7),
        said("Pay", account="id-1", amount=-7),
        said("Open", owner="Bob"),
    ]

    together = bus.send(*bodies)

    assert [answer["success"] for answer in together] == [True, False, True, True, False, True]
    assert together[4]["errors"] == ["There is not enough money", "There is only 3"]
    assert bus.events == [(2, "Opened"), (3, "Paid"), (4, "Paid"), (5, "Opened")]


def test_a_fold_that_is_kept_is_what_folding_the_log_anew_would_give(bus: Bus) -> None:
    for number in range(30):
        bus.send(*[said("Pay", account="bank", amount=number) for _ in range(number % 4)])

    kept = bus.states.get(Key(Account, ("account:bank",), frozenset({"Opened", "Paid"})))
    anew = Bus(bus.log)
    [answer] = anew.send(said("Pay", account="bank", amount=-10_000))

    assert kept
    assert answer["errors"][1] == f"There is only {kept.state.balance}"
    assert kept.state.events == len(bus.log.history(["account:bank"]))


def test_a_fold_is_kept_through_a_decision_that_raised_and_one_that_was_refused(bus: Bus) -> None:
    bus.send(said("Pay", account="bank", amount=5), said("Misbehave", how="raises after an event"))
    bus.send(said("Pay", account="bank", amount=-50), said("Pay", account="bank", amount=1))

    [answer] = bus.send(said("Pay", account="bank", amount=-7))

    assert answer["errors"][1] == "There is only 6"


def test_a_fold_is_kept_current_by_events_whose_decision_did_not_read_it(bus: Bus) -> None:
    bus.send(said("Pay", account="bank", amount=5))
    bus.send(said("Give", account="bank", amount=2), said("Give", account="bank", amount=1))
    bus.send(said("Give", account="bank", amount=10), said("Pay", account="bank", amount=-18))

    assert bus.send(said("Pay", account="bank", amount=-1))[0]["errors"][1] == "There is only 0"


def test_only_so_many_folds_are_kept_and_the_rest_is_read_again(bus: Bus) -> None:
    bus.states = StateCache(states_max=3)
    opened = bus.send(*[said("Open", owner=f"owner {number}") for number in range(10)])
    ids = [answer["events"][0]["payload"]["account"] for answer in opened]

    for round_ in range(3):
        answers = [bus.send(said("Pay", account=id_, amount=1))[0] for id_ in ids]
        assert [answer["success"] for answer in answers] == [True] * 10, round_

    assert len(bus.states) == 3
    assert [bus.send(said("Pay", account=id_, amount=-9))[0]["errors"][1] for id_ in ids] == ["There is only 3"] * 10


def test_a_decision_falls_when_what_it_read_has_changed_and_stands_when_taken_again(bus: Bus) -> None:
    drain = bus.drain(said("Pay", account="bank", amount=5), said("Pay", account="bank", amount=-5))
    bus.log.append([Decision("other writer", NOW, [new_event(Paid(account="bank", amount=1))])])

    assert bus.log.append(drain.decisions).decisions == 0

    [answer] = bus.send(said("Pay", account="bank", amount=-2))
    assert answer["errors"][1] == "There is only 1"


def test_an_answer_rests_on_all_that_was_decided_before_it(bus: Bus) -> None:
    drain = bus.drain(
        said("Pay", account="bank", amount=5),
        said("Nonsense"),
        said("Open", owner="Ada"),
        said("Pay", account="none", amount=1),
    )

    assert [rests_on for rests_on, _ in drain.answers] == [1, 1, 2, 3]
    assert [position for _, (_, position, _, _) in drain.answers] == [2, 2, 3, 3]


# The same key.


def test_the_same_key_in_one_drain_has_one_effect_and_one_answer(bus: Bus) -> None:
    first, second = bus.send(said("Open", key="k", owner="Ada"), said("Open", key="k", owner="Ada"))

    assert second == {**first, "in_reply_to": 1}
    assert first["success"] is True
    assert bus.events == [(2, "Opened")]


@pytest.mark.parametrize(
    "command", [said("Open", owner="Ada"), said("Pay", account="none", amount=1), said("Misbehave", how="no")]
)
def test_the_same_key_later_and_after_a_restart_has_the_first_answer(bus: Bus, command: dict[str, Any]) -> None:
    body = {**command, "idempotency_key": "k"}
    [first] = bus.send(body)
    bus.send(said("Pay", account="bank", amount=1))

    [later] = bus.send(body)
    [restarted] = Bus(bus.log).send(body)

    assert later == restarted == first
    assert len(bus.events) == len(first.get("events", [])) + 1


def test_the_first_answer_is_given_at_the_first_position(bus: Bus) -> None:
    first = bus.drain(said("Open", key="k", owner="Ada"))
    bus.log.append(first.decisions)
    bus.send(said("Pay", account="bank", amount=1))

    again = bus.drain(said("Open", key="k", owner="Ada"))

    assert again.answers[0][1][1] == first.answers[0][1][1] == 2
    assert again.decisions == []


@pytest.mark.parametrize("together", [True, False], ids=["in one drain", "later"])
@pytest.mark.parametrize("other", [said("Open", owner="Bob"), said("Pay", account="bank", amount=1)])
def test_the_same_key_for_another_command_is_refused(bus: Bus, together: bool, other: dict[str, Any]) -> None:
    bodies = said("Open", key="k", owner="Ada"), {**other, "idempotency_key": "k"}

    answers = bus.send(*bodies) if together else [bus.send(body)[0] for body in bodies]

    assert answers[1]["code"] == Code.ABORTED
    assert answers[1]["text"].startswith("This idempotency_key was used for another command")
    assert bus.events == [(2, "Opened")]


def test_the_order_of_fields_does_not_make_another_command(bus: Bus) -> None:
    [first] = bus.send(said("Pay", key="k", account="bank", amount=1))

    [again] = bus.send(said("Pay", key="k", amount=1, account="bank"))

    assert again == first


@pytest.mark.parametrize("position", [1, 2], ids=["genesis", "one that the gateway made"])
def test_a_key_that_no_client_has_chosen_cannot_be_used(bus: Bus, position: int) -> None:
    bus.send(said("Pay", account="bank", amount=1))
    [recorded] = bus.log.read(position - 1, 1)

    [answer] = bus.send(said("Pay", key=recorded.command_id, account="bank", amount=1))

    assert answer["code"] == Code.ABORTED


def test_a_key_whose_command_raised_or_was_not_valid_may_be_used_again(bus: Bus) -> None:
    failed = bus.send(said("Misbehave", key="k", how="raises"), said("Open", key="k2"))
    assert [answer.get("success") for answer in failed] == [None, False]

    again = bus.send(said("Open", key="k", owner="Ada"), said("Open", key="k2", owner="Bob"))

    assert [answer["success"] for answer in again] == [True, True]
