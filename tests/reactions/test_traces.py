"""The trace and the metrics of a chain of reactions."""

from collections.abc import Callable

from dualbus.telemetry.prometheus import metrics_text
from dualbus.testing import until
from tests.raw import RawClient, command
from tests.reactions.conftest import Shop
from tests.telemetry.collector import Collector
from tests.telemetry.seeing import ask_gateway

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SPANS = [
    *[f"{name} {type_}" for type_ in ("PlaceOrder", "RequestPayment") for name in (
        "commandbus append", "commandbus decide", "gateway request")],
    "reactor react OrderPlaced",
]  # fmt: skip


def test_an_event_its_reaction_and_the_command_of_the_reaction_are_a_trace(shop: Callable[..., Shop]) -> None:
    one = shop()
    with Collector() as collector, RawClient(one.cluster.front) as client:
        one.cluster.environ |= collector.settings
        one.start()
        message = command("PlaceOrder", order="a")
        message["body"]["trace"] = TRACEPARENT
        client.ask(message)

        until(lambda: sorted(collector.spans(TRACEPARENT)) == sorted(SPANS))
        spans = collector.spans(TRACEPARENT)
        assert {span.parent_span_id.hex() for span in spans.values()} == {TRACEPARENT.split("-")[2]}
        reaction, caused = spans["reactor react OrderPlaced"], spans["commandbus decide RequestPayment"]
        assert reaction.start_time_unix_nano < caused.start_time_unix_nano < reaction.end_time_unix_nano
        until(lambda: one.status().get("finished") == 1)
        metrics = metrics_text(ask_gateway(client, "Status")).decode()
    for line in ('dualbus_reaction_lag_events{reaction="orders"} 0.0', "dualbus_reactor_finished_total{", "} 1.0"):
        assert line in metrics
    assert one.cluster.stop("reactor") == 0
