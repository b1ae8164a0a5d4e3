"""The same values through every door: standard input, ZeroMQ, the command line, clients with and without classes."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import msgpack
import pytest

from dualbus import Client
from dualbus.application.event_json import to_text
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.testing import Cluster, InProcess
from tests.conftest import ROOT
from tests.doors import MORE, PLAIN, VALUES, Answer, Keep, Kept, Show, Values, app
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

    def by_pipe(self, type_: str) -> Any:
        """Send a JSON message on standard input."""
        assert self.pipe.stdin and self.pipe.stdout
        self.pipe.stdin.write(_message(type_).encode() + b"\n")
        self.pipe.stdin.flush()
        return _outcome(json.loads(self.pipe.stdout.readline()))

    def by_zmq(self, type_: str) -> Any:
        """Send msgpack with an extension type in place of each number with a fraction."""
        as_extension = json.loads(_message(type_), parse_float=lambda text: msgpack.ExtType(1, text.encode()))
        with RawClient(self.cluster.front) as raw:
            return _outcome(raw.ask(as_extension)[0])

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
        path, key = ("commands", "events") if type_ == "Keep" else ("queries", "data")
        url = f"{self.cluster.http}/{path}/{type_}"
        headers = {"Content-Type": "application/json", **self.cluster.http_headers}
        answer = httpx.post(url, content=JSON, headers=headers, timeout=60).json()
        return answer[key] if type_ == "Keep" else answer

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
            yield Doors(cluster, client)
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


def test_the_command_line_refuses_an_object_with_the_same_key_twice(doors: Doors) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        doors.run("query", "Show", 'by_name={"a": 1, "a": 2}')
    assert b"An object has the same key twice" in failed.value.stderr
