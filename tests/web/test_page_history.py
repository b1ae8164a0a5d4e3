"""The lists of events, against a log of thousands of events and a plain search through all of them."""

import random
from pathlib import Path

import pytest

from dualbus.log.contract import Decision, Origin
from dualbus.log.engine import open_log
from dualbus.log.tags import Tagger
from dualbus.web.page import history as module
from dualbus.web.page.history import Filter, History, ShownEvent
from tests.web.orders import OrderCancelled, OrderPlaced, app

EVENTS = 6000


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    """A log in which one order has thousands of events, and another has three."""
    folder: Path = tmp_path_factory.mktemp("log")
    rng = random.Random(1)

    def genesis(secret: bytes) -> Decision:
        return Decision("genesis", "2026-01-01T00:00:00.000000Z")

    log = open_log(folder, genesis)
    tagger = Tagger(app.private_tags, log.secret)
    decisions = []
    for number in range(EVENTS):
        order = "rare" if number in (3, 1500, 5999) else f"order-{rng.choice((1, 1, 1, 2, 3))}"
        event = (
            OrderCancelled(order=order)
            if rng.random() < 0.01
            else OrderPlaced(order=order, customer=f"Customer {number % 700}", card=f"secret-{number}", details={})
        )
        time = f"2026-01-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}.000000Z"
        cause = {10: 3, 11: 3, 12: 11}.get(number)
        decisions.append(
            Decision(f"key-{number}", time, [tagger.new_event(event)], origin=Origin("PlaceOrder", cause=cause))
        )
    log.append(decisions)
    log.close()
    return History(app, folder)


def plain(history: History, wanted: Filter) -> list[int]:
    """Return the positions of all events of a filter, newest first."""
    shown = [history.shown(recorded) for recorded in history.open().read(0, EVENTS)]
    return [event.position for event in reversed(shown) if matches(event, wanted)]


def matches(event: ShownEvent, wanted: Filter) -> bool:
    return (
        (not wanted.types or event.type in wanted.types)
        and (not wanted.tag or wanted.tag in event.tags)
        and wanted.text.lower() in event.text.lower()
        and event.time >= wanted.since
        and (not wanted.until or event.time < wanted.until)
        and (wanted.before is None or event.position < wanted.before)
    )


@pytest.mark.parametrize(
    "wanted",
    [
        Filter(),
        Filter(types=("OrderCancelled",)),
        Filter(tag="order:order-1"),
        Filter(tag="order:rare"),
        Filter(tag="order:absent"),
        Filter(types=("OrderCancelled",), tag="order:order-2"),
        Filter(text="customer 69"),
        Filter(text="CUSTOMER 5", tag="order:order-3"),
        Filter(since="2026-01-01T00:30"),
        Filter(since="2026-01-01T00:30:00.000000Z"),  # the time of an event
        Filter(until="2026-01-01T00:00:10"),
        Filter(since="2026-01-01T00:10", until="2026-01-01T00:20", types=("OrderPlaced",)),
        Filter(since="2027"),
        Filter(before=4000, tag="order:order-1"),
        Filter(before=1),
        Filter(before=10**17),
    ],
)
def test_the_pages_of_a_list_have_every_event_of_the_filter_once(history: History, wanted: Filter) -> None:
    found: list[int] = []
    current = wanted
    while True:
        page = history.newest(current, 50)
        assert page.head == EVENTS
        found += [event.position for event in page.events]
        if not page.more:
            break
        current = wanted._replace(before=page.searched)

    assert found == plain(history, wanted)


def test_a_tag_with_more_events_than_a_read_returns_has_every_event_once(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WINDOW_EVENTS_MAX", module.CHUNK_EVENTS)
    monkeypatch.setattr(module, "SEARCH_SECONDS", 60.0)
    wanted = Filter(tag="order:order-1")

    found = history.newest(wanted, EVENTS)

    assert [event.position for event in found.events] == plain(history, wanted)


def test_a_search_that_stops_early_continues_without_a_hole(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEARCH_SECONDS", 0.0)
    wanted = Filter(types=("OrderCancelled",), text="order-2")
    found, requests, page = [], 0, history.newest(wanted, 50)
    while page.more or page.events:
        requests += 1
        found += [event.position for event in page.events]
        page = history.newest(wanted._replace(before=page.searched), 50)

    assert found == plain(history, wanted)
    assert requests > EVENTS // module.CHUNK_EVENTS


def test_an_event_has_its_neighbours_by_tag(history: History) -> None:
    def neighbours(position: int) -> list[tuple[str, int | None, int | None]]:
        event = history.one(position)
        assert event is not None
        found = history.neighbours(event)
        return [(tag, before and before.position, after and after.position) for tag, before, after in found]

    assert neighbours(4) == [("order:rare", None, 1501)]
    assert neighbours(1501) == [("order:rare", 4, 6000)]
    assert neighbours(6000) == [("order:rare", 1501, None)]
    assert history.one(0) is history.one(EVENTS + 1) is None


def test_a_private_field_is_named_and_has_no_value(history: History) -> None:
    shown = history.one(1)

    assert shown is not None
    assert shown.hidden == ("card",)
    assert "card" not in shown.data
    assert [tag.partition(":")[0] for tag in shown.tags] == ["order"]
    assert "secret" not in repr(history.newest(Filter(), 50))
    assert history.newest(Filter(text="secret-1"), 50).events == []  # no search by a private value
