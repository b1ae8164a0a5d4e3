"""Plain events are not read back before they are stored; no other event is plain, and none changes in the log."""

from datetime import date
from enum import IntEnum
from typing import Annotated, Any

import pytest
from pydantic import ConfigDict, Field, PrivateAttr, field_serializer

from dualbus import Event
from dualbus.application.event_json import from_text, to_text
from dualbus.application.plain import plain_fields
from dualbus.protocol.codes import WireError


class Simple(Event):
    text: str
    number: int | None = None
    flag: bool = False


class Constrained(Event):
    text: Annotated[str, Field(min_length=1)]


class Lax(Event):
    model_config = ConfigDict(str_to_upper=True)
    text: str


class WithSerializer(Event):
    text: str

    @field_serializer("text")
    def write(self, text: str) -> str:
        return text + "!"


class Level(IntEnum):
    HIGH = 42


class Unsure(Event):
    level: Level | int = 0
    number: float | int = 0


class Free(Event):
    anything: Any = None
    levels: dict[str, object] = Field(default_factory=dict)


class Noted(Event):
    _note: str = PrivateAttr("")


class Extended(Event):
    model_config = ConfigDict(extra="allow")


@pytest.mark.parametrize("kind", [Constrained, Lax, WithSerializer])
def test_an_event_of_a_class_that_may_change_its_values_is_not_plain(kind: type[Event]) -> None:
    assert plain_fields(Simple) is not None
    assert plain_fields(kind) is None


def noted() -> Noted:
    event = Noted()
    event._note = "x"
    return event


@pytest.mark.parametrize(
    ("event", "place"),
    [
        (noted(), "its private attributes"),
        (Extended(day=date(2026, 1, 31)), "day"),
        (Unsure(level=Level.HIGH), "level"),
        (Free(anything=[Level.HIGH]), "anything"),
        (Free(levels={"a": Level.HIGH}), "levels"),
    ],
    ids=["private", "extra", "union", "any", "object"],
)
def test_the_sentence_about_a_changed_event_names_the_place(event: Event, place: str) -> None:
    with pytest.raises(WireError, match=rf"is not the same when it is read back: {place}\."):
        to_text(event)


@pytest.mark.parametrize("event", [Unsure(level=42), Unsure(number=1.0), Unsure(number=1)], ids=repr)
def test_a_value_of_a_union_is_read_with_its_type(event: Event) -> None:
    assert repr(from_text(type(event), to_text(event))) == repr(event)


@pytest.mark.parametrize(
    "event",
    [
        Simple.model_construct(text=5),  # type: ignore[arg-type]
        Simple.model_construct(flag=True),  # type: ignore[call-arg]
        Simple.model_construct(text="\ud800"),
        Simple.model_construct(text="a", number=2**63),
        Constrained.model_construct(text=""),
        Lax.model_construct(text="a"),
        WithSerializer(text="a"),
    ],
    ids=repr,
)
def test_an_event_that_would_change_in_the_log_is_refused_however_it_was_made(event: Event) -> None:
    with pytest.raises(WireError):
        to_text(event)
