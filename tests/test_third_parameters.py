"""The third parameter of a projection is for Recorded, that of an effect for the value of the lifespan."""

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from dualbus import (
    App,
    Attempt,
    Command,
    Event,
    Past,
    Projection,
    Query,
    Reaction,
    ReadOnlyTables,
    Recorded,
    Tables,
    Tag,
)
from dualbus.runtime.errors import ConfigError
from dualbus.testing import InProcess, project

if TYPE_CHECKING:
    import dualbus as bus


class Add(Command):
    name: str


class Added(Event):
    name: Annotated[str, Tag("name")]


def add(command: Add, past: Past) -> Iterator[Added]:
    yield Added(name=command.name)


def passing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function of any arguments."""

    @functools.wraps(function)
    def decorated(*values: Any, **more: Any) -> Any:
        return function(*values, **more)

    return decorated


def adding(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function that has one argument more."""

    @functools.wraps(function)
    def decorated(*values: Any) -> Any:
        return function(*values, "added")

    return decorated


def adding_before(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function that has one argument more, before the tables."""

    @functools.wraps(function)
    def decorated(*values: Any) -> Any:
        return function(values[0], "noon", *values[1:])

    return decorated


def write(tables: Tables, value: Any) -> None:
    tables.execute("INSERT INTO seen VALUES (?)", (value,))


@passing
def decorated(event: Added, tables: Tables, recorded: Recorded) -> None:
    write(tables, recorded.position)


@passing
@passing
def untyped(event: Added, tables: Tables, recorded) -> None:  # type: ignore[no-untyped-def]
    write(tables, recorded.position)


@passing
def under_type_checking(event: Added, tables: Tables, recorded: "bus.Recorded") -> None:
    write(tables, recorded.position)


def optional(event: Added, tables: Tables, recorded: Recorded | None = None) -> None:
    write(tables, recorded and recorded.position)


@passing
def optional_in_text(event: Added, tables: Tables, recorded: "Recorded | None" = None) -> None:
    write(tables, recorded and recorded.position)


@passing
def with_two(event: Added, tables: Tables) -> None:
    write(tables, "two")


def with_default(event: Added, tables: Tables, more: str = "default") -> None:
    write(tables, more)


@adding
def with_added(event: Added, tables: Tables, more: str) -> None:
    write(tables, more)


@pytest.mark.parametrize(
    ("function", "value"),
    [
        (decorated, 1),
        (untyped, 1),
        (under_type_checking, 1),
        (optional, 1),
        (optional_in_text, 1),
        (with_two, "two"),
        (with_default, "default"),
        (with_added, "added"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_projection_receives_the_record_of_the_event_if_its_third_parameter_is_for_it(
    function: Any, value: Any
) -> None:
    seen = Projection("seen", version=1, tables="CREATE TABLE seen (value)", on=[function])

    assert project(seen, given=[Added(name="a")]).all("SELECT value FROM seen") == [{"value": value}]


def swapped(event: Added, recorded: Recorded, tables: Tables) -> None: ...


def without_tables(event: Added, recorded: "bus.Recorded") -> None: ...


@passing
def with_past(event: Added, tables: Tables, past: Past) -> None: ...


def with_tables(command: Add, tables: ReadOnlyTables) -> Iterator[Added]:
    yield Added(name=command.name)


class Count(Query[int]):
    pass


def counted(query: Count, past: Past) -> int:
    return 1


PROJECTING = "event: Event, tables: Tables, recorded: Recorded"


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (swapped, f"swapped has Recorded as its second parameter: def swapped({PROJECTING})."),
        (without_tables, f"without_tables has Recorded as its second parameter: def without_tables({PROJECTING})."),
        (with_past, f"with_past has Past as its third parameter: def with_past({PROJECTING})."),
    ],
)
def test_a_projection_with_a_misplaced_parameter_is_refused_at_the_start(function: Any, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        App(projections=[Projection("seen", version=1, tables="CREATE TABLE seen (value)", on=[function])])
    assert str(refused.value) == sentence


def test_a_decision_with_tables_and_a_query_with_the_past_are_refused_at_the_start() -> None:
    decision: Any = with_tables
    answer: Any = counted
    with pytest.raises(ConfigError) as refused:
        App(commands=[decision], queries=[answer])
    assert str(refused.value) == (
        "with_tables has ReadOnlyTables as its second parameter: def with_tables(command: Command, past: Past). "
        "counted has Past as its second parameter: def counted(query: Query, tables: ReadOnlyTables)."
    )


@adding_before
def with_clock(event: Added, clock: str, tables: Tables) -> None:
    write(tables, clock)


def test_a_decorator_may_add_an_argument_before_the_tables() -> None:
    seen = Projection("seen", version=1, tables="CREATE TABLE seen (value)", on=[with_clock])

    assert project(seen, given=[Added(name="a")]).all("SELECT value FROM seen") == [{"value": "noon"}]


charged: list[Any] = []


@passing
async def charge(event: Added, attempt: Attempt, service: str) -> None:
    charged.append(service)


async def charge_by_default(event: Added, attempt: Attempt, service: str = "default") -> None:
    charged.append(service)


@passing
async def charge_alone(event: Added, attempt: Attempt) -> None:
    charged.append("alone")


@asynccontextmanager
async def service() -> AsyncIterator[str]:
    yield "service"


@pytest.mark.parametrize(
    ("effect", "lifespan", "value"),
    [
        (charge, service, "service"),
        (charge_by_default, service, "service"),
        (charge_by_default, None, "default"),
        (charge_alone, service, "alone"),
    ],
)
def test_an_effect_receives_the_value_of_the_lifespan_if_it_has_a_third_parameter(
    effect: Any, lifespan: Any, value: str
) -> None:
    charged.clear()
    reaction = Reaction("charge", on=[effect], since="beginning", lifespan=lifespan, tries=1)
    with InProcess(App(commands=[add], reactions=[reaction])) as client:
        client.command(Add(name="a"))
        assert client.parked() == []
    assert charged == [value]
