"""A key that is sent again after a deployment: over a real log in a file, with two versions of one application."""

import json
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dualbus import App
from dualbus.application.messages import parse
from dualbus.commandbus.batch import CommandBatch
from dualbus.commandbus.fingerprint import fingerprint, is_same
from dualbus.log.contract import GENESIS, Decision
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.protocol.codes import Code
from dualbus.protocol.numbers import Number
from tests.drain import NOW, Bus, answers, said

Version = Callable[..., App]

BEGIN = """
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any
from uuid import UUID, uuid4
from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, SecretStr, model_validator
from dualbus import App, Command, Event, Past, Private, Query, Rejected, Tag, Text, Upcast

def refuse(value):
    raise ValueError(f"{value} is not wanted any more")

def fail(fields):
    raise KeyError(fields["card"])
"""
PAY = """
class Pay(Command):
    account: Text
    amount: int
"""
SETTLE = """
class Settle(Command):
    account: Text
"""
PAID = """
class Paid(Event):
    account: Annotated[str, Tag("account")]
    amount: int
    card: Annotated[str, Private] = "4000-1234"
"""
ANSWER = "def answer(query: Pay, tables) -> None: pass\n\napp ="
DECIDE = """
def pay(command: COMMAND, past) -> list[Paid]:
    if command.amount < 0:
        raise Rejected(f"{past.now()}: there is not enough money")
    if command.amount:
        yield Paid(account=command.account, amount=command.amount)

app = App(commands=[pay], projections=[], queries=[], upcasts=globals().get("UPCASTS", {}))
"""


@pytest.fixture
def version(monkeypatch: pytest.MonkeyPatch) -> Version:
    """Return what makes an application of source text, as a deployment does: each version has its own classes."""

    def load(pay: str = PAY, paid: str = PAID, decide: str = DECIDE) -> App:
        module = ModuleType(f"version_{random.randrange(1 << 60)}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(
            BEGIN + pay + paid + decide.replace("COMMAND", "Settle" if "class Settle" in pay else "Pay"), vars(module)
        )
        made: App = module.app
        return made

    return load


@pytest.fixture
def log(folder: Path) -> Iterator[SqliteLog]:
    with closing(SqliteLog(folder, lambda secret: Decision(GENESIS, NOW))) as made:
        yield made


def pay(key: str | None = "k1", **fields: Any) -> dict[str, Any]:
    """Make the body of a Pay."""
    return said("Pay", key, **{"account": "bank", "amount": 5, **fields})


# What a key came to is read where it is recorded.

CANNOT_READ = {
    "a field of the event is gone": {"paid": PAID.replace("amount: int", "")},
    "a field of the event is tightened": {"paid": PAID.replace("card: Annotated[str,", "card: Annotated[int,")},
    "the event is gone": {"paid": PAID.replace("Paid", "Settled"), "decide": DECIDE.replace("Paid", "Settled")},
    "the upcast raises": {"paid": PAID + 'UPCASTS = {"Paid": Upcast("Paid", fail)}'},
}


@pytest.mark.parametrize("change", CANNOT_READ.values(), ids=CANNOT_READ)
def test_a_command_that_was_done_and_cannot_be_shown_is_said_to_be_done(
    log: SqliteLog, version: Version, change: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    Bus(log, version()).send(pay("other"), pay())

    drain = Bus(log, version(**change)).drain(pay(), pay("new", amount=0))

    [answer, new] = answers_and_positions(drain)
    assert answer == (
        {
            "type": "error",
            "in_reply_to": 0,
            "code": Code.EXECUTED,
            "text": "The command was executed earlier, at position 2. This version of the application cannot read "
            "its events (Paid): add an upcast, and send the command again under the same idempotency_key.",
        },
        2,
    )
    assert [decision.command_id for decision in drain.decisions] == ["new"]
    assert new[0]["success"] is True
    assert "4000-1234" not in caplog.text.replace("KeyError: '4000-1234'", "")  # which is the author's own sentence


def answers_and_positions(drain: CommandBatch) -> list[tuple[dict[str, Any], int]]:
    return list(zip(answers(drain), (position for _, (_, position, _, _) in drain.answers), strict=True))


def test_an_event_that_its_class_does_not_accept_is_never_written(log: SqliteLog, version: Version) -> None:
    app = version(decide=DECIDE.replace("yield Paid(", "yield Paid.model_construct(card=None, "))

    first, again = Bus(log, app).send(pay(), pay())

    for answer in (first, again):
        assert answer["code"] == Code.ABORTED
        assert "nothing was written. Paid could not be read back" in answer["text"]
    assert log.head().position == 0


@pytest.mark.parametrize(
    "gone",
    [
        {"pay": SETTLE},
        {"pay": PAY.replace("amount: int", "cents: int = 0")},
        {"pay": PAY.replace("amount: int", "amount: Annotated[int, AfterValidator(refuse)]")},
        {"pay": PAY + "    def problems(self): raise KeyError('the author forgot a case')\n"},
        {"pay": SETTLE + PAY.replace("Pay(Command)", "Pay(Query)"),
         "decide": DECIDE.replace("queries=[]", "queries=[answer]").replace("app =", ANSWER)},
    ],
    ids=["no such command", "no such field", "a stricter rule", "a rule that raises", "now it is a query"],
)  # fmt: skip
@pytest.mark.parametrize("amount", [5, 0, -5], ids=["executed", "executed without events", "refused"])
def test_the_first_answer_needs_nothing_of_the_command_any_more(
    log: SqliteLog, version: Version, gone: dict[str, str], amount: int
) -> None:
    [first] = Bus(log, version()).send(pay(amount=amount))

    [again] = Bus(log, version(**gone)).send(pay(amount=amount))

    assert again == first


@pytest.mark.parametrize("body", [pay(amount="x"), pay(more=1), {**pay(), "payload": []}, said("Nonsense", "k1")])
def test_what_may_be_the_command_that_was_done_is_not_said_to_be_another(
    log: SqliteLog, version: Version, body: dict[str, Any]
) -> None:
    Bus(log, version()).send(pay())

    [answer] = Bus(log, version()).send(body)

    assert answer["code"] == Code.EXECUTED
    assert answer["text"] == (
        "A command was executed earlier under this idempotency_key, at position 1. Whether it was this one is not "
        f"known, because this version of the application does not accept this {body['type']}: read position 1 of "
        "the log before you send it under another key."
    )


def test_under_a_key_that_was_refused_another_command_is_refused_however_malformed(
    log: SqliteLog, version: Version
) -> None:
    Bus(log, version()).send(pay(amount=-5))

    [answer] = Bus(log, version()).send(pay(amount="x"))

    assert (answer["code"], answer["text"][:48]) == (Code.ABORTED, "This idempotency_key was used for another comman")


# The same command, with its defaults spelled out or left out.

NOTED = (
    PAY + '    note: Text = "none"\n    lines: list[int] = Field(default_factory=list)\n    day: date | None = None\n'
)
SPELLED: dict[str, Any] = {"note": " none ", "lines": [], "day": None}


@pytest.mark.parametrize(
    ("recorded", "sent"),
    [({}, SPELLED), (SPELLED, {}), ({"note": "none"}, {"lines": []}), ({"account": " bank "}, {"account": "bank"})],
    ids=["spelled out at last", "spelled out at first", "one and then another", "stripped"],
)
def test_defaults_spelled_out_or_left_out_are_the_same_command(
    log: SqliteLog, version: Version, recorded: dict[str, Any], sent: dict[str, Any]
) -> None:
    bus = Bus(log, version(pay=NOTED))

    [first] = bus.send(pay(**recorded))

    assert bus.send(pay(**sent)) == [first]
    assert first["success"] is True


@pytest.mark.parametrize("old", [True, False], ids=["recorded by the old rule", "recorded by the new rule"])
def test_a_field_that_a_deployment_added_with_a_default_does_not_make_another_command(
    log: SqliteLog, version: Version, old: bool
) -> None:
    [first] = Bus(log, version()).send(pay())
    if old:
        record_by_the_old_rule(log)

    bus = Bus(log, version(pay=NOTED))

    assert bus.send(pay()) == bus.send(pay(**SPELLED)) == [first]
    [other] = bus.send(pay(note="another"))
    assert other["code"] == Code.ABORTED


def record_by_the_old_rule(log: SqliteLog) -> None:
    """Put into the outcome the fingerprint that earlier versions wrote: 16 bytes of one hash."""
    whole = sha256(json.dumps(["Pay", pay()["payload"]], sort_keys=True).encode()).digest()[:16]
    log._db.execute("UPDATE outcomes SET fingerprint = ? WHERE command_id = 'k1'", (whole,))


def test_a_field_that_a_deployment_removed_does_not_make_another_command(log: SqliteLog, version: Version) -> None:
    [first] = Bus(log, version(pay=NOTED)).send(pay(note="none", lines=[]))
    bus = Bus(log, version())

    assert bus.send(pay()) == [first]  # as a client of the new version sends it
    assert bus.send(pay(note="none", lines=[])) == [first]  # as a client of the old one does


def test_a_default_that_a_deployment_changed_does_not_make_another_command(log: SqliteLog, version: Version) -> None:
    [first] = Bus(log, version(pay=NOTED)).send(pay(note="none"))
    bus = Bus(log, version(pay=NOTED.replace('"none"', '"nothing"')))

    assert bus.send(pay(note="none")) == bus.send(pay()) == [first]


def test_a_default_whose_function_exits_does_not_make_another_command(log: SqliteLog, version: Version) -> None:
    [first] = Bus(log, version(pay=PAY + '    day: str = "x"\n')).send(pay(day=""))
    bus = Bus(log, version(pay=PAY + "    day: str = Field(default_factory=lambda: exit())\n"))

    assert bus.send(pay(day="")) == [first]


# What is compared.

FIELDS = """
class Line(BaseModel):
    what: str
    count: int = 1

class Colour(Enum):
    RED = "red"
    BLUE = "blue"

class Pay(Command):
    text: str = "a"
    number: int = 1
    anything: Any = 1
    password: SecretStr = SecretStr("p")
    hidden: str = Field(default="h", exclude=True)
    named: str = Field(default="n", alias="called")
    id: str = Field(default_factory=lambda: str(uuid4()))
    line: Line = Line(what="x")
    made: Line = Field(default_factory=lambda: Line(what="y"))
    lines: list[Line] = []
    by_name: dict[str, Line] = {}
    colour: Colour = Colour.RED
    cents: int = 0
    deep: list[list[int]] | None = None

    @model_validator(mode="before")
    @classmethod
    def euros_are_cents(cls, fields: Any) -> Any:
        if "euros" in fields:
            fields["cents"] = 100 * fields.pop("euros")
        if fields.get("text") == "the number is cents":
            fields["cents"] = fields.pop("number")
        return fields
"""
SAME: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"text": "a", "number": 1, "anything": 1, "password": "p", "hidden": "h", "called": "n"}),
    ({}, {"line": {"what": "x"}, "lines": [], "by_name": {}, "colour": "red", "deep": None}),
    ({"line": {"what": "z"}}, {"line": {"what": "z", "count": 1}}),
    ({"lines": [{"what": "z"}]}, {"lines": [{"what": "z", "count": 1}]}),
    ({"by_name": {"k": {"what": "z"}}}, {"by_name": {"k": {"count": 1, "what": "z"}}}),
    ({"id": "1"}, {"id": "1", "number": 1}),
]
OTHER: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"text": "b"}, {"text": "c"}),
    ({"text": "b"}, {}),
    ({"anything": True}, {}),
    ({"anything": 2.5}, {"anything": 2}),
    ({"anything": "1"}, {"anything": 1}),
    ({"anything": {"a": {}}}, {"anything": {"a": None}}),
    ({"password": "q"}, {"password": "r"}),
    ({"hidden": "q"}, {"hidden": "r"}),
    ({"called": "q"}, {"called": "r"}),
    ({"id": "1"}, {"id": "2"}),
    ({"id": "1"}, {}),
    ({"line": {"what": "z"}}, {"line": {"what": "x"}}),
    ({"line": {"what": "x", "count": 2}}, {"line": {"what": "x"}}),
    ({"lines": [{"what": "z"}]}, {"lines": [{"what": "z"}, {"what": "z"}]}),
    ({"by_name": {"k": {"what": "z"}}}, {"by_name": {"l": {"what": "z"}}}),
    ({"colour": "blue"}, {}),
    ({"euros": 1}, {"euros": 2}),
    ({"euros": 0}, {"euros": 2}),
    ({"text": "the number is cents", "number": 2}, {"text": "the number is cents", "number": 3}),
    ({"deep": [[1], [2]]}, {"deep": [[1, 2]]}),
    ({"deep": []}, {}),
]

VALUES = """
@dataclass
class Line:
    price: Decimal
    at: date = date(2026, 1, 1)

class Pay(Command):
    model_config = ConfigDict(populate_by_name=True)
    line: Line | None = None
    lines: list[Line] = []
    sizes: set[Decimal] = set()
    by_day: dict[date, Decimal] = {}
    by_number: dict[int, list[Decimal]] = {}
    name: str = Field(default="", validation_alias=AliasChoices("theName", "fullName"))
    price: Decimal = Decimal(1)
    rate: float = 0.5
    mixed: str | Decimal = ""
    at: datetime = datetime(2026, 1, 31, tzinfo=UTC)
    of: UUID | None = None
    among: set[str] = set()
    prices: list[Decimal] = []
"""
LONG, LONGER = Number(Decimal("12345678901234567.89")), Number(Decimal("12345678901234567.90"))
ID = "0190a5a0-7b6c-7def-8123-456789abcdef"
SAME_VALUES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"price": Number(Decimal("0.10"))}, {"price": "0.10"}),
    ({"price": 0.1}, {"price": "0.10"}),
    ({"price": 2.0}, {"price": 2}),
    ({"price": 1}, {}),
    ({"price": "1.0"}, {}),
    ({"price": Number(Decimal("0E+5"))}, {"price": "-0"}),
    ({"price": LONG}, {"price": "12345678901234567.89"}),
    ({"rate": LONG}, {"rate": float(LONG)}),
    ({"rate": Number(Decimal("0.50"))}, {}),
    ({"prices": [LONG, 1]}, {"prices": ["12345678901234567.890", "1"]}),
    ({"at": "2026-01-31T13:00:00+01:00"}, {"at": "2026-01-31T12:00:00.000Z"}),
    ({"at": "2026-01-31T00:00:00Z"}, {}),
    ({"of": ID}, {"of": ID.upper()}),
    ({"among": ["a", "b"]}, {"among": ["b", "a", "b"]}),
    ({"line": {"price": "0.10"}}, {"line": {"price": 0.1, "at": "2026-01-01"}}),
    ({"lines": [{"price": "0.10"}]}, {"lines": [{"price": 0.1}]}),
    ({"sizes": ["0.10", "2"]}, {"sizes": [2, 0.1]}),
    ({"by_day": {"2026-01-01": "0.10", "2026-01-02": 1}}, {"by_day": {"2026-01-02": "1.0", "2026-01-01": 0.1}}),
    ({"by_number": {"1": ["0.10"]}}, {"by_number": {"1": [0.1]}}),
    ({"theName": "Ada"}, {"fullName": "Ada"}),
    ({"theName": "Ada"}, {"name": "Ada"}),
    ({"theName": ""}, {}),
]
OTHER_VALUES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"price": LONG}, {"price": LONGER}),
    ({"prices": [LONG]}, {"prices": [LONGER]}),
    ({"price": LONG}, {"price": float(LONG)}),
    ({"price": "1e-999999999"}, {"price": "1e-999999998"}),
    ({"mixed": 1}, {"mixed": "1"}),
    ({"mixed": LONG}, {"mixed": "12345678901234567.89"}),
    ({"at": "2026-01-31T12:00:00+01:00"}, {"at": "2026-01-31T12:00:00Z"}),
    ({"among": ["a", "b"]}, {"among": ["a"]}),
    ({"line": {"price": "0.10"}}, {"line": {"price": "0.11"}}),
    ({"line": {"price": 1}}, {"line": {"price": 1, "at": "2026-01-02"}}),
    ({"sizes": ["0.10"]}, {"sizes": ["0.11"]}),
    ({"by_day": {"2026-01-01": 1, "2026-01-02": 2}}, {"by_day": {"2026-01-01": 2, "2026-01-02": 1}}),
    ({"by_number": {"1": [1]}}, {"by_number": {"2": [1]}}),
    ({"theName": "Ada"}, {"theName": "Bob"}),
]


def made(version: Version, fields: str, *payloads: dict[str, Any]) -> list[bytes]:
    """Return the fingerprints of commands with these payloads."""
    kind = version(pay=fields).command_types["Pay"]
    return [fingerprint("Pay", payload, parse(kind, payload)) for payload in payloads]


@pytest.mark.parametrize("pair", SAME, ids=str)
def test_payloads_of_the_same_command(version: Version, pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
    one, other = made(version, FIELDS, *pair)

    assert is_same(one, other) and is_same(other, one)


@pytest.mark.parametrize("pair", OTHER, ids=str)
def test_payloads_of_different_commands(version: Version, pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
    one, other = made(version, FIELDS, *pair)

    assert not is_same(one, other) and not is_same(other, one)


@pytest.mark.parametrize("pair", SAME_VALUES, ids=str)
def test_equal_values_make_the_same_command(version: Version, pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
    assert is_same(*made(version, VALUES, *pair))


@pytest.mark.parametrize("pair", OTHER_VALUES, ids=str)
def test_other_values_make_another_command(version: Version, pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
    assert not is_same(*made(version, VALUES, *pair))


DATED = """
class Pay(Command):
    day: date = Field(default_factory=date.today)
"""


def test_a_default_made_today_is_not_taken_for_one_made_tomorrow(
    version: Version,
) -> None:
    kind = version(pay=DATED).command_types["Pay"]
    today = {"day": date.today().isoformat()}  # equal to the default now
    tomorrow = {"day": "2999-01-01"}

    assert not is_same(*(fingerprint("Pay", one, parse(kind, one)) for one in (today, tomorrow)))
    assert not is_same(*(fingerprint("Pay", one, parse(kind, one)) for one in (today, {})))


def test_a_default_that_cannot_be_compared_keeps_no_command_from_being_done(log: SqliteLog, version: Version) -> None:
    odd = """
class Odd:
    def __eq__(self, other): raise RuntimeError("no comparison")
    def __hash__(self): return 1
class Pay(Command):
    account: Any = Odd()
    amount: int
"""
    bus = Bus(log, version(pay=odd))

    [first] = bus.send(pay())

    assert first["success"] is True
    assert bus.send(pay()) == [first]
