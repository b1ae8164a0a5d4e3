"""The cookies of a browser: its position never decreases, lasts, and ends after a restore of the log."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from dualbus.testing import Cluster

QUERY = "/queries/ListItems?timeout_ms=300&prefix="


@pytest.fixture(scope="module")
def app() -> str:
    return "tests.web.shop:app"


@contextmanager
def stopped_projector(site: Cluster) -> Iterator[None]:
    site.process("projector").send(signal.SIGSTOP)
    try:
        yield
    finally:
        site.process("projector").send(signal.SIGCONT)


def add(browser: httpx.Client, item: str, **headers: str) -> httpx.Response:
    answer = browser.post("/commands/AddItem", json={"item": item}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def cookie(site: Cluster, position: int, when: float) -> dict[str, str]:
    return {"cookie": f"dualbus-position-{site.http.rpartition(':')[2]}-{position}={int(when)}"}


def test_the_position_of_a_browser_does_not_decrease_when_responses_arrive_in_another_order(
    site: Cluster, browser: httpx.Client
) -> None:
    for before in ([], ["Before"]):
        # Given two commands of a browser at the same time, of which the read model has the first
        for item in before:
            add(browser, item)
        jar = httpx.Cookies(browser.cookies)
        first = add(browser, f"First {len(before)}")
        assert browser.get(QUERY + "First").status_code == 200
        browser.cookies = jar
        with stopped_projector(site):
            second = add(browser, f"Second {len(before)}")
            browser.cookies = jar

            # When the response of the first arrives last, then an answer without the second is refused
            for answer in (second, first):
                browser.cookies.extract_cookies(answer)
            assert browser.get(QUERY + "Second").status_code == 503
        assert browser.get(f"/queries/ListItems?prefix=Second {len(before)}").json() != []
        assert len(browser.cookies) == 1  # the lower position is removed


def test_the_position_of_a_browser_lasts_while_a_projector_is_stopped(site: Cluster, browser: httpx.Client) -> None:
    add(browser, "Lasting")
    [found] = browser.cookies.jar
    assert found.expires
    assert found.expires > time.time() + 86_400
    with stopped_projector(site):
        position = int(add(browser, "Not yet").headers["dualbus-position"])
        for age in (0, 61, 86_400, -86_400):
            with httpx.Client(base_url=site.http, headers=site.http_headers) as later:
                assert later.get(QUERY, headers=cookie(site, position, time.time() - age)).status_code == 503


def test_a_browser_recovers_a_minute_after_a_restore_to_an_earlier_position(
    site: Cluster, browser: httpx.Client
) -> None:
    # Given a browser with a position that the restored log does not have, and a later command
    beyond = 10**6
    browser.cookies.clear()
    stale = cookie(site, beyond, time.time() - 61)
    position = int(add(browser, "After the restore", **stale).headers["dualbus-position"])
    browser.cookies.clear()

    assert browser.get(f"{QUERY}After", headers=cookie(site, beyond, time.time())).status_code == 503
    for path in ("/queries/ListItems?prefix=After", "/page/rows/items"):
        answer = browser.get(path, headers=stale)
        assert answer.status_code == 200
        assert "After the restore" in answer.text
    answer = browser.get("/queries/ListItems?prefix=After", headers=stale)
    added, removed = answer.headers.get_list("set-cookie")
    assert f"-{position}=" in added
    assert f"-{beyond}=; Max-Age=0" in removed


def test_a_browser_sees_its_own_writes_after_a_restore(site: Cluster, browser: httpx.Client) -> None:
    # Given browsers with a position that the restored log does not have; the first has its head checked
    stale = cookie(site, 10**6, time.time() - 61)
    assert browser.get(QUERY, headers=stale).status_code == 200
    browser.cookies.clear()

    # When the second sends a command
    answer = add(browser, "Mine", **stale)
    browser.cookies.clear()

    # Then its cookies lead to an answer with its own write
    [added] = answer.headers.get_list("set-cookie")
    name, _, value = added.partition(";")[0].partition("=")
    assert name.endswith(f"-{answer.headers['dualbus-position']}")
    with stopped_projector(site):
        position = add(browser, "Mine later", **stale).headers["dualbus-position"]
        browser.cookies.clear()
        both = {"cookie": f"{stale['cookie']}; {name.rpartition('-')[0]}-{position}={value}"}
        assert browser.get(f"{QUERY}Mine", headers=both).status_code == 503
    answer = browser.get("/queries/ListItems?prefix=Mine", headers=both)
    assert [item["item"] for item in answer.json()][-1:] == ["Mine later"]
    assert any("-1000000=; Max-Age=0" in each for each in answer.headers.get_list("set-cookie"))


def test_a_browser_with_many_positions_gets_short_headers_and_keeps_the_highest(
    site: Cluster, browser: httpx.Client
) -> None:
    position = [int(add(browser, f"Many {number}").headers["dualbus-position"]) for number in range(12)][-1]
    browser.cookies.clear()
    port = site.http.rpartition(":")[2]
    for number in range(1, position + 1):
        browser.cookies.set(f"dualbus-position-{port}-{number}", "1", domain="127.0.0.1")
    for _ in range(position // 8 + 1):
        answer = browser.get("/queries/ListItems?prefix=Many")
        assert len(answer.headers.get_list("set-cookie")) <= 9
    assert [*browser.cookies] == [f"dualbus-position-{port}-{position}"]
