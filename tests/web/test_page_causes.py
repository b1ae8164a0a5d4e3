"""The view of an event with a cause or an effect."""

import httpx
import pytest

from dualbus.testing import Cluster, until
from tests.web.page import Element, get, positions


@pytest.fixture(scope="module")
def app() -> str:
    return "tests.reactions.troubled:failing"


def section(root: Element, title: str) -> Element:
    """Return the section with a title."""
    [found] = [each for each in root.all("section") if [title] == [heading.text for heading in each.all("h2")]]
    return found


def test_an_event_shows_its_cause_and_its_effects(site: Cluster, browser: httpx.Client) -> None:
    # Given an event, and a process manager that reacts with a command
    site.start("reactor")
    form = {"field.item": "a", "field.text": "hello", "key": "first"}
    assert browser.post("/page/try/Note", data=form).status_code == 200
    until(lambda: "Echoed" in get(browser, "/page/events").one(id="list").text)
    effect, cause = positions(get(browser, "/page/events").one(id="list"))

    caused, causing = get(browser, f"/page/events/{effect}"), get(browser, f"/page/events/{cause}")
    assert positions(section(caused, "Caused by")) == [cause]
    assert section(caused, "Caused").one("p").text == "No command has reacted to this event."
    assert positions(section(causing, "Caused")) == [effect]
    assert section(causing, "Caused").one("p").text == "Echo"
    assert section(causing, "Caused by").one("p").text.startswith("A client sent the command")
    # and the links lead to the other event, and to the command
    for root, title in ((caused, "Caused by"), (causing, "Caused")):
        for link in section(root, title).all("a"):
            assert get(browser, link.attributes["href"]).one("h1").text
