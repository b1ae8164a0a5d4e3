"""The rules of several fields: their sentences beside those of wrong fields."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

import pytest
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from dualbus import Command, Problem, Text
from dualbus.application.messages import Invalid, parse
from dualbus.protocol.numbers import Number


class Stay(BaseModel):
    guests: int


def _open(day: date) -> date:
    if day.weekday() == 0:
        raise ValueError("is a Monday: choose another day")
    return day


class Book(Command):
    name: Text
    first: Annotated[date, AfterValidator(_open)] = Field(alias="from")
    last: date
    beds: int = 1
    stays: list[Stay] = Field(default_factory=list)
    price: Decimal = Decimal(1)

    @field_validator("name")
    @classmethod
    def _without_title(cls, name: str) -> str:
        return name.removeprefix("Dr. ")

    def problems(self) -> Iterable[str | Problem]:
        if self.name == "Nobody":
            yield "Nobody cannot travel"
        if self.first > self.last:
            yield Problem("The last day must not be before the first", field="last", code="order")
        if sum(stay.guests for stay in self.stays) > self.beds:
            yield "There are too few beds"


class Modelled(Command):
    low: int = 0
    high: int = 0
    day: date = date(2026, 1, 31)

    @model_validator(mode="after")
    def in_order(self) -> "Modelled":
        if self.low > self.high:
            raise ValueError("Low must not be above high")
        return self

    def problems(self) -> Iterable[str]:
        if self.day.year < 2000:
            yield "Day must be in this century"


class Careless(Command):
    number: int
    other: int

    def problems(self) -> list[str]:
        return [f"{name} is odd" for name, value in dict(self).items() if value % 2]


RIGHT = {"name": "Dr. Nobody", "from": "2026-02-03", "last": "2026-02-01"}
ORDER = "The last day must not be before the first"


def refused(kind: type[Command], **fields: Any) -> list[str]:
    with pytest.raises(Invalid) as caught:
        parse(kind, fields)
    return caught.value.errors


def test_the_rules_of_right_fields_are_checked_beside_the_wrong_ones() -> None:
    assert refused(Book, **RIGHT) == ["Nobody cannot travel", ORDER]
    assert refused(Book, **RIGHT, beds="x") == ["Beds must be a whole number", "Nobody cannot travel", ORDER]
    stays = [{"guests": 2}]
    assert refused(Book, **RIGHT, stays=stays, price="x")[1:] == [
        "Nobody cannot travel",
        ORDER,
        "There are too few beds",
    ]
    assert refused(Book, **RIGHT, bed=1) == ["Bed is not a field of Book", "Nobody cannot travel", ORDER]


def test_a_rule_that_reads_a_wrong_field_ends_the_rules() -> None:
    assert refused(Book, **{**RIGHT, "last": 5}, stays=[{"guests": 2}]) == [
        "Last is not valid: input should be a valid date",
        "Nobody cannot travel",
    ]
    assert refused(Book, **{**RIGHT, "name": 5}) == ["Name must be text"]
    assert refused(Book) == ["Name is required", "From is required", "Last is required"]


def test_a_sentence_of_a_single_field_stands_beside_the_others() -> None:
    assert refused(Book, **{**RIGHT, "from": "2026-02-02"}, beds="x") == [
        "From is a Monday: choose another day",
        "Beds must be a whole number",
        "Nobody cannot travel",
    ]


def test_a_rule_has_its_field_and_code_beside_a_wrong_field() -> None:
    with pytest.raises(Invalid) as caught:
        parse(Book, {**RIGHT, "beds": "x"})
    assert [(one.field, one.code) for one in caught.value.problems] == [
        ("beds", "wrong_type"),
        (None, "invalid"),
        ("last", "order"),
    ]


def test_rules_are_not_checked_if_the_whole_message_is_wrong() -> None:
    assert refused(Modelled, low=1, day="1999-01-01") == ["Low must not be above high"]
    assert refused(Modelled, low="x", day="1999-01-01") == [
        "Low must be a whole number",
        "Day must be in this century",
    ]


def test_a_rule_that_fails_on_right_fields_alone_adds_no_sentence() -> None:
    assert refused(Careless, number=1, other="x") == ["Other must be a whole number", "number is odd"]
    assert refused(Careless, number="x", other="x") == [
        "Number must be a whole number",
        "Other must be a whole number",
    ]


class Behind(Command):
    day: Annotated[date, BeforeValidator(lambda value: value)]
    price: Decimal
    other: int

    def problems(self) -> Iterable[str]:
        if self.day.year < 2000 and self.price > Decimal("12345678901234567.88"):
            yield "Day must be in this century"


def test_the_rules_see_the_values_that_a_right_message_would_have() -> None:
    number = Number(Decimal("12345678901234567.89"))

    assert refused(Behind, day="1999-01-01", price=number, other="x") == [
        "Other must be a whole number",
        "Day must be in this century",
    ]


class Range(Command):
    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)
    low: int = Field(default=0, alias="from")
    high: int = Field(default=0, alias="to")
    name: Text = "a"

    def problems(self) -> Iterable[str]:
        if self.high <= self.low:
            yield "To must be above from"


class NamedRange(Range):
    model_config = ConfigDict(validate_by_alias=False)


@pytest.mark.parametrize(
    ("kind", "fields", "sentences"),
    [
        (Range, {"low": 1, "high": 2}, ["Name is required"]),
        (Range, {"from": 1, "high": 2}, ["Name is required"]),
        (Range, {"low": 3, "high": 2}, ["Name is required", "To must be above from"]),
        (Range, {"low": "x", "high": 0}, ["Low must be a whole number", "Name is required"]),
        (NamedRange, {"low": 1, "high": 2}, ["Name is required"]),
        (NamedRange, {"low": 3, "high": 2}, ["Name is required", "To must be above from"]),
    ],
)
def test_the_rules_see_fields_that_are_sent_by_name(
    kind: type[Command], fields: dict[str, Any], sentences: list[str]
) -> None:
    assert refused(kind, **fields, name=" ") == sentences


class Party(Command):
    seats: int = Field(validation_alias=AliasChoices("seats", AliasPath("places", 0)))
    children: int = 0
    guardian: str = Field(default="", validation_alias=AliasPath("people", "guardian"))
    name: str = Field(default="", validation_alias=AliasPath("people", "name"))

    def problems(self) -> Iterable[str]:
        if self.children and not self.guardian:
            yield "Children need a guardian"


@pytest.mark.parametrize(
    ("fields", "sentences"),
    [
        ({"seats": "x"}, ["Seats must be a whole number", "Children need a guardian"]),
        ({"places": ["x"]}, ["Places item 1 must be a whole number", "Children need a guardian"]),
        ({"seats": "x", "people": {"guardian": "Ada"}}, ["Seats must be a whole number"]),
        ({"seats": 1, "people": {"name": 5}}, ["People name must be text", "Children need a guardian"]),
        ({"seats": 1, "people": {"guardian": 5}}, ["People guardian must be text"]),
    ],
)
def test_the_rules_see_fields_with_several_aliases_and_fields_inside_others(
    fields: dict[str, Any], sentences: list[str]
) -> None:
    assert refused(Party, **fields, children=1) == sentences


class Trip(Command):
    start: int
    end: int
    seats: int

    @field_validator("end")
    @classmethod
    def _in_order(cls, end: int, info: ValidationInfo) -> int:
        if end < info.data["start"]:
            raise ValueError("must not be before start")
        return end

    def problems(self) -> Iterable[str]:
        if self.end - self.start > 10:
            yield "The trip is too long"


def test_the_rules_are_checked_beside_a_validator_that_reads_other_fields() -> None:
    assert refused(Trip, start=1, end=100, seats="x") == ["Seats must be a whole number", "The trip is too long"]
    assert refused(Trip, start=2, end=1, seats="x") == [
        "End must not be before start",
        "Seats must be a whole number",
    ]


class Split(Command):
    first: str = ""
    age: int

    @model_validator(mode="before")
    @classmethod
    def split(cls, fields: dict[str, Any]) -> dict[str, Any]:
        name = fields.pop("name", "")
        return {"first": name.partition(" ")[0], **fields}

    def problems(self) -> Iterable[str]:
        if not self.first:
            yield "A name is needed"


def test_rules_are_not_checked_beside_wrong_fields_if_a_function_makes_the_fields() -> None:
    assert refused(Split, name="Ada L", age="x") == ["Age must be a whole number"]
    assert refused(Split, name="", age=1) == ["A name is needed"]
