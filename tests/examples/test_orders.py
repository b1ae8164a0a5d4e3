"""The orders: each reaction on values, and then orders in a cluster with a payment service that often fails."""

import asyncio
import hmac
import json
import random
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from aiosmtpd.controller import Controller

from dualbus import Cancel, Client, Event, Later, Rejected
from dualbus.testing import NOW, Cluster, decide, react, until
from examples.orders import app
from examples.orders.messages import (
    CancelOrder,
    ConfirmPayment,
    GetOrder,
    OrderCancelled,
    OrderPlaced,
    OrderShipped,
    PaymentReceived,
    PaymentRequested,
    PlaceOrder,
    ReleaseStock,
    RequestPayment,
    ReserveStock,
    ShipOrder,
    StockAdded,
    StockReserved,
)
from examples.orders.services import Payments
from examples.orders.webhook import SECRET
from examples.orders.webhook import app as webhook

PLACED = OrderPlaced(order="o", item="lamp", count=2, cents=500, email="ada@example.org")
STOCK = StockAdded(item="lamp", count=2)
RESERVED = StockReserved(order="o", item="lamp", count=2)
REQUESTED = PaymentRequested(order="o", cents=500)
PAID = PaymentReceived(order="o", payment="p-1")
CANCELLED = OrderCancelled(order="o", reason="x")
SHIPPED = OrderShipped(order="o", email="ada@example.org", at=NOW)


def test_stock_is_reserved_for_a_placed_order() -> None:
    assert react(app, when=PLACED) == [ReserveStock(order="o", item="lamp", count=2)]
    assert decide(app, given=[STOCK], when=ReserveStock(order="o", item="lamp", count=2)) == [RESERVED]


def test_an_order_without_stock_is_cancelled() -> None:
    reserve = ReserveStock(order="o", item="lamp", count=3)
    with pytest.raises(Rejected, match="There are not 3 of lamp") as refused:
        decide(app, given=[STOCK], when=reserve)

    assert react(app, given=[PLACED], when=reserve, refused=refused.value) == [
        CancelOrder(order="o", reason="There are not 3 of lamp")
    ]


def test_a_payment_is_requested_and_the_order_is_cancelled_after_fifteen_minutes() -> None:
    assert react(app, given=[PLACED], when=RESERVED) == [
        RequestPayment(order="o", cents=500),
        Later(CancelOrder(order="o", reason="not paid in time"), after=timedelta(minutes=15), name="unpaid/o"),
    ]
    assert react(app, given=[PLACED, RESERVED], when=CANCELLED) == [
        Cancel("unpaid/o"),
        ReleaseStock(order="o", item="lamp", count=2),
    ]
    assert react(app, given=[PLACED], when=CANCELLED) == [Cancel("unpaid/o")]


def test_a_paid_order_is_shipped_and_not_cancelled() -> None:
    assert react(app, given=[PLACED, RESERVED], when=PAID) == [
        Cancel("unpaid/o"),
        ShipOrder(order="o", email="ada@example.org"),
    ]
    with pytest.raises(Rejected, match="Order o is already paid"):
        decide(app, given=[PLACED, PAID], when=CancelOrder(order="o", reason="late"))


@pytest.mark.parametrize(("end", "state"), [(CANCELLED, "cancelled"), (SHIPPED, "shipped")])
def test_a_closed_order_stays_closed(end: Event, state: str) -> None:
    with pytest.raises(Rejected, match=f"Order o is {state}"):
        decide(app, given=[PLACED, end], when=ShipOrder(order="o", email="ada@example.org"))


class Mailbox:
    """An SMTP server's handler: keeps the mails, and refuses the first attempt for each."""

    def __init__(self) -> None:
        self.mails: list[bytes] = []
        self.refused: set[bytes] = set()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        mail = bytes(envelope.content)
        if mail not in self.refused:
            self.refused.add(mail)
            return "451 Try again later"
        self.mails.append(mail)
        return "250 OK"


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    """A running SMTP server."""
    box = Mailbox()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    monkeypatch.setenv("SMTP", f"127.0.0.1:{port}")
    yield box
    controller.stop()


@pytest.fixture
def payments(monkeypatch: pytest.MonkeyPatch) -> Iterator[Payments]:
    """A running payment service."""
    with Payments(chance=random.Random(7)) as service:
        thread = threading.Thread(target=service.serve_forever)
        thread.start()
        monkeypatch.setenv("PAYMENTS", f"http://127.0.0.1:{service.server_address[1]}")
        yield service
        service.shutdown()
        thread.join()


@pytest.fixture
def dualbus_app(mailbox: Mailbox, payments: Payments) -> str:
    """The application, after the services that its processes reach by the environment."""
    return "examples.orders:app"


def place(client: Client, order: str, cents: int, count: int = 1) -> None:
    client.command(PlaceOrder(order=order, item="lamp", count=count, cents=cents, email="ada@example.org"))


def state(client: Client, order: str) -> str:
    found = client.query(GetOrder(order=order))
    return found["state"] if found else ""


def test_orders_are_paid_once_and_shipped_with_a_mail_or_cancelled(
    dualbus_cluster: Cluster, mailbox: Mailbox, payments: Payments
) -> None:
    with Client(dualbus_cluster.front) as client:
        for number in range(8):
            place(client, f"good-{number}", 500)
        place(client, "dear", 200_000)
        place(client, "huge", 500, count=1000)
        dualbus_cluster.restart("reactor")

        until(lambda: all(state(client, f"good-{number}") == "shipped" for number in range(8)))
        until(lambda: state(client, "dear") == "cancelled" and state(client, "huge") == "cancelled")

    until(lambda: len(mailbox.mails) >= 8)
    assert len({mail.split(b"Message-ID:")[1].splitlines()[0] for mail in mailbox.mails}) == 8
    assert sorted(answer["order"] for answer in payments.charged.values()) == [
        "dear",
        *(f"good-{number}" for number in range(8)),
    ]


async def report(body: bytes, *headers: dict[str, str]) -> list[httpx.Response]:
    """Send reports of a payment to the webhook, one after another."""
    transport = httpx.ASGITransport(webhook)
    async with (
        webhook.router.lifespan_context(webhook),
        httpx.AsyncClient(transport=transport, base_url="http://hook.test") as service,
    ):
        return [await service.post("/payments", content=body, headers=each) for each in headers]


def test_a_webhook_confirms_a_payment_once(dualbus_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUALBUS_FRONT", dualbus_cluster.front)
    body = json.dumps({"id": "r-1", "order": "later", "payment": "p-9"}).encode()
    signed = {"X-Signature": hmac.digest(SECRET, body, "sha256").hex()}
    with Client(dualbus_cluster.front) as client:
        place(client, "later", 1337)

        first, second, forged = asyncio.run(report(body, signed, signed, {"X-Signature": "x"}))

        assert first.json() == {"accepted": True, "already_processed": False}
        assert second.json() == {"accepted": True, "already_processed": True}
        assert forged.status_code == 401
        until(lambda: state(client, "later") == "shipped")


def test_a_confirmation_of_an_unknown_order_is_rejected() -> None:
    with pytest.raises(Rejected, match="There is no order o"):
        decide(app, when=ConfirmPayment(order="o", payment="p"))
