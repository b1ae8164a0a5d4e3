"""The table of an application: right as a whole, or every mistake in it said at once."""

import functools
import re
import sys
import typing
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import date, datetime
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, TypeVar
from uuid import UUID

import pytest
from pydantic import (
    AliasChoices,
    BaseModel,
    DirectoryPath,
    Field,
    FilePath,
    FutureDate,
    FutureDatetime,
    JsonValue,
    NewPath,
    PastDate,
    RootModel,
    Secret,
    SecretStr,
    computed_field,
    create_model,
    model_serializer,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypeAliasType, TypedDict

from dualbus import App, Command, Event, Page, Past, Private, Projection, Query, ReadOnlyTables, Recorded, Tables, Tag
from dualbus.application.event_json import shown, tags
from dualbus.application.loader import load
from dualbus.application.schemas import OF_MEMBER
from dualbus.runtime.errors import ConfigError
from dualbus.testing import answer, decide

THING = Tag("thing")


class Do(Command):
    pass


class Undo(Command):
    pass


class Ask(Query[int]):
    pass


class Done(Event):
    id: Annotated[str, THING]


class Undone(Event):
    mail: Annotated[str, Tag("mail"), Private] = ""


class Both(Command, Query):
    pass


def do(command: Do, past: Past) -> Iterator[Done]:
    yield Done(id="1")


def on_done(event: Done, tables: Tables) -> None:
    tables.execute("INSERT INTO things VALUES (?)", (event.id,))


def ask(query: Ask, tables: ReadOnlyTables) -> int:
    return 1


def projection(name: str = "things", version: Any = 1, **more: Any) -> Projection:
    return Projection(name, version, "CREATE TABLE things (id TEXT)", **({"on": [on_done]} | more))


def made(**parts: Any) -> App:
    """Make an application that is right but for the parts given."""
    right: dict[str, Any] = {"commands": [do], "projections": [projection()], "queries": [ask]}
    return App(**(right | parts))


def mistakes(**parts: Any) -> list[str]:
    """Return the sentences with which such an application is refused."""
    with pytest.raises(ConfigError) as fault:
        made(**parts)
    assert fault.value.exit_code == 78
    return fault.value.errors


def test_a_table_without_mistakes_knows_its_types() -> None:
    app = made(genesis=[Done(id="1")], events=[Undone])

    assert dict(app.command_types) == {"Do": Do}
    assert dict(app.query_types) == {"Ask": Ask}
    assert dict(app.event_types) == {kind.__name__: kind for kind in (Done, Undone)}
    assert app.private_tags == {"mail"}


def test_an_application_may_be_empty() -> None:
    assert dict(App().event_types) == {}


# A signature is a registration.


def with_clock(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function that has one argument more."""

    @functools.wraps(function)
    def decorated(message: Any, context: Any) -> Any:
        return function(message, context, "12:00")

    return decorated


def without_past(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function that has one argument less."""

    @functools.wraps(function)
    def decorated(command: Any, past: Any) -> Any:
        return function(command)

    return decorated


def passing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function of any arguments."""

    @functools.wraps(function)
    def decorated(*values: Any, **more: Any) -> Any:
        return function(*values, **more)

    return decorated


class Method:
    def decide(self, command: Do, past: Past) -> list[Done]:
        return []

    def __call__(self, command: Do, past: Past) -> list[Done]:
        return []


@with_clock
def at_noon(command: Do, past: Past, clock: str) -> Iterator[Done]:
    yield Done(id=clock)


@without_past
def forgetful(command: Do) -> Iterator[Done]:
    yield Done(id="1")


@passing
def passed(command: Do, past: Past) -> Iterator[Done]:
    yield Done(id="1")


def with_default(command: Do, past: Past, extra: int = 1) -> Iterator[Done]:
    yield Done(id="1")


def with_extra(extra: int, command: Do, past: Past) -> Iterator[Done]:
    yield Done(id="1")


def of_both(command: Do | Undo, past: Past) -> Iterator[Done | Undone]:
    yield Done(id="1")


def in_text(command: "Do", past: "Nowhere") -> "Iterator[Done]":  # type: ignore[name-defined]  # noqa: F821
    yield Done(id="1")


def without_events(command: Do, past: Past) -> None:
    return None


@pytest.mark.parametrize(
    "function",
    [
        at_noon,
        forgetful,
        passed,
        with_default,
        functools.partial(with_extra, 1),
        Method().decide,
        Method(),
        in_text,
        without_events,
        of_both,
    ],
    ids=lambda function: type(function).__name__ if not hasattr(function, "__name__") else function.__name__,
)
def test_a_function_is_for_the_message_of_its_first_parameter(function: Any) -> None:
    assert made(commands=[function]).decisions[Do].function is function


def in_a_tuple(command: Do, past: Past) -> tuple[Done, Undone | None]:
    return Done(id="1"), Undone()


def in_a_tuple_of_any_length(command: Do, past: Past) -> tuple[Done, ...]:
    return (Done(id="1"),)


def in_a_generator(command: Do, past: Past) -> Generator[Done, str, int]:
    yield Done(id="1")
    return 1


def in_no_tuple(command: Do, past: Past) -> tuple[()]:
    return ()


@pytest.mark.parametrize(
    ("function", "events"),
    [
        (in_a_tuple, ["Done", "Undone"]),
        (in_a_tuple_of_any_length, ["Done"]),
        (in_a_generator, ["Done"]),
        (in_no_tuple, []),
    ],
)
def test_a_decision_may_name_its_events_in_each_type_of_items(function: Any, events: list[str]) -> None:
    app = made(commands=[function])

    assert [kind.__name__ for kind in app.decisions[Do].events] == events
    assert [type(event).__name__ for event in decide(app, when=Do())] == events


def test_the_events_of_a_decision_are_those_of_its_return_annotation() -> None:
    app = made(commands=[of_both], projections=[])

    assert app.decisions[Do] == app.decisions[Undo]
    assert {kind.__name__ for kind in app.decisions[Do].events} == set(app.event_types) == {"Done", "Undone"}


class Step(Event):
    pass


class FirstStep(Step):
    pass


class SecondStep(Step):
    pass


def every_event(event: Event, tables: Tables) -> None: ...


def every_step(event: Step, tables: Tables) -> None: ...


def two_events(event: Done | FirstStep, tables: Tables, recorded: Recorded) -> None: ...


def test_a_projection_on_a_base_class_applies_the_events_derived_from_it() -> None:
    app = made(projections=[projection(on=[every_event, every_step, two_events])])

    functions = {kind.__name__: [one.function for one in found] for kind, found in app.subscribers.items()}
    assert functions == {
        "Done": [every_event, two_events],
        "Step": [every_event, every_step],
        "FirstStep": [every_event, every_step, two_events],
        "SecondStep": [every_event, every_step],
    }
    assert [one.wants_recorded for one in app.subscribers[FirstStep]] == [False, False, True]


# Mistakes.


def takes_one(command: Do) -> None: ...


def takes_three(command: Do, past: Past, more: int) -> None: ...


def untyped(command, past) -> None: ...  # type: ignore[no-untyped-def]


def cannot_be_found(command: "Nowhere", past: Past) -> None: ...  # type: ignore[name-defined]  # noqa: F821


async def is_async(command: Do, past: Past) -> None: ...


@passing
async def is_async_inside(command: Do, past: Past) -> None: ...


def any_event(command: Do, past: Past) -> Iterator[Event]:
    yield Done(id="1")


def no_event(command: Do, past: Past) -> Iterator[str]:
    yield "done"


def returns_one(command: Do, past: Past) -> Done:
    return Done(id="1")


def says_nothing(command: Do, past: Past):  # type: ignore[no-untyped-def]
    yield Done(id="1")


SOME = TypeVar("SOME", bound=Event)
NO_CLASS = (
    " in its return annotation, which is not a class: name classes, such as -> Iterator[UserCreated | UserRenamed]."
)


def of_a_variable(command: Do, past: Past) -> Iterator[SOME]:
    yield Done(id="1")  # type: ignore[misc]


def of_lists(command: Do, past: Past) -> Iterator[list[Done]]:
    yield [Done(id="1")]


def of_nothing(command: Do, past: Past) -> typing.Iterator:  # type: ignore[type-arg]
    yield Done(id="1")


def of_a_tuple(command: Do, past: Past) -> tuple[Done, str]:
    return Done(id="1"), "done"


def any_command(command: Command, past: Past) -> None: ...


def many_commands(command: list[Do], past: Past) -> None: ...


def a_class(command: type[Do], past: Past) -> None: ...


@functools.lru_cache
def cached(command: Do, past: Past) -> None: ...


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (
            any_command,
            "any_command accepts any Command: name its message: def any_command(command: Create…, past: Past).",
        ),
        (many_commands, "many_commands accepts list[tests.test_app.Do], which is not a subclass of Command."),
        (a_class, "a_class accepts type[tests.test_app.Do], which is not a subclass of Command."),
        (cached, "cached returns earlier results again, from the cache of functools: remove lru_cache or cache."),
        (of_a_variable, f"of_a_variable names ~SOME{NO_CLASS}"),
        (of_lists, f"of_lists names list[tests.test_app.Done]{NO_CLASS}"),
        (of_nothing, f"of_nothing names typing.Iterator{NO_CLASS}"),
        (of_a_tuple, "of_a_tuple returns str, which is not an event."),
        (takes_one, "takes_one must accept (command: Command, past: Past)."),
        (takes_three, "takes_three must accept (command: Command, past: Past)."),
        (untyped, "untyped needs a type for its first parameter: def untyped(command: Create…, past: Past)."),
        (ask, "ask accepts Ask, which is not a subclass of Command."),
        (is_async, "is_async is async: use a plain function."),
        (is_async_inside, "is_async_inside is async: use a plain function."),
        (None, "None is not a function."),
        (Do, f"{Do!r} is not a function."),
        (
            any_event,
            "any_event may return any Event: name its events, such as -> Iterator[UserCreated | UserRenamed].",
        ),
        (no_event, "no_event returns str, which is not an event."),
        (
            returns_one,
            "returns_one is annotated to return Done: yield the events, and annotate the decision with "
            "-> Iterator[Done].",
        ),
        (says_nothing, "says_nothing needs a return annotation that names its events: -> Iterator[UserCreated]."),
        (
            cannot_be_found,
            "cannot_be_found has an annotation that cannot be resolved (name 'Nowhere' is not defined): import the "
            "messages of a function at run time, not only under TYPE_CHECKING.",
        ),
    ],
)
def test_a_function_that_cannot_decide_is_named(function: Any, sentence: str) -> None:
    assert mistakes(commands=[function]) == [sentence]


def yields_rows(event: Done, tables: Tables) -> Iterator[int]:
    yield 1


def yields_answers(query: Ask, tables: ReadOnlyTables) -> Iterator[int]:
    yield 1


def answers_text(query: Ask, tables: ReadOnlyTables) -> str:
    return "1"


def decides_both(command: Both, past: Past) -> None: ...


def projects_command(event: Do, tables: Tables) -> None: ...


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"commands": {Do: do}}, "Commands must be a list: the signature of a function names its message."),
        ({"commands": do}, "Commands must be a list: the signature of a function names its message."),
        ({"commands": [do, in_text]}, "do and in_text are both for the command Do: remove one of them."),
        ({"queries": [do]}, "do accepts Do, which is not a subclass of Query."),
        ({"queries": [yields_answers]}, "yields_answers is a generator: return the whole answer."),
        ({"queries": [answers_text]}, "answers_text returns str, but Ask is a Query[int]."),
        ({"genesis": Done(id="1")}, "Genesis must be a list: write genesis=[…]."),
        ({"genesis": [Do()]}, "Genesis contains Do(), which is not an event."),
        ({"genesis": [Done]}, f"Genesis contains {Done!r}, which is not an event."),
        ({"events": [Do]}, "Events contains Do, which is not an event."),
        ({"upcasts": [5]}, "Upcasts must be a dictionary: an Upcast by old type."),
        ({"events": [Event]}, "Events contains Event, which is not an event."),
        (
            {"projections": [projection(on=[projects_command])]},
            "projects_command accepts Do, which is not a subclass of Event.",
        ),
        (
            {"projections": [projection(on=[yields_rows])]},
            "yields_rows is a generator, which would change nothing: do not yield.",
        ),
        ({"projections": [projection(on={Done: on_done})]}, "On of projection things must be a list"),
        ({"projections": [projection(on=[takes_one])]}, "takes_one must accept (event: Event, tables: Tables)."),
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
        ({"commands": [decides_both]}, "Both is a subclass of Command and Query: choose one of them."),
    ],
)
def test_a_mistake_is_said_in_a_sentence(parts: dict[str, Any], sentence: str) -> None:
    found = mistakes(**parts)

    assert len(found) == 1
    assert found[0].startswith(sentence)


def test_two_types_of_one_name_are_refused() -> None:
    other = type("Done", (Event,), {"__module__": __name__})

    assert mistakes(events=[other]) == ["Duplicate message type 'Done': rename one of them."]


# Classes that would lose, show or hide a value.


class Person(BaseModel):
    email: Annotated[str, Private] = ""


class Colour(IntEnum):
    RED = 1


class Shade(Enum):
    DARK = "dark"


class Level(StrEnum):
    LOW = "low"


Address = Annotated[str, Private]
T = TypeVar("T")


@dataclass
class Plain:
    email: Address


@pydantic_dataclass
class Checked:
    email: Annotated[str, THING] = ""
    secret: SecretStr = SecretStr("")


class Typed(TypedDict):
    email: NotRequired[list[Address]]


class Paired(NamedTuple):
    email: Address
    secret: Secret[int]


class Mails(RootModel[list[Address]]):
    pass


class Boxed(BaseModel, Generic[T]):
    content: T


@dataclass
class Wrapped(Generic[T]):
    content: T
    plain: list[Plain] = dataclass_field(default_factory=list)


Named = TypeAliasType("Named", Address)
Distinct = NewType("Distinct", Person)


class Trip(BaseModel):
    at: FutureDatetime | None = None


@dataclass
class Stored:
    path: FilePath


@dataclass
class Half:
    number: int
    twice: int = dataclass_field(init=False, default=0)


class Labelled(BaseModel):
    @computed_field  # type: ignore[prop-decorator]
    @property
    def key(self) -> Annotated[str, Private] | None:
        return None


class Counted(Event):
    @computed_field  # type: ignore[prop-decorator]
    @property
    def key(self) -> Annotated[str, THING]:
        return "1"


def event(annotation: Any, default: Any = ..., **more: Any) -> type[Event]:
    """Return an event with a field of this type."""
    return create_model("Kept", __base__=Event, field=(annotation, default), **more)


ON_THE_WHOLE = (
    "Kept.field: put Tag and Private on the whole type, such as Annotated[str | None, Private]; on a part of a type "
    "they have no effect."
)
TAG_VALUES = "Kept.field: a tag's value is a str, an int, a UUID, a date, an enum of text, or a list of these."
INSIDE = "Person.email: Tag and Private have no effect inside Kept: mark the field of the event."


def inside(place: str) -> str:
    return INSIDE.replace("Person.email", place)


LATER = (
    "Kept.field is not in the future when Kept is read later: use date or datetime, and check the value in the "
    "command."
)
ON_DISK = (
    "Kept.field depends on the files of the machine that reads Kept: use Path or str, and check the file in the "
    "command."
)
SECRET = "is a secret of pydantic, stored as ***: use Annotated[str, Private]."


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (event(Annotated[str, Private] | None), ON_THE_WHOLE),
        (event(list[Annotated[str, THING]]), ON_THE_WHOLE),
        (event(Annotated[float, THING]), TAG_VALUES),
        (event(Annotated[bool, THING]), TAG_VALUES),
        (event(Annotated[datetime, THING]), TAG_VALUES),
        (event(Annotated[Colour, THING]), TAG_VALUES),
        (event(Annotated[dict[str, str], THING]), TAG_VALUES),
        (event(Annotated[list[list[str]], THING]), TAG_VALUES),
        (event(Annotated[tuple[set[int] | None, ...] | None, THING]), TAG_VALUES),
        (event(Person), INSIDE),
        (event(dict[str, list[Person]] | None), INSIDE),
        (event(Plain), inside("Plain.email")),
        (event(list[Typed]), inside("Typed.email")),
        (event(Mails), inside("Mails.root")),
        (event(Boxed[Person]), INSIDE),
        (event(Boxed[Address]), inside("Boxed[Annotated[str, Private]].content")),
        (event(Wrapped[int]), inside("Plain.email")),
        (event(Named), ON_THE_WHOLE),
        (event(list[Named]), ON_THE_WHOLE),
        (event(Distinct), INSIDE),
        (
            event(SecretStr),
            "Kept.field is a secret of pydantic, stored as ***: use Annotated[str, Private].",
        ),
        (
            event(str, Field(exclude=True)),
            "Kept.field is excluded from JSON, so Kept would lose it in the log: remove exclude.",
        ),
        (event(FutureDate), LATER),
        (event(dict[str, list[FutureDatetime]] | None), LATER),
        (event(list[Trip]), LATER.replace("Kept.field", "Trip.at")),
        (event(FilePath), ON_DISK),
        (event(NewPath | None, None), ON_DISK),
        (event(tuple[DirectoryPath, ...]), ON_DISK),
        (event(Stored), ON_DISK.replace("Kept.field", "Stored.path")),
        (event(Literal[Shade.DARK]), f"Kept.field {OF_MEMBER}"),
        (event(dict[str, list[Literal["a", Shade.DARK]]] | None), f"Kept.field {OF_MEMBER}"),
        (event(Half), "Half.twice has init=False, so Kept could not be read from the log: make it a property."),
        (Counted, "Counted.key: Tag and Private have no effect on a computed field: make it a field."),
        (event(Labelled), "Labelled.key: Tag and Private have no effect on a computed field: make it a field."),
        (
            event("Nowhere"),
            "Kept has a field of a type that cannot be resolved: import the type at run time, not only under",
        ),
    ],
)
def test_a_class_that_would_not_do_what_its_author_expects_is_refused(kind: type[Event], sentence: str) -> None:
    [found] = mistakes(events=[kind])

    assert found.startswith(sentence)


@pytest.mark.parametrize("annotation", [Checked, tuple[int, Checked] | None])
def test_all_mistakes_of_a_dataclass_in_an_event_are_said(annotation: Any) -> None:
    assert mistakes(events=[event(annotation)]) == [inside("Checked.email"), f"Checked.secret {SECRET}"]


@pytest.mark.parametrize(
    ("annotation", "place"),
    [(Person, "Person.email"), (Annotated[str, Private] | None, "Sent.field"), (list[Plain], "Plain.email")],
)
def test_a_private_field_inside_a_command_is_refused(annotation: Any, place: str) -> None:
    kind = create_model("Sent", __base__=Command, field=(annotation, ...))

    def send(command: Any, past: Past) -> list[Done]:
        return []

    send.__annotations__["command"] = kind
    assert mistakes(commands=[do, send]) == [
        f"{place}: Private has no effect inside Sent: mark the whole field of Sent."
    ]


class Renamed(Event):
    id: str
    email: Annotated[str, Private] = ""

    @computed_field
    def domain(self) -> str:
        return self.email

    @model_serializer
    def other_names(self) -> dict[str, str]:
        return {"id": self.id, "e": self.email}


def test_a_private_field_is_shown_under_no_other_name() -> None:
    [sentence] = mistakes(events=[Renamed])

    assert sentence.startswith("Renamed has Private fields, which replies omit by name, and a model_serializer")
    assert "secret" not in repr(Renamed(id="1", email="secret"))


class Booking(Command):
    at: FutureDatetime
    scan: FilePath
    half: Half


class Stamped(Event):
    at: PastDate
    path: Path


def test_a_command_may_depend_on_the_moment_and_on_the_disk() -> None:
    def book(command: Booking, past: Past) -> list[Stamped]:
        return []

    assert made(commands=[book])


def test_a_type_that_names_itself_is_searched_once() -> None:
    assert made(events=[event(JsonValue)])


def test_all_mistakes_of_a_tuple_in_an_event_are_said() -> None:
    assert mistakes(events=[event(Paired)]) == [inside("Paired.email"), f"Paired.secret {SECRET}"]


@pytest.mark.filterwarnings("ignore:Field name")
def test_a_field_that_would_hide_what_the_base_class_has_is_refused() -> None:
    kind = create_model("Kept", __base__=Event, problems=(str, ""))

    assert mistakes(events=[kind]) == ["Kept.problems: this name is reserved: rename the field."]


@pytest.mark.parametrize(
    ("name", "field"),
    [("timeout_ms", Field()), ("wait", Field(validation_alias=AliasChoices("deadline", "timeout_ms")))],
)
def test_a_query_with_a_field_that_http_reads_as_its_deadline_is_refused(name: str, field: Any) -> None:
    fields: dict[str, Any] = {name: (int, field)}
    kind = create_model("Wait", __base__=Query[int], **fields)

    def wait(query: Any, tables: ReadOnlyTables) -> int:
        return 1

    wait.__annotations__["query"] = kind
    assert mistakes(queries=[wait]) == [
        f"Wait.{name}: timeout_ms is the deadline of a query over HTTP: rename the field."
    ]


@pytest.mark.parametrize("name", ["tags", "data", "fields", "shown", "tag_fields", "private_fields", "parse"])
def test_a_field_may_have_a_name_of_everyday_use(name: str) -> None:
    fields: dict[str, Any] = {name: (Annotated[str, Private, Tag("named")], ...)}
    kind = create_model("Named", __base__=Event, **fields)
    named = kind(**{name: "secret"})

    assert shown(named) == {"type": "Named", "payload": {}}
    assert tags(named) == [Tag("named")("secret")]
    assert "secret" not in repr(named)
    assert made(events=[kind])


def test_a_tag_is_private_everywhere_or_nowhere() -> None:
    assert mistakes(events=[Undone, event(Annotated[str, Tag("mail")])]) == [
        "Tag 'mail' is on a private field and on a public field: mark both as Private, or neither."
    ]


@pytest.mark.parametrize(
    ("annotation", "value"),
    [(Literal[Level.LOW], Level.LOW), (Literal[Colour.RED], Colour.RED), (Shade, Shade.DARK)],
)
def test_members_of_enums_are_read_back(annotation: Any, value: Any) -> None:
    kind = event(annotation)
    assert made(events=[kind]).event_types["Kept"] is kind
    assert shown(kind(**{"field": value}))["payload"] == {"field": value.value}


class AskLater(Query["Later"]):
    pass


class AskNode(Query["list[Node] | None"]):
    pass


class Later(BaseModel):
    number: int


class Node(BaseModel):
    number: int


def ask_later(query: AskLater, tables: ReadOnlyTables) -> Later:
    return Later(number=1)


def ask_node(query: AskNode, tables: ReadOnlyTables) -> list[Node]:
    return [Node(number=2)]


Endless = TypeAliasType("Endless", "dict[str, Endless] | int")


class Titled(TypedDict):
    title: str


class Dated(Titled):
    day: date


def answering(declared: Any, returned: Any) -> Any:
    """Return a query function with a return annotation, for a query with an answer of the declared type."""

    class AskTyped(Query[declared]):
        pass

    def ask_typed(query: AskTyped, tables: ReadOnlyTables) -> Any: ...

    ask_typed.__annotations__ |= {"query": AskTyped, "return": returned}
    return ask_typed


@pytest.mark.parametrize(
    ("declared", "returned"),
    [
        (typing.List[str], list[str]),  # noqa: UP006 - as it is written in older code
        (typing.Dict[str, Any], dict[str, int]),  # noqa: UP006
        (typing.Tuple, tuple[int, str]),  # noqa: UP006
        (typing.Pattern, re.Pattern[str]),
        (int | None, int),
        (Sequence[int], list[int]),
        (float, int),
        (BaseModel, Later),
        (Page[Titled], Page[Dated]),
        (Annotated[int, Field(ge=0)], int),
        (TypeVar("T"), int),
        (Endless, Endless),
        (None, None),
        (int, typing.NoReturn),
        ("int", int),
    ],
    ids=str,
)
def test_a_query_function_may_return_a_narrower_type_than_its_query(declared: Any, returned: Any) -> None:
    assert made(queries=[answering(declared, returned)]).answers


@pytest.mark.parametrize(
    ("declared", "returned"),
    [
        (int, int | None),
        (list[int], list[str]),
        (list[int], Sequence[int]),
        (Page[Later], Page[Titled]),
        (Dated, Titled),
        (Titled, dict[str, str]),
        (Later, BaseModel),
        (None, int),
        (str, None),
    ],
    ids=str,
)
def test_a_query_function_may_not_return_another_type_than_its_query(declared: Any, returned: Any) -> None:
    [mistake] = mistakes(queries=[answering(declared, returned)])
    assert re.match(r"ask_typed returns .*, but AskTyped is a Query\[", mistake)


class Shaded(BaseModel):
    shades: list[Literal[Shade.DARK]]


class DoShaded(Command):
    shaded: Shaded


class AskShade(Query[Shaded | None]):
    pass


def do_shaded(command: DoShaded, past: Past) -> Iterator[Done]:
    yield Done(id="1")


def ask_shade(query: AskShade, tables: ReadOnlyTables) -> Any:
    return None


def test_no_message_and_no_answer_has_a_member_that_is_not_read_back() -> None:
    assert mistakes(commands=[do_shaded], queries=[ask_shade]) == [
        f"{place} {OF_MEMBER}" for place in ("The answer to AskShade", "Shaded.shades")
    ]


def test_a_query_may_name_the_class_of_its_answer_by_a_text() -> None:
    app = made(queries=[ask_later, ask_node])

    assert answer(app, when=AskLater()) == Later(number=1)
    assert answer(app, when=AskNode()) == [Node(number=2)]
    assert mistakes(queries=[answering("Later", Node)]) == ["ask_typed returns Node, but AskTyped is a Query[Later]."]


@pytest.mark.parametrize("text", ["Missing", "list[Missing] | None"])
def test_the_class_of_an_answer_is_defined_before_the_query(text: str) -> None:
    assert mistakes(queries=[answering(text, Later)]) == [
        "AskTyped is a Query of a class that is not defined before it: define the class of its answer first."
    ]


def test_a_function_in_place_of_a_projection_is_refused() -> None:
    [found] = mistakes(projections=[on_done])
    assert found.startswith("Projections contains <function on_done") and found.endswith("is not a Projection.")


def test_all_mistakes_are_said_at_once() -> None:
    found = mistakes(
        commands=[ask, takes_one],
        projections=[projection(version=None, on=[projects_command]), projection()],
        queries=[None],
        genesis=[5],
    )

    assert found == [
        "ask accepts Ask, which is not a subclass of Command.",
        "takes_one must accept (command: Command, past: Past).",
        "Projection 'things' needs a name of letters, digits or _, and an integer version.",
        "projects_command accepts Do, which is not a subclass of Event.",
        "Duplicate projection name 'things': rename one of them.",
        "None is not a function.",
        "Genesis contains 5, which is not an event.",
    ]


# Tags.


class Kind(StrEnum):
    A = "a"


class OldKind(str, Enum):  # noqa: UP042 - as it is written in older code
    A = "a"


ID = UUID(int=7)


@pytest.mark.parametrize(
    ("annotation", "value", "texts"),
    [
        (str, "ann", ["ann"]),
        (int, 7, ["7"]),
        (UUID, ID, [str(ID)]),
        (date, date(2026, 1, 31), ["2026-01-31"]),
        (Kind, Kind.A, ["a"]),
        (OldKind, OldKind.A, ["a"]),
        (list[str], ["ann", "bob"], ["ann", "bob"]),
        (frozenset[int], frozenset([1]), ["1"]),
        (str | None, None, []),
        (list[UUID | None], [ID, None], [str(ID)]),
    ],
)
def test_a_value_and_the_field_of_an_event_have_the_same_tag(annotation: Any, value: Any, texts: list[str]) -> None:
    kept: Any = event(Annotated[annotation, THING])

    assert made(events=[kept])
    assert tags(kept(field=value)) == [("thing", text) for text in texts]
    if value is not None and not isinstance(value, list | frozenset):
        assert THING(value) == ("thing", texts[0])


@pytest.mark.parametrize("value", [None, 1.5, True, datetime(2026, 1, 1), ["a"], Colour.RED, b"a"])
def test_a_tag_of_another_value_is_refused(value: Any) -> None:
    if value is Colour.RED:
        assert THING(value) == ("thing", "1")
    else:
        with pytest.raises(TypeError, match="A tag's value is"):
            THING(value)


@pytest.mark.parametrize("name", ["", "a b", "a:b"])
def test_a_tag_needs_a_name(name: str) -> None:
    with pytest.raises(ConfigError, match="needs a name of letters"):
        Tag(name)


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
    module.write_text("from dualbus import App\nmine = App()\n")

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
        ("from dualbus import App\napp = App(nothing=1)\n", "TypeError: App.__init__() got an unexpected"),
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
    module.write_text("from dualbus import App\napp = App(commands=[1], queries=[3])\n")

    with pytest.raises(ConfigError) as fault:
        load("shop:app")

    assert fault.value.errors == [
        "1 is not a function.",
        "3 is not a function.",
    ]
