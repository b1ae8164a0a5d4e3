"""Reactions in the process of the test, with the clock of the test."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from dualbus import Client, Rejected
from dualbus.testing import InProcess
from tests.reactions import effects, shop
from tests.reactions.effects import Send
from tests.reactions.shop import ListFacts, PlaceOrder, ReceivePayment

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


def test_a_lifespan_that_raises_fails_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFICE", str(tmp_path))
    (tmp_path / "closed").touch()

    with pytest.raises(AssertionError, match="The lifespan of reaction delivery raised OSError"):
        InProcess(effects.app)
