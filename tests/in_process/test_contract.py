"""Every result and error of a client: the same in the process of the test and from a cluster."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from dualbus import Client, ClientClosed, CommandResult, DualbusError, Rejected, Unavailable
from dualbus.testing import NOW, Cluster, InProcess, until
from tests.conftest import ROOT
from tests.in_process.library import AddBook, Book, CountShelved, Fail, GetBook, GetLabel, Jam, Shelve, Stumble, app

MATHS = AddBook(isbn="1", title="Mathematics", price=Decimal("12.30"), bought=date(2026, 1, 2), supplier="Ada")
FIELDS = {"isbn": "1", "title": "Mathematics", "price": "12.30", "bought": "2026-01-02"}

CASES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a command": (lambda client: client.command(MATHS, idempotency_key="k", metadata={"user": "u"}), "12.30"),
    "its repetition": (lambda client: client.command(MATHS, idempotency_key="k"), "repeated': True"),
    "the repetition with fields": (
        lambda client: client.command("AddBook", {**FIELDS, "supplier": "Ada"}, idempotency_key="k"),
        "repeated': True",
    ),
    "another command under its key": (
        lambda client: client.command(Shelve(number=1), idempotency_key="k"),
        "was used for another command",
    ),
    "a rejection": (lambda client: client.command(MATHS, idempotency_key="r"), "book_exists"),
    "a repeated rejection": (lambda client: client.command(MATHS, idempotency_key="r"), "book_exists"),
    "a rejection with several problems": (lambda client: client.command(Stumble(how="several")), "second"),
    "a decision that names its client": (lambda client: client.command(Stumble(how="who")), "You are None"),
    "a broken rule": (lambda client: client.command("AddBook", {**FIELDS, "title": "1"}), "must not be the ISBN"),
    "wrong fields": (lambda client: client.command("AddBook", isbn=" ", price=-1, more=0), "too_small"),
    "a decision that raises": (lambda client: client.command(Stumble(how="raise")), "ZeroDivisionError"),
    "an event that cannot be stored": (lambda client: client.command(Stumble(how="too large")), "64 bits"),
    "a thousand events": (lambda client: client.command(Shelve(number=1000)).position, "1002"),
    "a thousand and one": (lambda client: client.command(Shelve(number=1001)), "more than 1000"),
    "no event": (lambda client: client.command(Shelve(number=0)), "'events': []"),
    "an unknown command": (lambda client: client.command("Burn"), "There is no command 'Burn'"),
    "a query as a command": (lambda client: client.command("GetBook", isbn="1"), "is a query"),
    "a command as a query": (lambda client: client.query("Shelve", number=1), "is a command"),
    "metadata that is no text": (lambda client: client.command(Shelve(number=1), metadata={"a": 1}), "text"),
    "too much metadata": (lambda client: client.command(Shelve(number=1), metadata={"a": "x" * 5000}), "4096"),
    "an empty key": (lambda client: client.command(Shelve(number=1), idempotency_key=""), "must not be empty"),
    "a value without a form": (lambda client: client.command("Shelve", number=float("nan")), "not finite"),
    "a message that is too large": (lambda client: client.command("Stumble", how="x" * (1 << 20)), "1048576"),
    "a typed answer": (lambda client: client.query(GetBook(isbn="1")), "Decimal('12.30')"),
    "an answer as a dictionary": (
        lambda client: client.query(GetLabel(isbn="1")),
        "'price': Decimal('12.30'), 'new': True}",
    ),
    "an answer with its origin": (lambda client: client.query(GetBook(isbn="1")).by, "u"),
    "an answer by name": (lambda client: client.query("GetBook", isbn="0")["price"], "0.10"),
    "no answer": (lambda client: client.query(GetBook(isbn="2")), "None"),
    "an answer that includes the command": (lambda client: client.query(CountShelved()), "1000"),
    "wrong parameters": (lambda client: client.query("GetBook", isbm="1"), "Isbm is not a field"),
    "an unknown query": (lambda client: client.query("FindBook"), "There is no query 'FindBook'"),
    "a query that raises": (lambda client: client.query(Fail(how="raise")), "KeyError"),
    "a query that returns a set": (lambda client: client.query(Fail(how="set")), "Fail has no form in JSON, at set"),
    "a query that returns too much": (lambda client: client.query(Fail(how="large")), "over 1048576 bytes"),
    "a query that writes": (lambda client: client.query(Fail(how="write")), "NotAllowed"),
    "a query that uses chance": (lambda client: client.query(Fail(how="chance")), "1"),
    "a position of the log": (lambda client: client.query(CountShelved(), after=1002), "1000"),
    "a position beyond the log": (
        lambda client: client.query(CountShelved(), after=9999, timeout=0.3),
        "has not reached position 9999: it ends at 1002",
    ),
    "a command beyond the log": (lambda client: client.command(Shelve(number=1), after=9999, timeout=0.3), "9999"),
    "a position that is none": (lambda client: client.query(CountShelved(), after=-1), "must be a position"),
    "a timeout that is none": (lambda client: client.query(CountShelved(), timeout=0), "timeout must be"),
    "a new session": (lambda client: client.session().query(CountShelved()), "1000"),
    "the position of a session": (lambda client: client.session(after=5).position, "5"),
    "the position of the client": (lambda client: client.position, "1002"),
    "the events": (
        lambda client: [next(client.events(types=["BookAdded"], after=after)) for after in (0, 1)],
        "Math",
    ),
    "events of a tag": (lambda client: next(client.events(tag="book:1")), "Mathematics"),
    "events of an unknown type": (lambda client: next(client.events(types=["Burnt"])), "Burnt is not an event"),
}


def outcome(client: Any, call: Callable[[Any], Any]) -> str:
    """Return the result or the error of a call as text, without the time of the clock."""
    try:
        result = call(client)
    except (DualbusError, ValueError) as error:
        problems = getattr(error, "problems", [])
        return f"{type(error).__name__}({error}) {problems} {getattr(error, 'outcome_known', None)}"
    if isinstance(result, CommandResult):
        return str(asdict(result))
    if isinstance(result, Book):
        assert isinstance(result.added, datetime)
        result = result.model_copy(update={"added": NOW})
    if isinstance(result, list):
        return str([record.payload for record in result])
    return str(getattr(result, "payload", None) or repr(result))


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[str, dict[str, str]]]:
    """The outcomes of all cases in order, from a cluster and from the process itself."""
    folder = Path(tempfile.mkdtemp(prefix="db"))
    with Cluster(folder, "tests.in_process.library:app", cwd=ROOT) as cluster:
        cluster.start()
        found = {}
        with Client(cluster.front, timeout=30) as real, InProcess(app) as own:
            for place, client in (("cluster", real), ("process", own)):
                found[place] = {name: outcome(client, call) for name, (call, _) in CASES.items()}
        yield found
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", CASES)
def test_a_call_has_the_same_outcome_as_in_a_cluster(outcomes: dict[str, dict[str, str]], name: str) -> None:
    assert CASES[name][1] in outcomes["process"][name]
    assert outcomes["process"][name] == outcomes["cluster"][name]


def test_private_fields_are_in_no_result(outcomes: dict[str, dict[str, str]]) -> None:
    assert not [name for name, text in outcomes["process"].items() if "Ada" in text or "founder" in text]


@pytest.fixture
def dualbus_app() -> str:
    return "tests.in_process.library:app"


def jam(client: Any) -> list[str]:
    """Append an event whose projection raises, and one more; return the outcomes."""
    calls: list[Callable[[Any], Any]] = [
        lambda client: client.command(Shelve(number=2)),
        lambda client: client.query(CountShelved()),
        lambda client: client.command(Jam()),
        lambda client: client.command(Shelve(number=1)),
        lambda client: client.session(after=3).query(CountShelved()),
    ]
    return [outcome(client, call) for call in calls]


def late(client: Any) -> str:
    return outcome(client, lambda client: client.query(CountShelved(), timeout=0.5))


def test_a_projection_that_raises_refuses_queries_for_later_positions_only(dualbus_cluster: Cluster) -> None:
    with InProcess(app) as own, Client(dualbus_cluster.front, timeout=30) as real:
        found = jam(own)

        assert [found[1], found[4]] == ["2", "2"]
        assert "Projection books raised ValueError at position 4 (Jammed)" in late(own)
        assert "You have seen position 5. Try again." in late(own)
        assert jam(real) == found
        until(lambda: late(real) == late(own))  # a querybus receives the reason of the projector a while later


def test_the_clock_stands_at_the_time_of_the_test() -> None:
    with InProcess(app) as client:
        client.command(MATHS)
        assert client.query(GetBook(isbn="1")) == Book(
            title="Mathematics", price=Decimal("12.30"), bought=date(2026, 1, 2), added=NOW, by=""
        )


def test_the_actor_is_that_of_the_test() -> None:
    with InProcess(app, actor="ada") as client:
        with pytest.raises(Rejected, match="You are ada"):
            client.command(Stumble(how="who"), idempotency_key="k")
        with pytest.raises(Rejected, match="You are ada"):
            client.command(Stumble(how="who"), idempotency_key="k")


def test_each_object_has_a_log_of_its_own() -> None:
    with InProcess(app) as one, InProcess(app) as other:
        one.command(Shelve(number=1))
        other.command(Shelve(number=2))
        assert (one.query(CountShelved()), other.query(CountShelved())) == (1, 2)


def test_threads_share_it() -> None:
    with InProcess(app) as client, ThreadPoolExecutor(8) as threads:
        shelved = list(threads.map(lambda number: client.command(Shelve(number=1)).position, range(200)))
        assert sorted(shelved) == list(range(2, 202))
        assert set(threads.map(lambda number: client.query(CountShelved()), range(50))) == {200}


def test_events_end_at_the_end_of_the_log() -> None:
    with InProcess(app) as client:
        client.command(Shelve(number=300))
        assert [record.position for record in client.events()] == list(range(1, 302))
        assert list(client.events(after=301)) == []


def test_nothing_is_called_after_the_end(folder: Path) -> None:
    client = InProcess(app)
    client.close()
    client.close()
    with pytest.raises(ClientClosed):
        client.query(CountShelved())


def test_a_position_beyond_the_log_is_refused_at_once() -> None:
    with InProcess(app) as client, pytest.raises(Unavailable, match="it ends at 1"):
        client.query(CountShelved(), after=2)
