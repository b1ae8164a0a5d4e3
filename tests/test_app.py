"""The table of an application: right as a whole, or every mistake in it said at once."""

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest

from dualbus import App, Command, Event, Past, Private, Projection, Query, ReadOnlyTables, Tables, Tag
from dualbus.application.loader import load
from dualbus.runtime.errors import ConfigError


class Do(Command):
    pass


class Ask(Query):
    pass


class Done(Event):
    id: Annotated[str, Tag("thing")]


class Undone(Event):
    mail: Annotated[str, Tag("mail"), Private] = ""


class Both(Command, Query):
    pass


def do(command: Do, past: Past) -> Iterator[Event]:
    yield Done(id="1")


def on_done(event: Done, tables: Tables) -> None:
    tables.execute("INSERT INTO things VALUES (?)", (event.id,))


def ask(query: Ask, tables: ReadOnlyTables) -> None:
    return None


def projection(name: str = "things", version: Any = 1, **more: Any) -> Projection:
    return Projection(name, version, "CREATE TABLE things (id TEXT)", **({"on": {Done: on_done}} | more))


def made(**parts: Any) -> App:
    """Make an application that is right but for the parts given."""
    return App(**({"commands": {Do: do}, "projections": [projection()], "queries": {Ask: ask}} | parts))


def mistakes(**parts: Any) -> list[str]:
    """Return the sentences with which such an application is refused."""
    with pytest.raises(ConfigError) as fault:
        made(**parts)
    assert fault.value.exit_code == 78
    return fault.value.errors


def test_a_table_without_mistakes_knows_its_types() -> None:
    app = made(genesis=[Done(id="1")])

    assert dict(app.command_types) == {"Do": Do}
    assert dict(app.query_types) == {"Ask": Ask}
    assert app.event_types["Done"] is Done
    assert app.event_types["Undone"] is Undone  # no projection is on it; it stands beside the others
    assert app.private_tags == {"mail"}


def test_an_application_may_be_empty() -> None:
    assert dict(App(commands={}, projections=[], queries={}).event_types) == {}


@pytest.mark.parametrize(
    "function",
    [
        lambda command, past: None,
        functools.partial(lambda extra, command, past: None, 1),
        type("Callable", (), {"__call__": lambda self, command, past: None})(),
        lambda *values: None,
        lambda command, past, extra=1: None,
    ],
    ids=["lambda", "partial", "object", "any values", "default"],
)
def test_anything_that_takes_two_arguments_may_decide(function: Any) -> None:
    assert made(commands={Do: function}).commands[Do] is function


# Mistakes.


def takes_one(command: Do) -> None: ...


def takes_three(command: Do, past: Past, more: int) -> None: ...


def wants_another(command: Ask, past: Past) -> None: ...


def cannot_be_found(command: "Nowhere", past: Past) -> None: ...  # type: ignore[name-defined]  # noqa: F821


async def is_async(command: Do, past: Past) -> None: ...


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (takes_one, "takes_one must accept (command: Do, past: Past)."),
        (takes_three, "takes_three must accept (command: Do, past: Past)."),
        (wants_another, "wants_another accepts Ask, but is the handler of Do."),
        (is_async, "is_async, the handler of Do, is async: use a plain function."),
        (None, "The handler of Do is None, which is not a function."),
        ("do", "The handler of Do is 'do', which is not a function."),
    ],
)
def test_a_function_that_cannot_answer_is_named(function: Any, sentence: str) -> None:
    assert mistakes(commands={Do: function}) == [sentence]


def test_an_annotation_that_cannot_be_found_is_named() -> None:
    [sentence] = mistakes(commands={Do: cannot_be_found})

    assert sentence.startswith("cannot_be_found has an annotation that cannot be resolved: name 'Nowhere'")


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"commands": {Ask: ask}}, "Ask is in commands, but is not a subclass of Command."),
        ({"commands": {Done: do}}, "Done is in commands, but is not a subclass of Command."),
        ({"commands": {"Do": do}}, "'Do' is in commands, but is not a subclass of Command."),
        ({"queries": {Do: do}}, "Do is in queries, but is not a subclass of Query."),
        ({"genesis": [Do()]}, "Genesis contains Do(), which is not an event."),
        ({"genesis": [Done]}, f"Genesis contains {Done!r}, which is not an event."),
        (
            {"projections": [projection(on={Do: on_done})]},
            "Projection things handles Do, which is not a subclass of Event.",
        ),
        (
            {"projections": [projection(on={"Done": on_done})]},
            "Projection things handles 'Done', which is not a subclass of Event.",
        ),
        ({"projections": [projection(on={Done: takes_one})]}, "takes_one must accept (event: Done, tables: Tables)."),
        ({"projections": [projection(), projection()]}, "Duplicate projection name 'things'"),
        (
            {"projections": [projection(name="no, really")]},
            "Projection 'no, really' needs a name of letters, digits or _",
        ),
        (
            {"projections": [projection(version="1")]},
            "Projection 'things' needs a name of letters, digits or _, and an integer",
        ),
        (
            {"projections": [projection(version=True)]},
            "Projection 'things' needs a name of letters, digits or _, and an integer",
        ),
        ({"commands": {Both: lambda a, b: None}}, "Both is a subclass of Command and Query: choose one of them."),
    ],
)
def test_a_mistake_is_said_in_a_sentence(parts: dict[str, Any], sentence: str) -> None:
    found = mistakes(**parts)

    assert len(found) == 1
    assert found[0].startswith(sentence)


def test_a_command_that_is_an_event_too_is_refused() -> None:
    hybrid = type("Hybrid", (Command, Event), {"__module__": __name__})

    assert mistakes(commands={hybrid: lambda a, b: None}) == [
        "Hybrid is a subclass of Command and Event: choose one of them."
    ]


def test_two_types_of_one_name_are_refused() -> None:
    other = type("Do", (Command,), {"__module__": __name__})

    assert mistakes(commands={Do: do, other: lambda a, b: None}) == [
        "Duplicate message type 'Do': rename one of them."
    ]


def test_a_tag_is_private_everywhere_or_nowhere() -> None:
    shown = type(
        "Shown", (Event,), {"__annotations__": {"mail": Annotated[str, Tag("mail")]}, "__module__": __name__}
    )

    assert mistakes(projections=[projection(on={shown: lambda a, b: None})]) == [
        "Tag 'mail' is on a private field and on a public field: mark both as Private, or neither."
    ]


def test_all_mistakes_are_said_at_once() -> None:
    found = mistakes(
        commands={Ask: ask, Do: takes_one},
        projections=[projection(version=None, on={Do: do}), projection()],
        queries={Ask: None},
        genesis=[5],
    )

    assert found == [
        "Ask is in commands, but is not a subclass of Command.",
        "takes_one must accept (command: Do, past: Past).",
        "The handler of Ask is None, which is not a function.",
        "Projection 'things' needs a name of letters, digits or _, and an integer version.",
        "Projection things handles Do, which is not a subclass of Event.",
        "Genesis contains 5, which is not an event.",
        "Duplicate projection name 'things': rename one of them.",
    ]


# Loading.


@pytest.fixture
def module(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of a module that can be imported as `shop`."""
    monkeypatch.syspath_prepend(str(folder))
    yield folder / "shop.py"
    sys.modules.pop("shop", None)


def refused(name: str) -> str:
    """Return the sentence with which an application of that name is refused."""
    with pytest.raises(ConfigError) as fault:
        load(name)
    [sentence] = fault.value.errors
    return sentence


def test_an_application_is_loaded_by_its_name(module: Path) -> None:
    module.write_text("from dualbus import App\nmine = App(commands={}, projections=[], queries={})\n")

    assert isinstance(load("shop:mine"), App)


def test_each_failure_to_load_says_which_half_was_wrong(module: Path) -> None:
    module.write_text("app = 5\n")

    assert (
        refused("nowhere:app")
        == "There is no module 'nowhere': DUALBUS_APP is 'nowhere:app'. Set it to your application."
    )
    assert (
        refused("shop.more:app")
        == "There is no module 'shop.more': DUALBUS_APP is 'shop.more:app'. Set it to your application."
    )
    assert refused("shop:other") == "Module 'shop' has no attribute 'other': DUALBUS_APP is 'shop:other'."
    assert refused("shop:app") == "Module 'shop' has no App in 'app': DUALBUS_APP is 'shop:app'."


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("import nowhere_at_all\n", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("def (:\n", "SyntaxError: "),
        ("\n1 / 0\n", "ZeroDivisionError: division by zero"),
        ("from dualbus import Nothing\n", "ImportError: cannot import name 'Nothing'"),
        ("from dualbus import App\napp = App(commands=5, projections=[], queries={})\n", "AttributeError: 'int'"),
    ],
)
def test_an_application_that_cannot_be_imported_is_said_to_be_the_one_at_fault(
    module: Path, text: str, sentence: str
) -> None:
    module.write_text(text)

    said = refused("shop:app")

    assert said.startswith("Module 'shop' cannot be imported: ")
    assert sentence in said
    assert "shop.py" in said


def test_the_mistakes_of_a_loaded_application_are_its_own_sentences(module: Path) -> None:
    module.write_text("from dualbus import App\napp = App(commands={1: 2}, projections=[], queries={3: 4})\n")

    with pytest.raises(ConfigError) as fault:
        load("shop:app")

    assert fault.value.errors == [
        "1 is in commands, but is not a subclass of Command.",
        "3 is in queries, but is not a subclass of Query.",
    ]
