"""Functions of the author that run before the rules of a field: behind them, JSON is still JSON."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import pytest
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WrapValidator,
    field_validator,
    model_validator,
)

from dualbus import Command, Event
from dualbus.application.event_json import from_text, to_text
from dualbus.application.messages import Invalid, parse
from dualbus.protocol.numbers import Number

LONG, LONGER = Decimal("12345678901234567.89"), Decimal("12345678901234567.90")


def stripped(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def handed_on(value: Any, handler: Any) -> Any:
    return handler(value)


class Node(BaseModel):
    model_config = ConfigDict(strict=True)
    day: date = Field(alias="theDay")
    nodes: list["Node"] = Field(default_factory=list)

    @model_validator(mode="before")
    @classmethod
    def _unchanged(cls, value: Any) -> Any:
        return value


class Values(BaseModel):
    day: Annotated[date, BeforeValidator(stripped)]
    price: Annotated[Decimal, WrapValidator(handed_on)] = Decimal(0)
    prices: Annotated[list[Decimal], BeforeValidator(stripped)] = Field(default_factory=list)
    written: Annotated[str, BeforeValidator(str)] = ""
    rate: Annotated[float, BeforeValidator(stripped)] = 0.5
    node: Node | None = None
    data: Annotated[bytes, BeforeValidator(stripped)] = b""
    id: Annotated[UUID | None, BeforeValidator(lambda value: UUID(int=value) if type(value) is int else value)] = None
    named: Annotated[date | None, BeforeValidator(stripped)] = Field(default=None, alias="theName")

    @model_validator(mode="before")
    @classmethod
    def _with_day(cls, fields: Any) -> Any:
        return {"day": "2026-01-01", **fields} if isinstance(fields, dict) else fields


class Do(Values, Command):
    pass


class Done(Values, Event):
    pass


class Informed(Command):
    low: int
    high: int

    @field_validator("high", mode="after")
    @classmethod
    def _above(cls, high: int, info: ValidationInfo) -> int:
        if high < info.data.get("low", high):
            raise ValueError("must not be below low")
        return high

    @field_validator("high", mode="before")
    @classmethod
    def _stripped(cls, high: Any) -> Any:
        return stripped(high)


FIELDS = {
    "day": " 2026-01-31 ",
    "price": Number(LONG),
    "prices": [Number(LONG), Number(LONGER), 1, "2.50"],
    "written": Number(LONG),
    "rate": Number(Decimal("0.10")),
    "node": {"theDay": "2026-02-01", "nodes": [{"theDay": "2026-02-02"}]},
    "data": "_w==",
    "id": 5,
    "theName": "2026-03-03",
}
NODE = Node(theDay=date(2026, 2, 1), nodes=[Node(theDay=date(2026, 2, 2))])


def test_a_command_is_read_as_without_the_functions() -> None:
    command = parse(Do, FIELDS)

    assert command == Do(
        day=date(2026, 1, 31),
        price=LONG,
        prices=[LONG, LONGER, Decimal(1), Decimal("2.50")],
        written=str(LONG),
        rate=0.1,
        node=NODE,
        data=b"\xff",
        id=UUID(int=5),
        theName=date(2026, 3, 3),
    )
    assert type(command.rate) is float


def test_an_event_is_read_back_from_the_log() -> None:
    event = Done(day=date(2026, 1, 31), price=LONG, node=NODE, data=b"\xff", theName=date(2026, 3, 3))

    assert from_text(Done, to_text(event)) == event


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"day": 5}, ("Day is not valid: input should be a valid date", "day")),
        ({"prices": ["1", True]}, ("Prices item 2 is not valid", "prices[1]")),
        ({"node": {"theDay": "2026-01-01", "nodes": [{}]}}, ("Node nodes item 1 theDay is required", None)),
        ({"data": "%"}, ("Data is not valid", "data")),
        ({"more": 1}, ("More is not a field of Do", "more")),
    ],
)
def test_a_wrong_value_has_its_path(fields: dict[str, Any], problem: tuple[str, str | None]) -> None:
    with pytest.raises(Invalid) as caught:
        parse(Do, {**FIELDS, **fields})
    [found] = caught.value.problems
    assert found.text.startswith(problem[0])
    assert found.field == (problem[1] or "node.nodes[0].theDay")


def test_a_function_that_adds_fields_is_heeded() -> None:
    assert parse(Do, {}) == Do(day=date(2026, 1, 1))


def test_a_function_still_receives_the_other_fields() -> None:
    assert parse(Informed, {"low": 1, "high": 2}) == Informed(low=1, high=2)
    with pytest.raises(Invalid, match="High must not be below low"):
        parse(Informed, {"low": 3, "high": 2})
