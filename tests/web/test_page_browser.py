"""Each view in Chromium, by what a person does on it, while load runs and processes are killed."""

import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from dualbus import Client
from dualbus.testing import Cluster
from tests.web.chromium import TIMEOUT_MS, Faults, chromium, page_of
from tests.web.conftest import wait_until_serving

HOSTILE = "<img src=x onerror=alert(1)>"
VIEWS = ("/", "/page/events", "/page/commands", "/page/try", "/page/application", "/page/rows")

expect.set_options(timeout=TIMEOUT_MS)


@pytest.fixture(scope="module")
def app() -> str:
    return "tests.web.orders:app"


@pytest.fixture(scope="module")
def program() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def faults(opened: tuple[Page, Faults]) -> Faults:
    return opened[1]


@pytest.fixture
def page(opened: tuple[Page, Faults]) -> Page:
    return opened[0]


@pytest.fixture
def opened(program: Browser, site: Cluster) -> Iterator[tuple[Page, Faults]]:
    with page_of(program, site, permissions=["clipboard-read", "clipboard-write"]) as opened:
        yield opened


@pytest.fixture
def client(site: Cluster) -> Iterator[Client]:
    with Client(site.front) as made:
        yield made


@pytest.fixture
def load(site: Cluster) -> Iterator[None]:
    """Commands and queries, without a pause, also while processes are killed."""
    ended = threading.Event()

    def run() -> None:
        with Client(site.front, timeout=2) as client:
            while not ended.is_set():
                try:
                    client.command("PlaceOrder", customer="Load", card="1")
                    client.query("FindOrders", customer="Load", limit=1, timeout=1)
                except Exception:
                    continue

    thread = threading.Thread(target=run)
    thread.start()
    yield
    ended.set()
    thread.join()


def place(client: Client, customer: str, **more: Any) -> int:
    return client.command("PlaceOrder", customer=customer, card="1", **more).position


def newest(page: Page) -> Any:
    return page.locator("#list .event").first


@pytest.mark.usefixtures("load")
def test_cluster_shows_rates_under_load_and_a_dead_projector_at_once(page: Page, site: Cluster) -> None:
    page.goto("/")

    # The rates and the picture change without a reload, and the charts have lines
    expect(page.locator(".tile", has_text="Commands").locator("b")).to_have_text(re.compile(r"^[1-9]"))
    expect(page.locator(".edge.active .unit", has_text="commands/s")).to_be_visible()
    expect(page.locator("[data-series=queries_per_s] output")).to_have_text(re.compile(r"^[1-9].*/s$"))
    expect(page.locator(".chart canvas")).to_have_count(6)
    expect(page.locator(".alarm.ok")).to_contain_text("All processes are running.")

    # A dead projector is in the alarm, in the picture and in the title, while load runs
    site.kill("projector")
    expect(page.locator(".alarm.stop")).to_contain_text("No projector responds: the read model stays behind the log.")
    expect(page.locator("[data-process=projector]")).to_have_class(re.compile("stop"))
    expect(page.locator("[data-process=projector]")).to_contain_text("no response")
    expect(page).to_have_title(re.compile("^■ No projector responds"))

    # and on every other view
    with page.context.new_page() as other:
        other.goto("/page/application")
        expect(other.locator("#health")).to_contain_text("No projector responds")

    site.start("projector")
    expect(page.locator(".alarm.stop")).to_have_count(0)
    expect(page).to_have_title(re.compile("^Cluster"))


@pytest.mark.usefixtures("load")
@pytest.mark.parametrize("name", ["commandbus", "querybus", "gateway"])
def test_cluster_names_the_process_that_is_dead_until_it_is_back(page: Page, site: Cluster, name: str) -> None:
    page.goto("/")
    expect(page.locator(".alarm.ok")).to_be_visible()
    site.kill(name)
    expect(page.locator(".alarm.stop").first).to_contain_text(
        "The gateway does not respond" if name == "gateway" else f"No {name} responds"
    )
    expect(page.locator(f"[data-process={name}]")).to_contain_text("no response")

    site.start(name)
    expect(page.locator(".alarm.ok")).to_be_visible()


def test_a_dead_web_process_is_named_by_the_page_until_it_is_back(page: Page, faults: Faults, site: Cluster) -> None:
    faults.allowed = ("ERR_CONNECTION_REFUSED", "ERR_EMPTY_RESPONSE", "ERR_CONNECTION_RESET", "ERR_SOCKET", "htmx:")
    page.goto("/page/events")
    expect(page.locator("#lost")).to_be_hidden()
    site.kill("web")
    expect(page.locator("#lost")).to_contain_text("The web process does not respond")

    site.start("web")
    wait_until_serving(site)
    expect(page.locator("#lost")).to_be_hidden()


def test_an_error_of_a_repeated_request_leaves_the_list_and_shows_the_reason(
    page: Page, faults: Faults, client: Client
) -> None:
    faults.allowed = ("503", "htmx:")
    place(client, "still here")
    page.goto("/page/events")
    page.route(
        "**/page/events/changes?*",
        lambda route: route.fulfill(
            status=503, content_type="text/html", body="<main><p>There is no log.</p></main>"
        ),
    )
    expect(page.locator("#lost")).to_have_text("There is no log.")
    expect(newest(page)).to_contain_text("still here")

    page.unroute("**/page/events/changes?*")
    place(client, "goes on")
    expect(newest(page)).to_contain_text("goes on")
    expect(page.locator("#lost")).to_be_hidden()


def test_events_arrive_live_as_text_and_wait_during_a_pause(page: Page, client: Client) -> None:
    place(client, "before")
    page.goto("/page/events")
    expect(newest(page)).to_contain_text("before")

    position = place(client, HOSTILE)
    expect(newest(page)).to_contain_text(HOSTILE)
    expect(newest(page)).to_have_attribute("href", f"/page/events/{position}")
    assert page.locator("img").count() == 0

    page.get_by_role("button", name="Pause").click()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    place(client, "during the pause")
    page.evaluate(
        "htmx.ajax('GET', '/page/events/changes?seen=1', {source: '#tail', target: '#tail'})"
    )  # as a timer does
    expect(newest(page)).to_contain_text(HOSTILE)
    assert [url for url in requests if "changes" in url] == []
    page.get_by_role("button", name="Continue").click()
    expect(newest(page)).to_contain_text("during the pause")


def test_a_filter_is_a_link_that_shows_the_same_to_others(page: Page, client: Client) -> None:
    place(client, "Shared 1")
    place(client, "other")
    page.goto("/page/events")
    page.keyboard.press("/")
    page.keyboard.type("shared")
    page.keyboard.press("Enter")
    expect(page.locator("#list .event")).to_have_count(1)

    with page.context.new_page() as other:
        other.goto(page.url)
        expect(other.locator("#list .event")).to_have_count(1)
        place(client, "ignored")
        place(client, "Shared 2")
        expect(other.locator("#list .event")).to_have_count(2)  # also live
        expect(newest(other)).to_contain_text("Shared 2")


def test_an_event_leads_to_its_command_and_its_neighbours(page: Page, client: Client) -> None:
    order = client.command("PlaceOrder", customer="Story", card="1").events[0]["payload"]["order"]
    client.command("CancelOrder", order=order, idempotency_key="cancel-story")
    page.goto(f"/page/events?tag=order:{order}")
    expect(page.locator("#list .event")).to_have_count(2)
    newest(page).click()

    expect(page.locator("h1")).to_contain_text("OrderCancelled")
    neighbours = page.locator("section", has_text=f"Neighbours with the tag order:{order}")
    expect(neighbours.locator(".event")).to_contain_text("Story")
    page.get_by_role("link", name="CancelOrder").click()
    expect(page.locator("h1")).to_contain_text("cancel-story")
    expect(page.locator("tr[data-stage=committed] rect.step")).to_be_visible()
    assert float(page.locator("tr[data-stage=committed] rect.step").get_attribute("width") or 0) > 0


def test_a_person_sends_a_command_corrects_an_error_and_copies_the_call(page: Page) -> None:
    page.goto("/page/try/PlaceOrder")
    page.get_by_label("customer").fill(HOSTILE)
    page.get_by_label("card").fill("4242-private")
    page.get_by_label("count").fill("100")
    # The calls to copy follow the form
    expect(page.locator(".sample", has_text="dualbus").first).to_contain_text("count=100")
    page.get_by_role("button", name="Send the command").click()
    expect(page.locator("#error-count")).to_have_text("Count must be at most 99")
    expect(page.get_by_label("customer")).to_have_value(HOSTILE)

    page.get_by_label("count").fill("2")
    page.get_by_role("button", name="Send the command").click()
    expect(page.locator("#result")).to_contain_text("Executed: the log is at position")
    expect(page.locator("#result")).to_contain_text(HOSTILE)
    expect(page.locator("#result")).not_to_contain_text("4242")
    assert page.locator("img").count() == 0

    page.locator(".sample", has_text="Python").get_by_role("button").click()
    expect(page.locator(".sample", has_text="Python").get_by_role("button")).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("from dualbus import Client")
    assert repr(HOSTILE) in copied


def test_a_form_that_is_clicked_twice_sends_one_command(page: Page) -> None:
    page.goto("/page/try/PlaceOrder")
    page.get_by_label("customer").fill("Clicked twice")
    page.get_by_label("card").fill("1")
    page.get_by_role("button", name="Send the command").dblclick()
    expect(page.locator("#result")).to_contain_text("Executed")
    page.goto("/page/events?text=clicked+twice")

    expect(page.locator("#list .event")).to_have_count(1)


def test_a_browser_sees_its_own_command_in_queries_and_rows(page: Page, site: Cluster) -> None:
    for number in range(5):
        customer = f"Own {number}"
        page.goto("/page/try/PlaceOrder")
        page.get_by_label("customer").fill(customer)
        page.get_by_label("card").fill("1")
        page.get_by_role("button", name="Send the command").click()
        expect(page.locator("#result")).to_contain_text("Executed")
        if number % 2:
            page.goto(f"/page/rows/customers?column=customer&value={customer}")
            assert page.locator("table.rows tbody tr").count() == 1
            assert page.locator(".band.warn").count() == 0
        else:
            page.goto(f"/page/try/FindOrders?run=1&field.customer={customer}")
            assert customer in page.locator("#result pre").inner_text()


def test_rows_older_than_the_own_command_are_marked(page: Page, site: Cluster) -> None:
    page.goto("/page/try/PlaceOrder")
    site.kill("projector")
    page.get_by_label("customer").fill("Not yet")
    page.get_by_label("card").fill("1")
    page.get_by_role("button", name="Send the command").click()
    expect(page.locator("#result")).to_contain_text("Executed")
    page.goto("/page/rows/customers?column=customer&value=Not+yet")
    expect(page.locator(".band.warn")).to_contain_text("The rows are older than your last command")

    site.start("projector")
    expect(page.locator("#health")).to_contain_text("All processes are running")
    page.reload()
    expect(page.locator("table.rows tbody")).to_contain_text("Not yet")


def test_a_node_of_the_application_shows_its_edges_and_leads_to_its_form(page: Page) -> None:
    page.goto("/page/application")
    page.locator("[data-node='command/PlaceOrder']").hover()
    expect(page.locator(".link.on")).to_have_count(1)
    page.locator("[data-node='event/OrderPlaced']").focus()
    expect(page.locator(".link.on")).to_have_count(2)
    page.locator("[data-node='query/FindOrders']").click()

    expect(page.locator("h1")).to_contain_text("FindOrders")


def test_a_value_of_a_row_leads_to_the_events_that_made_it(page: Page, client: Client) -> None:
    order = client.command("PlaceOrder", customer="Why", card="1").events[0]["payload"]["order"]
    client.query("FindOrders", customer="Why")
    page.goto("/page/rows/customers")
    page.get_by_label("Column").select_option("customer")
    page.get_by_label("Value").fill("Why")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("link", name=order).click()

    expect(page.locator("#list .event")).to_have_count(1)
    expect(newest(page)).to_contain_text("Why")


def test_the_keyboard_reaches_every_view(page: Page) -> None:
    page.goto("/")
    for key, path in enumerate(VIEWS, 1):
        page.keyboard.press(str(key))
        expect(page).to_have_url(re.compile(rf"{path}(/\w+)?$"))
    page.keyboard.press("2")
    expect(page).to_have_url(re.compile("/page/events$"))
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("/")
    expect(page.locator("[data-search]")).to_be_focused()
    page.keyboard.type("1p/")  # letters, not commands
    expect(page.locator("[data-search]")).to_have_value("1p/")


def test_every_view_shows_and_a_form_works_without_scripts(program: Browser, site: Cluster) -> None:
    with page_of(program, site, java_script_enabled=False) as (page, _):
        for path in VIEWS:
            page.goto(path)
            assert page.locator("main .panel").first.is_visible(), path
        page.goto("/page/try/PlaceOrder")
        page.get_by_label("customer").fill("No scripts")
        page.get_by_label("card").fill("1")
        page.get_by_role("button", name="Send the command").click()
        expect(page.locator("#result")).to_contain_text("Executed")


@pytest.mark.parametrize("width", [360, 768])
def test_no_view_is_wider_than_a_small_screen(program: Browser, site: Cluster, client: Client, width: int) -> None:
    position = place(client, "A long name " * 20)
    with page_of(program, site, viewport={"width": width, "height": 740}) as (page, _):
        for path in (*VIEWS, f"/page/events/{position}", f"/page/commands?position={position}"):
            page.goto(path)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
            expect(page.locator("header nav")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_contrast_in_both_color_schemes(program: Browser, site: Cluster, scheme: str) -> None:
    with page_of(program, site, color_scheme=scheme) as (page, _):
        page.goto("/")
        shown = page.evaluate(
            """() => ["body", ".muted, .tile dt", "header nav a", ".alarm"].map((name) => {
                const at = document.querySelector(name);
                const behind = [...function* () { for (let e = at; e; e = e.parentElement) yield e; }()]
                    .map((e) => getComputedStyle(e).backgroundColor).find((color) => !color.endsWith(", 0)"));
                return [getComputedStyle(at).color, behind];
            })"""
        )

    for text, ground in shown:
        assert contrast(text, ground) >= 4.5, (text, ground)
    assert (luminance(shown[0][1]) < 0.2) == (scheme == "dark")


def luminance(color: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_a_stopped_projection_names_its_event_and_leads_to_it(page: Page, client: Client, site: Cluster) -> None:
    """The last test of the file: the projector stays at this event."""
    position = client.command("CancelOrder", order="poison").position
    page.goto("/")

    expect(page.locator(".alarm.stop")).to_contain_text("The projector has stopped")
    expect(page.locator(".alarm.stop")).to_contain_text("ValueError")
    expect(page.locator("[data-process=projector]")).to_contain_text("stopped")
    page.get_by_role("link", name=f"Show the event at position {position}").click()
    expect(page.locator("h1")).to_contain_text(f"OrderCancelled position {position:,}")
    expect(page.locator("#health")).to_contain_text("The projector has stopped")
