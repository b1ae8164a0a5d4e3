"""GET and POST /queries/{type}: parameters by the types of the fields, ETags and problems."""

from typing import Any
from urllib.parse import quote

import httpx
import pytest

PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def app() -> str:
    return "tests.web.shop:app"


@pytest.mark.parametrize(
    ("parameters", "received"),
    [
        ("", {}),
        ("text=42", {"text": "42"}),
        ("text=null", {"text": "null"}),
        ("text=", {"text": ""}),
        ("text=a%26b%3D+c%C3%A9%00", {"text": "a&b= cé\0"}),
        ("maybe=null", {"maybe": "null"}),
        ("number=-7", {"number": -7}),
        ("number=9223372036854775807", {"number": 2**63 - 1}),
        ("maybe_number=3", {"maybe_number": 3}),
        ("ratio=2", {"ratio": 2.0}),
        ("ratio=2.5e3", {"ratio": 2500.0}),
        ("price=12345678901234567.89", {"price": "12345678901234567.89"}),
        ("day=2026-01-31", {"day": "2026-01-31"}),
        ("flag=true", {"flag": True}),
        ("colour=null", {"colour": "null"}),
        ("size=2", {"size": 2}),
        ("payment=cash", {"payment": "cash"}),
        ("names=a", {"names": ["a"]}),
        ("names=a&names=1&names=", {"names": ["a", "1", ""]}),
        ("numbers=1&text=x&numbers=2", {"numbers": [1, 2], "text": "x"}),
        ("corner=1&corner=2", {"corner": [1, "2"]}),
        ("pair=1&pair=2", {"pair": [1, 2]}),
        ("limit=auto", {"limit": "auto"}),
        ("limit=5", {"limit": 5}),
        ("since=5", {"since": 5}),
        ("since=2026-01-31", {"since": "2026-01-31"}),
        ("tags=5", {"tags": "5"}),
        ("tags=5&tags=6", {"tags": [5, 6]}),
        ("few=all", {"few": "all"}),
        ("few=5", {"few": [5]}),
        ("colours=red&colours=5", {"colours": ["red", 5]}),
        ("first=1", {"second": 1}),
        ("second=1", {"second": 1}),
    ],
)
def test_parameters_have_the_types_of_their_fields(
    browser: httpx.Client, parameters: str, received: dict[str, Any]
) -> None:
    answer = browser.get(f"/queries/Echo?{parameters}")
    assert (answer.status_code, answer.json()) == (200, received)


@pytest.mark.parametrize(
    ("parameters", "pointer", "code"),
    [
        ("number=x", "#/number", "wrong_type"),
        ("number=1.5", "#/number", "wrong_type"),
        ("number=true", "#/number", "wrong_type"),
        ("number=%5B1%5D", "#/number", "wrong_type"),
        ("number=", "#/number", "wrong_type"),
        ("flag=1", "#/flag", "wrong_type"),
        ("flag=yes", "#/flag", "wrong_type"),
        ("numbers=x", "#/numbers/0", "wrong_type"),
        ("colour=blue", "#/colour", "not_allowed"),
        ("size=3", "#/size", "not_allowed"),
        ("day=soon", "#/day", "wrong_format"),
        ("more=1", "#/more", "unknown_field"),
    ],
)
def test_a_parameter_of_another_type_is_a_problem_of_its_field(
    browser: httpx.Client, parameters: str, pointer: str, code: str
) -> None:
    answer = browser.get(f"/queries/Echo?{parameters}")

    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
    [error] = answer.json()["errors"]
    assert (error["pointer"], error["code"]) == (pointer, code)


@pytest.mark.parametrize(
    ("parameters", "detail"),
    [
        ("text=a&text=b", "text is not a list: send the parameter once."),
        ("part=%7B%7D", "part does not fit in a query string: send POST /queries/Echo."),
        ("parts=%7B%7D", "parts does not fit in a query string: send POST /queries/Echo."),
        ("text=%FF", "The query string is not UTF-8 in percent-encoding."),
        ("text=%C0%80", "The query string is not UTF-8 in percent-encoding."),
        ("&".join(["names=a"] * 1001), "The query string has more than 1000 parameters."),
        ("timeout_ms=0", "timeout_ms must be whole milliseconds, from 1 to 3600000."),
    ],
)
def test_parameters_that_cannot_be_fields_are_refused(browser: httpx.Client, parameters: str, detail: str) -> None:
    answer = browser.get(f"/queries/Echo?{parameters}")
    assert (answer.status_code, answer.json()["detail"]) == (400, detail)


def test_a_body_carries_every_field(browser: httpx.Client) -> None:
    sent = {"part": {"name": "leg", "amount": 4}, "parts": [{"name": "top", "amount": 1}], "maybe": None, "number": 1}

    assert browser.post("/queries/Echo", json=sent).json() == sent
    assert browser.post("/queries/Echo?text=a", json=sent).status_code == 400


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        (b"", 400, "The body is not JSON: Expecting value: line 1 column 1 (char 0)."),
        (
            b"{",
            400,
            "The body is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1).",
        ),
        (b"[]", 400, "The body must be a JSON object with the fields of the message."),
        (b"null", 400, "The body must be a JSON object with the fields of the message."),
        (b'{"text": "\xff"}', 400, "The body is not UTF-8."),
        ('{"text": "a"}'.encode("utf-16"), 400, "The body is not UTF-8."),
        (b'{"number": NaN}', 400, "The body is not JSON: NaN is not a number."),
        (b'{"number": -Infinity}', 400, "The body is not JSON: -Infinity is not a number."),
        (b'{"number": ' + b"9" * 5000 + b"}", 400, "The body is not JSON: a number has too many digits."),
        (b'{"text": "a", "text": "b"}', 400, "The body is not JSON: an object has the same key twice."),
        (b"[" * 100_000, 400, "The body is nested too deep."),
        (b'{"ratio": 1e999}', 422, "A number is not finite."),
        (b'{"number": 9223372036854775808}', 422, "A whole number does not fit in 64 bits: send it as text."),
        (b'{"text": ' + b"[" * 40 + b"]" * 40 + b"}", 422, "The message is nested more than 32 deep."),
        (b'{"text": "\\ud800"}', 422, None),
    ],
)
def test_a_body_that_is_not_json_of_the_protocol_is_refused(
    browser: httpx.Client, body: bytes, status: int, detail: str | None
) -> None:
    answer = browser.post("/queries/Echo", content=body, headers={"content-type": "application/json"})

    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    assert detail in (None, answer.json()["detail"])


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/jsonp"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
def test_a_body_of_another_type_is_refused(browser: httpx.Client, headers: dict[str, str]) -> None:
    assert browser.post("/queries/Echo", content=b"{}", headers=headers).status_code == 415


def test_json_with_a_charset_is_json(browser: httpx.Client) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert browser.post("/queries/Echo", content=b"{}", headers=headers).json() == {}


def test_an_unchanged_answer_is_not_sent_again(browser: httpx.Client) -> None:
    first = browser.get("/queries/ListItems?prefix=Etag")
    tag = first.headers["etag"]

    for condition in (tag, f'"other", {tag}', f"W/{tag}"):
        again = browser.get("/queries/ListItems?prefix=Etag", headers={"If-None-Match": condition})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert "dualbus-position" in again.headers

    browser.post("/commands/AddItem", json={"item": "Etag 1"})
    changed = browser.get("/queries/ListItems?prefix=Etag", headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag
    assert changed.headers["cache-control"] == "private, no-cache"


def test_head_is_get_without_content(browser: httpx.Client) -> None:
    answer = browser.head("/queries/ListItems?prefix=Nothing", headers={"accept": "text/event-stream"})
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "2")


def test_a_bug_of_a_query_is_a_problem_without_its_text(browser: httpx.Client) -> None:
    answer = browser.get("/queries/Fail")
    assert (answer.status_code, answer.headers["content-type"]) == (500, PROBLEM)
    assert "a bug" not in answer.text


def test_a_slow_query_ends_at_the_deadline(browser: httpx.Client) -> None:
    answer = browser.get("/queries/Sleep?seconds=30&timeout_ms=200")
    assert answer.status_code in (503, 504)
    assert "outcome" not in answer.json()


@pytest.mark.parametrize("name", ["%2e%2e", "..%2f..%2fetc", "Echo%00", "Echo%20", quote("<img src=x>"), "É" * 40])
def test_a_name_is_data(browser: httpx.Client, name: str) -> None:
    answer = browser.get(f"/queries/{name}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, PROBLEM)


def test_a_percent_encoded_name_is_the_name(browser: httpx.Client) -> None:
    assert browser.get("/queries/%45cho").json() == {}
