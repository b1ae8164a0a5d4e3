"""GET /events: pages and streams of the log, without private fields, nothing missing and nothing twice."""

import threading
from uuid import uuid4

import httpx
import pytest

from dualbus.testing import Cluster, until
from tests.web.conftest import wait_until_serving
from tests.web.listening import Listener


@pytest.fixture(scope="module")
def app() -> str:
    return "tests.web.shop:app"


def add(browser: httpx.Client, *items: str) -> int:
    """Add items; return the position of the last."""
    position = 0
    for item in items:
        answer = browser.post("/commands/AddItem", json={"item": item, "secret": "confidential"})
        assert answer.status_code == 200, answer.text
        position = answer.json()["position"]
    return position


def test_a_page_has_the_events_after_a_position_without_private_fields(browser: httpx.Client) -> None:
    last = add(browser, "Page 1", "Page 2", "Page 3")

    page = browser.get("/events", params={"after": last - 3, "limit": 2}).json()

    assert (page["position"], page["head"]) == (last - 1, last)
    assert [(event["position"], event["type"], event["payload"]) for event in page["events"]] == [
        (last - 2, "ItemAdded", {"item": "Page 1", "price": "1.50"}),
        (last - 1, "ItemAdded", {"item": "Page 2", "price": "1.50"}),
    ]
    assert all(event["time"].endswith("Z") for event in page["events"])
    assert "confidential" not in browser.get("/events").text


def test_events_are_selected_by_type_and_tag(browser: httpx.Client) -> None:
    last = add(browser, "Tagged")
    assert [event["position"] for event in browser.get("/events?tag=item:Tagged").json()["events"]] == [last]
    assert (
        browser.get("/events", params={"after": last - 1, "type": "ItemAdded"}).json()["events"][0]["position"]
        == last
    )


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_a_reader_may_continue_only_on_the_log_that_has_its_last_event(browser: httpx.Client, accept: str) -> None:
    last = add(browser, f"Hash 1 {accept}", f"Hash 2 {accept}")
    first, second = browser.get("/events", params={"after": last - 2}).json()["events"]
    if accept == "application/json":
        known = browser.get("/events", params={"after": last - 1, "after_hash": first["hash"]}).json()
        assert (known["events"], known["hash"]) == ([second], second["hash"])

    params = {"after": last - 1, "after_hash": second["hash"]}
    answer = browser.get("/events", params=params, headers={"accept": accept})

    assert answer.status_code == 422
    [problem] = answer.json()["errors"]
    assert (problem["code"], problem["pointer"]) == ("log_restored", "#/after_hash")


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
@pytest.mark.parametrize(
    ("parameters", "status", "detail"),
    [
        ("type=Nothing", 422, "Nothing is not an event of the application"),
        ("tag=colour:red", 422, "Tag 'colour:red' is unknown: write name:value with one of these names: item"),
        ("after=x", 400, "after must be a whole number."),
        ("after=-1", 400, "after must be a whole number."),
        ("after=1&after=2", 400, "after is not a list: send the parameter once."),
        ("since=1", 400, "Unknown parameter 'since': known are after, after_hash, limit, type, tag."),
        ("limit=x", 400, "limit must be a whole number."),
    ],
)
def test_parameters_are_checked(
    browser: httpx.Client, accept: str, parameters: str, status: int, detail: str
) -> None:
    answer = browser.get(f"/events?{parameters}", headers={"accept": accept})

    assert (answer.status_code, answer.json()["detail"]) == (status, detail)
    if parameters == "type=Nothing":
        assert answer.json()["errors"] == [{"detail": detail, "pointer": "#/type", "code": "not_allowed"}]


@pytest.mark.parametrize("limit", [0, 501])
def test_a_page_has_a_bound(browser: httpx.Client, limit: int) -> None:
    [error] = browser.get(f"/events?limit={limit}").json()["errors"]
    assert error["pointer"] == "#/limit"


def test_a_stream_has_no_limit_and_does_not_begin_beyond_the_log(browser: httpx.Client) -> None:
    stream = {"accept": "text/event-stream"}
    assert browser.get("/events?limit=5", headers=stream).status_code == 400
    answer = browser.get("/events?after=1000000", headers=stream)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert browser.get("/events", headers={**stream, "Last-Event-ID": "x"}).status_code == 400


def test_a_stream_catches_up_and_follows(site: Cluster, browser: httpx.Client) -> None:
    first = add(browser, "Stream 1")
    with Listener(site, f"/events?after={first - 1}") as listener:
        assert listener.headers["content-type"] == "text/event-stream"
        until(lambda: listener.ids == [first])
        last = add(browser, "Stream 2", "Stream 3")
        until(lambda: listener.ids == [first, first + 1, last])
        assert [frame["payload"]["item"] for frame in listener.data] == ["Stream 1", "Stream 2", "Stream 3"]
        assert "confidential" not in str(listener.data)


def test_a_stream_of_types_and_tags(site: Cluster, browser: httpx.Client) -> None:
    after = add(browser, "Before")
    with Listener(site, f"/events?after={after}&tag=item:Wanted&type=ItemAdded") as listener:
        wanted = add(browser, "Other", "Wanted", "Another")
        until(lambda: listener.ids == [wanted - 1])


def test_a_listener_resumes_with_nothing_missed_and_nothing_twice(site: Cluster, browser: httpx.Client) -> None:
    """Thirty connections, each cut after some frames, while commands are executed."""
    start = add(browser, "Resume")
    stop = threading.Event()
    written: list[int] = []

    def write() -> None:
        with httpx.Client(base_url=site.http, headers=site.http_headers, timeout=60) as writer:
            while not stop.is_set():
                written.append(add(writer, f"Resume {len(written)}"))

    thread = threading.Thread(target=write)
    thread.start()
    received: list[int] = []
    try:
        for cut in range(30):
            headers = {"last-event-id": str(received[-1] if received else start)}
            with Listener(site, "/events?after=0", **headers) as listener:
                until(lambda: len(listener.ids) > cut % 7)  # noqa: B023
            received += listener.ids
    finally:
        stop.set()
        thread.join()
    assert received == [*range(start + 1, received[-1] + 1)]


def test_a_stream_survives_the_death_of_any_process(cluster: Cluster) -> None:
    cluster.environ["DUALBUS_APP"] = "tests.web.shop:app"
    cluster.start()
    cluster.start("web")
    wait_until_serving(cluster)
    with (
        httpx.Client(base_url=cluster.http, headers=cluster.http_headers, timeout=60) as browser,
        Listener(cluster, "/events") as listener,
    ):
        for number, name in enumerate(("querybus", "gateway", "commandbus", "projector")):
            assert add(browser, f"Before {name}") == 2 * number + 1
            cluster.restart(name)
            assert add(browser, f"After {name}") == 2 * number + 2
            until(lambda: listener.ids == [*range(1, 2 * number + 3)])  # noqa: B023


def test_a_stream_without_matching_events_carries_the_position_that_it_has_read(
    site: Cluster, browser: httpx.Client
) -> None:
    after = add(browser, "Common")
    with Listener(site, f"/events?after={after}&tag=item:Rare") as listener:
        while not listener.ids:
            written = add(browser, f"Common {uuid4()}")
        [position] = listener.ids
        assert after < position <= written
        assert listener.data == []
    rare = add(browser, "Rare")
    with Listener(site, f"/events?after={after}&tag=item:Rare", **{"last-event-id": str(position)}) as resumed:
        until(lambda: resumed.data)
        assert (resumed.ids[-1], [event["position"] for event in resumed.data]) == (rare, [rare])


def test_comments_keep_an_idle_stream_alive_and_carry_no_id(site: Cluster, browser: httpx.Client) -> None:
    last = browser.get("/events").json()["head"]
    with Listener(site, f"/events?after={last}") as listener:
        until(lambda: listener.comments >= 2, seconds=25)  # one at the start, one after 15 s
        assert listener.ids == []
