"""POST /commands/{type}: results, idempotency keys, sessions and problems."""

import signal
from typing import Any

import httpx
import pytest

from dualbus.testing import Cluster, until
from tests.web.conftest import wait_until_serving

PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def app() -> str:
    return "tests.web.shop:app"


def add(browser: httpx.Client, item: str, **headers: str) -> httpx.Response:
    return browser.post("/commands/AddItem", json={"item": item}, headers=headers)


def test_a_command_returns_its_public_events_and_the_position(browser: httpx.Client) -> None:
    answer = browser.post("/commands/AddItem", json={"item": "Lamp", "price": "12.50"})

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    position = answer.json()["position"]
    assert answer.json() == {
        "events": [{"type": "ItemAdded", "payload": {"item": "Lamp", "price": "12.50"}}],
        "position": position,
    }
    assert answer.headers["dualbus-position"] == str(position)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ('"8e03978e-40d5"', "8e03978e-40d5"),  # as in the draft, and bare
        ('"with \\" and \\\\"', '"with \\" and \\\\"'),
        ('"with space"', '"with space"'),
        ("k" * 256, f'"{"k" * 256}"'),
    ],
)
def test_a_command_with_a_key_has_one_effect_and_the_same_answer(
    browser: httpx.Client, first: str, second: str
) -> None:
    item = f"Once {len(first)} {first[:9]}"
    answers = [add(browser, item, **{"Idempotency-Key": key}) for key in (first, second)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert [answer.headers.get("dualbus-repeated") for answer in answers] == [None, "true"]


def test_a_key_of_another_command_is_a_conflict(browser: httpx.Client) -> None:
    assert add(browser, "Taken key", **{"Idempotency-Key": "taken"}).status_code == 200
    answer = add(browser, "Another", **{"Idempotency-Key": "taken"})

    assert (answer.status_code, answer.headers["content-type"]) == (409, PROBLEM)
    assert answer.json() == {
        "title": "Conflict",
        "status": 409,
        "detail": "This idempotency_key was used for another command: use a key of its own for every command.",
    }


@pytest.mark.parametrize("key", ["", '""', '"', "two words", "k" * 257, '"a"b', '"a\\b"', "a, b"])
def test_a_key_in_another_form_is_refused(browser: httpx.Client, key: str) -> None:
    answer = add(browser, "Nothing", **{"Idempotency-Key": key})

    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("Idempotency-Key must be one key")


def test_two_keys_are_refused(browser: httpx.Client) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert browser.post("/commands/AddItem", json={"item": "Nothing"}, headers=headers).status_code == 400


def test_every_problem_of_a_command_has_a_sentence_a_pointer_and_a_code(browser: httpx.Client) -> None:
    answer = browser.post("/commands/AddItem", json={"item": " ", "parts": [{"name": "x", "amount": 0}], "more": 1})

    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
    assert answer.json() == {
        "title": "Unprocessable Content",
        "status": 422,
        "detail": "Item is required; Parts item 1 amount must be at least 1; More is not a field of AddItem",
        "errors": [
            {"detail": "Item is required", "pointer": "#/item", "code": "required"},
            {"detail": "Parts item 1 amount must be at least 1", "pointer": "#/parts/0/amount", "code": "too_small"},
            {"detail": "More is not a field of AddItem", "pointer": "#/more", "code": "unknown_field"},
        ],
    }


def test_a_rejection_by_a_rule_has_its_own_code(browser: httpx.Client) -> None:
    assert [add(browser, "Twice").status_code for _ in range(2)] == [200, 422]
    assert add(browser, "Twice").json()["errors"] == [
        {"detail": "There is an item of this name", "pointer": "#/item", "code": "item_taken"}
    ]


def test_a_pointer_escapes_the_characters_of_pointers(browser: httpx.Client) -> None:
    [error] = browser.post("/commands/Refuse", json={}).json()["errors"]
    assert error["pointer"] == "#/parts/0/a~1b~0c"


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("POST", "/commands/AdItem", 404, "Unknown command 'AdItem': did you mean AddItem?"),
        ("POST", "/commands/Zzz", 404, "Unknown command 'Zzz': known are AddItem, Explode, Refuse."),
        ("POST", "/commands/ListItems", 405, "ListItems is a query: send GET or POST to /queries/ListItems."),
        ("GET", "/queries/AddItem", 405, "AddItem is a command: send POST to /commands/AddItem."),
        ("POST", "/queries/AddItem", 405, "AddItem is a command: send POST to /commands/AddItem."),
        ("GET", "/commands/AddItem", 405, "/commands/AddItem accepts POST only."),
        ("PUT", "/queries/ListItems", 405, "/queries/ListItems accepts GET, HEAD, POST only."),
        ("GET", "/commands", 404, "No such path: /docs lists the paths."),
        ("POST", "/commands/AddItem/", 404, "No such path: /docs lists the paths."),
    ],
)
def test_a_path_that_is_not_one_says_where_to_go(
    browser: httpx.Client, method: str, path: str, status: int, detail: str
) -> None:
    answer = browser.request(method, path, json={})

    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    assert answer.json()["detail"] == detail
    assert ("allow" in answer.headers) == (status == 405)


def test_a_bug_of_the_application_is_a_problem_without_its_text(browser: httpx.Client) -> None:
    answer = browser.post("/commands/Explode", json={})

    assert (answer.status_code, answer.headers["content-type"]) == (500, PROBLEM)
    assert "nothing was written" in answer.json()["detail"]
    assert "a bug" not in answer.text


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "x", "3600001", "9" * 40, "١", ""])
def test_a_timeout_is_whole_milliseconds(browser: httpx.Client, text: str) -> None:
    answer = browser.post("/commands/AddItem", params={"timeout_ms": text}, json={"item": "Nothing"})

    assert (answer.status_code, answer.json()["title"]) == (400, "Bad Request")
    assert answer.json()["detail"] == "timeout_ms must be whole milliseconds, from 1 to 3600000."


def test_fields_of_a_command_are_not_parameters(browser: httpx.Client) -> None:
    answer = browser.post("/commands/AddItem?item=Lamp", json={})
    assert (answer.status_code, answer.json()["detail"]) == (
        400,
        "Unknown parameter 'item': send the fields in the body.",
    )


def test_a_browser_and_a_script_read_their_own_writes(site: Cluster, browser: httpx.Client) -> None:
    # Given a second web worker of the same cluster, and no projector
    with httpx.Client(base_url=site.http, headers=site.http_headers, timeout=60) as script:
        for number in range(20):
            item = f"Mine {number}"
            written = add(browser, item)
            params = {"prefix": item}
            # a browser has the cookie, a script passes the header on
            assert browser.get("/queries/ListItems", params=params).json() != []
            script.cookies.clear()
            headers = {"Dualbus-After": written.headers["dualbus-position"]}
            found = script.get("/queries/ListItems", params=params, headers=headers)
            assert found.json() == [{"item": item, "price": "1.50"}]


def test_an_answer_is_not_older_than_the_position_of_header_or_cookie(site: Cluster, browser: httpx.Client) -> None:
    # Given a read model that is behind
    site.process("projector").send(signal.SIGSTOP)
    try:
        written = add(browser, "Later")
        position = int(written.headers["dualbus-position"])
        name = next(iter(browser.cookies))
        assert name.endswith(f"-{position}")
        query = "/queries/ListItems?prefix=Later&timeout_ms=300"

        # When a caller knows the position, then the answer waits, and is refused at the deadline
        assert browser.get(query).status_code == 503
        with httpx.Client(base_url=site.http, headers=site.http_headers) as script:
            late = script.get(query, headers={"Dualbus-After": str(position)})
            assert (late.status_code, late.headers["retry-after"]) == (503, "1")

            # A caller that does not know it gets the answer of the read model.
            assert script.get(query).json() == []
    finally:
        site.process("projector").send(signal.SIGCONT)
    assert browser.get("/queries/ListItems?prefix=Later").json() == [{"item": "Later", "price": "1.50"}]


def test_a_refused_command_has_the_position_of_its_reason(site: Cluster, browser: httpx.Client) -> None:
    """A browser that is refused because of an item must find the item afterwards."""
    add(browser, "Before")
    refused = browser.post("/commands/Refuse", json={})

    assert refused.status_code == 422
    position = int(refused.headers["dualbus-position"])
    assert position == browser.get("/events").json()["head"]
    assert any(name.endswith(f"-{position}") for name in browser.cookies)


@pytest.mark.parametrize("text", ["x", "-1", "1.0", "", "9" * 20, "1 2", "+1"])
def test_a_position_in_another_form_is_refused_in_a_header_and_ignored_in_a_cookie(
    site: Cluster, browser: httpx.Client, text: str
) -> None:
    answer = browser.get("/queries/Echo", headers={"Dualbus-After": text})
    assert (answer.status_code, answer.json()["title"]) == (400, "Bad Request")

    port = site.http.rpartition(":")[2]
    with httpx.Client(base_url=site.http, headers=site.http_headers) as other:
        cookies = {"cookie": f"dualbus-position-{port}-{text}=1; dualbus-position-1-999999=1"}
        assert other.get("/queries/Echo", headers=cookies).status_code == 200


def test_without_a_command_bus_the_outcome_is_unknown_and_the_key_tells_it(cluster: Cluster) -> None:
    cluster.environ["DUALBUS_APP"] = "tests.web.shop:app"
    cluster.start()
    cluster.start("web")
    wait_until_serving(cluster)
    with httpx.Client(base_url=cluster.http, headers=cluster.http_headers, timeout=60) as browser:
        assert add(browser, "First").status_code == 200

        # Given a command bus that does not respond
        cluster.process("commandbus").send(signal.SIGSTOP)
        answer = browser.post(
            "/commands/AddItem?timeout_ms=400", json={"item": "Maybe"}, headers={"Idempotency-Key": "maybe"}
        )
        assert answer.status_code == 504
        assert (answer.json()["outcome"], answer.json()["idempotency_key"]) == ("unknown", "maybe")

        # When it responds again, then the key has one outcome
        cluster.process("commandbus").send(signal.SIGCONT)

        def outcome() -> Any:
            return add(browser, "Maybe", **{"Idempotency-Key": "maybe"})

        assert until(lambda: outcome().status_code == 200)
        assert outcome().headers["dualbus-repeated"] == "true"

        # and the key of the problem is the header to send again, also of a key in quotes
        cluster.process("commandbus").send(signal.SIGSTOP)
        quoted = {"Idempotency-Key": r'"\"a\" b"'}
        answer = browser.post("/commands/AddItem?timeout_ms=400", json={"item": "Quoted"}, headers=quoted)
        assert answer.json()["idempotency_key"] == quoted["Idempotency-Key"]
        cluster.process("commandbus").send(signal.SIGCONT)
        until(lambda: add(browser, "Quoted", **quoted).status_code == 200)

        # Without a gateway, nothing is executed, and a retry is right.
        cluster.kill("gateway")
        answer = browser.post("/commands/AddItem?timeout_ms=300", json={"item": "Never"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "outcome" not in answer.json()
