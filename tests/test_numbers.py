"""Numbers of JSON in messages: each Decimal field receives all digits, each other field the same value as before."""

import json
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

import msgpack
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from pydantic import BaseModel, BeforeValidator, Field, RootModel, TypeAdapter

from dualbus import Command
from dualbus.application.messages import Invalid, Message, parse
from dualbus.gateway.access import CLUSTER
from dualbus.gateway.envelope import BadEnvelope, read_request
from dualbus.protocol.codec import pack, unpack, unpack_hostile
from dualbus.protocol.codes import WireError
from dualbus.protocol.json_stream import DecodeError, JsonStream

LONG = "12345678901234567.89"
LONGER = "12345678901234567.90"


class Line(BaseModel):
    price: Annotated[Decimal, Field(decimal_places=2)]
    parts: list["Line"] = []


class Prices(RootModel[dict[str, Decimal]]):
    pass


class Pay(Command):
    price: Decimal = Decimal(0)
    most: Annotated[Decimal, Field(le=Decimal(LONG))] = Decimal(0)
    even: Annotated[Decimal, Field(multiple_of=Decimal("0.02"))] = Decimal(0)
    checked: Annotated[Decimal, Field(validate_default=True)] = Decimal("0.5")
    prices: list[Decimal] = Field(default_factory=list)
    line: Line | None = None
    by_name: Prices | None = None
    union: int | Decimal | str | None = None
    written: Annotated[Decimal, BeforeValidator(lambda value: Decimal(str(value)))] = Decimal(0)
    config: Decimal = Decimal(0)
    default: dict[str, str] = Field(default={"type": "decimal"})
    day: date | None = None
    rate: float = 0
    whole: int = 0
    text: str = ""
    flag: bool = False
    anything: Any = None


class Rate(Command):
    rate: float = 0
    text: Annotated[str, Field(coerce_numbers_to_str=True)] = ""


def received(fields: str) -> dict[str, Any]:
    """Return the fields of a message as a bus receives them: through standard input, the gateway and a frame."""
    line = f'{{"body": {{"type": "Pay", "msg_id": 1, "payload": {fields}}}}}\n'
    [message] = JsonStream().feed(line.encode())
    assert not isinstance(message, DecodeError), message.text
    payload: dict[str, Any] = unpack(read_request(message, CLUSTER).body)["payload"]
    return payload


def parsed(fields: str, kind: type[Message] = Pay) -> dict[str, Any]:
    """Return the fields of a message that a client has set."""
    message = parse(kind, received(fields))
    return {name: value for name, value in message if name in message.model_fields_set}


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ('{"price": 0.10}', "price", "Decimal('0.10')"),
        (f'{{"price": {LONG}}}', "price", f"Decimal('{LONG}')"),
        (f'{{"price": -{LONG}}}', "price", f"Decimal('-{LONG}')"),
        ('{"price": 1E+5}', "price", "Decimal('1E+5')"),
        ('{"price": 5e-324}', "price", "Decimal('5E-324')"),
        ('{"price": 0.1}', "price", "Decimal('0.1')"),
        ('{"price": 7}', "price", "Decimal('7')"),
        (f'{{"price": "{LONG}0"}}', "price", f"Decimal('{LONG}0')"),
        (f'{{"most": {LONG}}}', "most", f"Decimal('{LONG}')"),
        (f'{{"even": {LONGER}}}', "even", f"Decimal('{LONGER}')"),
        (f'{{"checked": {LONG}}}', "checked", f"Decimal('{LONG}')"),
        (f'{{"written": {LONG}, "price": 0.10}}', "written", f"Decimal('{LONG}')"),
        ('{"config": 0.10}', "config", "Decimal('0.10')"),
        (f'{{"union": {LONG}}}', "union", f"Decimal('{LONG}')"),
        ('{"line": {"price": 1.50, "parts": [{"price": 2.00}]}}', "line", None),
        (f'{{"by_name": {{"a": {LONG}}}}}', "by_name", f"Prices(root={{'a': Decimal('{LONG}')}})"),
        (
            f'{{"prices": [{LONG}, {LONGER}, 12345678901234567.88, 0.10, "0.1", 1, 0.5], "day": "2026-01-31"}}',
            "prices",
            f"[Decimal('{LONG}'), Decimal('{LONGER}'), Decimal('12345678901234567.88'), Decimal('0.10'), "
            "Decimal('0.1'), Decimal('1'), Decimal('0.5')]",
        ),
        (f'{{"rate": {LONG}}}', "rate", "1.2345678901234568e+16"),
        (f'{{"prices": [{LONGER}], "rate": {LONG}}}', "rate", "1.2345678901234568e+16"),
        (f'{{"rate": {LONGER}, "prices": [{LONG}]}}', "prices", f"[Decimal('{LONG}')]"),
        ('{"rate": 0.10, "price": 0.10}', "rate", "0.1"),
        ('{"anything": {"a": [0.10, null]}, "price": 1.50}', "anything", "{'a': [0.1, None]}"),
        (f'{{"anything": {LONG}}}', "anything", "1.2345678901234568e+16"),
    ],
)
def test_a_number_arrives_as_its_field_wants_it(fields: str, name: str, value: str | None) -> None:
    expected = value or "Line(price=Decimal('1.50'), parts=[Line(price=Decimal('2.00'), parts=[])])"
    assert repr(parsed(fields)[name]) == expected


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ('{"text": 0.10}', "Text must be text"),
        ('{"whole": 1.50}', "Whole must be a whole number"),
        ('{"whole": 1e5}', "Whole must be a whole number"),
        ('{"flag": 1.0}', "Flag must be true or false"),
        ('{"price": true, "prices": [0.10]}', "Price is not valid"),
        ('{"price": [0.10]}', "Price is not valid"),
        (f'{{"most": {LONGER}}}', f"Most must be at most {LONG}"),
        (f'{{"even": {LONG}}}', "Even must be a multiple of 0.02"),
        ('{"line": {"price": 0.123}}', "Line price must have at most 2 decimal places"),
        ('{"day": 0.10}', "Day is not valid"),
        (f'{{"anything": [{LONG}, {LONGER}]}}', "Two numbers differ only in digits that are lost"),
    ],
)
def test_a_number_in_a_field_of_another_type_is_refused(fields: str, sentence: str) -> None:
    with pytest.raises(Invalid) as caught:
        parsed(fields)
    [error] = caught.value.errors
    assert error.startswith(sentence)


def test_a_class_without_a_decimal_receives_floats() -> None:
    [rate] = parsed('{"rate": 0.10}', Rate).values()
    assert type(rate) is float and rate == 0.1


DECIMALS = st.decimals(allow_nan=False, allow_infinity=False).filter(
    lambda value: abs(value.adjusted()) < 300 and value.as_tuple().exponent != 0  # whole numbers have their own bound
)


@pytest.mark.slow
@seed(20261127)
@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(DECIMALS, st.floats(allow_nan=False, allow_infinity=False)), max_size=5))
def test_all_decimals_arrive_equal(values: list[Decimal | float]) -> None:
    assert parsed(f'{{"prices": [{", ".join(map(str, values))}]}}') == {
        "prices": [Decimal(str(value)) for value in values]
    }


@pytest.mark.slow
@seed(20261127)
@settings(max_examples=300, deadline=None)
@given(st.lists(DECIMALS, max_size=5))
def test_all_floats_are_as_python_reads_them(values: list[Decimal]) -> None:
    text = f'{{"rates": [{", ".join(map(str, values))}]}}'
    rates = TypeAdapter(dict[str, list[float]]).validate_python(received(text))
    assert rates == json.loads(text)


# Hostile numbers.


@pytest.mark.parametrize(
    ("number", "says"),
    [
        ("1e400", "not finite"),
        ("0e-999", "out of the range"),
        ("1e-99999999", "out of the range"),
        ("0." + "1" * 401, "more than 400 characters"),
    ],
)
def test_a_number_out_of_range_is_refused_at_the_gateway(number: str, says: str) -> None:
    for fields in (f'{{"price": {number}}}', f'{{"anything": [[{number}]]}}'):
        with pytest.raises(BadEnvelope, match=says):
            received(fields)


def test_a_number_with_an_exponent_of_twenty_digits_is_no_json() -> None:
    [found] = JsonStream().feed(b'{"body": {"payload": 1e-99999999999999999999}}\n')
    assert isinstance(found, DecodeError)


@pytest.mark.parametrize(
    ("extension", "says"),
    [
        (msgpack.ExtType(1, b""), "not the text of a JSON number"),
        (msgpack.ExtType(1, b"NaN"), "not the text of a JSON number"),
        (msgpack.ExtType(1, b"sNaN123"), "not the text of a JSON number"),
        (msgpack.ExtType(1, b"Infinity"), "not the text of a JSON number"),
        (msgpack.ExtType(1, b" 1"), "not the text of a JSON number"),
        (msgpack.ExtType(1, b"1_0"), "not the text of a JSON number"),
        (msgpack.ExtType(1, "\u0661".encode()), "not the text of a JSON number"),
        (msgpack.ExtType(1, b"\xff"), "not the text of a JSON number"),
        (msgpack.ExtType(1, b"01"), "not the text of a JSON number"),
        (msgpack.ExtType(1, b"1\n"), "not the text of a JSON number"),
        (msgpack.ExtType(1, b"1" * 401), "not the text of a JSON number"),
        (msgpack.ExtType(1, b"1e-99999999999999999999"), "exponent"),
        (msgpack.ExtType(2, b"1"), "other than numbers"),
    ],
)
def test_an_extension_type_that_is_no_number_is_refused(extension: msgpack.ExtType, says: str) -> None:
    for hidden in (extension, {"a": [extension]}):
        with pytest.raises(WireError, match=says):
            unpack_hostile(msgpack.packb([hidden]))


@pytest.mark.parametrize("name", ["src", "dest", "timeout_ms", "after"])
def test_a_number_with_digits_has_no_place_in_an_envelope(name: str) -> None:
    number = unpack_hostile(msgpack.packb([msgpack.ExtType(1, b"1.50")]))[0]
    with pytest.raises(BadEnvelope, match=name):
        read_request({"body": {"type": "Pay", "msg_id": 1}, name: number}, CLUSTER)


@pytest.mark.parametrize("name", ["type", "msg_id", "idempotency_key", "metadata", "trace"])
def test_a_number_with_digits_has_no_place_in_a_body(name: str) -> None:
    number = Decimal("1.50")
    with pytest.raises(BadEnvelope, match=name):
        read_request(
            {"body": {"type": "Pay", "msg_id": 1, name: {"a": number} if name == "metadata" else number}}, CLUSTER
        )


def test_digits_survive_a_frame_as_they_were_written() -> None:
    for text in ("0.10", "-0.0", "1E+5", "5E-324", LONG):
        assert str(unpack(pack([Decimal(text)]))[0].digits) == text


def test_each_character_of_a_number_counts_as_two_values_of_a_message() -> None:
    number = msgpack.ExtType(1, b"0.10")
    assert len(unpack_hostile(msgpack.packb([[number] * 1900]))[0]) == 1900
    with pytest.raises(WireError, match="more than 20000 values"):
        unpack_hostile(msgpack.packb([[number] * 2300]))
