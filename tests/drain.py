"""A command bus without sockets, over a real log in a file; and an application, of which a part misbehaves."""

import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from dualbus import App, Command, Event, Past, Private, Query, ReadOnlyTables, Rejected, Tag, Text
from dualbus.application.event_json import to_text
from dualbus.application.messages import parse
from dualbus.commandbus.batch import DATA_CHARS_MAX, CommandBatch
from dualbus.commandbus.state_cache import StateCache
from dualbus.log.contract import NewEvent
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.protocol.codec import unpack
from dualbus.protocol.records import Job

NOW = "2026-01-31T12:00:00.000000Z"
AT = "2026-01-31T12:00:00Z"  # as JSON of an event


ACCOUNT = Tag("account")
OWNER = Tag("owner")


class Open(Command):
    owner: Text
    secret: str = ""


class Pay(Command):
    account: Text
    amount: int


class Give(Command):
    account: Text
    amount: int


class Misbehave(Command):
    how: str


class Balance(Query):
    account: Text


class Opened(Event):
    account: Annotated[str, ACCOUNT]
    owner: Annotated[str, OWNER, Private]
    at: datetime


class Paid(Event):
    account: Annotated[str, ACCOUNT]
    amount: int


class Noted(Event):
    what: Any = None


@dataclass(frozen=True)
class Account:
    balance: int | None = None
    events: int = 0

    def apply(self, event: Opened | Paid) -> Self:
        match event:
            case Opened():
                return replace(self, balance=0, events=self.events + 1)
            case Paid(amount=amount):
                return replace(self, balance=(self.balance or 0) + amount, events=self.events + 1)


def open_account(command: Open, past: Past) -> Iterator[Opened]:
    if past.events(OWNER(command.owner)):
        raise Rejected(f"{command.owner} has an account")
    yield Opened(account=past.new_id(), owner=command.owner, at=past.now())


def pay(command: Pay, past: Past) -> Iterator[Paid]:
    account = past.fold(Account, ACCOUNT(command.account))
    if account.balance is None:
        raise Rejected("Account does not exist")
    if account.balance + command.amount < 0:
        raise Rejected("There is not enough money", f"There is only {account.balance}")
    yield Paid(account=command.account, amount=command.amount)


def give(command: Give, past: Past) -> Iterator[Paid]:
    yield Paid(account=command.account, amount=command.amount)  # a gift asks no questions


def misbehave(command: Misbehave, past: Past) -> Iterator[Noted]:
    match command.how:
        case "raises":
            raise KeyError("secret")
        case "raises after an event":
            yield Noted(what=1)
            raise ZeroDivisionError
        case "never ends":
            yield from (Noted(what=number) for number in itertools.count())
        case "gives a thousand events":
            yield from (Noted(what=number) for number in range(1000))
        case "gives no events":
            yield 5  # type: ignore[misc]
        case "gives a number too large":
            yield Noted(what=2**63)
        case "gives a number that is none":
            yield Noted(what={"deep": [float("nan")]})
        case "gives bytes":
            yield Noted(what=b"\xff")
        case "gives half a character":
            yield Noted(what="\ud800")
        case "gives a foreign event":
            yield Foreign()  # type: ignore[misc]
        case "gives too much":
            yield Noted(what="x" * (DATA_CHARS_MAX + 1))
        case "reads what is no tag":
            past.events(ACCOUNT("a"), "owner")  # type: ignore[call-overload]
        case "reads a tag that no event has":
            past.events(Tag("acount")("a"))
        case text if text.startswith("\x1b"):
            logging.getLogger(__name__).warning("The decision logs %s", text)
            raise ValueError(text)
        case "makes a command of the past":
            [opened] = past.events(ACCOUNT("bank"), of=Opened)
            parse(Open, {"owner": 5, opened.owner: 5})
        case "rejects with half a character":
            raise Rejected("No \ud800")
        case "rejects at length":
            raise Rejected("x" * (DATA_CHARS_MAX + 1))


MISDEEDS = [
    "raises",
    "raises after an event",
    "never ends",
    "gives no events",
    "gives a number too large",
    "gives a number that is none",
    "gives bytes",
    "gives half a character",
    "gives a foreign event",
    "gives too much",
    "reads what is no tag",
    "reads a tag that no event has",
    "rejects at length",
]


def balance(query: Balance, tables: ReadOnlyTables) -> None:
    return None


app = App(
    commands=[open_account, pay, give, misbehave],
    projections=[],
    queries=[balance],
    genesis=[Opened(account="bank", owner="The bank", at=datetime(2026, 1, 31, 12, tzinfo=UTC))],
)


class Foreign(Event):  # after the table was made
    pass


KEYS = (f"made-{number}" for number in itertools.count(1))


class Bus:
    """A command bus without sockets: each `send` is one drain, appended as a whole."""

    def __init__(self, log: SqliteLog, app: App = app) -> None:
        self.log = log
        self.app = app
        self.states = StateCache()
        self.ids = (f"id-{number}" for number in itertools.count(1))

    def drain(self, *bodies: dict[str, Any]) -> CommandBatch:
        """Decide the commands of one drain and append nothing."""
        works = [
            Job(number, 1, 5000.0, body.get("idempotency_key") or next(KEYS), 0, {"msg_id": number, **body})
            for number, body in enumerate(bodies)
        ]
        known = self.log.outcomes([work.key for work in works if work.key])
        drain = CommandBatch(self.app, self.log, self.states, NOW, lambda: next(self.ids), known)
        for work in works:
            drain.decide(work)
        return drain

    def send(self, *bodies: dict[str, Any]) -> list[dict[str, Any]]:
        """Decide the commands of one drain, append what was decided, and return what each is answered."""
        drain = self.drain(*bodies)
        appended = self.log.append(drain.decisions)
        assert appended.decisions == len(drain.decisions)
        drain.update_states(appended)
        return answers(drain)

    @property
    def events(self) -> list[tuple[int, str]]:
        """What the log holds after its genesis."""
        return [(one.position, one.type) for one in self.log.read(1, 10_000)]


def answers(drain: CommandBatch) -> list[dict[str, Any]]:
    """Return the bodies of a drain's answers."""
    return [unpack(body) for _, (_, _, body, _) in drain.answers]


def said(type_: str, key: str | None = None, **payload: Any) -> dict[str, Any]:
    """Make the body of a command."""
    return {"type": type_, "payload": payload} | ({} if key is None else {"idempotency_key": key})


def new_event(event: Event) -> NewEvent:
    """Return an event as a log takes it, under the tag of the bank's account."""
    return NewEvent(type(event).__name__, to_text(event), ("account:bank",))
