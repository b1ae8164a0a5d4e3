"""`dualbus describe` shows the reactions of an application."""

import json

import pytest

from dualbus.cli.main import main


@pytest.fixture(autouse=True)
def _application(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUALBUS_APP", "examples.orders:app")


def test_reactions_are_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "--json"]) == 0

    orders, payments, mail = json.loads(capsys.readouterr().out)["reactions"]
    assert {*orders["on"]} == {"OrderPlaced", "StockReserved", "PaymentReceived", "OrderCancelled"}
    assert payments["commands"] == ["CancelOrder", "ConfirmPayment"]
    assert mail == {"name": "mail", "on": ["OrderShipped"], "commands": [], "schedules": {}, "since": "now"}
    assert main(["describe"]) == 0
    assert "Reaction" in capsys.readouterr().out


def test_the_graph_leads_from_events_through_reactions_to_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "--graph"]) == 0

    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert 'r_payments{{"payments"}}' in lines
    assert "e_PaymentRequested --> r_payments" in lines
    assert "r_payments --> c_ConfirmPayment" in lines
