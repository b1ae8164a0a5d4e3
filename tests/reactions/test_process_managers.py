"""Process managers in a cluster: each event causes its commands once, under keys made of its position."""

import json
from collections.abc import Callable

import pytest

from dualbus import Rejected
from dualbus.cli.main import main
from dualbus.testing import until
from tests.reactions.conftest import Shop
from tests.reactions.shop import PlaceOrder, ReceivePayment

Make = Callable[..., Shop]


def test_an_event_causes_commands_and_their_events_in_order(shop: Make) -> None:
    one = shop()
    one.start()

    one.client.command(PlaceOrder(order="a"))
    until(lambda: ("PaymentRequested", "a") in one.events())
    one.client.command(ReceivePayment(order="a"))

    until(lambda: ("OrderShipped", "a") in one.events())
    assert [type_ for type_, _ in one.events()] == [
        "OrderPlaced",
        "PaymentRequested",
        "PaymentReceived",
        "OrderShipped",
    ]
    assert [key for _, _, key in one.records()][1::2] == ["orders/1/0", "orders/3/1"]


def test_commands_record_their_cause_and_the_key_of_the_first_command(
    shop: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = shop()
    one.start()
    one.client.command(PlaceOrder(order="a"), idempotency_key="first")
    until(lambda: ("PaymentRequested", "a") in one.events())
    monkeypatch.setenv("DUALBUS_DATA", str(one.cluster.data))
    monkeypatch.setenv("DUALBUS_APP", one.cluster.environ["DUALBUS_APP"])

    assert main(["events", "--caused-by", "1", "--json"]) == 0

    [requested] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    origin = requested["origin"]
    assert (origin["type"], origin["cause"], origin["correlation"]) == ("RequestPayment", 1, "first")
    assert origin["metadata"] == {"depth": "1"}


def test_a_refused_command_is_reacted_to(shop: Make) -> None:
    one = shop()
    one.start()

    one.client.command(PlaceOrder(order="a", amount=5000))

    until(lambda: ("OrderCancelled", "a") in one.events())
    assert one.records()[-1] == ("OrderCancelled", {"order": "a", "reason": "too_large"}, "orders/1/0/1")
    until(lambda: one.status().get("refused") == 1)


def test_events_from_before_the_first_start_are_reacted_to_once(shop: Make) -> None:
    one = shop()
    one.start("gateway", "commandbus")
    for number in range(20):
        one.client.command(PlaceOrder(order=str(number)))

    one.start("reactor")
    until(lambda: len(one.events()) == 40)
    assert one.cluster.stop("reactor") == 0
    one.start("reactor")
    until(lambda: one.status().get("lag_events") == 0)

    assert sorted(one.events()) == sorted(
        (type_, str(number)) for number in range(20) for type_ in ("OrderPlaced", "PaymentRequested")
    )


def test_a_deleted_file_is_derived_from_the_log_while_the_reactor_runs(shop: Make) -> None:
    one = shop()
    one.start()
    one.client.command(PlaceOrder(order="a"))
    until(lambda: one.status().get("timers") == 1)

    for path in one.cluster.data.glob("reactor.db*"):
        path.unlink()
    reactor = one.cluster.process("reactor")
    until(lambda: "was removed or replaced; deriving it from the log" in reactor.stderr_text)
    one.client.command(PlaceOrder(order="b"))

    until(lambda: one.status().get("timers") == 2)
    assert sorted(one.events()) == [
        ("OrderPlaced", "a"),
        ("OrderPlaced", "b"),
        ("PaymentRequested", "a"),
        ("PaymentRequested", "b"),
    ]


def test_a_second_reactor_waits_until_the_first_has_ended(shop: Make) -> None:
    one = shop()
    one.start()
    first = one.cluster.process("reactor")
    until(lambda: "Running" in first.stderr_text)

    [second] = one.cluster.start("reactor")
    until(lambda: "Waiting until the other reactor ends." in second.stderr_text)
    assert f"(pid {first.pid})" in second.stderr_text
    one.client.command(PlaceOrder(order="a"))
    until(lambda: ("PaymentRequested", "a") in one.events())
    first.popen.terminate()
    assert first.wait() == 0

    until(lambda: "Running" in second.stderr_text)
    one.client.command(PlaceOrder(order="b"))
    until(lambda: ("PaymentRequested", "b") in one.events())


def test_a_client_cannot_use_a_key_of_a_reaction(shop: Make) -> None:
    one = shop()
    one.start("gateway", "commandbus")

    with pytest.raises(Rejected, match="belongs to the reaction orders: use another key for the command"):
        one.client.command(PlaceOrder(order="a"), idempotency_key="orders/2/0")
    one.client.command(PlaceOrder(order="a"), idempotency_key="others/2/0")

    assert one.events() == [("OrderPlaced", "a")]


def test_status_shows_the_lag_of_the_reactor(shop: Make) -> None:
    one = shop()
    one.start()

    one.client.command(PlaceOrder(order="a"))

    until(lambda: one.status().get("lags") == {"orders": 0} and one.status()["commands"] >= 1)
    assert one.status()["state"] == "following"
