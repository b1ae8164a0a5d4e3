"""Events whose shape has changed: old records are read as what they are today, wherever records are read."""

from pathlib import Path
from typing import Annotated

import pytest

from dualbus import App, Event, Fields, Projection, Tables, Tag, Upcast
from dualbus.application.loader import load
from dualbus.operations.verify import verify
from dualbus.readmodel.replay import Comparison
from dualbus.runtime.errors import EXIT_CONFIG, ConfigError
from dualbus.testing import Cluster, from_log, project
from tests.raw import RawClient, command, query


class PersonAdded(Event):
    """First PersonRegistered(id, name), then UserAdded(id, first, last)."""

    id: Annotated[str, Tag("person")]
    first: str
    last: str
    lang: str


def split_name(fields: Fields) -> Fields:
    first, _, last = fields.pop("name").partition(" ")
    return {**fields, "first": first, "last": last}


def add_language(fields: Fields) -> Fields:
    return {"lang": "en", **fields}


def add_person(event: PersonAdded, tables: Tables) -> None:
    tables.execute("INSERT INTO people VALUES (?, ?)", (event.id, f"{event.last}, {event.first} ({event.lang})"))


PEOPLE = Projection("people", version=1, tables="CREATE TABLE people (id, name)", on=[add_person])


def people(**upcasts: Upcast) -> App:
    return App(projections=[PEOPLE], upcasts=upcasts)


def test_an_old_record_goes_through_every_step_to_what_it_is_today() -> None:
    app = people(PersonRegistered=Upcast("UserAdded", split_name), UserAdded=Upcast("PersonAdded", add_language))
    ada = PersonAdded(id="1", first="Ada", last="Lovelace", lang="en")
    assert from_log(app, "PersonRegistered", id="1", name="Ada Lovelace") == ada
    assert from_log(app, "UserAdded", id="1", first="Ada", last="Lovelace") == ada
    assert from_log(app, "PersonAdded", id="1", first="Ada", last="Lovelace", lang="en") == ada
    with pytest.raises(AssertionError, match="PersonMoved is neither an event"):
        from_log(app, "PersonMoved", id="1")


def test_an_event_that_only_got_another_name_needs_no_function() -> None:
    app = people(HumanAdded=Upcast("PersonAdded"))
    fields = {"id": "1", "first": "Ada", "last": "Lovelace", "lang": "fr"}
    assert from_log(app, "HumanAdded", **fields) == PersonAdded(**fields)


def test_a_change_under_the_same_name_sees_the_records_of_today_too() -> None:
    app = people(PersonAdded=Upcast("PersonAdded", add_language))
    today = PersonAdded(id="1", first="Ada", last="L", lang="fr")
    assert from_log(app, "PersonAdded", id="1", first="Ada", last="L", lang="fr") == today
    assert from_log(app, "PersonAdded", id="1", first="Ada", last="L") == today.model_copy(update={"lang": "en"})


def test_a_projection_on_the_event_of_today_gets_the_old_ones() -> None:
    app = people(PersonRegistered=Upcast("UserAdded", split_name), UserAdded=Upcast("PersonAdded", add_language))
    given = [from_log(app, "PersonRegistered", id="1", name="Ada Lovelace")]
    assert project(app, given=given).all("SELECT * FROM people") == [{"id": "1", "name": "Lovelace, Ada (en)"}]


def test_upcasts_that_cannot_work_are_all_refused_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        people(
            Gone=Upcast("Nowhere"),
            Ping=Upcast("Pong"),
            Pong=Upcast("Ping"),
            PersonAdded=Upcast("Ping"),
            Old=Upcast("PersonAdded", "split"),  # type: ignore[arg-type]
            Older="PersonAdded",  # type: ignore[arg-type]
        )
    assert refused.value.errors == [
        "The upcast of Older is 'PersonAdded', which is not an Upcast: write Upcast('PersonAdded').",
        "The upcast of Gone leads to Nowhere, which is not an event of the application.",
        "The upcasts of Ping form a cycle: one of them must lead to an event of the application.",
        "The upcasts of Pong form a cycle: one of them must lead to an event of the application.",
        "PersonAdded is still an event of the application, and its records are upcast to Ping: remove the class, or "
        "the upcast.",
        "The change of the upcast of Old is 'split', which is not a function.",
    ]


FIRST = """
from typing import Annotated
from dualbus import App, Command, Event, Projection, Query, Tag

class Register(Command):
    name: str

class Registered(Event):
    name: Annotated[str, Tag("name")]

def register(command: Register, past) -> list[Registered]:
    yield Registered(name=command.name)

app = App(commands=[register], queries=[], projections=[
    Projection("people", version=1, tables="CREATE TABLE people (name, times)", on=[])])
"""
SECOND = """
from typing import Annotated
from dualbus import App, Command, Event, Projection, Query, Rejected, Tag, Upcast

class Register(Command):
    name: str

class List(Query):
    pass

class PersonAdded(Event):
    called: Annotated[str, Tag("name")]
    times: int

def register(command: Register, past) -> list[PersonAdded]:
    known = past.events(Tag("name")(command.name))
    if known:
        raise Rejected(f"{known[0].called} was added {known[0].times} times")
    yield PersonAdded(called=command.name, times=2)

def add(event: PersonAdded, tables):
    tables.execute("INSERT INTO people VALUES (?, ?)", (event.called, event.times))

def list_(query: List, tables):
    return tables.all("SELECT * FROM people")

app = App(commands=[register], queries=[list_],
    projections=[Projection("people", version=2, tables="CREATE TABLE people (name, times)", on=[add])],
    upcasts=UPCASTS)
"""
UPCASTS = """{"Registered": Upcast("PersonAdded", lambda fields: {"called": fields["name"], "times": 1})}"""


def test_a_cluster_goes_on_with_the_log_of_an_earlier_version(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "first.py").write_text(FIRST)
    (folder / "second.py").write_text(SECOND.replace("UPCASTS", UPCASTS))
    (folder / "careless.py").write_text(SECOND.replace("UPCASTS", "{}"))
    hidden = FIRST.replace('Tag("name")]', 'Tag("name"), dualbus.Private]')
    (folder / "hidden.py").write_text(f"import dualbus\n{hidden}")
    with Cluster(folder, "first:app", cwd=folder) as cluster:
        # Given a log in which the first version wrote
        cluster.start()
        with RawClient(cluster.front) as client:
            [made] = client.ask(command("Register", name="Ada"))
            assert made["events"] == [{"type": "Registered", "payload": {"name": "Ada"}}]
        for name in ("projector", "querybus", "commandbus", "gateway"):
            cluster.kill(name)

        # When a version starts that has neither the class nor an upcast, then it says what to do
        for name in ("commandbus", "projector"):
            [process] = cluster.start(name, DUALBUS_APP="careless:app")
            assert process.wait() == EXIT_CONFIG
            assert "The log holds events that the application does not have: Registered. Add" in process.stderr_text

        # When a version makes a tagged field private, then its decisions would not find the earlier events
        [process] = cluster.start("commandbus", DUALBUS_APP="hidden:app")
        assert process.wait() == EXIT_CONFIG
        assert "The tag name of Registered is private, unlike in the log" in process.stderr_text

        # When a version starts that has an upcast, then decisions and projections read the old records
        cluster.start(DUALBUS_APP="second:app")
        with RawClient(cluster.front) as client:
            refused, made, listed = client.ask(
                command("Register", name="Ada"), command("Register", name="Bob"), query("List")
            )
            assert refused["errors"] == ["Ada was added 1 times"]
            assert made["success"] is True
            assert listed["data"] == [{"name": "Ada", "times": 1}, {"name": "Bob", "times": 2}]

        # And the proof that nothing was lost reads them too
        monkeypatch.syspath_prepend(folder)
        proof = verify(cluster.data, load("second:app"))
        assert (proof.position, proof.read_model, proof.compared) == (2, 2, Comparison(tables=1, rows=2))
