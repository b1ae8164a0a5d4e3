"""The content of the page: each view, with hostile names, private fields, and links that can be shared."""

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from dualbus.testing import Cluster, until
from tests.conftest import ROOT
from tests.web.page import Element, checked, get, positions, read

HOSTILE = "<img src=x onerror=alert(1)>\"'{{7*7}}"
CARD = "4111-secret"
VIEWS = ("/", "/page/events", "/page/commands", "/page/try", "/page/application", "/page/rows")


@pytest.fixture(scope="module")
def app() -> str:
    return "tests.web.orders:app"


def place(browser: httpx.Client, customer: str = HOSTILE, key: str = "", **fields: str) -> Element:
    """Send the form of PlaceOrder as a browser does."""
    form = {"field.customer": customer, "field.card": CARD, "key": key}
    form |= {f"field.{name}": text for name, text in fields.items()}
    answer = browser.post("/page/try/PlaceOrder", data=form)
    assert answer.status_code == 200, answer.text
    return checked(answer)


def position_of(root: Element) -> int:
    """Return the position in the result of a command."""
    link = root.one(id="result").one("p", class_="good").all("a")[0]
    return int(link.attributes["href"].rpartition("/")[2])


def test_every_view_marks_itself_in_the_navigation_and_has_a_title(browser: httpx.Client) -> None:
    titles = []
    for path in VIEWS:
        root = get(browser, path)
        [current] = [
            link for link in root.one("nav", **{"aria-label": "Views"}).all("a") if "aria-current" in link.attributes
        ]
        titles.append((current.text, root.one("head").one("title").text.endswith(" · dualbus")))

    assert titles == [
        (title, True) for title in ("Cluster", "Events", "Commands", "Try it", "Application", "Read model")
    ]


def test_the_vendored_files_are_those_of_the_table() -> None:
    table = (ROOT / "web" / "page" / "VENDORED.md").read_text()
    rows = re.findall(r"^\| `([\w.]+)` \|.*`([0-9a-f]{64})` \| \w+, `([\w.]+)` \|$", table, re.MULTILINE)
    static = ROOT / "web" / "page" / "static"

    assert len(rows) == 3
    for name, digest, licence in rows:
        assert hashlib.sha256((static / name).read_bytes()).hexdigest() == digest
        assert (static / licence).read_text()


def test_a_hostile_name_is_text_in_every_view_and_a_private_field_is_in_none(browser: httpx.Client) -> None:
    placed = place(browser)
    position = position_of(placed)
    key = placed.one(id="result").all("a")[1].attributes["href"]
    paths = [
        *VIEWS,
        f"/page/events/{position}",
        f"/page/events/changes?seen={position - 1}",
        key,
        "/page/rows/customers",
        "/page/rows/busy",
        f"/page/events?text={CARD}",
        "/page/try/FindOrders?run=1&field.customer=" + HOSTILE,
    ]
    shown = {path: get(browser, path) for path in paths}

    for path, root in shown.items():
        own = {"input"} if "text=" in path else set()  # the search field repeats the search
        assert CARD not in root.text, path
        assert own or CARD not in "".join(str(each.attributes) for each in root.all()), path
        assert root.all("img") == []
    for path in (f"/page/events/{position}", "/page/rows/customers", "/page/rows/busy"):
        assert HOSTILE in shown[path].text, path
    assert HOSTILE.replace('"', '\\"') in shown["/page/events"].text
    assert HOSTILE.replace('"', '\\"') in placed.one(id="result").text
    assert shown[f"/page/events/{position}"].one("dd", class_="muted").text == "private"
    assert positions(shown[f"/page/events?text={CARD}"]) == []


def test_a_list_of_events_by_type_tag_and_text(browser: httpx.Client) -> None:
    first, second = (position_of(place(browser, customer)) for customer in ("Ada", "Bob"))
    order = get(browser, f"/page/events/{first}").all("dd")[0].text
    browser.post("/page/try/CancelOrder", data={"field.order": order})

    assert positions(get(browser, "/page/events"))[:3] == [second + 1, second, first]
    assert positions(get(browser, "/page/events", type="OrderCancelled"))[0] == second + 1
    assert positions(get(browser, "/page/events", tag=f"order:{order}")) == [second + 1, first]
    assert positions(get(browser, "/page/events", tag=f"order:{order}", type="OrderPlaced")) == [first]
    assert positions(get(browser, "/page/events", text="bob")) == [second]
    assert positions(get(browser, "/page/events", since="2999-01-01T00:00")) == []
    assert positions(get(browser, "/page/events", until="2000-01-01T00:00")) == []
    assert positions(get(browser, "/page/events", before=first))[0] == first - 1
    # and a link with a filter shows the filter
    root = get(browser, "/page/events", tag=f"order:{order}", type="OrderPlaced", text="ada")
    assert root.one("input", name="tag").attributes["value"] == f"order:{order}"
    assert root.one("input", name="text").attributes["value"] == "ada"
    assert [each.text for each in root.one("select", name="type").all("option", selected="")] == ["OrderPlaced"]


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("type=OrderPlacd", "OrderPlacd is not an event of the application: did you mean OrderPlaced?"),
        ("tag=card:4000", "Tag 'card' is private: choose another tag."),
        ("tag=colour:red", "Tag 'colour:red' is unknown: write name:value with one of these names: order."),
        ("tag=order", "Tag 'order' is unknown: write name:value with one of these names: order."),
        ("before=-1", "before must be a whole number."),
        ("since=<yesterday>", "since must be a time in UTC, such as 2026-01-31T12:00."),
    ],
)
def test_a_filter_that_no_event_can_match_is_a_sentence(browser: httpx.Client, query: str, sentence: str) -> None:
    assert sentence in get(browser, f"/page/events?{query}", 400).one("main").text


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/page/events/99999999", "The log has no event at position 99999999."),
        ("/page/events/0", "The log has no event at position 0."),
        (f"/page/events/{2**80}", f"The log has no event at position {2**80}."),
        ("/page/commands?key=none", "No command has the key 'none'."),
        ("/page/commands?position=99999999", "The log has no event at position 99999999."),
        ("/page/try/PlaceOrdr", "no command and no query 'PlaceOrdr': did you mean PlaceOrder?"),
        ("/page/rows/sqlite_schema", "The read model has no table 'sqlite_schema'."),
        ("/page/rows/dualbus_checkpoint", "The read model has no table 'dualbus_checkpoint'."),
    ],
)
def test_a_link_to_nothing_is_a_page_with_a_sentence(browser: httpx.Client, path: str, sentence: str) -> None:
    assert sentence in get(browser, path, 404).one("main").text


def test_a_followed_list_arrives_with_a_new_event_of_the_filter_only(browser: httpx.Client) -> None:
    head = position_of(place(browser, "Ada"))
    unchanged = get(browser, f"/page/events/changes?seen={head}")
    new = position_of(place(browser, "Eve"))
    other = get(browser, f"/page/events/changes?seen={head}&type=OrderCancelled")
    changed = get(browser, f"/page/events/changes?seen={head}")

    assert unchanged.all(id="list") == other.all(id="list") == []
    assert positions(changed.one(id="list"))[:2] == [new, head]
    assert [positions(item) for item in changed.one(id="list").all("li", class_="new")] == [[new]]
    # and the next request begins after the events that this response has covered
    for root in (changed, other):
        assert f"seen={new}" in root.one(id="tail").attributes["hx-get"]
    assert f"seen={head}" in unchanged.one(id="tail").attributes["hx-get"]
    # and a restored log, with fewer events, arrives too
    assert positions(get(browser, f"/page/events/changes?seen={new + 5}").one(id="list"))[0] == new


def test_a_command_shows_its_stages_and_its_events(browser: httpx.Client) -> None:
    position = position_of(place(browser, "Ada", key="stages"))

    def stages() -> list[str]:
        rows = get(browser, "/page/commands", key="stages").one("table", class_="stages").all("tr")
        return [row.attributes["data-stage"] for row in rows[1:]]

    until(lambda: stages() == ["sent", "deciding", "decided", "committed", "answered", "projected"])
    root = get(browser, "/page/commands", key="stages")
    assert re.search(r"commit with fsync [\d,]+ µs [\d,]+ µs", root.text)
    assert positions(root) == [position]
    assert root.one("h1").text == "PlaceOrder stages"
    # and the same command is found by its position, and through the form
    assert get(browser, "/page/commands", position=position).one("h1").text == "PlaceOrder stages"
    assert get(browser, "/page/commands/find", find=position).one("h1").text == "PlaceOrder stages"
    assert get(browser, "/page/commands/find", find="stages").one("h1").text == "PlaceOrder stages"
    assert "PlaceOrder 1 event at" in get(browser, "/page/commands").one("tbody").all("tr")[0].text


def test_a_rejected_command_shows_its_reasons(browser: httpx.Client) -> None:
    place(browser, "Nobody", key="rejected")

    assert "Rejected customer Nobody places no orders nobody" in get(browser, "/page/commands", key="rejected").text
    assert "rejected Nobody places no orders" in get(browser, "/page/commands").one("tbody").all("tr")[0].text


def test_the_latest_commands_are_complete_and_in_order(browser: httpx.Client) -> None:
    keys = [f"latest-{number}" for number in range(60)]
    for key in keys:
        place(browser, "Nobody" if key.endswith("5") else "Ada", key=key)
        assert get(browser, "/page/commands").one("tbody").all("tr")[0].all("code")[0].text == key

    rows = get(browser, "/page/commands").one("tbody").all("tr")
    assert [row.all("code")[0].text for row in rows] == keys[:9:-1]


def test_the_errors_of_a_form_are_at_their_fields_and_the_texts_stay(browser: httpx.Client) -> None:
    root = place(browser, " ", count="100", price="cheap", day="tomorrow", lines='[{"item": "a"}]', gift="true")

    found = {
        field.one("label").attributes["for"]: [each.text for each in field.all("span", class_="error")]
        for field in root.all("div", class_="invalid")
    }
    assert found["in-customer"] == ["Customer is required"]
    assert found["in-count"] == ["Count must be at most 99"]
    assert set(found) == {"in-customer", "in-count", "in-price", "in-day", "in-lines"}
    assert root.one("input", id="in-count").attributes["value"] == "100"
    assert root.one("select", id="in-gift").one("option", selected="").text == "true"
    assert "Rejected" in root.one(id="result").text


def test_a_text_with_line_breaks_is_in_an_area_that_keeps_them(browser: httpx.Client) -> None:
    text = "\nfirst\n second"
    shown = browser.get("/page/try/PlaceOrder", params={"field.customer": text}).text

    [area] = re.findall(r'<textarea id="in-customer"[^>]*>\n(.*?)</textarea>', shown, re.DOTALL)
    assert area == text


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        (b"a=1", "text/plain", 415),
        (b'{"a": 1}', "application/json", 415),
        (b"a=%ff", "application/x-www-form-urlencoded", 400),
        ("a=ü".encode(), "application/x-www-form-urlencoded", 400),
        (b"&".join([b"a=1"] * 2000), "application/x-www-form-urlencoded", 400),
        (b"a=" + b"x" * (1 << 20), "application/x-www-form-urlencoded", 413),
    ],
)
def test_a_body_that_is_no_form_is_refused(browser: httpx.Client, body: bytes, kind: str, code: int) -> None:
    answer = browser.post("/page/try/PlaceOrder", content=body, headers={"content-type": kind})

    assert answer.status_code == code
    assert checked(answer).one("h1").text


def test_the_values_of_a_form_arrive_in_the_types_of_the_fields(browser: httpx.Client) -> None:
    root = place(
        browser, "Ada", count="7", price="12.345678901234567890", speed="fast", gift="false", day="2026-01-31",
        labels="one\r\ntwo", lines='[{"item": "book", "count": 2}]',
    )  # fmt: skip

    details = get(browser, f"/page/events/{position_of(root)}").all("dl", class_="fields")[0].all("dd")[2].text
    assert details == (
        '{"count": 7, "price": "12.345678901234567890", "speed": "fast", "gift": false, "day": "2026-01-31", '
        '"labels": ["one", "two"], "lines": [{"item": "book", "count": 2}]}'
    )


def test_a_form_that_is_sent_twice_has_one_effect(browser: httpx.Client) -> None:
    key = get(browser, "/page/try/PlaceOrder").one("input", name="key").attributes["value"]
    first, second = (place(browser, "Twice", key=key) for _ in range(2))

    assert position_of(first) == position_of(second)
    assert "Executed earlier under this key" in second.one(id="result").text
    # and the form after a result has a new key, also after a rejection
    assert first.one("input", name="key").attributes["value"] != key
    assert place(browser, "Nobody", key="again").one("input", name="key").attributes["value"] != "again"


def test_a_query_is_a_link_that_shows_its_answer(browser: httpx.Client) -> None:
    place(browser, "Linked")
    answer = get(browser, "/page/try/FindOrders?run=1&field.customer=Linked&field.limit=5")
    wrong = get(browser, "/page/try/FindOrders?run=1&field.customer=Linked&field.limit=0")

    assert '"customer": "Linked"' in answer.one(id="result").text
    assert answer.one("input", id="in-limit").attributes["value"] == "5"
    assert wrong.one("span", id="error-limit").text == "Limit must be at least 1"
    assert "Nothing sent yet" in get(browser, "/page/try/FindOrders").one(id="result").text


def test_a_problem_is_at_a_field_whose_name_has_a_dot_and_a_space(browser: httpx.Client) -> None:
    answer = browser.post(
        "/page/try/CancelOrder", data={"field.order": "a", "field.the.reason code": "much too long"}
    )

    text = checked(answer).one("span", id="error-the.reason-code").text
    assert text == "The.reason code must have at most 10 characters"


def test_a_link_never_executes_a_command(browser: httpx.Client) -> None:
    before = positions(get(browser, "/page/events"))
    get(browser, "/page/try/PlaceOrder?run=1&field.customer=Ada&field.card=1")

    assert positions(get(browser, "/page/events")) == before


@pytest.mark.parametrize("origin", ["https://example.org", "null"])
def test_a_form_of_a_foreign_page_is_refused(browser: httpx.Client, origin: str) -> None:
    answer = browser.post("/page/try/PlaceOrder", data={"field.customer": "Ada"}, headers={"origin": origin})

    assert answer.status_code == 403


def test_the_samples_of_a_command_run_as_they_are(site: Cluster, browser: httpx.Client, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is missing, and this test needs it.")
    text = 'it\'s "quoted" $HOME `date`\\'
    form = {"field.customer": text, "field.card": "1", "field.labels": "a b\nc", "field.count": "3"}
    answer = browser.post("/page/try/PlaceOrder/samples", data=form)
    samples = [each.all("pre")[0].exact_text for each in read(answer.text).all("div", class_="sample")]
    environ = {**site.environ, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}

    for number, sample in enumerate(samples):
        command = [sys.executable, "-c", sample] if "import" in sample else ["bash", "-c", sample]
        ran = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, (sample, ran.stderr)
        assert "OrderPlaced" in ran.stdout, ran.stdout
        assert len(positions(get(browser, "/page/events", text="$HOME"))) == number + 1
    fields = get(browser, f"/page/events/{positions(get(browser, '/page/events'))[0]}").all("dl", class_="fields")[0]
    assert fields.all("dd")[1].text == text
    assert '"labels": ["a b", "c"]' in fields.text


def test_the_samples_of_a_query_run_as_they_are(site: Cluster, browser: httpx.Client) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is missing, and this test needs it.")
    place(browser, "A & B=ü?")
    form = {"field.customer": "A & B=ü?", "field.limit": "3"}
    answer = browser.post("/page/try/FindOrders/samples", data=form)
    samples = [each.all("pre")[0].exact_text for each in read(answer.text).all("div", class_="sample")]
    environ = {**site.environ, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}

    for sample in samples:
        command = [sys.executable, "-c", sample] if "import" in sample else ["bash", "-c", sample]
        ran = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, check=False)
        assert "order_id" in ran.stdout, (sample, ran.stdout, ran.stderr)


def test_the_application_shows_every_message_and_its_way(browser: httpx.Client) -> None:
    root = get(browser, "/page/application")
    nodes = {node.attributes["data-node"] for node in root.all("a", class_="node")}
    edges = {
        (link.attributes["data-first"], link.attributes["data-last"]) for link in root.all("path", class_="link")
    }

    assert nodes == {
        "command/PlaceOrder", "command/CancelOrder", "event/OrderPlaced", "event/OrderCancelled", "projection/orders",
        "query/FindOrders",
    }  # fmt: skip
    assert edges == {
        ("command/PlaceOrder", "event/OrderPlaced"),
        ("command/CancelOrder", "event/OrderCancelled"),
        ("event/OrderPlaced", "projection/orders"),
        ("event/OrderCancelled", "projection/orders"),
        ("projection/orders", "query/FindOrders"),
    }
    assert "card (text, tag card, private)" in root.text
    assert "count (whole number, default 1)" in root.text


def test_the_rows_of_a_table_are_paged_and_link_to_their_events(browser: httpx.Client) -> None:
    for _ in range(55):
        place(browser, "Paged")
    found: list[str] = []
    path = "/page/rows/customers?column=customer&value=Paged"
    while path:
        root = get(browser, path)
        found += [row.all("td")[1].text for row in root.one("tbody").all("tr")]
        links = [link.attributes["href"] for link in root.all("a", rel="next")]
        path = links[0] if links else ""

    assert len(found) == len(set(found)) == 55
    row = root.one("tbody").all("tr")[-1].all("td")
    assert [cell.text for cell in row] == ["Paged", found[-1], "NULL", "2 bytes"]
    assert len(positions(get(browser, row[1].one("a").attributes["href"]))) == 1
    orders = get(browser, "/page/rows/orders", column="order_id", value=found[-1])
    assert [cell.text for cell in orders.one("tbody").all("td")] == [found[-1], "Paged", "private"]
    get(browser, "/page/rows/orders?column=card&value=4000", 400)  # no search by a private value


@pytest.mark.parametrize("value", ["' OR 1=1 --", '"; DROP TABLE orders; --', "%", "\x00"])
def test_a_value_of_a_search_is_a_value(browser: httpx.Client, value: str) -> None:
    root = get(browser, "/page/rows/orders", column="customer", value=value)

    assert root.one("tbody").text == "No row with this value."
