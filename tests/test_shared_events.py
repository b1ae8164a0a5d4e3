"""Functions that change the lists of an event: no other function sees the change."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated

import pytest

from dualbus import (
    App,
    AsyncClient,
    Attempt,
    Client,
    Command,
    Event,
    Past,
    Projection,
    Query,
    Reaction,
    ReadOnlyTables,
    Rejected,
    Tables,
    Tag,
)
from dualbus.application.immutable import is_immutable
from dualbus.operations.verify import verify
from dualbus.testing import Cluster, until

COURSE = Tag("course")


class Open(Command):
    course: str
    seats: list[int]


class Take(Command):
    course: str


class Opened(Event):
    course: Annotated[str, COURSE]
    seats: list[int]


class Taken(Event):
    course: Annotated[str, COURSE]
    seat: int


class Seats(Query[list[str]]):
    pass


def open_course(command: Open, past: Past) -> Iterator[Opened]:
    yield Opened(course=command.course, seats=command.seats)


def take(command: Take, past: Past) -> Iterator[Taken]:
    [opened] = past.events(COURSE(command.course), of=Opened)
    for taken in past.events(COURSE(command.course), of=Taken):
        opened.seats.remove(taken.seat)
    if not opened.seats:
        raise Rejected("No free seat")
    yield Taken(course=command.course, seat=opened.seats[0])


def insert_sorted(event: Opened, tables: Tables) -> None:
    event.seats.sort()
    tables.execute("INSERT INTO ordered VALUES (?, ?)", (event.course, str(event.seats)))


def insert(event: Opened, tables: Tables) -> None:
    tables.execute("INSERT INTO seats VALUES (?, ?)", (event.course, str(event.seats)))


def list_seats(query: Seats, tables: ReadOnlyTables) -> list[str]:
    return [row["seats"] for row in tables.all("SELECT seats FROM ordered UNION ALL SELECT seats FROM seats")]


async def announce(event: Opened, attempt: Attempt) -> AsyncIterator[Take]:
    with Path(os.environ["OFFICE"]).open("a") as lines:
        lines.write(f"{event.seats.pop(0)}\n")
    if attempt.number == 1:
        raise OSError
    for number in event.seats[2:]:  # none
        yield Take(course=str(number))


app = App(
    commands=[open_course, take],
    projections=[
        Projection("ordered", 1, "CREATE TABLE ordered (course TEXT, seats TEXT)", on=[insert_sorted]),
        Projection("seats", 1, "CREATE TABLE seats (course TEXT, seats TEXT)", on=[insert]),
    ],
    queries=[list_seats],
    reactions=[Reaction("announce", on=[announce], since="beginning", pause=0.01)],
)


def test_the_commands_of_a_batch_receive_an_event_as_it_was_recorded(cluster: Cluster, tmp_path: Path) -> None:
    cluster.environ |= {"DUALBUS_APP": "tests.test_shared_events:app", "OFFICE": str(tmp_path / "lines")}
    cluster.start("gateway", "commandbus", "projector", "querybus")
    with Client(cluster.front) as client:
        client.query(Seats())  # all processes are ready

    async def pipelined() -> list[object]:
        async with AsyncClient(cluster.front) as client:
            calls = [client.command(Open(course="a", seats=[3, 1, 2]))]
            calls += [client.command(Take(course="a")) for _ in range(4)]
            return await asyncio.gather(*calls, return_exceptions=True)

    _, *taken, refused = asyncio.run(pipelined())

    assert [one.events[0]["payload"]["seat"] for one in taken] == [3, 1, 2]  # type: ignore[attr-defined]
    assert str(refused) == "No free seat"
    with Client(cluster.front) as client:
        until(lambda: client.query(Seats()))
        assert client.query(Seats()) == ["[1, 2, 3]", "[3, 1, 2]"]
    assert verify(cluster.data, app).position == 4
    cluster.start("reactor")
    until(lambda: (tmp_path / "lines").exists() and (tmp_path / "lines").read_text() == "3\n3\n")


@pytest.mark.parametrize(("kind", "immutable"), [(Opened, False), (Taken, True)])
def test_an_event_without_lists_is_shared(kind: type[Event], immutable: bool) -> None:
    assert is_immutable(kind) is immutable
