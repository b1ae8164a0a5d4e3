"""What an application says: every problem of a message at once, in sentences a person can act on."""

import enum
import json
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    SerializerFunctionWrapHandler,
    ValidationError,
    computed_field,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from dualbus import Command, Email, Event, Private, Query, Rejected, Tag, Text
from dualbus.application.event_json import from_text, shown, tags, to_text
from dualbus.application.messages import Invalid, parse
from dualbus.log.tags import Tagger
from dualbus.protocol.codes import WireError


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    street: str


def _even(value: int) -> int:
    if value % 2:
        raise ValueError("must be even")
    return value


def _not_friday(value: str) -> str:
    if value == "friday":
        raise ValueError("Fridays are off")
    return value


def _red(value: str) -> str:
    if value == "blue":
        raise AssertionError("Choose a warm colour")  # pytest would change the text of an assert statement
    if value == "grey":
        raise ValueError
    return value


class Everything(Command):
    user_name: Text = "u"
    email: Email = "a@b.c"
    age: Annotated[int, Field(ge=18, le=150)] = 18
    count: Annotated[int, Field(gt=0, lt=10, multiple_of=3)] = 3
    price: Annotated[float, Field(gt=0)] = 1.0
    agreed: bool = True
    code: Annotated[str, Field(min_length=2, max_length=4, pattern="^[a-z]+$")] = "abc"
    tags: Annotated[list[str], Field(min_length=1, max_length=2)] = Field(default_factory=lambda: ["a"])
    colour: Colour = Colour.RED
    size: Literal["s", "m"] = "s"
    id: UUID = UUID(int=0)
    born: date = date(2000, 1, 1)
    address: Address = Address(street="x")
    more: dict[str, int] = Field(default_factory=dict)
    even: Annotated[int, AfterValidator(_even)] = 2
    day: Annotated[str, AfterValidator(_not_friday)] = "monday"
    warm: Annotated[str, AfterValidator(_red)] = "red"
    site: HttpUrl | None = None
    nested: list[Address] = Field(default_factory=list)
    handle: Annotated[str, AfterValidator(str.lower), Field(max_length=3)] = "a"


class CreateUser(Command):
    name: Text
    email: Email


class Move(Command):
    start: int
    end: int
    lap: int = 1

    def problems(self) -> Iterable[str]:
        if self.start > self.end:
            yield "Start must not be after end"
        if self.lap > self.end - self.start:
            yield "Lap must fit between start and end"


def problems(kind: type[Command], **fields: Any) -> list[str]:
    """Return the sentences that a message is refused with; none if it is right."""
    try:
        parse(kind, fields)
    except Invalid as invalid:
        return invalid.errors
    return []


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("user_name", None, "User name is required"),
        ("user_name", "", "User name is required"),
        ("user_name", " \t\n", "User name is required"),
        ("user_name", 5, "User name must be text"),
        ("user_name", ["a"], "User name must be text"),
        ("email", "", "Email is required"),
        ("email", "  ", "Email is required"),
        ("email", "nobody", "Email must be an email address"),
        ("email", "a@b", "Email must be an email address"),
        ("email", "a b@c.d", "Email must be an email address"),
        ("email", "a@b@c.d", "Email must be an email address"),
        ("email", "a@b.c\nd", "Email must be an email address"),
        ("email", 7, "Email must be text"),
        ("email", "a@" + "b" * 260 + ".c", "Email must have at most 254 characters"),
        ("age", 17, "Age must be at least 18"),
        ("age", 151, "Age must be at most 150"),
        ("age", "18", "Age must be a whole number"),
        ("age", 18.5, "Age must be a whole number"),
        ("age", True, "Age must be a whole number"),
        ("age", None, "Age is required"),
        ("count", 0, "Count must be more than 0"),
        ("count", 12, "Count must be less than 10"),
        ("count", 4, "Count must be a multiple of 3"),
        ("price", "1", "Price must be a number"),
        ("price", 0, "Price must be more than 0.0"),
        ("agreed", "yes", "Agreed must be true or false"),
        ("agreed", 1, "Agreed must be true or false"),
        ("code", "a", "Code must have at least 2 characters"),
        ("code", "abcde", "Code must have at most 4 characters"),
        ("code", "ABC", "Code has the wrong form"),
        ("handle", "abcd", "Handle must have at most 3 characters"),
        ("tags", [], "Tags must have at least 1 item"),
        ("tags", ["a", "b", "c"], "Tags must have at most 2 items"),
        ("tags", "a", "Tags must be a list"),
        ("tags", ["a", 5], "Tags item 2 must be text"),
        ("colour", "green", "Colour must be 'red' or 'blue'"),
        ("size", "l", "Size must be 's' or 'm'"),
        ("id", "5", "Id must be a UUID"),
        ("address", "x", "Address must be an object"),
        ("address", {}, "Address street is required"),
        ("nested", [{"street": "a"}, {"street": 1}], "Nested item 2 street must be text"),
        ("more", [], "More must be an object"),
        ("more", {"a": "b"}, "More a must be a whole number"),
        ("even", 3, "Even must be even"),
        ("day", "friday", "Fridays are off"),
        ("warm", "blue", "Choose a warm colour"),
        ("warm", "grey", "Warm is not valid"),
        ("site", "x", "Site is not valid: input should be a valid URL, relative URL without a base"),
        ("site", "ftp://a", "Site is not valid: URL scheme should be 'http' or 'https'"),
        ("other", 1, "Other is not a field of Everything"),
    ],
)
def test_a_problem_is_said_in_a_sentence(field: str, value: object, sentence: str) -> None:
    assert problems(Everything, **{field: value}) == [sentence]


def _iban(value: str | None) -> str | None:
    if value is None:
        raise PydanticCustomError("iban", "must be an IBAN")
    return value


def _guarded(value: str | None) -> str | None:
    if value is None:
        raise ValueError("Name a guardian, or leave the field out")
    return value


class Guarded(Command):
    account: Annotated[str | None, AfterValidator(_iban)] = ""
    guardian: Annotated[str | None, AfterValidator(_guarded)] = ""


def test_a_sentence_of_the_author_about_null_is_said() -> None:
    with pytest.raises(Invalid) as caught:
        parse(Guarded, {"account": None, "guardian": None})

    assert [(one.text, one.code) for one in caught.value.problems] == [
        ("Account must be an IBAN", "iban"),
        ("Name a guardian, or leave the field out", "invalid"),
    ]


def test_a_problem_without_a_sentence_of_its_own_is_said_in_pydantics_words() -> None:
    [sentence] = problems(Everything, born="yesterday")

    assert sentence.startswith("Born is not valid: input should be a valid date")


def test_all_problems_are_said_at_once_in_the_order_of_the_fields() -> None:
    assert problems(CreateUser) == ["Name is required", "Email is required"]
    assert problems(CreateUser, name=5, email="x") == ["Name must be text", "Email must be an email address"]
    assert problems(CreateUser, name=None, email=" ", a=1, b=2) == [
        "Name is required",
        "Email is required",
        "A is not a field of CreateUser",
        "B is not a field of CreateUser",
    ]


def test_rules_across_fields_are_asked_when_every_field_is_right_and_all_of_them_answer() -> None:
    assert problems(Move, start=5, end=3) == [
        "Start must not be after end",
        "Lap must fit between start and end",
    ]
    assert problems(Move, start="5", end=3) == ["Start must be a whole number"]
    assert problems(Move, start=1, end=3) == []


def test_text_loses_the_space_around_it_and_keeps_what_is_in_it() -> None:
    command = parse(CreateUser, {"name": "  Ada  L. ", "email": " ada@example.org "})

    assert (command.name, command.email) == ("Ada  L.", "ada@example.org")


def test_json_types_that_only_text_can_carry_are_read_from_text() -> None:
    command = parse(
        Everything, {"id": "12345678-1234-5678-1234-567812345678", "born": "2026-01-31", "colour": "blue"}
    )

    assert (command.born, command.colour) == (date(2026, 1, 31), Colour.BLUE)


def test_a_message_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        CreateUser(name="a", email="a@b.c").name = "b"  # type: ignore[misc]


# Refusals.


def test_a_rejection_may_have_several_sentences_and_never_none() -> None:
    assert Rejected("One", "Two").errors == ["One", "Two"]
    assert Rejected().errors == ["The command was rejected"]
    assert str(Rejected("One", "Two")) == "One; Two"
    assert Rejected("One").outcome_known


def test_what_cannot_be_sent_as_it_is_can_be_sent_all_the_same() -> None:
    assert Rejected("cut \ud83d", 5).errors == ["cut ?", "5"]  # type: ignore[arg-type]
    assert Invalid(["cut \ud83d"]).errors == ["cut ?"]


# Events.


class Registered(Event):
    id: Annotated[UUID, Tag("user")]
    course: Annotated[str | None, Tag("course")] = None
    seat: Annotated[int, Tag("seat"), Tag("place")] = 1
    email: Annotated[str, Private, Tag("email")] = "a@b.c"
    secret: Annotated[str, Private()] = "s"
    at: datetime = datetime(2026, 1, 31, tzinfo=UTC)


ID = UUID(int=7)


def test_an_event_belongs_to_the_histories_of_its_tagged_fields_and_none_to_that_of_nothing() -> None:
    assert tags(Registered(id=ID, course="c")) == [
        ("user", str(ID)),
        ("course", "c"),
        ("seat", "1"),
        ("place", "1"),
        ("email", "a@b.c"),
    ]
    assert "course" not in dict(tags(Registered(id=ID)))


def test_a_reply_shows_all_but_the_private_fields_and_the_log_keeps_all() -> None:
    event = Registered(id=ID)

    assert shown(event) == {
        "type": "Registered",
        "payload": {"id": str(ID), "course": None, "seat": 1, "at": "2026-01-31T00:00:00Z"},
    }
    assert from_text(Registered, to_text(event)) == event


def test_a_private_field_is_in_no_repr_and_no_input_is_in_an_error() -> None:
    event = Registered(id=ID, email="ada@b.c", secret="hidden")

    for text in (repr(event), str(event), f"{[event]}"):
        assert "ada@b.c" not in text and "hidden" not in text
        assert "email=<private>" in text and "seat=1" in text
    with pytest.raises(ValidationError) as caught:
        Registered.model_validate_json('{"email": "ada@b.c", "seat": "ada@b.c", "ada": 1}')
    assert "ada@b.c" not in f"{caught.value}{caught.value!r}"


class Sparse(Event):
    on: date
    id: str
    note: Annotated[str | None, Private] = None

    @model_serializer(mode="wrap")
    def without_nones(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}


def test_a_reply_shows_what_an_author_has_kept_in_the_event() -> None:
    event = Sparse(on=date(2026, 1, 31), id="1")

    assert shown(event)["payload"] == {"on": "2026-01-31", "id": "1"}
    assert from_text(Sparse, to_text(event)) == event


class Aliased(Event):
    model_config = ConfigDict(serialize_by_alias=True)
    on: date
    secret: Annotated[str, Private] = Field(alias="hidden")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def shouted(self) -> str:
        return self.secret.upper()


def test_a_private_field_is_not_shown_by_whatever_name_the_log_has_it() -> None:
    event = Aliased(on=date(2026, 1, 31), hidden="abc")

    assert shown(event)["payload"] == {"on": "2026-01-31"}
    assert json.loads(to_text(event)) == {"on": "2026-01-31", "secret": "abc"}


class Lax(Command):
    model_config = ConfigDict(strict=False, coerce_numbers_to_str=True)
    name: str


class LaxField(Command):
    name: str = Field(strict=False, coerce_numbers_to_str=True)


@pytest.mark.parametrize("kind", [Lax, LaxField])
def test_a_number_taken_for_text_is_the_one_that_json_shows(kind: type[Lax | LaxField]) -> None:
    assert parse(kind, {"name": 1e-05}).name == "0.00001"


class Renamed(Command):
    given: str

    @model_validator(mode="before")
    @classmethod
    def of_old(cls, fields: dict[str, Any]) -> dict[str, Any]:
        fields["given"] = fields.pop("name")
        return fields


def test_a_validator_that_changes_what_it_is_given_does_not_change_what_came() -> None:
    came = {"name": "Ada"}

    assert parse(Renamed, came).given == "Ada"
    assert came == {"name": "Ada"}


class Loose(Event):
    what: Any


@pytest.mark.parametrize(
    "what",
    [
        2**63,
        -(2**63) - 1,
        float("nan"),
        [{"a": float("-inf")}],
        date(2026, 1, 31),
        (1, 2),
        b"\xff",
        "\ud800",
        object(),
    ],
)
def test_an_event_that_would_not_come_back_equal_is_refused(what: object) -> None:
    with pytest.raises(WireError):
        shown(Loose(what=what))


@pytest.mark.parametrize("what", [2**63 - 1, 0.5, "ü", None, [{"a": [1]}]])
def test_an_event_with_what_the_log_can_hold_comes_back_equal(what: object) -> None:
    event = Loose(what=what)
    assert from_text(Loose, to_text(event)) == event


def test_query_and_command_and_event_are_three_things() -> None:
    assert not issubclass(Query, Command | Event)


# Tags.


def test_a_tag_is_its_name_and_its_value_and_a_private_one_hides_the_value() -> None:
    tagger = Tagger(frozenset({"email"}), b"secret")

    assert tagger.tag("user", "5") == "user:5"
    hidden = tagger.tag("email", "ada@example.org")
    assert hidden.startswith("email:#")
    assert "ada" not in hidden
    assert hidden == Tagger(frozenset({"email"}), b"secret").tag("email", "ada@example.org")
    assert hidden != tagger.tag("email", "bob@example.org")


def test_a_hidden_value_is_another_under_another_secret_and_under_another_name() -> None:
    private = frozenset({"email", "phone"})
    one, two = Tagger(private, b"one"), Tagger(private, b"two")

    values = {one.tag("email", "x"), two.tag("email", "x"), one.tag("phone", "x")}

    assert len({value.partition("#")[2] for value in values}) == 3
