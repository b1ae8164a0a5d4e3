"""The view Parked: an event whose reaction has failed is shown, retried and skipped."""

import httpx
import pytest

from dualbus.testing import Cluster, until
from tests.web.page import get


@pytest.fixture(scope="module")
def app() -> str:
    return "tests.reactions.troubled:failing"


def rows(browser: httpx.Client) -> list[str]:
    """Return the texts of the rows."""
    return [row.text for row in get(browser, "/page/parked").one(id="parked").one("tbody").all("tr")]


def test_a_parked_event_is_shown_retried_and_skipped(site: Cluster, browser: httpx.Client) -> None:
    # Given an event that failed, and an event behind it
    site.start("reactor")
    for text in ("raise", "after"):
        form = {"field.item": "a", "field.text": text, "key": f"key-{text}"}
        assert browser.post("/page/try/Note", data=form).status_code == 200
    until(lambda: len(rows(browser)) == 2)
    first, second = rows(browser)
    assert "react raised ValueError" in first and "Retry" in first and "Skip" in first
    assert "An earlier event with the same tag is parked." in second and "Retry" not in second
    until(lambda: "Show the parked events" in browser.get("/").text)

    # When it is retried, it fails again; when it is skipped, the event behind it runs
    assert browser.post("/page/parked/echo/1", data={"do": "retry"}).status_code == 303
    until(lambda: len(rows(browser)) == 2 and "retry follows" not in rows(browser)[0])
    assert browser.post("/page/parked/echo/1", data={"do": "skip"}).status_code == 303
    until(lambda: "No event is parked." in rows(browser)[0])
    until(lambda: "Echoed" in browser.get("/page/events").text)


def test_wrong_commands_are_refused(site: Cluster, browser: httpx.Client) -> None:
    assert browser.post("/page/parked/echo/999", data={"do": "skip"}).status_code in (404, 503)
    assert browser.post("/page/parked/echo/1", data={"do": "drop"}).status_code == 400
    assert browser.get("/page/parked/echo/1").status_code == 405
    foreign = {"origin": "http://example.com"}
    assert browser.post("/page/parked/echo/1", data={"do": "skip"}, headers=foreign).status_code == 403
