"""Generated event classes: what is accepted comes back from the log equal, and reaches the projections equal."""

import enum
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Generic, Literal, NamedTuple, Required, Self, TypeVar
from uuid import UUID

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    Field,
    Json,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    RootModel,
    SecretStr,
    SerializeAsAny,
    ValidationInfo,
    WrapSerializer,
    WrapValidator,
    computed_field,
    create_model,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict

from dualbus import App, Command, Event, Past, Projection, Tables
from dualbus.application.equality import difference
from dualbus.application.event_json import from_text, to_text
from dualbus.log.contract import GENESIS, Decision
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.operations.verify import verify
from dualbus.protocol.codes import WireError
from dualbus.readmodel.applier import Applier
from dualbus.readmodel.memory import ModelInMemory
from dualbus.runtime.errors import ConfigError
from tests.drain import NOW, Bus, answers, said

T = TypeVar("T")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
INTEGERS = st.integers(-(2**63), 2**63 - 1)


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 42


class Odd(enum.Enum):
    NULL = "null"
    NUMBER = "42"
    TUPLE = 7


class Point(BaseModel):
    x: int
    y: Decimal = Decimal(0)


class Named(BaseModel):
    name: str = Field(alias="theName")
    at: date | None = None


class Box(BaseModel, Generic[T]):
    content: T


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    breed: str


class Animal(BaseModel):
    name: str


class Parrot(Animal):
    words: list[str]


class Area(BaseModel):
    side: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def square(self) -> int:
        return self.side**2


class Masked(BaseModel):
    card: str

    @field_serializer("card")
    def mask(self, card: str) -> str:
        return "****"


class Listed(BaseModel):
    a: int

    @model_serializer
    def as_list(self) -> list[int]:
        return [self.a]


class Pair(NamedTuple):
    left: int
    right: str


class Titles(RootModel[dict[str, date]]):
    pass


@dataclass(frozen=True)
class Span:
    first: date
    days: Decimal = Decimal(1)


@pydantic_dataclass(frozen=True)
class Checked:
    number: Annotated[int, Field(ge=0)]
    on: date | None = None


class Typed(TypedDict, total=False):
    first: Required[UUID]
    prices: list[Decimal]


class Cleaned(BaseModel):
    """Each kind of validator of the whole, and none changes a value."""

    day: date
    price: Decimal = Field(default=Decimal(0), validation_alias="thePrice", serialization_alias="aPrice")
    clean: Annotated[UUID | None, Field(validation_alias=AliasChoices("clean", "tidy"))] = None

    @model_validator(mode="before")
    @classmethod
    def before(cls, fields: Any) -> Any:
        return fields

    @model_validator(mode="wrap")
    @classmethod
    def around(cls, fields: Any, handler: Any) -> Any:
        return handler(fields)

    @model_validator(mode="after")
    def after(self) -> Self:
        return self

    @field_validator("day", mode="wrap")
    @classmethod
    def day_around(cls, day: Any, handler: Any) -> Any:
        return handler(day)

    @field_validator("price", mode="before")
    @classmethod
    def price_before(cls, price: Any, info: ValidationInfo) -> Any:
        assert "day" in info.data
        return price

    @model_serializer(mode="wrap")
    def serialized(self, handler: Any) -> Any:
        return handler(self)


class Shouted(BaseModel):
    word: str

    @field_validator("word", mode="after")
    @classmethod
    def louder(cls, word: str) -> str:
        return word + "!"


class Renamed(BaseModel):
    word: str

    @model_serializer(mode="wrap")
    def renamed(self, handler: Any) -> Any:
        return {f"a_{name}": value for name, value in handler(self).items()}


class Noted(BaseModel):
    word: str = ""
    _note: str = PrivateAttr("")


def noted(note: str) -> Noted:
    made = Noted()
    made._note = note
    return made


@dataclass(frozen=True)
class Journey:
    spans: list[Span]
    checked: Checked | None = None


@dataclass
class Half:
    number: int
    twice: int = dataclass_field(init=False, default=0)


class Validated(Event):
    """Each kind of function of the whole event, and none changes a value."""

    @model_validator(mode="before")
    @classmethod
    def before(cls, values: Any) -> Any:
        return values

    @model_validator(mode="wrap")
    @classmethod
    def around(cls, values: Any, handler: Any) -> Any:
        return handler(values)

    @model_validator(mode="after")
    def after(self) -> Self:
        return self

    @model_serializer(mode="wrap")
    def serialized(self, handler: Any) -> Any:
        return handler(self)


class Computed(Event):
    @computed_field  # type: ignore[prop-decorator]
    @property
    def size(self) -> int:
        return len(type(self).model_fields)


class Remembering(Event):
    _note: str = PrivateAttr("")


class Emptied(Event):
    @model_serializer(mode="wrap")
    def emptied(self, handler: Any) -> Any:
        return {name: value for name, value in handler(self).items() if value}


BASES = [Event, Validated, Computed, Remembering, Emptied]


def unchanged(value: Any) -> Any:
    return value


def handed_on(value: Any, handler: Any) -> Any:
    return handler(value)


class Kind(NamedTuple):
    """A type of a field, its values, and whether each of these values must be accepted."""

    annotation: Any
    values: st.SearchStrategy[Any]
    certain: bool = True


DECIMALS = st.decimals(allow_nan=False, allow_infinity=False)
TIMES = st.datetimes(timezones=st.just(UTC))
PLAIN = [
    Kind(str, TEXTS),
    Kind(int, INTEGERS),
    Kind(float, st.floats(allow_nan=False, allow_infinity=False)),
    Kind(bool, st.booleans()),
    Kind(Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    Kind(UUID, st.uuids()),
    Kind(date, st.dates()),
    Kind(datetime, TIMES),
    Kind(datetime, st.datetimes(timezones=st.timezones()), certain=False),
    Kind(time, st.times()),
    Kind(timedelta, st.timedeltas(timedelta(-1000), timedelta(1000))),
    Kind(bytes, st.binary(max_size=8)),
    Kind(Colour, st.sampled_from(Colour)),
    Kind(Level, st.sampled_from(Level)),
    Kind(Odd, st.sampled_from(Odd)),
    Kind(Literal["a", 1, None], st.sampled_from(["a", 1, None])),
    Kind(Point, st.builds(Point, x=INTEGERS, y=st.decimals(allow_nan=False, allow_infinity=False))),
    Kind(Named, st.builds(lambda name, at: Named(theName=name, at=at), TEXTS, st.none() | st.dates())),
    Kind(Box[int], st.builds(Box[int], content=INTEGERS)),
    Kind(Box[list[date]], st.builds(Box[list[date]], content=st.lists(st.dates(), max_size=3))),
    Kind(
        Annotated[Cat | Dog, Field(discriminator="kind")],
        st.builds(Cat, lives=INTEGERS) | st.builds(Dog, breed=TEXTS),
    ),
    Kind(Pair, st.builds(Pair, INTEGERS, TEXTS)),
    Kind(Area, st.builds(Area, side=st.integers(0, 1000))),
    Kind(Titles, st.builds(Titles, st.dictionaries(TEXTS, st.dates(), max_size=2))),
    Kind(Span, st.builds(Span, st.dates(), DECIMALS)),
    Kind(Checked, st.builds(Checked, st.integers(0, 9), st.none() | st.dates())),
    Kind(Journey, st.builds(Journey, st.lists(st.builds(Span, st.dates(), DECIMALS), max_size=2))),
    Kind(Typed, st.fixed_dictionaries({"first": st.uuids()}, optional={"prices": st.lists(DECIMALS, max_size=2)})),
    Kind(Cleaned, st.builds(lambda day, price: Cleaned(day=day, thePrice=price), st.dates(), DECIMALS)),
    Kind(Annotated[date, BeforeValidator(unchanged)], st.dates()),
    Kind(Annotated[Decimal, WrapValidator(handed_on)], DECIMALS),
    Kind(
        Annotated[list[Cleaned], BeforeValidator(unchanged)], st.lists(st.builds(Cleaned, day=st.dates()), max_size=2)
    ),
    Kind(Annotated[UUID, AfterValidator(unchanged)], st.uuids()),
    Kind(Annotated[date, WrapSerializer(handed_on)], st.dates()),
    Kind(set[date], st.sets(st.dates(), max_size=3)),
    Kind(frozenset[Colour], st.frozensets(st.sampled_from(Colour))),
    Kind(deque[date], st.lists(st.dates(), max_size=3).map(deque)),
    Kind(Sequence[UUID], st.lists(st.uuids(), max_size=3)),
    Kind(Mapping[str, Decimal], st.dictionaries(TEXTS, DECIMALS, max_size=2)),
    Kind(dict[date, int], st.dictionaries(st.dates(), INTEGERS, max_size=2)),
    Kind(dict[UUID, list[Span]], st.dictionaries(st.uuids(), st.lists(st.builds(Span, st.dates())), max_size=2)),
    Kind(IPv4Address, st.ip_addresses(v=4)),
    Kind(Fraction, st.fractions()),
    Kind(Path, st.sampled_from(["a/b", "/c d", "."]).map(Path)),
    Kind(int | date | UUID, INTEGERS | st.dates() | st.uuids()),
    Kind(Annotated[Decimal, Field(max_digits=6, decimal_places=2)], st.decimals(0, 9999, places=2)),
]
DOUBTFUL = [
    Kind(
        Any, st.one_of(TEXTS, INTEGERS, st.dates(), st.decimals(), st.binary(max_size=3), st.tuples(INTEGERS)), False
    ),
    Kind(Animal, st.builds(Animal, name=TEXTS) | st.builds(Parrot, name=TEXTS, words=st.lists(TEXTS)), False),
    Kind(Masked, st.builds(Masked, card=TEXTS), False),
    Kind(Listed, st.builds(Listed, a=INTEGERS), False),
    Kind(int, st.integers(), False),
    Kind(str, st.text(max_size=4), False),
    Kind(Annotated[str, AfterValidator(str.lower)], TEXTS, False),
    Kind(Annotated[str, AfterValidator(lambda text: text + "!")], TEXTS, False),
    Kind(Annotated[int, BeforeValidator(lambda value: int(value) + 1)], st.integers(0, 9), False),
    Kind(Annotated[str, PlainValidator(str)], TEXTS, False),
    Kind(Annotated[str, WrapValidator(lambda value, handler: handler(value)[::-1])], TEXTS, False),
    Kind(Annotated[str, PlainSerializer(str.upper)], TEXTS, False),
    Kind(Annotated[date, WrapSerializer(lambda value, handler: handler(value)[:7])], st.dates(), False),
    Kind(Annotated[Decimal, PlainSerializer(float)], st.decimals(allow_nan=False, allow_infinity=False), False),
    Kind(Shouted, st.builds(Shouted, word=TEXTS), False),
    Kind(Renamed, st.builds(Renamed, word=TEXTS), False),
    Kind(Noted, TEXTS.map(noted), False),
    Kind(Half, st.builds(Half, INTEGERS), False),
    Kind(Level | int, INTEGERS | st.sampled_from(Level), False),
    Kind(set[int] | frozenset[int], st.sets(INTEGERS, max_size=2) | st.frozensets(INTEGERS, max_size=2), False),
    Kind(str | Decimal, TEXTS | DECIMALS, False),
    Kind(str | date, TEXTS | st.dates(), False),
    Kind(float | int, st.floats(allow_nan=False) | INTEGERS, False),
    Kind(bool | int, st.booleans() | INTEGERS, False),
    Kind(datetime | date, TIMES | st.dates(), False),
    Kind(list[Any], st.lists(TEXTS | INTEGERS | st.dates(), max_size=2), False),
    Kind(SerializeAsAny[Animal], st.builds(Parrot, name=TEXTS, words=st.lists(TEXTS)), False),
    Kind(Json[list[int]], st.lists(INTEGERS, max_size=2).map(str), False),
    Kind(Counter[str], st.lists(TEXTS, max_size=2).map(Counter), False),
    Kind(complex, st.complex_numbers(allow_nan=False, allow_infinity=False), False),
    Kind(SecretStr, TEXTS.map(SecretStr), False),
]


def containers(kinds: st.SearchStrategy[Kind]) -> st.SearchStrategy[Kind]:
    def of(kind: Kind) -> st.SearchStrategy[Kind]:
        annotation: Any
        annotation, values, certain = kind
        return st.sampled_from(
            [
                Kind(list[annotation], st.lists(values, max_size=3), certain),
                Kind(annotation | None, st.none() | values, certain),
                Kind(dict[str, annotation], st.dictionaries(TEXTS, values, max_size=2), certain),
                Kind(tuple[annotation, int], st.tuples(values, INTEGERS), certain),
                Kind(tuple[annotation, ...], st.lists(values, max_size=3).map(tuple), certain),
            ]
        )

    return kinds.flatmap(of)


KINDS = st.recursive(st.sampled_from(PLAIN + DOUBTFUL), containers, max_leaves=3)
FIELD_NAMES = ["id", "data", "tags", "fields", "value_"]


@st.composite
def events(draw: st.DrawFn) -> tuple[Event, bool]:
    """Draw an event of a drawn class, and whether the event must be accepted."""
    kinds = draw(st.lists(KINDS, min_size=1, max_size=4))
    fields: dict[str, Any] = {}
    for name, kind in zip(FIELD_NAMES, kinds, strict=False):
        alias = draw(st.sampled_from([None, None, f"{name}Alias"]))
        fields[name] = (kind.annotation, Field(alias=alias) if alias else ...)
    base = draw(st.sampled_from(BASES))
    generated = create_model("Generated", __base__=base, **fields)
    values = {
        (field.alias or name): draw(kind.values)
        for (name, field), kind in zip(generated.model_fields.items(), kinds, strict=False)
    }
    event: Any = generated(**values)
    note = draw(st.sampled_from(["", "", "x"]))
    certain = base is not Emptied and all(kind.certain for kind in kinds)
    if isinstance(event, Remembering):
        event._note = note
        return event, certain and not note
    return event, certain


def accepted(event: Event) -> bool:
    try:
        App(events=[type(event)])
        to_text(event)
    except (ConfigError, WireError):
        return False
    return True


@seed(20261127)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(events())
def test_an_accepted_event_comes_back_equal_and_a_plain_one_is_accepted(drawn: tuple[Event, bool]) -> None:
    event, certain = drawn
    if accepted(event):
        read = from_text(type(event), to_text(event))
        assert read == event
        assert difference(event, read) is None  # in types, too
        assert from_text(type(event), to_text(read)) == event
    else:
        assert not certain, f"{event!r} was refused"


class Keep(Command):
    number: int


def of(event: Event) -> App:
    """Return an application whose decision yields this event, and whose projection keeps it."""

    def keep(command: Keep, past: Past) -> Any:
        yield event

    def note(event: Event, tables: Tables) -> None:
        kept.append(event)

    kept: list[Event] = []
    keep.__annotations__["return"] = Iterator[type(event)]  # type: ignore[misc]
    app = App(commands=[keep], projections=[Projection("kept", 1, "CREATE TABLE kept (id)", on=[note])])
    vars(app)["kept"] = kept
    return app


@seed(20261127)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(events())
def test_what_a_command_has_written_is_projected_equal_and_verified(drawn: tuple[Event, bool]) -> None:
    event, certain = drawn
    try:
        app = of(event)
    except ConfigError:
        assert not certain
        return
    with TemporaryDirectory(prefix="db") as name:
        folder = Path(name)
        with closing(SqliteLog(folder, lambda secret: Decision(GENESIS, NOW))) as log:
            bus = Bus(log, app)
            drain = bus.drain(said("Keep", number=1))
            [answer] = answers(drain)
            if drain.decisions:
                log.append(drain.decisions)
            recorded = log.read(0, 10)
            for one in recorded:
                model = ModelInMemory(app.projections)
                with model.transaction():
                    Applier(app).apply(one, model)
        assert vars(app)["kept"] == ([event] if answer.get("success") else [])
        assert len(recorded) == (1 if answer.get("success") else 0)
        assert answer.get("success") or not certain
        assert verify(folder, app).position == len(recorded)
