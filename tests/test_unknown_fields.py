"""Unknown fields and other types inside a message: refused at any depth, unless the author's class says otherwise."""

from dataclasses import dataclass
from dataclasses import field as dataclass_field
from decimal import Decimal
from typing import Annotated, Any, NamedTuple

import pytest
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    TypeAdapter,
    computed_field,
)
from typing_extensions import TypedDict

from dualbus import Command, Event, Query
from dualbus.application.event_json import from_text
from dualbus.application.messages import Invalid, Message, parse
from dualbus.client.call import type_and_fields


class Line(BaseModel):
    amount: int = 0


class Typed(TypedDict, total=False):
    amount: int


@dataclass
class Plain:
    amount: int = 0


@dataclass
class Doubled:
    amount: int = 0
    twice: int = dataclass_field(init=False, default=0)


class Named(NamedTuple):
    amount: int = 0


class Deep(BaseModel):
    named: Named | None = None
    typed: Typed | None = None
    plain: Plain | None = None
    doubled: Doubled | None = None


class Lines(RootModel[list[Line]]):
    pass


class Ignoring(BaseModel):
    model_config = ConfigDict(extra="ignore")
    amount: int = 0


class Converting(BaseModel):
    model_config = ConfigDict(strict=False)
    amount: int = 0


class Allowing(BaseModel):
    model_config = ConfigDict(extra="allow")


class Squared(Line):
    @computed_field  # type: ignore[prop-decorator]
    @property
    def square(self) -> int:
        return self.amount**2


class Fields(Message):
    line: Line | None = None
    lines: list[Line] = Field(default_factory=list)
    by_name: dict[str, Line] = Field(default_factory=dict)
    root: Lines = Lines([])
    either: Line | Deep | None = None
    deep: Deep | None = None
    before: Annotated[Line | None, BeforeValidator(lambda value: value)] = None
    both: Annotated[Line | None, AfterValidator(lambda value, info: value), BeforeValidator(lambda value: value)] = (
        None
    )
    ignoring: Ignoring | None = None
    converting: Converting | None = None
    allowing: Allowing | None = None
    squared: Squared | None = None
    named: Named | None = None
    price: Decimal = Decimal(0)


class Order(Fields, Command):
    pass


class FindOrder(Fields, Query):
    pass


class Ordered(Fields, Event):
    pass


LINE = {"amount": 1, "amuont": 2}


@pytest.mark.parametrize("kind", [Order, FindOrder])
@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"line": LINE}, "line.amuont"),
        ({"lines": [{}, LINE], "price": 1.5}, "lines[1].amuont"),
        ({"by_name": {"a": LINE}}, "by_name.a.amuont"),
        ({"root": [LINE]}, "root[0].amuont"),
        ({"either": LINE}, "either.amuont"),
        ({"deep": {"typed": LINE}}, "deep.typed.amuont"),
        ({"deep": {"plain": LINE}}, "deep.plain.amuont"),
        ({"before": LINE}, "before.amuont"),
        ({"both": LINE}, "both.amuont"),
    ],
    ids=str,
)
def test_an_unknown_field_inside_a_message_is_refused(kind: type[Message], fields: Any, path: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(kind, fields)

    assert (path, "unknown_field") in [(problem.field, problem.code) for problem in caught.value.problems]
    with pytest.raises(ValueError, match="amuont"):  # in the schema of a web framework, too
        TypeAdapter(list[kind]).validate_python([fields])  # type: ignore[valid-type]


@pytest.mark.parametrize("kind", [Order, FindOrder])
@pytest.mark.parametrize("amount", ["1", True, 1.0])
@pytest.mark.parametrize(
    ("field", "path"),
    [
        ("line", "line.amount"), ("lines", "lines[0].amount"), ("by_name", "by_name.a.amount"),
        ("root", "root[0].amount"), ("either", "either.amount"), ("deep", "deep.plain.amount"),
        ("before", "before.amount"), ("named", "named[0]"), ("deep named", "deep.named[0]"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_inside_a_message_is_refused(
    kind: type[Message], field: str, path: str, amount: Any
) -> None:
    line = {"amount": amount}
    forms = {
        "lines": [line], "by_name": {"a": line}, "root": [line], "deep": {"plain": line}, "named": [amount],
        "deep named": {"named": [amount]},
    }  # fmt: skip
    with pytest.raises(Invalid) as caught:
        parse(kind, {field.partition(" ")[0]: forms.get(field, line)})

    assert path in [problem.field for problem in caught.value.problems]


def test_the_author_decides_about_the_unknown_fields_and_the_types_of_a_class() -> None:
    order = parse(Order, {"ignoring": LINE, "allowing": LINE, "converting": {"amount": "1"}})

    assert order.converting == Converting(amount=1)

    assert order.ignoring == Ignoring(amount=1)
    assert order.allowing == Allowing(**LINE)


@pytest.mark.parametrize("order", [Order(squared=Squared(amount=2)), Order(deep=Deep(doubled=Doubled(3)))])
def test_a_message_does_not_refuse_what_its_class_writes(order: Order) -> None:
    assert parse(Order, type_and_fields(order, {})[1]) == order


def test_an_event_is_read_although_a_nested_class_has_lost_a_field() -> None:
    assert from_text(Ordered, '{"line": {"amount": 1, "amuont": 2}}') == Ordered(line=Line(amount=1))
