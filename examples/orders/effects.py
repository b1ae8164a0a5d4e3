"""The effects: charge a payment at a service over HTTP, and send a mail at shipment.

Both services receive the key of the attempt, so that they recognize a repetition.
"""

import asyncio
import json
import os
import smtplib
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from typing import Any

from dualbus import Attempt
from examples.orders.messages import CancelOrder, ConfirmPayment, OrderShipped, PaymentRequested

SECONDS = 5.0


class PaymentService:
    """A client of the payment service."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def charge(self, order: str, cents: int, key: str) -> dict[str, Any]:
        """Charge a payment once for each key; raise OSError if the service fails."""
        body = json.dumps({"order": order, "cents": cents}).encode()
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._address}/charges", body, headers)  # noqa: S310
        return await asyncio.to_thread(self._send, request)

    def _send(self, request: urllib.request.Request) -> dict[str, Any]:
        with urllib.request.urlopen(request, timeout=SECONDS) as response:  # noqa: S310
            found: dict[str, Any] = json.load(response)
            return found


@asynccontextmanager
async def payment_service() -> AsyncIterator[PaymentService]:
    """The resource of the payment reaction: made once for all attempts."""
    yield PaymentService(os.environ.get("PAYMENTS", "http://127.0.0.1:8090"))


async def charge(
    event: PaymentRequested, attempt: Attempt, service: PaymentService
) -> AsyncIterator[ConfirmPayment | CancelOrder]:
    answer = await service.charge(event.order, event.cents, attempt.key)
    if answer["status"] == "declined":
        yield CancelOrder(order=event.order, reason="payment declined")
    elif answer["status"] == "paid":  # else the webhook of the service confirms the payment
        yield ConfirmPayment(order=event.order, payment=answer["payment"])


async def mail_shipment(event: OrderShipped, attempt: Attempt) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"] = "shop@example.com", event.email
    mail["Subject"] = f"Order {event.order} is on its way"
    mail["Message-ID"] = f"<{attempt.key}@shop.example.com>"
    mail.set_content(f"Your order {event.order} was shipped on {event.at:%Y-%m-%d}.")
    await asyncio.to_thread(_send, mail)
    attempt.log.info("The mail was sent.")


def _send(mail: EmailMessage) -> None:
    host, _, port = os.environ.get("SMTP", "127.0.0.1:8025").partition(":")
    with smtplib.SMTP(host, int(port), timeout=SECONDS) as smtp:
        smtp.send_message(mail)
