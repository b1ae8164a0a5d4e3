"""What becomes of an application's mistakes, and of settings that are wrong: seen from outside the processes."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dualbus.testing import Cluster, Process, until
from tests.raw import Envelope, RawClient, command, query

MISTAKEN = """\
from dualbus import App, Command, Event, Projection, Query, Text

class Add(Command):
    word: Text

class Remove(Command):
    word: Text

class Added(Event):
    word: str

class Both(Command, Query):
    pass

class Words(Query):
    pass

def add(command: Add, past) -> list[Added]:
    yield Added(word=command.word)

def too_few(command: Add):
    yield from ()

def answer(command: Words, past):
    yield from ()

async def wait(query: Words, tables):
    return 1

def add_row(event: Add, tables):
    pass

app = App(
    commands=[too_few, answer, add, add],
    projections=[
        Projection("words", version=1, tables="", on=[add_row]),
        Projection("words", version=2, tables="", on=[add_row]),
        Projection("a b", version="1", tables="", on=[]),
    ],
    queries=[wait, add],
    genesis=["hello"],
)
"""
MISTAKES = [
    "too_few must accept (command: Command, past: Past).",
    "answer accepts Words, which is not a subclass of Command.",
    "add and add are both for the command Add: remove one of them.",
    "add_row accepts Add, which is not a subclass of Event.",
    "Projection 'a b' needs a name of letters, digits or _, and an integer version.",
    "wait is async: use a plain function.",
    "add accepts Add, which is not a subclass of Query.",
    "Genesis contains 'hello', which is not an event.",
    "Duplicate projection name 'words': rename one of them.",
]

TROUBLED = """\
import sqlite3
from dualbus import App, Command, Event, Projection, Query, Text

class Say(Command):
    word: Text

class Said(Event):
    word: str

class Run(Query):
    sql: str

class Reach(Query):
    sql: str

class Words(Query):
    pass

class Strange(Query):
    pass

def say(command: Say, past) -> list[Said]:
    yield Said(word=command.word)
    if command.word == "raise":
        raise RuntimeError("I do not like this word")

def write_down(event: Said, tables):
    tables.execute("INSERT INTO words VALUES (?)", (event.word,))

def run(query: Run, tables):
    return tables.all(query.sql)

def reach(query: Reach, tables):
    return tables.db.execute(query.sql).fetchall()

def words(query: Words, tables):
    return [row["word"] for row in tables.all("SELECT word FROM words ORDER BY rowid")]

def strange(query: Strange, tables):
    return {"a": object()}

app = App(
    commands=[say],
    projections=[Projection("words", 1, "CREATE TABLE words (word TEXT)", [write_down])],
    queries=[run, reach, words, strange],
)
"""
WRITES = [
    "INSERT INTO words VALUES ('x')",
    "UPDATE words SET word = 'x'",
    "DELETE FROM words",
    "DROP TABLE words",
    "CREATE TABLE more (word TEXT)",
    "CREATE TEMP TABLE more (word TEXT)",
    "CREATE TEMP VIEW more AS SELECT 1",
    "UPDATE dualbus_checkpoint SET position = 0",
    "ATTACH '{folder}/stolen.db' AS more",
    "VACUUM INTO '{folder}/stolen.db'",
    "PRAGMA journal_mode = delete",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "PRAGMA query_only = off",
    "BEGIN IMMEDIATE",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT here",
    "SELECT 1; DELETE FROM words",
    "SELECT load_extension('more')",
]


def refused(folder: Path, process: str, **environ: str) -> list[str]:
    """Start a process that must refuse to run; return the sentences it says, without its name."""
    with Cluster(folder, cwd=folder) as cluster:
        cluster.environ.update(environ)
        [started] = cluster.start(process)
        assert started.wait() == 78
        return [line.partition(f"{process}: ")[2] for line in started.stderr_text.splitlines()]


def test_an_application_with_mistakes_does_not_start_and_says_each_in_a_sentence(folder: Path) -> None:
    (folder / "mistaken.py").write_text(MISTAKEN)
    for process in ("commandbus", "projector", "querybus"):
        said = refused(folder, process, DUALBUS_APP="mistaken:app")
        assert sorted(said) == sorted(MISTAKES)
    assert not (folder / "data" / "log.db").exists()


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("app = 5", "Module 'odd' has no App in 'app': DUALBUS_APP is 'odd:app'."),
        ("", "Module 'odd' has no attribute 'app': DUALBUS_APP is 'odd:app'."),
        (None, "There is no module 'odd': DUALBUS_APP is 'odd:app'. Set it to your application."),
        ("import not_there", "Module 'odd' cannot be imported: ModuleNotFoundError: No module named 'not_there' ("),
        ("app = = 5", "Module 'odd' cannot be imported: SyntaxError: invalid syntax ("),
        (
            "from dualbus import App\napp = App(nothing=1)",
            "Module 'odd' cannot be imported: TypeError: App.__init__() got an unexpected",
        ),
        (
            "import json\nfrom dualbus import Event\nclass Did(Event):\n    n: int\nDid()",
            "Module 'odd' cannot be imported: ValidationError: Did (missing) (",
        ),
        (
            "from dualbus import Event\nclass Did(Event): n = 1",
            "Module 'odd' cannot be imported: PydanticUserError: A non-annotated attribute was detected: `n = 1`.",
        ),
        ("import json\njson.loads('')", "Module 'odd' cannot be imported: JSONDecodeError: Expecting value"),
        ("\n1 / 0", "Module 'odd' cannot be imported: ZeroDivisionError: division by zero ("),
    ],
)
def test_an_application_that_cannot_be_loaded_says_why_in_a_sentence(
    folder: Path, source: str | None, sentence: str
) -> None:
    if source is not None:
        (folder / "odd.py").write_text(source)
    [said] = refused(folder, "querybus", DUALBUS_APP="odd:app")
    assert said.startswith(sentence)
    lines = len((source or "").splitlines())
    assert said.endswith(f"{folder / 'odd.py'}, line {lines}).") == ("cannot be imported" in said)


def test_tables_that_are_not_sql_are_named_by_the_projector(folder: Path) -> None:
    source = TROUBLED.replace("CREATE TABLE words (word TEXT)", "CREATE TABEL words")
    (folder / "troubled.py").write_text(source)
    with Cluster(folder, "troubled:app", cwd=folder) as cluster:
        _, projector = cluster.start("commandbus", "projector")
        assert projector.wait() == 78
        assert "The tables of projection words are not valid SQL for SQLite" in projector.stderr_text
        assert "Traceback" not in projector.stderr_text


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("t")
    (folder / "troubled.py").write_text(TROUBLED)
    with Cluster(folder, "troubled:app", cwd=folder) as made:
        made.start()
        yield made
        assert all(process.running for process in made.processes)


def traceback_in(process: Process, error: str) -> None:
    """Wait until a process has shown the traceback of an error in the application."""
    pattern = rf'Traceback(.|\n)*troubled\.py", line \d+(.|\n)*{re.escape(error)}'
    until(lambda: re.search(pattern, process.stderr_text))


def test_a_decision_that_raises_answers_14_and_touches_nobody_else(troubled: Cluster) -> None:
    with RawClient(troubled.front) as client:
        # Given, in one batch, a command whose decision raises, after it has given an event, among others
        before: int = len(client.ask(query("Words"))[0]["data"])
        answers = client.ask(*(command("Say", word=word) for word in ("one", "raise", "two")), query("Words"))

        # Then it is answered so, nothing of it is written, and the others are as ever
        assert [answer.get("success") for answer in answers] == [True, None, True, None]
        assert (answers[1]["type"], answers[1]["code"]) == ("error", 14)
        assert "The decision on Say raised RuntimeError: nothing was written" in answers[1]["text"]
        assert "I do not like" not in answers[1]["text"]
        assert answers[3]["data"][before:] == ["one", "two"]
    traceback_in(troubled.process("commandbus"), "RuntimeError: I do not like this word")


@pytest.mark.parametrize(
    ("wrong", "text", "logged"),
    [
        (query("Run", sql="SELECT nonsense"), "The query Run raised SQLError", "no such column: nonsense"),
        (
            query("Strange"),
            "at dict['a']: A value of type object has no place in a message.",
            "The answer to Strange",
        ),
        (query("Run", sql="SELECT 9e999 AS number"), "[0]['number']: A number is not finite.", "The answer to Run"),
    ],
)
def test_a_query_that_raises_answers_14_and_touches_nobody_else(
    troubled: Cluster, wrong: Envelope, text: str, logged: str
) -> None:
    with RawClient(troubled.front) as client:
        one = query("Run", sql="SELECT 1 AS one")
        answers = client.ask(one, wrong, one)
        assert [answer.get("data") for answer in answers] == [[{"one": 1}], None, [{"one": 1}]]
        assert (answers[1]["type"], answers[1]["code"]) == ("error", 14)
        assert text in answers[1]["text"]
    until(lambda: logged in troubled.process("querybus").stderr_text)


@pytest.mark.parametrize("road", ["Run", "Reach"])
def test_a_query_cannot_write(troubled: Cluster, road: str) -> None:
    with RawClient(troubled.front) as client:
        # Given a word in the read model
        assert client.ask(command("Say", word="kept"))[0]["success"] is True
        [before] = client.ask(query("Words"))

        # When queries try to write it, or to get out of their snapshot or their file, by the handle and around it
        tries = [query(road, sql=sql.format(folder=troubled.folder)) for sql in WRITES]
        answers = client.ask(*tries)

        # Then each fails, and nothing is written anywhere
        for sql, answer in zip(WRITES, answers, strict=True):
            assert (sql, answer.get("code")) == (sql, 14)
        assert client.ask(query("Words"))[0]["data"] == before["data"]
        assert not (troubled.folder / "stolen.db").exists()
        assert client.ask(command("Say", word="more"), query("Words"))[1]["data"] == [*before["data"], "more"]


def test_settings_that_are_wrong_are_told_all_at_once(folder: Path) -> None:
    said = refused(
        folder,
        "gateway",
        DUALBUS_FRONT="tcp://0.0.0.0:5570",
        DUALBUS_BACK="http://127.0.0.1:5571",
        DUALBUS_EVENTS="tcp://example.org:5572",
        DUALBUS_PROGRESS="tcp://127.0.0.1:99999",
        DUALBUS_TIMEOUT_MS="soon",
        DUALBUS_APP="users",
        DUALBUS_COLOUR="red",
        DUALBUS_KEYS="off",
    )
    assert len(said) == 7
    assert said[0].startswith("DUALBUS_COLOUR is not a setting. The settings are DUALBUS_FRONT, DUALBUS_BACK, ")
    assert "DUALBUS_FRONT is 'tcp://0.0.0.0:5570', which other machines can reach" in said[1]
    assert said[2] == "DUALBUS_BACK is 'http://127.0.0.1:5571': use tcp://127.0.0.1:PORT or ipc://PATH."
    assert "DUALBUS_EVENTS is 'tcp://example.org:5572', which other machines can reach" in said[3]
    assert said[4] == "DUALBUS_PROGRESS is 'tcp://127.0.0.1:99999': use tcp://127.0.0.1:PORT or ipc://PATH."
    assert said[5] == "DUALBUS_TIMEOUT_MS is 'soon': use milliseconds, from 1 to 3600000."
    assert said[6] == "DUALBUS_APP is 'users': use module:name, such as users:app."


@pytest.mark.parametrize("process", ["gateway", "commandbus", "projector", "querybus"])
def test_no_process_uses_an_address_that_other_machines_can_reach(folder: Path, process: str) -> None:
    names = ("DUALBUS_FRONT", "DUALBUS_BACK", "DUALBUS_EVENTS", "DUALBUS_PROGRESS")
    said = refused(folder, process, DUALBUS_KEYS="off", **dict.fromkeys(names, "tcp://*:5570"))
    assert len(said) == 4
    assert not (folder / "data").exists()
