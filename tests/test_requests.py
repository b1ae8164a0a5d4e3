"""A message as an object of its class: sent with equal values, or refused before it is sent."""

from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Annotated, Any
from uuid import UUID

import pytest
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    SecretStr,
    computed_field,
)
from pydantic.dataclasses import dataclass

from dualbus import Command, Rejected
from dualbus.application.messages import Message, parse
from dualbus.client.call import packed_body, type_and_fields
from dualbus.protocol.codec import unpack


class Animal(BaseModel):
    name: str


class Dog(Animal):
    breed: str


class Computed(Command):
    side: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def square(self) -> int:
        return self.side**2


class Aliased(Command):
    day: date = Field(alias="theDay")
    price: Decimal = Field(default=Decimal(1), alias="thePrice")


class Inner(BaseModel):
    name: str = Field(validation_alias="theName", serialization_alias="aName")
    at: date | None = None


@dataclass
class Record:
    name: Annotated[str, Field(validation_alias="theName")]


class ReadAlias(Command):
    price: int = Field(validation_alias="thePrice")
    other: int = Field(default=1, validation_alias=AliasChoices(AliasPath("a", 0), "b", "c"), serialization_alias="d")
    inner: list[Inner] = Field(default_factory=list, validation_alias="theInner")
    record: Record | None = None


class ByName(Command):
    model_config = ConfigDict(validate_by_name=True)
    price: int = Field(validation_alias="thePrice")


class Ruled(Command):
    low: int
    day: date = date(2026, 1, 31)

    def problems(self) -> Iterable[str]:
        if self.low < 0:
            yield "Low must be positive"


class Plain(Command):
    anything: Any = None
    text_first: str | Decimal = ""
    pets: list[Animal] = Field(default_factory=list)
    shouted: Annotated[str, AfterValidator(lambda text: text + "!")] | None = None
    masked: Annotated[str, PlainSerializer(lambda text: "****")] | None = None
    secret: SecretStr = SecretStr("")
    hidden: int = Field(default=5, exclude=True)


class Level(IntEnum):
    HIGH = 42


class Unsure(Command):
    level: Level | int = 0
    numbers: list[set[int] | frozenset[int]] = Field(default_factory=list)


class Tone(StrEnum):
    RED = "red"


class Free(Command):
    anything: Any = None


class Mixed(Command):
    paints: dict[Tone | str, int]


class Noted(Command):
    day: date | None = None
    _note: str = PrivateAttr("")


def noted() -> Noted:
    message = Noted()
    message._note = "x"
    return message


@pytest.mark.parametrize(
    "message",
    [
        Computed(side=3),
        Aliased(theDay=date(2026, 1, 31), thePrice=Decimal("0.10")),
        ReadAlias(thePrice=3, b=5, theInner=[Inner(theName="a")], record=Record(theName="b")),  # type: ignore[call-arg]
        ByName(price=3),
        Ruled(low=1),
        Unsure(level=42, numbers=[{1}]),
        Free(anything={"red": [1.0, 1, True]}),
        Mixed(paints={"blue": 1}),
        Plain(anything={"a": [1, "2", None]}),
        Plain(text_first="0.10"),
        Plain(pets=[Animal(name="a")]),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_message_is_sent_with_equal_values(message: Message) -> None:
    type_, fields = type_and_fields(message, {})
    assert type_ == type(message).__name__
    assert parse(type(message), fields) == message


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (Plain(anything=date(2026, 1, 31)), "Plain is not the same when it is read back: anything."),
        (Plain(anything=Decimal("0.10")), "read back: anything."),
        (Plain(anything=(1, 2)), "read back: anything."),
        (Plain(anything=b"\xff"), "read back: anything."),
        (Plain(anything=object()), "Plain has no form in JSON."),
        (Plain(anything="\ud800"), "Plain has no form in JSON."),
        (Plain(anything={"\ud800": 1}), "Plain has no form in JSON."),
        (Plain(text_first=Decimal(1)), "read back: text_first."),
        (Plain(pets=[Dog(name="a", breed="b")]), "read back: pets."),
        (Plain(shouted="a"), "read back: shouted."),
        (Plain(masked="a"), "read back: masked."),
        (Plain(secret=SecretStr("a")), "read back: secret."),
        (Plain(hidden=7), "read back: hidden."),
        (Unsure(level=Level.HIGH), "read back: level."),
        (Unsure(numbers=[{1}, frozenset({1})]), "read back: numbers."),
        (Free(anything=Level.HIGH), "Free is not the same when it is read back: anything."),
        (Free(anything=[{"red": Tone.RED}]), "read back: anything."),
        (Mixed(paints={Tone.RED: 1}), "Mixed is not the same when it is read back: paints."),
        (noted(), "read back: its private attributes."),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_message_that_would_change_on_the_way_is_refused(message: Message, says: str) -> None:
    with pytest.raises(Rejected, match=says) as caught:
        type_and_fields(message, {})
    assert caught.value.problems[0].code == "malformed"


def test_a_rule_of_several_fields_is_for_the_bus() -> None:
    assert type_and_fields(Ruled(low=-1), {}) == ("Ruled", {"low": -1, "day": "2026-01-31"})


def test_a_time_of_another_zone_is_the_same_time() -> None:
    class At(Command):
        at: datetime

    at = datetime.fromisoformat("2026-01-31T13:00:00+01:00")
    _, fields = type_and_fields(At(at=at), {})
    assert parse(At, fields) == At(at=at.astimezone(UTC))


class Blob(BaseModel):
    data: bytes  # as UTF-8, unlike a field of a command


class Upload(Command):
    blob: Blob | None = None
    data: bytes = b""
    blobs: list[bytes] = Field(default_factory=list)
    by_id: dict[UUID, int] = Field(default_factory=dict)


def sent(**fields: Any) -> Any:
    """Return the fields of an Upload as the gateway receives them from a client with keywords."""
    return unpack(packed_body({"type": "Upload", "payload": fields}))["payload"]


def test_a_model_is_a_keyword_under_the_names_that_its_class_reads() -> None:
    fields = unpack(packed_body({"type": "ReadAlias", "payload": {"theInner": [Inner(theName="a")], "thePrice": 3}}))
    assert parse(ReadAlias, fields["payload"]) == ReadAlias(thePrice=3, theInner=[Inner(theName="a")])


def test_python_s_values_are_keywords() -> None:
    id_ = UUID("0190a5a0-7b6c-7def-8123-456789abcdef")
    fields = sent(blob=Blob(data=b"a"), data=b"\xff", blobs=[b"\xfe"], by_id={id_: 1})

    assert parse(Upload, fields) == Upload(blob=Blob(data=b"a"), data=b"\xff", blobs=[b"\xfe"], by_id={id_: 1})


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"blob": {"data": b"a"}}, "type bytes has no place"),
        ({"blob": [{"data": b"a"}]}, "type bytes has no place"),
        ({"by_id": {UUID(int=1): 1, str(UUID(int=1)): 2}}, "Two keys of a dictionary have the same form"),
        ({"by_id": {1: 1}}, "A key of an object is not text"),
        ({"data": datetime(2026, 1, 31)}, "use an aware datetime"),
        ({"data": {1, 2}}, "type set has no place"),
    ],
)
def test_a_keyword_that_could_change_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(Rejected, match=says):
        sent(**fields)
