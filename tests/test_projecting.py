"""What the projector does with what is published, and with each event; no socket and no file."""

from collections.abc import Sequence
from typing import Annotated, Any

import pytest

from dualbus import App, Event, Projection, Tables, Tag
from dualbus.log.contract import RecordedEvent
from dualbus.projector.follower import events_to_apply
from dualbus.readmodel.applier import Applier, ProjectionFailed
from dualbus.readmodel.memory import ModelInMemory


def event(position: int, type_: str = "Counted", data: str = '{"what":"a"}') -> RecordedEvent:
    """Make an event as the log gives it."""
    return RecordedEvent(position, type_, data, "2026-01-31T12:00:00.000000Z", f"c{position}", b"h" * 16)


def published(first: int, last: int) -> tuple[int, list[RecordedEvent]]:
    """Make what is published of these positions: the position before them, and the events."""
    return first - 1, [event(position) for position in range(first, last + 1)]


GAP = None


@pytest.mark.parametrize(
    ("checkpoint", "before", "positions", "comes_next"),
    [
        # what comes next is applied
        (0, 0, [1], [1]),
        (5, 5, [6, 7, 8], [6, 7, 8]),
        # what was applied already is skipped: a publication that came twice
        (8, 5, [6, 7, 8], []),
        (9, 5, [6, 7, 8], []),
        (100, 0, [1], []),
        # a publication that overlaps with what was read from the log
        (6, 5, [6, 7, 8], [7, 8]),
        (7, 5, [6, 7, 8], [8]),
        # something is missing before it
        (4, 5, [6, 7, 8], GAP),
        (0, 1, [2], GAP),
        # the head, repeated: nothing new, or the last publication was lost
        (5, 5, [], []),
        (9, 5, [], []),
        (4, 5, [], GAP),
        (0, 0, [], []),
    ],
)
def test_skip_apply_or_gap(checkpoint: int, before: int, positions: list[int], comes_next: list[int] | None) -> None:
    found = events_to_apply(checkpoint, before, [event(position) for position in positions])

    assert (None if found is None else [one.position for one in found]) == comes_next


def test_publications_in_any_order_and_number_are_applied_once_each_and_in_order() -> None:
    log = [event(position) for position in range(1, 31)]
    commits = [(start, log[start : start + size]) for start, size in ((0, 3), (3, 10), (13, 1), (14, 16))]
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 1, 3, 2, 0], [0, 0, 3], [2], []):
        applied: list[int] = []

        for before, events in [*(commits[number] for number in order), (30, [])]:  # the head comes at last
            following: Sequence[RecordedEvent] | None = events_to_apply(len(applied), before, events)
            if following is None:
                following = log[len(applied) : before + len(events)]
            applied += [one.position for one in following]

        assert applied == list(range(1, 31)), order


# Applying an event.


class Counted(Event):
    what: Annotated[str, Tag("what")]


class Ignored(Event):
    what: str


def count(counted: Counted, tables: Tables) -> None:
    tables.execute("INSERT INTO counts VALUES (?, 1) ON CONFLICT DO UPDATE SET n = n + 1", (counted.what,))


def list_(counted: Counted, tables: Tables) -> None:
    if counted.what == "bad":
        raise ValueError("I cannot list this")
    tables.execute("INSERT INTO list VALUES (?)", (counted.what,))


app = App(
    projections=[
        Projection("counts", 1, "CREATE TABLE counts (what TEXT PRIMARY KEY, n INTEGER)", on=[count]),
        Projection("list", 1, "CREATE TABLE list (what TEXT)", on=[list_]),
    ],
    events=[Ignored],
)


def tables_after(*events: RecordedEvent) -> ModelInMemory:
    tables = ModelInMemory(app.projections)
    projecting = Applier(app)
    for one in events:
        with tables.transaction():
            projecting.apply(one, tables)
    return tables


def test_an_event_goes_to_every_projection_that_is_on_it_in_the_order_of_the_table() -> None:
    tables = tables_after(event(1), event(2, data='{"what":"b"}'), event(3))

    assert tables.all("SELECT what, n FROM counts ORDER BY what") == [{"what": "a", "n": 2}, {"what": "b", "n": 1}]
    assert tables.all("SELECT what FROM list") == [{"what": "a"}, {"what": "b"}, {"what": "a"}]


def test_an_event_that_nobody_is_on_is_passed_over_unread() -> None:
    tables = tables_after(event(1, "Ignored", "not even JSON"))

    assert tables.all("SELECT * FROM counts") == []


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (
            event(7, data='{"what":"bad"}'),
            "Projection list raised ValueError at position 7 (Counted)",
        ),
        (
            event(8, data='{"what":5}'),
            "The event cannot be read (ValidationError (what: string_type)) at position 8 (Counted)",
        ),
        (
            event(9, data="{"),
            "The event cannot be read (ValidationError (json_invalid)) at position 9 (Counted)",
        ),
        (
            event(10, "Gone"),
            "The event cannot be read (the application has no such event any more) at position 10 (Gone)",
        ),
    ],
)
def test_an_event_that_cannot_be_projected_is_never_skipped_but_named(bad: RecordedEvent, sentence: str) -> None:
    with pytest.raises(ProjectionFailed) as failed:
        tables_after(event(1), bad)

    assert str(failed.value) == f"{sentence}; the log of the projector has the details"
    assert failed.value.position == bad.position


def test_a_projection_may_not_end_the_transaction_it_is_in() -> None:
    def commit(counted: Counted, tables: Tables) -> None:
        tables.execute("COMMIT")

    hasty = App(projections=[Projection("hasty", 1, "", on=[commit])])

    with pytest.raises(ProjectionFailed, match="Projection hasty raised NotAllowed") as failed:
        Applier(hasty).apply(event(1), _model(hasty))

    assert "This handle does not allow 'COMMIT'" in str(failed.value.__cause__)


def _model(of: App) -> Any:
    return ModelInMemory(of.projections)
