"""The same values through every door: standard input, ZeroMQ, the command line, clients with and without classes."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import hypothesis.strategies as st
import msgpack
import pytest
from hypothesis import HealthCheck, given, settings

from dualbus import Client
from dualbus.application.event_json import from_text, to_text
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.testing import Cluster, InProcess
from tests.conftest import ROOT
from tests.doors import MORE, PLAIN, VALUES, Answer, Keep, Kept, Level, Line, Money, Odd, Price, Show, Values, app
from tests.raw import RawClient
from tests.web.conftest import wait_until_serving

# As people write the values in JSON.
JSON = """{
"price": 12345678901234567.89,
"prices": [0.10, 12345678901234567.89, 12345678901234567.90, -1E+5, 0.5, 3],
"at": "2026-01-31T12:00:00.123456Z", "local": "2026-01-31T12:00:00", "day": "2026-01-31",
"clock": "23:59:59.000001", "span": "-PT23H59M59.999999S", "id": "0190a5a0-7b6c-7def-8123-456789abcdef",
"odd": "null", "level": 1152921504606846976, "data": "AP_-IGJpbmFyeQ==",
"line": {"price": 12345678901234567.89, "day": "2026-02-28", "parts": [{"price": 1.50, "day": "0001-01-01"}]},
"lines": [{"price": 2.10, "day": "9999-12-31"}],
"by_name": {"a b": 0.30, "ä": 12345678901234567.89}, "box": {"price": 9.90, "days": ["2026-01-01"]},
"pair": [4611686018427387904, 7.70], "among": [3, 1, 2], "whole": -9223372036854775808, "rate": 0.1,
"flag": false, "text": "\\ud83d\\ude00 null \\ud7ff", "either": 8.80,
"anything": {"deep": [1, "2", null, true, 0.1]}
}"""
TEXTS = {name: value for name, value in json.loads(JSON).items() if isinstance(value, str)}
Body = dict[str, Any]


class Doors:
    """Every way into one cluster."""

    def __init__(self, cluster: Cluster, client: Client) -> None:
        self.cluster = cluster
        self.client = client
        self.keywords = PLAIN | {name: TEXTS.get(name, [3, 1, 2]) for name in MORE}
        self.pipe = cluster.process("gateway").popen
        self.raw = RawClient(cluster.front)
        self.http = httpx.Client(headers={"Content-Type": "application/json", **cluster.http_headers}, timeout=60)

    def by_pipe(self, type_: str) -> Any:
        """Send a JSON message on standard input."""
        return self.by_line(_message(type_))

    def by_line(self, message: str) -> Any:
        """Send this line on standard input."""
        assert self.pipe.stdin and self.pipe.stdout
        self.pipe.stdin.write(message.encode() + b"\n")
        self.pipe.stdin.flush()
        return _outcome(json.loads(self.pipe.stdout.readline()))

    def by_zmq(self, type_: str) -> Any:
        """Send msgpack with an extension type in place of each number with a fraction."""
        as_extension = json.loads(_message(type_), parse_float=lambda text: msgpack.ExtType(1, text.encode()))
        return _outcome(self.raw.ask(as_extension)[0])

    def by_send(self, type_: str) -> Any:
        """Run `dualbus send`."""
        return _outcome(json.loads(self.run("send", _message(type_))))

    def by_command_line(self, type_: str) -> Any:
        """Run `dualbus command` or `dualbus query` with FIELD=VALUE."""
        numbers = json.loads(JSON, parse_float=lambda text: f"<{text}>")
        fields = [f"{name}={_argument(value)}" for name, value in numbers.items()]
        found = json.loads(self.run("command" if type_ == "Keep" else "query", type_, *fields))
        return found["events"] if type_ == "Keep" else found

    def by_class(self, type_: str) -> Any:
        """Pass an object to the client."""
        values = VALUES
        return self.client.command(Keep(**values)).events if type_ == "Keep" else self.client.query(Show(**values))

    def by_keywords(self, type_: str) -> Any:
        """Pass a name and Python's values to the client; those without a form of their own as text."""
        call = self.client.command if type_ == "Keep" else self.client.query
        answer = call(type_, **self.keywords)
        return answer.events if type_ == "Keep" else answer

    def by_http(self, type_: str) -> Any:
        """Send a JSON body over HTTP."""
        return self.post("/commands/Keep", JSON)["events"] if type_ == "Keep" else self.post("/queries/Show", JSON)

    def post(self, path: str, content: str) -> Any:
        """Send this JSON text over HTTP."""
        return self.http.post(self.cluster.http + path, content=content.encode()).json()

    def run(self, *arguments: str) -> str:
        ran = subprocess.run(
            [*_DUALBUS, *arguments], env=self.cluster.environ, cwd=ROOT, capture_output=True, check=True
        )
        return ran.stdout.decode()


DOORS = ["by_http", "by_pipe", "by_zmq", "by_send", "by_command_line", "by_class", "by_keywords"]
_DUALBUS = [sys.executable, "-m", "dualbus"]


def _message(type_: str) -> str:
    dest, name = ("commandbus", "payload") if type_ == "Keep" else ("querybus", "params")
    fields = JSON.replace("\n", " ")
    return f'{{"dest": "{dest}", "body": {{"type": "{type_}", "msg_id": 1, "{name}": {fields}}}}}'


def _outcome(body: Body) -> Any:
    """Return the events of a command, or the answer to a query."""
    return body["events"] if body["type"] == "command_result" else body["data"]


def _argument(value: Any) -> str:
    """Return a value as the command line receives it: text as it is, and the digits of each number."""
    if isinstance(value, str) and not value.startswith("<"):
        return value
    return re.sub('"<(.*?)>"', r"\1", json.dumps(value))


@pytest.fixture(scope="module")
def doors() -> Iterator[Doors]:
    folder = Path(tempfile.mkdtemp(prefix="db"))
    with Cluster(folder, "tests.doors:app", cwd=ROOT) as cluster:
        cluster.start(stdin=subprocess.PIPE)
        cluster.start("web")
        wait_until_serving(cluster)
        with Client(cluster.front) as client:
            made = Doors(cluster, client)
            with made.raw, made.http:
                yield made
    shutil.rmtree(folder)


@pytest.mark.parametrize("door", DOORS)
def test_a_command_brings_equal_values_into_the_log(doors: Doors, door: str) -> None:
    [event] = getattr(doors, door)("Keep")

    with closing(SqliteLogReader(doors.cluster.data)) as log:
        recorded = log.read(0, 100)[-1]
    stored = app.decode(recorded.type, recorded.data)
    assert stored == Kept(**VALUES)
    assert recorded.data == to_text(Kept(**VALUES))  # with the zeros of 0.10
    assert event == {"type": "Kept", "payload": json.loads(recorded.data)}


@pytest.mark.parametrize("door", DOORS)
def test_a_query_receives_equal_values(doors: Doors, door: str) -> None:
    assert getattr(doors, door)("Show") == repr(VALUES)


def test_an_answer_has_the_values_of_its_type(doors: Doors) -> None:
    assert doors.client.query(Answer(**PLAIN)) == Values(**PLAIN)


def test_an_application_in_the_process_of_its_test_receives_equal_values(doors: Doors) -> None:
    message = json.loads(JSON, parse_float=Decimal)
    with InProcess(app) as client:
        for values in (message, doors.keywords):
            assert client.command("Keep", values).events == client.command(Keep(**VALUES)).events
            assert client.query("Show", values) == repr(VALUES)
        assert client.query(Answer(**PLAIN)) == Values(**PLAIN)


def test_a_command_is_the_same_command_from_each_door(doors: Doors) -> None:
    """Only standard input and the client with a name send the text of the key."""
    key = "through each door"
    first = doors.client.command(Keep(**VALUES), idempotency_key=key)

    by_name = doors.client.command("Keep", doors.keywords, idempotency_key=key)
    message = json.loads(_message("Keep"), parse_float=Decimal)
    as_json = doors.client.command("Keep", message["body"]["payload"], idempotency_key=key)

    assert first == by_name == as_json
    assert by_name.repeated and as_json.repeated


DECIMALS = st.decimals(-(10**20), 10**20)
DAYS, TEXTS_OF_ANY_KIND = st.dates(), st.text(max_size=30)
PARTS = st.builds(Line, price=DECIMALS, day=DAYS)
LINES = st.builds(Line, price=DECIMALS, day=DAYS, parts=st.lists(PARTS, max_size=2))
GENERATED = st.fixed_dictionaries(
    {},
    optional={
        "price": DECIMALS,
        "prices": st.lists(DECIMALS, max_size=3),
        "at": st.datetimes(timezones=st.just(UTC)),
        "local": st.datetimes(),
        "day": DAYS,
        "clock": st.times(),
        "span": st.timedeltas(timedelta(days=-10_000), timedelta(days=10_000)),
        "id": st.uuids(),
        "odd": st.sampled_from(Odd),
        "level": st.sampled_from(Level),
        "data": st.binary(max_size=30),
        "line": LINES,
        "lines": st.lists(LINES, max_size=2),
        "by_name": st.dictionaries(TEXTS_OF_ANY_KIND, DECIMALS, max_size=2),
        "box": st.fixed_dictionaries({"price": DECIMALS, "days": st.lists(DAYS, max_size=2)}),
        "pair": st.tuples(st.integers(-(2**63), 2**63 - 1), DECIMALS),
        "among": st.sets(st.integers(-(2**63), 2**63 - 1), max_size=3),
        "whole": st.integers(-(2**63), 2**63 - 1),
        "rate": st.floats(allow_nan=False, allow_infinity=False),
        "flag": st.booleans(),
        "text": TEXTS_OF_ANY_KIND,
        "either": st.integers(-(2**63), 2**63 - 1),
    },
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=GENERATED)
def test_generated_values_arrive_through_each_door(doors: Doors, values: dict[str, Any]) -> None:
    kept = Keep(**values)
    text = kept.model_dump_json(exclude_unset=True)
    message = {"dest": "commandbus", "body": {"type": "Keep", "msg_id": 1, "payload": json.loads(text)}}
    stored = to_text(Kept(**dict(kept)))

    keywords = values | {name: value for name, value in json.loads(text).items() if name in MORE}
    [by_keywords] = doors.client.command("Keep", keywords).events
    [by_class] = doors.client.command(kept).events
    [by_text] = doors.client.command("Keep", json.loads(text)).events
    [by_zmq] = _outcome(doors.raw.ask(message)[0])
    [by_pipe] = doors.by_line(json.dumps(message))
    [by_http] = doors.post("/commands/Keep", text)["events"]

    assert [by_class, by_text, by_zmq, by_pipe, by_http] == [{"type": "Kept", "payload": json.loads(stored)}] * 5
    # Two numbers of one value in a message, such as 0 and 0.0, have the digits of one of them
    assert from_text(Kept, json.dumps(by_keywords["payload"])) == from_text(Kept, stored)
    shown = doors.client.query(Show(**values))
    asked = {"dest": "querybus", "body": {"type": "Show", "msg_id": 1, "params": json.loads(text)}}
    answers = [_outcome(doors.raw.ask(asked)[0]), doors.by_line(json.dumps(asked)), doors.post("/queries/Show", text)]
    assert [shown, *answers] == [repr(dict(from_text(Kept, stored)))] * 4


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        (
            'note=null quoted="null" maybe=null odd=42 odds=["null","true"] level=1 literal=true price=0.10 either=5',
            "{'note': 'null', 'quoted': 'null', 'maybe': None, 'odd': <Odd.NUMBER: '42'>, "
            "'odds': [<Odd.NULL: 'null'>, <Odd.TRUE: 'true'>], 'level': <Level.LOW: 1>, 'literal': 'true', "
            "'price': Decimal('0.10'), 'either': 5}",
        ),
        (
            "note=1.50 quoted=true maybe= odd=null odds=[] level=null literal=1 price=null either=05",
            "{'note': '1.50', 'quoted': 'true', 'maybe': '', 'odd': <Odd.NULL: 'null'>, 'odds': [], 'level': None, "
            "'literal': 1, 'price': None, 'either': '05'}",
        ),
    ],
)
def test_the_command_line_reads_a_value_for_the_type_of_its_field(doors: Doors, arguments: str, values: str) -> None:
    assert json.loads(doors.run("query", "Say", *arguments.split())) == values


def test_a_class_without_a_json_schema_arrives_through_each_door(doors: Doors) -> None:
    assert doors.client.query(Price(amount=Money(150))) == 150
    assert doors.client.query("Price", amount=150) == 150
    assert doors.post("/queries/Price", '{"amount": 150}') == 150
    assert doors.http.get(f"{doors.cluster.http}/queries/Price?amount=150").json() == 150
    assert json.loads(doors.run("query", "Price", "amount=150")) == 150


def test_a_class_without_a_json_schema_is_any_value_in_each_description(doors: Doors) -> None:
    document = doors.http.get(f"{doors.cluster.http}/openapi.json").json()
    described = json.loads(doors.run("describe", "--json"))
    form = doors.http.get(f"{doors.cluster.http}/page/try/Price")

    schemas = document["components"]["schemas"]
    assert (schemas["Price"]["properties"]["amount"], "enum" in schemas["Coin"]) == ({"title": "Amount"}, False)
    [schema] = [query["schema"] for query in described["queries"] if query["type"] == "Price"]
    assert (schema["properties"]["amount"], "enum" in schema["$defs"]["Coin"]) == ({"title": "Amount"}, False)
    assert "amount (any value" in doors.run("describe")
    assert 'name="field.amount"' in form.text


def test_the_command_line_refuses_an_object_with_the_same_key_twice(doors: Doors) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        doors.run("query", "Show", 'by_name={"a": 1, "a": 2}')
    assert b"An object has the same key twice" in failed.value.stderr
