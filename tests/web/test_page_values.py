"""The parts of the page that need no process: faults, stages, forms and the graph, on values."""

from contextlib import closing
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest

from dualbus import App, Projection
from dualbus.application.messages import Message
from dualbus.readmodel.file import create, file_name
from dualbus.readmodel.writer import ReadModelWriter
from dualbus.web.page.alarms import alarms
from dualbus.web.page.cluster import catch_up_seconds
from dualbus.web.page.fields import fields_of, values_of
from dualbus.web.page.graph import Graph
from dualbus.web.page.html import clock, duration, number, size
from dualbus.web.page.picture import Picture
from dualbus.web.page.samples import samples
from dualbus.web.page.stages import WIDTH, Stages
from dualbus.web.page.tables import ReadModelTables
from dualbus.web.request_rate import RequestRate
from examples.orders import app as orders
from tests.read_model.conftest import LOG
from tests.web.orders import PlaceOrder


def status(*changed: dict[str, Any], without: str = "", **more: Any) -> dict[str, Any]:
    """Return the status of a cluster without faults, with changes of its processes."""
    processes: dict[str, dict[str, Any]] = {
        name: {"name": name, "pid": 7, "position": 40, "seen_s": 0.1, "queue": 0}
        for name in ("commandbus", "projector", "querybus")
    }
    processes["projector"]["state"] = "following"
    for change in changed:
        processes.setdefault(change["name"], {"pid": 7, "position": 40, "seen_s": 0.1}).update(change)
    processes.pop(without, None)
    gateway = {"clients": 1, "under_way": 0, "queued": {"commandbus": 0, "querybus": 0}}
    found = {"log_position": 41, "read_model_position": 40, "lag_s": 0.0, "gateway": gateway, **more}
    return {**found, "processes": [{"name": "gateway", "pid": 1}, *processes.values()]}


@pytest.mark.parametrize(
    ("found", "level", "text", "position"),
    [
        (None, "stop", "The gateway does not respond: no command and no query is executed.", None),
        (
            status(without="querybus"),
            "stop", "No querybus responds: queries wait, and fail at their deadline.", None,
        ),
        (
            status({"name": "projector", "state": "Projection users raised ValueError at position 41"}),
            "stop", "The projector has stopped: Projection users raised ValueError at position 41.", 41,
        ),
        (
            status({"name": "projector", "state": "waiting for the log"}),
            "warn", "projector is waiting for the log.", None,
        ),
        (status({"name": "commandbus", "seen_s": 2.6}), "stop", "commandbus (7) has not responded for 3 s.", None),
        (
            status({"name": "querybus", "seen_s": 9, "running": {"type": "GetUser", "seconds": 9}}),
            "warn", "querybus (7) has been running GetUser for 9 s.", None,
        ),
        (status(lag_s=12.3), "warn", "The read model is 12 s behind the log: queries after a command wait.", None),
        (
            status({"name": "reactor", "state": "mail is stopped by an unreadable event"}),
            "stop", "A reaction has stopped: mail is stopped by an unreadable event.", None,
        ),
        (
            status({"name": "reactor", "state": "following", "parked": 3}),
            "warn", "3 events of reactions are parked: their reactions have failed.", None,
        ),
    ],
)  # fmt: skip
def test_a_fault_is_a_sentence_with_the_next_step(found: Any, level: str, text: str, position: int | None) -> None:
    [alarm] = alarms(found)

    assert (alarm.level, alarm.text, alarm.position) == (level, text, position)
    assert alarm.advice


def test_a_cluster_without_faults_has_no_alarm_and_a_stop_is_first() -> None:
    assert alarms(status()) == []
    for role in ("active", "standby"):  # on several machines
        assert alarms(status({"name": "commandbus", "state": role})) == []
    assert [
        alarm.level for alarm in alarms(status({"name": "querybus", "state": "starting"}, without="commandbus"))
    ] == [
        "stop",
        "warn",
    ]
    # A reactor is needed by an application with reactions only
    assert [alarm.text for alarm in alarms(status(), reacts=True)] == [
        "No reactor responds: reactions and timers wait."
    ]


def test_the_picture_has_a_box_for_each_process_with_its_state() -> None:
    rates = {"commands_per_s": 3, "queries_per_s": 0, "written_per_s": 2, "applied_per_s": 0}
    found = Picture(status({"name": "querybus", "queue": 4}, without="projector"), rates, 7.0, reacts=False)
    boxes = {box.name: (box.level, box.state, box.detail) for box in found.boxes}

    assert boxes["projector"] == ("stop", "no response", "")
    unknown = Picture(None, {}, None, reacts=False, positions=(41, 40))
    levels = {box.name: (box.level, box.state) for box in unknown.boxes}
    assert (levels["gateway"], levels["commandbus"]) == (("stop", "no response"), ("plain", "unknown"))
    assert (levels["log"][1], levels["read model"][1]) == ("position 41", "position 40")
    assert boxes["querybus"] == ("ok", "running", "4 waiting")
    assert boxes["log"] == ("plain", "position 41", "")
    assert "reactor" not in boxes
    assert {edge.unit: edge.rate for edge in found.edges if edge.unit} == {
        "requests/s": 3, "HTTP/s": 7, "queries/s": 0, "commands/s": 3, "events/s": 0, "applied/s": 0, "reads/s": 0,
    }  # fmt: skip
    assert [box.name for box in Picture(None, {}, None, reacts=True).boxes if box.level == "stop"] == ["gateway"]


def test_the_picture_has_the_rates_of_the_reactor() -> None:
    rates = {"reacted_per_s": 5, "caused_per_s": 4}
    plain, reacting = (Picture(status(), rates, None, reacts=reacts).edges for reacts in (False, True))
    assert [(edge.rate, edge.unit) for edge in reacting[len(plain) :]] == [(5, "events/s"), (4, "commands/s")]


def test_the_rate_of_requests_is_that_between_two_samples() -> None:
    rate = RequestRate()
    assert rate.per_second(100.0) is None
    rate.total += 30
    assert rate.per_second(101.0) is None  # too early for a sample
    assert rate.per_second(103.0) == 10.0
    rate.total += 100
    assert rate.per_second(104.0) == 10.0
    assert rate.per_second(105.0) == 50.0
    rate.total += 7200
    assert rate.per_second(3705.0) is None  # not the mean of an hour
    assert rate.per_second(3707.0) == 0.0


@pytest.mark.parametrize(
    ("lag_events", "lag_s", "written", "applied", "seconds"),
    [(0, 0, 5, 5, 0), (3, 0, 5, 5, 0), (1000, 2.0, 50, 150, 10), (1000, 2.0, 50, 50, None), (1000, 2.0, 50, 0, None)],
)
def test_the_time_to_catch_up(
    lag_events: int, lag_s: float, written: int, applied: int, seconds: float | None
) -> None:
    rates = {"lag_events": lag_events, "lag_s": lag_s, "written_per_s": written, "applied_per_s": applied}

    assert catch_up_seconds(rates) == seconds
    assert catch_up_seconds({}) is None


def test_the_stages_of_a_command_are_bars_on_one_scale() -> None:
    found = Stages(
        {
            "accepted": 0, "sent": 100, "deciding": 300, "decided": 400, "committed": 1400, "answered": 1600,
            "projected": 2000,
        }
    )  # fmt: skip

    assert [
        (bar.stage, round(bar.begins * 1e6), round(bar.seconds * 1e6), bar.x, bar.width) for bar in found.bars
    ] == [
        ("sent", 0, 100, 0, 50),
        ("deciding", 100, 200, 50, 100),
        ("decided", 300, 100, 150, 50),
        ("committed", 400, 1000, 200, 500),
        ("answered", 1400, 200, 700, 100),
        ("projected", 1400, 600, 700, 300),
    ]
    assert (found.total, found.answered, found.missing) == (0.002, 0.0016, [])


def test_a_command_without_a_commit_has_bars_for_the_stages_that_it_had() -> None:
    none: dict[str, int | None] = {"committed": None, "projected": None}
    found = Stages({"accepted": 0, "sent": 0, "deciding": 0, "decided": 0, "answered": 0, **none})

    assert [bar.stage for bar in found.bars] == ["sent", "deciding", "decided", "answered"]
    assert all(0 <= bar.x <= bar.x + bar.width <= WIDTH for bar in found.bars)
    assert found.missing == ["committed", "projected"]


def test_a_form_has_a_field_for_each_kind_of_value() -> None:
    fields = {field.name: field for field in fields_of(PlaceOrder)}

    assert {name: field.widget for name, field in fields.items()} == {
        "customer": "text", "card": "text", "count": "number", "price": "text", "speed": "select", "gift": "select",
        "day": "text", "labels": "lines", "lines": "json",
    }  # fmt: skip
    assert [name for name, field in fields.items() if field.required] == ["customer", "card"]
    assert fields["speed"].choices == ("slow", "fast")
    assert fields["gift"].choices == ("true", "false")
    assert (fields["count"].hint, fields["count"].default) == ("whole number, 1 to 99", "1")
    assert fields["day"].hint == "2026-01-31"


class Reading(Message):
    measured: float | None = None
    whole: int = 0
    anything: Any = None
    limit: Literal["auto"] | int | None = None
    since: date | int = 0
    tags: str | list[int] | None = None
    corner: tuple[int, str] | None = None
    on: bool = False


def test_a_field_with_a_few_values_beside_others_is_no_selection() -> None:
    fields = {field.name: field for field in fields_of(Reading)}

    assert (fields["limit"].widget, fields["limit"].hint) == ("text", "auto or whole number")
    assert (fields["since"].widget, fields["since"].hint) == ("text", "2026-01-31 or whole number")
    assert (fields["on"].widget, fields["on"].choices) == ("select", ("true", "false"))


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        ({}, {}),
        ({"whole": "7", "measured": "0.5"}, {"whole": 7, "measured": 0.5}),
        ({"whole": "seven"}, {"whole": "seven"}),  # the cluster reports the field
        ({"whole": "NaN"}, {"whole": "NaN"}),
        ({"anything": '{"a": [0.10, null]}'}, {"anything": {"a": [Decimal("0.10"), None]}}),
        ({"anything": "[" * 100_000}, {"anything": "[" * 100_000}),
        ({"anything": "true"}, {"anything": True}),
        ({"limit": "auto", "since": "2026-01-31"}, {"limit": "auto", "since": "2026-01-31"}),
        ({"limit": "5", "since": "5", "on": "true"}, {"limit": 5, "since": 5, "on": True}),
        ({"tags": "5"}, {"tags": "5"}),
        ({"tags": "[5]", "corner": '[1, "a"]'}, {"tags": [5], "corner": [1, "a"]}),
    ],
)
def test_a_text_becomes_the_value_that_the_field_can_have(texts: dict[str, str], values: dict[str, Any]) -> None:
    form = {f"field.{name}": text for name, text in texts.items()}

    assert values_of(fields_of(Reading), form) == values


def test_a_number_keeps_its_digits_in_each_sample() -> None:
    found = samples("curl -H @file", "http://host", "Read", {"x": {"y": Decimal("0.10")}}, is_command=True)

    assert [text for _, text in found] == [
        "curl -H @file http://host/commands/Read \\\n  -H 'Content-Type: application/json' \\\n"
        '  --data-raw \'{"x": {"y": 0.10}}\'',
        "dualbus command Read 'x={\"y\": 0.10}'",
        "from decimal import Decimal\n\nfrom dualbus import Client\n\nwith Client() as client:\n"
        "    print(client.command(\"Read\", {'x': {'y': Decimal('0.10')}}))",
    ]


def test_the_graph_of_an_application_with_reactions_leads_back_to_commands() -> None:
    graph = Graph(orders)
    back = {(edge.first, edge.last) for edge in graph.edges if edge.back}

    assert ("reaction/orders", "command/ReserveStock") in back
    assert all(edge.first.startswith("reaction/") for edge in graph.edges if edge.back)
    places = [(node.x, node.y) for node in graph.nodes]
    assert len(set(places)) == len(places)
    assert max(y for _, y in places) + graph.node_height <= graph.height


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (number(None), "–"), (number(0), "0"), (number(12345), "12,345"), (number(0.123), "0.123"),
        (number(45.678), "45.7"), (number(0.04), "0.04"), (duration(None), "–"), (duration(0), "0 s"),
        (duration(0.000_123_4), "123 µs"),
        (duration(0.012_34), "12.3 ms"), (duration(59), "59 s"), (duration(150), "2.5 min"),
        (duration(90_000), "1.04 d"),
        (size(512), "512 B"), (size(44_552_192), "42.5 MiB"), (size(1000 << 20), "1000 MiB"),
        (clock("2020-01-31T12:00:00.123456Z"), "2020-01-31 12:00:00"),
    ],
)  # fmt: skip
def test_the_form_of_a_number(shown: str, text: str) -> None:
    assert shown == text


def test_a_table_with_a_name_beyond_ascii_shows_its_rows(folder: Path) -> None:
    app = App(projections=[Projection("t", 1, "CREATE TABLE Übersicht (v)", on=[])])
    path = folder / file_name(app.projections)
    create(path, app.projections, LOG)
    with closing(ReadModelWriter(path)) as writer:
        writer.begin()
        writer.execute("INSERT INTO Übersicht VALUES (1)")
        writer.commit(1, b"one")

    assert ReadModelTables(app, folder).rows("ÜBERSICHT", None, 0, 10, 0).rows == [[1]]
