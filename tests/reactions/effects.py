"""An application with effects on a file: each attempt appends a line, and fails as long as a file tells it to."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from dualbus import App, Attempt, Command, Event, Past, Reaction, Tag

PARCEL = Tag("parcel")


class Send(Command):
    parcel: str
    number: int = 0


class Sent(Event):
    parcel: Annotated[str, PARCEL]
    number: int


class Confirm(Command):
    parcel: str
    number: int


class Confirmed(Event):
    parcel: Annotated[str, PARCEL]
    number: int


def send(command: Send, past: Past) -> Iterator[Sent]:
    yield Sent(parcel=command.parcel, number=command.number)


def confirm(command: Confirm, past: Past) -> Iterator[Confirmed]:
    yield Confirmed(parcel=command.parcel, number=command.number)


class Office:
    """A resource: writes lines to a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running = 0

    def write(self, *words: object) -> None:
        with (self.folder / "lines").open("a") as lines:
            lines.write(" ".join(map(str, words)) + "\n")

    def fails(self, event: Sent) -> bool:
        return (self.folder / f"fail-{event.parcel}-{event.number}").exists()

    def holds(self, event: Sent) -> bool:
        return (self.folder / f"hold-{event.parcel}-{event.number}").exists()


@asynccontextmanager
async def office() -> AsyncIterator[Office]:
    one = Office(Path(os.environ["OFFICE"]))
    if (one.folder / "closed").exists():
        raise OSError("the office is closed")
    if (one.folder / "cancel-open").exists():
        raise asyncio.CancelledError
    one.write("open")
    yield one
    if (one.folder / "cancel-close").exists():
        raise asyncio.CancelledError
    one.write("close")


async def deliver(event: Sent, attempt: Attempt, office: Office) -> AsyncIterator[Confirm]:
    office.running += 1
    office.write("try", f"{event.parcel}{event.number}", attempt.number, attempt.key, office.running)
    try:
        if (office.folder / f"exit-{event.parcel}-{event.number}").exists():
            os._exit(139)
        while office.holds(event):
            await asyncio.sleep(0.01)
        if (office.folder / f"cancel-{event.parcel}-{event.number}").exists():
            raise asyncio.CancelledError
        if (office.folder / f"leave-{event.parcel}-{event.number}").exists() and (task := asyncio.current_task()):
            task.cancel()
            await asyncio.sleep(0)
        if office.fails(event):
            raise OSError("the parcel holds a secret")
    finally:
        office.running -= 1
    office.write("done", f"{event.parcel}{event.number}")
    yield Confirm(parcel=event.parcel, number=event.number)


async def block(event: Confirmed, attempt: Attempt) -> None:
    time.sleep(3600)


DECISIONS: list[Any] = [send, confirm]
DELIVERY = Reaction(
    "delivery", on=[deliver], since="beginning", lifespan=office, tries=3, pause=0.05, concurrency=2, timeout=20
)
app = App(commands=DECISIONS, reactions=[DELIVERY])
PATIENT = Reaction("delivery", on=[deliver], since="beginning", lifespan=office, tries=1000, pause=0.01)
patient = App(commands=DECISIONS, reactions=[PATIENT])
ONCE = Reaction("delivery", on=[deliver], since="beginning", lifespan=office, tries=1)
once = App(commands=DECISIONS, reactions=[ONCE])
HURRY = Reaction("delivery", on=[deliver], since="beginning", lifespan=office, tries=1, pause=0.05, timeout=0.2)
hurried = App(commands=DECISIONS, reactions=[HURRY])
BLOCKING = Reaction("blocking", on=[block], since="beginning", tries=1, timeout=0.3)
blocking = App(commands=DECISIONS, reactions=[DELIVERY, BLOCKING])
now = App(commands=DECISIONS, reactions=[Reaction("delivery", on=[deliver], since="now", lifespan=office)])
