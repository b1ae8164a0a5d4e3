"""Numbers that do not fit, wherever a request may have a number: a clear error, and no internal error."""

import httpx
import pytest

from dualbus.testing import Cluster

DIGITS = "9" * 5000
NUMBERS = ("0" * 5000 + "1", DIGITS, f"-{DIGITS}", f"1.{DIGITS}", f"1e{DIGITS}", "9" * 23, "1e999", "٣")


@pytest.mark.parametrize("accept", ["*/*", "text/event-stream"])
@pytest.mark.parametrize("number", NUMBERS, ids=[number[:16] for number in NUMBERS])
@pytest.mark.parametrize(
    "path",
    [
        "/queries/Echo?timeout_ms=00000000136{}",
        "/queries/Echo?timeout_ms={}",
        "/queries/Echo?number={}",
        "/queries/Echo?numbers={}",
        "/queries/Echo?size={}",
        "/events?limit={}",
        "/events?after={}",
        "/page/events/{}",
        "/page/events?before={}",
        "/page/events/changes?seen={}",
        "/page/commands?position={}",
        "/page/commands/find?find={}",
        "/page/rows/items?offset={}",
        "/page/try/Echo?run=1&field.number={}",
    ],
)
def test_a_number_that_does_not_fit_is_a_clear_error(
    browser: httpx.Client, path: str, number: str, accept: str
) -> None:
    answer = browser.get(path.format(number), headers={"accept": accept})
    form_or_link = path.startswith(("/page/try", "/page/commands/find"))
    assert 400 <= answer.status_code < 500 or (form_or_link and answer.status_code in (200, 303)), answer.text[-500:]


@pytest.mark.parametrize("field", ["dualbus-after", "last-event-id", "cookie", "idempotency-key", "if-none-match"])
def test_a_header_with_a_number_that_does_not_fit_is_no_internal_error(
    site: Cluster, browser: httpx.Client, field: str
) -> None:
    cookie = f"dualbus-position-{site.http.rpartition(':')[2]}-"
    for number in NUMBERS[:-1]:
        text = f"{cookie}{number}={number}; {cookie}1={number}" if field == "cookie" else number
        for method, path in (("GET", "/queries/Echo"), ("POST", "/queries/Echo"), ("POST", "/page/parked/echo/1")):
            answer = browser.request(method, path, headers={field: text}, json=None if method == "GET" else {})
            assert answer.status_code < 500, answer.text


@pytest.mark.parametrize("number", NUMBERS[:-1], ids=[number[:16] for number in NUMBERS[:-1]])
def test_a_number_in_a_form_or_a_body_that_does_not_fit_is_a_clear_error(browser: httpx.Client, number: str) -> None:
    assert browser.post(f"/page/parked/echo/{number}", data={"do": "skip"}).status_code in (404, 503)
    assert browser.post("/page/try/AddItem", data={"field.item": "x", "field.price": number}).status_code == 200
    json = {"content-type": "application/json"}
    body = f'{{"number": {number}}}'
    assert browser.post("/queries/Echo", content=body.encode(), headers=json).status_code in (400, 422)


@pytest.fixture(scope="module")
def app() -> str:
    return "tests.web.shop:app"
