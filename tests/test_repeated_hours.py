"""Times in the hour that a clock repeats or skips: for Python, these equal no time of another zone (PEP 495)."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel, PrivateAttr

from dualbus import App, Command, Event, Past, Query, ReadOnlyTables, Tag
from dualbus.application.equality import difference
from dualbus.testing import InProcess

BERLIN = ZoneInfo("Europe/Berlin")
TIMES = {
    "repeated, first": (datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
    "repeated, second": (
        datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
        datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
    ),
    "skipped": (datetime(2026, 3, 29, 2, 30, tzinfo=BERLIN), datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),
}


@dataclass(frozen=True)
class Span:
    start: datetime
    note: str = ""


class Slot(BaseModel):
    start: datetime
    spans: list[Span] = []
    _note: str = PrivateAttr("")


class Meet(Command):
    slot: Slot


class Met(Event):
    name: Annotated[str, Tag("name")]
    slot: Slot
    times: frozenset[datetime]
    either: datetime | None


class Find(Query[list[Slot]]):
    pass


@pytest.mark.parametrize(("local", "utc"), TIMES.values(), ids=TIMES.keys())
def test_a_time_in_an_hour_that_a_clock_changes_is_sent_stored_and_answered(local: datetime, utc: datetime) -> None:
    received: list[datetime] = []

    def meet(command: Meet, past: Past) -> Iterator[Met]:
        received.append(command.slot.start)
        slot = Slot(start=local, spans=[Span(local)])
        yield Met(name="a", slot=slot, times=frozenset({local}), either=local)

    def find(query: Find, tables: ReadOnlyTables) -> list[Slot]:
        return [Slot(start=local, spans=[Span(local)])]

    with InProcess(App(commands=[meet], queries=[find])) as client:
        [event] = client.command(Meet(slot=Slot(start=local, spans=[Span(local)]))).events
        [slot] = client.query(Find())

    met = Met.model_validate_json(json.dumps(event["payload"]))
    assert received[0].astimezone(UTC) == utc
    assert (slot.start.astimezone(UTC), slot.spans[0].start.astimezone(UTC)) == (utc, utc)
    assert [one.astimezone(UTC) for one in (met.slot.start, *met.times)] == [utc] * 2


def with_note(slot: Slot) -> Slot:
    slot._note = "x"
    return slot


LOCAL, IN_UTC = TIMES["repeated, second"]
BEFORE = IN_UTC.replace(hour=0)


@pytest.mark.parametrize(
    ("value", "read", "place"),
    [
        (LOCAL, IN_UTC, None),
        (LOCAL, BEFORE, ""),
        (Slot(start=LOCAL), Slot(start=BEFORE), ".start"),
        (Slot(start=LOCAL), with_note(Slot(start=IN_UTC)), ""),
        (Slot(start=LOCAL, spans=[Span(LOCAL)]), Slot(start=IN_UTC, spans=[Span(IN_UTC, "b")]), ".spans[0].note"),
        ([LOCAL], [IN_UTC, IN_UTC], ""),
        ({LOCAL}, {IN_UTC}, None),
        ({LOCAL}, {BEFORE}, ""),
        (LOCAL.replace(tzinfo=None), IN_UTC, ""),
        (datetime(1, 1, 1, tzinfo=BERLIN), datetime(1, 1, 1, tzinfo=UTC), ""),
    ],
    ids=str,
)
def test_another_time_is_a_difference(value: Any, read: Any, place: str | None) -> None:
    assert difference(value, read) == place
