"""Reactions in the process of the test, with the clock of the test."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from dualbus import App, Client, Command, Event, Every, Past, Reaction, Rejected
from dualbus.testing import InProcess
from tests.reactions import effects, shop, troubled
from tests.reactions.effects import Send
from tests.reactions.shop import ListFacts, PlaceOrder, ReceivePayment


class Clean(Command):
    pass


class Cleaned(Event):
    pass


PAID = ["OrderPlaced", "PaymentRequested", "PaymentReceived", "OrderShipped"]


@pytest.fixture
def client() -> Iterator[InProcess]:
    with InProcess(shop.app) as made:
        yield made


def facts(client: Client, order: str) -> list[str]:
    return client.query(ListFacts(order=order))


def test_a_command_returns_when_all_reactions_have_ended(client: InProcess) -> None:
    client.command(PlaceOrder(order="a"))
    assert facts(client, "a") == PAID[:2]
    client.command(ReceivePayment(order="a"))

    client.advance(minutes=15)

    assert facts(client, "a") == PAID


def test_timers_fire_by_the_clock_of_the_test(client: InProcess) -> None:
    client.command(PlaceOrder(order="a"))
    client.advance(minutes=10)
    client.command(PlaceOrder(order="b"))

    client.advance(timedelta(minutes=5, seconds=-1))
    assert facts(client, "a") == PAID[:2]
    client.advance(seconds=1)

    assert facts(client, "a") == [*PAID[:2], "OrderCancelled"]
    assert facts(client, "b") == PAID[:2]
    client.advance(minutes=10)
    assert facts(client, "b") == [*PAID[:2], "OrderCancelled"]
    with pytest.raises(Rejected, match="The order is closed"):
        client.command(ReceivePayment(order="a"))


def test_refusals_are_reacted_to(client: InProcess) -> None:
    client.command(PlaceOrder(order="a", amount=5000))

    assert facts(client, "a") == ["OrderPlaced", "OrderCancelled"]
    assert client.parked() == []


def test_an_effect_is_retried_by_the_clock_and_parked_after_the_last_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFICE", str(tmp_path))
    (tmp_path / "fail-a-0").touch()
    with InProcess(effects.app) as client:
        client.command(Send(parcel="b"))
        client.command(Send(parcel="a"))
        assert [(row.position, row.tries, row.due > 0) for row in client.parked()] == [(3, 1, True)]

        client.advance(seconds=10)
        assert [(row.position, row.tries, row.due > 0) for row in client.parked()] == [(3, 3, False)]

    assert (tmp_path / "lines").read_text().splitlines()[-1] == "close"


def test_a_chain_of_a_hundred_effects_is_stopped() -> None:
    with InProcess(troubled.looping_effect) as client:
        client.command(troubled.Note(item="a"))

        [row] = client.parked()
        assert (row.position, row.tries, row.due) == (101, 1, 0)
        assert row.reason.endswith("correct the functions that cause each other, then skip the event.")
        assert client._decider.log.head().position == 101


def test_a_lifespan_that_raises_fails_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFICE", str(tmp_path))
    (tmp_path / "closed").touch()

    with pytest.raises(AssertionError, match="The lifespan of reaction delivery raised OSError"):
        InProcess(effects.app)


def test_a_schedule_that_has_failed_is_tried_again_under_the_key_of_its_scheduled_time() -> None:
    failures = iter(range(8))  # for more than a minute

    def clean(command: Clean, past: Past) -> Iterator[Cleaned]:
        if next(failures, None) is not None:
            raise OSError
        yield Cleaned()

    nightly = Reaction("nightly", on=[Every("0 3 * * *", Clean())], since="now")
    with InProcess(App(commands=[clean], reactions=[nightly])) as client:
        client.advance(hours=24)
        client.advance(hours=1)
        log = client._decider.log
        keys = [outcome.command_id for outcome in log.commands(0, 100) if outcome.origin.type == "Clean"]

    assert [key.partition("T")[2] for key in keys] == ["03:00Z/Clean"]
