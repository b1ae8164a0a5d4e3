"""The application of the storm: the shop, with a payment service and a mail service that are files and often fail."""

import os
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from dualbus import App, Attempt, Reaction
from tests.reactions.shop import (
    COMMANDS,
    FACTS,
    ORDERS,
    CancelOrder,
    OrderEvent,
    OrderShipped,
    PaymentRequested,
    ReceivePayment,
    list_facts,
)

STUMBLES_MAX = 10
PAID, DECLINED, SILENT = "paid", "declined", "silent"


def fate(order: str) -> str:
    """Return the answer of the payment service for an order: the same at every attempt."""
    return random.Random(order).choice([PAID, PAID, DECLINED, SILENT])


def write(what: str, event: OrderEvent, attempt: Attempt) -> None:
    """Append a line to the world, at once."""
    line = f"{what} {event.order} {attempt.position} {attempt.key}\n"
    file = os.open(Path(os.environ["WORLD"]), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, line.encode())
    os.close(file)


def stumble(attempt: Attempt) -> None:
    """Fail half of the time, but not so often that the pauses become long."""
    if attempt.number < STUMBLES_MAX and random.random() < 0.5:
        raise OSError("the service is down")


async def pay(event: PaymentRequested, attempt: Attempt) -> AsyncIterator[ReceivePayment | CancelOrder]:
    stumble(attempt)
    write("pay", event, attempt)
    match fate(event.order):
        case "paid":
            yield ReceivePayment(order=event.order)
        case "declined":
            yield CancelOrder(order=event.order, reason="declined")


async def mail(event: OrderShipped, attempt: Attempt) -> None:
    stumble(attempt)
    write("mail", event, attempt)


async def audit(event: OrderEvent, attempt: Attempt) -> None:
    write("audit", event, attempt)


EFFECTS: Any = [
    Reaction(name, on=[function], since="beginning", tries=100, pause=0.02, concurrency=50)
    for name, function in (("pay", pay), ("mail", mail), ("audit", audit))
]
app = App(commands=COMMANDS, projections=[FACTS], queries=[list_facts], reactions=[ORDERS, *EFFECTS])
