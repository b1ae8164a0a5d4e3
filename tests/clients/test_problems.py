"""Problems: a sentence, the path of a field and a code, from a validation, a rule and a decision to every client."""

import json
import pickle
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import pytest
from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import PydanticCustomError

from dualbus import Command, Problem, Rejected, Text
from dualbus.application import error_text
from dualbus.application.errors import INVALID, REJECTED, problems_from, stored_errors
from dualbus.application.messages import Invalid, parse
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.testing import Cluster
from tests.clients.orders import CancelOrder, GetPrice
from tests.clients.seeing import order
from tests.conftest import ROOT
from tests.raw import RawClient, command, query

Make = Callable[..., Any]


def _iban(value: str) -> str:
    if not value.startswith("DE"):
        raise PydanticCustomError("iban", "must be an IBAN")
    return value


class Dog(BaseModel):
    kind: Literal["dog"]
    breed: Text


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Address(BaseModel):
    zip: Text
    street: Text = "x"


class Register(Command):
    address: Address = Address(zip="1")
    addresses: list[Address] = Field(default_factory=list)
    pet: Annotated[Dog | Cat, Field(discriminator="kind")] = Dog(kind="dog", breed="x")
    number: int | list[int] = 1
    house: Address | Dog = Address(zip="1")
    rates: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    codes: dict[Annotated[str, Field(max_length=3)], int] = Field(default_factory=dict)
    age: Annotated[int, Field(ge=18, le=150)] = 18
    note: Annotated[str, Field(min_length=2, max_length=4, pattern="^[a-z]+$")] = "abc"
    size: Literal["s", "m"] = "s"
    born: str = Field(default="2000", alias="bornIn")
    iban: Annotated[str, AfterValidator(_iban)] = "DE"
    price: Decimal = Decimal(1)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"address": {}}, ("Address zip is required", "address.zip", "required")),
        ({"address": {"zip": " "}}, ("Address zip is required", "address.zip", "required")),
        ({"address": None}, ("Address is required", "address", "required")),
        ({"address": 1}, ("Address must be an object", "address", "wrong_type")),
        ({"addresses": [{"zip": "1"}, {}]}, ("Addresses item 2 zip is required", "addresses[1].zip", "required")),
        ({"addresses": [1]}, ("Addresses item 1 must be an object", "addresses[0]", "wrong_type")),
        ({"pet": {"kind": "dog"}}, ("Pet breed is required", "pet.breed", "required")),
        ({"pet": {"kind": "cat", "lives": "x"}}, ("Pet lives must be a whole number", "pet.lives", "wrong_type")),
        ({"pet": {"kind": "cow"}}, ("Pet is not valid", "pet", "not_allowed")),
        ({"rates": {"usd": 0}}, ("Rates usd must be more than 0.0", "rates.usd", "too_small")),
        ({"codes": {"long": 1}}, ("Codes long must have at most 3 characters", "codes.long", "too_long")),
        ({"age": 17}, ("Age must be at least 18", "age", "too_small")),
        ({"age": 151}, ("Age must be at most 150", "age", "too_large")),
        ({"age": 18.5}, ("Age must be a whole number", "age", "wrong_type")),
        ({"note": "a"}, ("Note must have at least 2 characters", "note", "too_short")),
        ({"note": "abcde"}, ("Note must have at most 4 characters", "note", "too_long")),
        ({"note": "ABC"}, ("Note has the wrong form", "note", "wrong_format")),
        ({"size": "l"}, ("Size must be 's' or 'm'", "size", "not_allowed")),
        ({"bornIn": 5}, ("BornIn must be text", "bornIn", "wrong_type")),
        ({"other": 5}, ("Other is not a field of Register", "other", "unknown_field")),
        ({"iban": "FR"}, ("Iban must be an IBAN", "iban", "iban")),
        ({"price": "x"}, ("Price is not valid", "price", "wrong_format")),
    ],
)
def test_a_problem_has_the_path_and_the_code_of_its_field(
    fields: dict[str, Any], problem: tuple[str, str, str]
) -> None:
    with pytest.raises(Invalid) as caught:
        parse(Register, fields)
    [found] = caught.value.problems

    text, field, code = problem
    assert found.text.startswith(text)
    assert (found.field, found.code) == (field, code)
    assert caught.value.errors == [found.text]


def test_the_members_of_a_union_are_no_part_of_a_path() -> None:
    with pytest.raises(Invalid) as caught:
        parse(Register, {"number": "x", "house": {"kind": "dog"}})

    assert {(one.field, one.code) for one in caught.value.problems} == {
        ("number", "wrong_type"),
        ("house.zip", "required"),
        ("house.breed", "required"),
        ("house.kind", "unknown_field"),  # of an Address
    }


def test_the_page_on_clients_has_every_code() -> None:
    page = (ROOT / "docs" / "clients.md").read_text()
    listed = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))

    codes = {*error_text._CODES.values(), *error_text._CODES_BY_END.values(), INVALID, REJECTED}
    assert codes <= listed
    assert {"not_supported", "malformed", "unknown_dest"} <= listed


def test_a_rejection_has_a_code_and_a_field_of_its_own() -> None:
    taken = Rejected("Email is already taken", code="email_taken", field="email")
    several = Rejected("One", Problem("Two \ud83d", field="two", code="second"))

    assert taken.problems == [Problem("Email is already taken", "email", "email_taken")]
    assert several.problems == [Problem("One", None, "rejected"), Problem("Two ?", "two", "second")]
    assert several.errors == ["One", "Two ?"]
    assert pickle.loads(pickle.dumps(several)).problems == several.problems
    assert Rejected().problems == [Problem("The command was rejected")]


def test_the_log_holds_a_sentence_as_text_and_any_other_problem_as_an_object() -> None:
    problems = [Problem("One"), Problem("Two", field="two"), Problem("Three", code="third")]

    stored = json.loads(json.dumps(stored_errors(problems)))

    assert stored[0] == "One"
    assert stored[1] == {"text": "Two", "field": "two", "code": "rejected"}
    assert problems_from(stored) == problems


# Through a cluster.


def refused(call: Callable[[], Any]) -> list[tuple[str, str | None, str]]:
    with pytest.raises(Rejected) as caught:
        call()
    assert caught.value.errors == [problem.text for problem in caught.value.problems]
    return [(problem.text, problem.field, problem.code) for problem in caught.value.problems]


def test_a_client_receives_the_problems_of_a_validation_a_rule_and_a_decision(make: Make, orders: Cluster) -> None:
    client, placed = make(orders.front), order()
    client.command("PlaceOrder", placed)

    # Of a validation, of a command and of a query
    assert refused(
        lambda: client.command("PlaceOrder", order(lines=[{"item": "a", "amount": 0}, {"amount": 1}]))
    ) == [
        ("Lines item 1 amount must be at least 1", "lines[0].amount", "too_small"),
        ("Lines item 2 item is required", "lines[1].item", "required"),
    ]
    assert refused(lambda: client.query("GetPrice", order="5", lines=[{"item": ""}])) == [
        ("Order must be a UUID", "order", "wrong_format"),
        ("Lines item 1 item is required", "lines[0].item", "required"),
        ("Lines item 1 amount is required", "lines[0].amount", "required"),
    ]
    # Of a rule across fields
    assert refused(lambda: client.command("PlaceOrder", order(price=101, payment="cash", due="1999-01-01"))) == [
        ("Cash is for orders up to 100", "payment", "too_much_cash"),
        ("Due must be in this century", None, "invalid"),
    ]
    # Of a decision
    assert refused(lambda: client.command("PlaceOrder", placed)) == [
        ("The order is placed already", "order", "order_placed")
    ]
    assert refused(lambda: client.command(CancelOrder(order=uuid4()))) == [
        ("There is no such order", None, "rejected")
    ]
    # Of the cluster itself
    assert refused(lambda: client.query("Nothing"))[0][1:] == (None, "not_supported")
    assert refused(lambda: client.query("GetPrice", order={"x"}))[0][1:] == (None, "malformed")


def test_a_repeated_command_has_the_first_problems_also_after_a_restart(make: Make, orders: Cluster) -> None:
    client, placed = make(orders.front, timeout=60), order()
    client.command("PlaceOrder", placed)
    again = order(email=placed["email"])
    first = refused(lambda: client.command("PlaceOrder", again, idempotency_key=again["order"]))
    assert first == [("One order at a time", None, "rejected"), ("Email is already taken", "email", "email_taken")]

    assert refused(lambda: client.command("PlaceOrder", again, idempotency_key=again["order"])) == first
    orders.kill("commandbus")
    orders.start("commandbus")
    assert refused(lambda: client.command("PlaceOrder", again, idempotency_key=again["order"])) == first
    reader = SqliteLogReader(orders.data)
    try:
        stored = reader.outcomes([again["order"]])[again["order"]].errors
    finally:
        reader.close()
    assert stored == ["One order at a time", {"text": first[1][0], "field": "email", "code": "email_taken"}]


def test_a_result_says_whether_it_was_known_already(make: Make, orders: Cluster) -> None:
    client, placed = make(orders.front, timeout=60), order()
    first = client.command("PlaceOrder", placed, idempotency_key=placed["order"])
    second = client.command("PlaceOrder", placed, idempotency_key=placed["order"])
    orders.kill("commandbus")
    orders.start("commandbus")
    third = client.command("PlaceOrder", placed, idempotency_key=placed["order"])

    assert (first.repeated, second.repeated, third.repeated) == (False, True, True)
    assert first == second == third
    assert client.query(GetPrice(order=UUID(placed["order"]))) == "9.90"


def test_the_body_has_the_keys_it_had_and_the_details_are_in_the_envelope(orders: Cluster) -> None:
    pipe = orders.process("gateway").popen
    assert pipe.stdin
    assert pipe.stdout
    placed = order()
    with RawClient(orders.front) as client:
        for number, (sent, details) in enumerate(
            [
                (command("PlaceOrder", key=placed["order"], **placed), None),
                (command("PlaceOrder", key=placed["order"], **placed), {"repeated": True}),
                (command("PlaceOrder", **placed), {"problems": [{"field": "order", "code": "order_placed"}]}),
                (query("GetPrice"), {"problems": [{"field": "order", "code": "required"}]}),
            ]
        ):
            sent["body"]["msg_id"] = number
            client.send(sent)
            [reply] = client.wait_for([number])
            assert reply.get("details") == details
            pipe.stdin.write(json.dumps(sent).encode() + b"\n")
            pipe.stdin.flush()
            assert json.loads(pipe.stdout.readline()) == reply["body"]
            assert reply["body"].keys() <= {"type", "in_reply_to", "success", "events", "errors", "code", "text"}
