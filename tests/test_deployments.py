"""A cluster that is stopped and started again with another version of its application, on the same data."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dualbus import Client
from dualbus.testing import Cluster, until
from tests.raw import STATUS, RawClient, command, query

ADDRESS = "john.doe@example.com"
FIRST = """
from typing import Annotated, Any
from pydantic import BaseModel, TypeAdapter
from dualbus import App, Command, Email, Event, Private, Projection, Query, Tag, Text

class Pay(Command):
    account: Text
    amount: int

class Register(Command):
    email: str

class Paid(Event):
    account: Annotated[str, Tag("account")]
    amount: int

class Contact(BaseModel):
    email: str

class Registered(Event):
    email: Annotated[str, Private]
    contacts: Annotated[dict[str, Contact], Private]

class Count(Query):
    pass

def pay(command: Pay, past) -> list[Paid]:
    yield Paid(account=command.account, amount=command.amount)

def register(command: Register, past) -> list[Registered]:
    yield Registered(email=command.email, contacts={command.email: Contact(email=command.email)})

def add(event: Registered, tables):
    tables.execute("INSERT INTO people VALUES (?)", (event.email,))

def count(query: Count, tables):
    return tables.one("SELECT count(*) AS n FROM people")["n"]

PEOPLE = "CREATE TABLE people (email TEXT PRIMARY KEY) WITHOUT ROWID"
app = App(
    commands=[pay, register],
    projections=[Projection("people", version=1, tables=PEOPLE, on=[add])],
    queries=[count],
)
"""


class Deployed:
    """A cluster in which the application can be replaced."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.numbers = iter(range(100))

    def deploy(self, *changes: tuple[str, str]) -> None:
        """Stop what runs; start a version that differs from the first so."""
        source = FIRST
        for old, new in changes:
            assert old in source
            source = source.replace(old, new)
        name = f"version{next(self.numbers)}"
        (self.cluster.folder / f"{name}.py").write_text(source)
        for process in self.cluster.processes:
            process.send(signal.SIGTERM)
            process.wait()
        self.cluster.environ["DUALBUS_APP"] = f"{name}:app"
        self.cluster.start()

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run a command of the command line with the version that was deployed last."""
        return subprocess.run(
            [sys.executable, "-m", "dualbus", *map(str, arguments)],
            cwd=self.cluster.cwd,
            env=self.cluster.environ,
            capture_output=True,
            text=True,
        )

    def has_said(self, name: str, text: str) -> bool:
        """Whether the process of a name has written a text to its log."""
        return text in self.cluster.process(name).stderr_text

    def said(self) -> str:
        """Return what all processes have written to their logs."""
        return "".join(path.read_text() for path in self.cluster.folder.glob("*.log"))


@pytest.fixture
def deployed(folder: Path) -> Iterator[Deployed]:
    """A cluster in which the first version runs."""
    with Cluster(folder, cwd=folder) as cluster:
        made = Deployed(cluster)
        made.deploy()
        yield made


def homeless(envelope: dict[str, Any]) -> dict[str, Any]:
    """Return a message without its dest."""
    return {name: value for name, value in envelope.items() if name != "dest"}


# The key of a command that was done.


def test_a_command_that_was_done_is_never_said_not_to_be(deployed: Deployed) -> None:
    # Given a Pay that was acknowledged
    pay = command("Pay", key="k1", account="a", amount=5)
    with RawClient(deployed.cluster.front) as client:
        [first] = client.ask(pay)
        assert first["success"] is True

    # When a version is deployed whose event has lost a field, and has no upcast
    deployed.deploy(("    amount: int\n\nclass Contact", "\nclass Contact"), ("amount=command.amount)", ")"))
    with RawClient(deployed.cluster.front) as client:
        [again] = client.ask(pay)

    # Then the processes name the event at their start
    unreadable = "This version of the application cannot read Paid: ValidationError (extra_forbidden), at position 1."
    for name in ("commandbus", "projector"):
        until(partial(deployed.has_said, name, unreadable), what=name)

    # And the same key is answered with what is known: it was executed, and where
    assert again["type"] == "error"
    assert "nothing was written" not in again["text"]
    assert again["code"] == 15
    assert again["text"].startswith(
        "The command was executed earlier, at position 1. This version of the application"
    )

    # And the clients raise this, at once
    executed = getattr(__import__("dualbus"), "Executed")  # noqa: B009 - an earlier version has no such name
    with Client(deployed.cluster.front, timeout=3600) as caller, pytest.raises(executed) as raised:
        caller.command("Pay", account="a", amount=5, idempotency_key="k1")
    error = raised.value
    assert (error.position, error.outcome_known, error.idempotency_key) == (1, False, "k1")
    ran = deployed.run("command", "Pay", "account=a", "amount=5", "--key", "k1")
    assert (ran.returncode, ran.stdout, ran.stderr.strip()) == (1, "", again["text"])

    # And when the event can be read again, the first answer is there
    deployed.deploy()
    with RawClient(deployed.cluster.front) as client:
        assert client.ask(pay) == [{**first, "in_reply_to": 1}]


@pytest.mark.parametrize("with_dest", [True, False], ids=["with dest", "without dest"])
def test_the_key_of_a_command_that_a_deployment_removed_has_the_first_answer(
    deployed: Deployed, with_dest: bool
) -> None:
    pay = command("Pay", key="k1", account="a", amount=5)
    with RawClient(deployed.cluster.front) as client:
        [first] = client.ask(pay)

    deployed.deploy(("commands=[pay, ", "events=[Paid], commands=["))
    with RawClient(deployed.cluster.front) as client:
        client.ask(command("Register", email="a@b.c"), query("Count"))  # so that both buses are known
        again, new = (
            command("Pay", key=key, account="a", amount=5) for key in ("k1", "never used")
        )  # fmt: skip
        answers = client.ask(*(one if with_dest else homeless(one) for one in (again, new)))

    assert answers[0] == {**first, "in_reply_to": answers[0]["in_reply_to"]}
    assert (answers[1]["code"], answers[1]["text"]) == (10, "There is no command 'Pay' in this application.")


def test_a_client_of_a_version_with_one_more_field_repeats_what_the_one_before_sent(deployed: Deployed) -> None:
    with RawClient(deployed.cluster.front) as client:
        [first] = client.ask(command("Pay", key="k1", account="a", amount=5))

    deployed.deploy(("    amount: int\n\nclass Register", '    amount: int\n    note: str = ""\n\nclass Register'))
    with RawClient(deployed.cluster.front) as client:
        same, other = client.ask(
            command("Pay", key="k1", account="a", amount=5, note=""),
            command("Pay", key="k1", account="a", amount=5, note="x"),
        )

    assert same == {**first, "in_reply_to": 1}
    assert (other["code"], other["text"][:38]) == (14, "This idempotency_key was used for anot")


# A private value stays where it is.

TIGHTENED = ("    email: Annotated[str, Private]", "    email: Annotated[int, Private]")
NESTED = ("class Contact(BaseModel):\n    email: str", "class Contact(BaseModel):\n    email: int")
REBUILT = ("version=1", "version=2")


def raising(statement: str) -> tuple[str, str]:
    """Return the change to a projection that does this."""
    return "def add(event: Registered, tables):", f"def add(event: Registered, tables):\n    {statement}"


FAILURES = {
    "a field is tightened": (
        (TIGHTENED,),
        "The event cannot be read (ValidationError (email: int_type))",
    ),
    "a field of a model in a dictionary is tightened": (
        (NESTED,),
        "The event cannot be read (ValidationError (contacts: int_parsing))",
    ),
    "the upcast raises": (
        (("app = App(", 'app = App(upcasts={"Registered": __import__("dualbus").Upcast("Registered", lambda fields: '
                       'TypeAdapter(dict[str, int]).validate_python(fields))},'),),
        "The event cannot be read (ValidationError (email: int_parsing, contacts: int_type))",
    ),
    "the projection validates": (
        (raising("TypeAdapter(dict[str, int]).validate_python({event.email: event.email})"),),
        "Projection people raised ValidationError (int_parsing)",
    ),
    "the projection raises from a validation": (
        (raising("\n    try: Contact(email=event.email, more=event.email).x\n    except AttributeError: "
                 "TypeAdapter(int).validate_python(event.email)"),),
        "Projection people raised ValidationError (int_parsing)",
    ),
    "the projection shows the event": (
        (raising("raise ValueError(f'cannot add {event!r} or {event}')"),),
        "Projection people raised ValueError",
    ),
    "the event is changed": (
        (raising("event.email = event.email"),),
        "Projection people raised ValidationError (frozen_instance)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "why"), FAILURES.values(), ids=FAILURES)
def test_no_failure_shows_a_value_of_a_record(
    deployed: Deployed, changes: tuple[tuple[str, str], ...], why: str
) -> None:
    # Given an event with a private value, in the log and in the read model
    with RawClient(deployed.cluster.front) as client:
        assert client.ask(command("Register", email=ADDRESS), query("Count"))[1]["data"] == 1
    lines = deployed.run("export").stdout
    assert ADDRESS in lines
    (deployed.cluster.folder / "lines").write_text(lines)

    # When a version is deployed that cannot read or project it, and makes the read model anew
    deployed.deploy(*changes, REBUILT)

    # Then Status says where and of what kind, and every exit keeps the value to itself
    with RawClient(deployed.cluster.front) as client:
        until(lambda: "Registered" in state(client))
        answers = [*client.ask(STATUS), *client.ask({**query("Count"), "timeout_ms": 100})]
        assert state(client) == f"{why} at position 1 (Registered); the log of the projector has the details"
    outside = str(answers)
    for arguments in (["verify"], ["status"], ["events"], ["import", deployed.cluster.folder / "lines"]):
        ran = deployed.run(*arguments)
        outside += ran.stdout + ran.stderr
    assert "Registered" in outside
    assert ADDRESS not in outside
    assert ADDRESS not in deployed.said()


def state(client: RawClient) -> str:
    """Return what the projector says of itself."""
    [answer] = client.ask(STATUS)
    found = [one.get("state", "") for one in answer["data"]["processes"] if one["name"] == "projector"]
    return found[0] if found else ""


def test_the_projector_s_own_log_has_what_the_author_wrote(deployed: Deployed) -> None:
    with RawClient(deployed.cluster.front) as client:
        client.ask(command("Register", email=ADDRESS), query("Count"))

    deployed.deploy(raising("raise ValueError('people are full')"), REBUILT)

    until(lambda: "ValueError: people are full" in deployed.cluster.process("projector").stderr_text)
    with RawClient(deployed.cluster.front) as client:
        until(lambda: state(client).startswith("Projection people raised ValueError at position 1"))
        assert "full" not in state(client)


def test_verify_names_no_row_by_its_value(deployed: Deployed) -> None:
    # Given a read model that another version made, whose projection has changed and not its version
    with RawClient(deployed.cluster.front) as client:
        client.ask(command("Register", email=ADDRESS), query("Count"))
    deployed.deploy(("(event.email,)", "(event.email[1:],)"))

    ran = deployed.run("verify")

    assert ran.returncode == 1
    assert "Table people: row 1, in key order, is missing, or has another key than in the log" in ran.stderr
    assert ADDRESS not in ran.stderr and ADDRESS[1:] not in ran.stderr
