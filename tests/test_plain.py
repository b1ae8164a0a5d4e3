"""Plain events are not read back before they are stored; no other event is plain, and none changes in the log."""

from typing import Annotated

import pytest
from pydantic import ConfigDict, Field, field_serializer

from dualbus import Event
from dualbus.application.event_json import to_text
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


@pytest.mark.parametrize("kind", [Constrained, Lax, WithSerializer])
def test_an_event_of_a_class_that_may_change_its_values_is_not_plain(kind: type[Event]) -> None:
    assert plain_fields(Simple) is not None
    assert plain_fields(kind) is None


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
