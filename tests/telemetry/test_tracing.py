"""One trace from a client's call to the read model, exported to a collector."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import format_span_id, format_trace_id

from dualbus import Client
from dualbus.log.engine import open_reader
from dualbus.telemetry.tracing import TRACE, current_trace, open_tracer
from dualbus.testing import Cluster, until
from tests.conftest import ROOT
from tests.raw import RawClient, create, query
from tests.telemetry.collector import Collector
from tests.telemetry.seeing import process
from tests.web.conftest import wait_until_serving

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
COMMAND_SPANS = ["commandbus append", "commandbus decide", "gateway request", "projector project"]


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector of spans."""
    with Collector() as made:
        yield made


@pytest.fixture
def traced(cluster: Cluster, collector: Collector) -> Cluster:
    """A running cluster whose processes export spans."""
    cluster.environ |= collector.settings
    cluster.start()
    with RawClient(cluster.front) as client:  # the projector follows the log from here on
        until(lambda: client.ask(query("GetUser", user_id="user-123"))[0]["type"] == "query_result")
    return cluster


def traced_message(message: dict[str, Any], trace: str) -> dict[str, Any]:
    """Return a message with a trace."""
    return {**message, "body": {**message["body"], "trace": trace}}


def exported(collector: Collector, trace: str, count: int) -> dict[str, Span]:
    """Wait for so many spans of a trace; return them by name."""
    until(lambda: len(collector.spans(trace)) == count)
    return collector.spans(trace)


def test_one_trace_from_the_call_to_the_read_model(traced: Cluster, collector: Collector) -> None:
    with RawClient(traced.front) as client:
        client.ask(traced_message(create("Ada"), TRACEPARENT))

        spans = exported(collector, TRACEPARENT, 4)
        assert sorted(spans) == [f"{name} CreateUser" for name in COMMAND_SPANS]
        # each is a part of the client's span
        assert {span.parent_span_id.hex() for span in spans.values()} == {TRACEPARENT.split("-")[2]}
        # and they follow each other
        request, decide, append, project = (
            spans[f"{name} CreateUser"]
            for name in ("gateway request", "commandbus decide", "commandbus append", "projector project")
        )
        assert request.start_time_unix_nano < decide.start_time_unix_nano < decide.end_time_unix_nano
        assert decide.end_time_unix_nano <= append.start_time_unix_nano < append.end_time_unix_nano
        assert append.end_time_unix_nano < request.end_time_unix_nano
        assert append.start_time_unix_nano < project.end_time_unix_nano


def test_a_query_and_a_rejection_are_parts_of_their_traces(traced: Cluster, collector: Collector) -> None:
    first, second, third = (TRACEPARENT.replace("4bf9", replaced) for replaced in ("1111", "2222", "3333"))
    with RawClient(traced.front) as client:
        client.ask(traced_message(query("GetUser", user_id="user-123"), first))
        client.ask(traced_message(create(""), second))
        client.ask(traced_message({"dest": "commandbus", "body": {"type": "s3cret"}}, third))

        until(lambda: sorted(collector.spans(first)) == ["gateway request GetUser", "querybus query GetUser"])
        # a rejected command has nothing to append
        until(
            lambda: sorted(collector.spans(second)) == ["commandbus decide CreateUser", "gateway request CreateUser"]
        )
        # and a client's own name of a type is in no span
        until(lambda: sorted(collector.spans(third)) == ["commandbus decide unknown", "gateway request unknown"])


def test_spans_have_no_value_of_a_client(traced: Cluster, collector: Collector) -> None:
    secret = "s3cret"
    message = create(secret, email=f"{secret}@example.com", key=f"key-{secret}", src=secret)
    with RawClient(traced.front) as client:
        client.ask(traced_message(message, TRACEPARENT))
        until(lambda: len(collector.spans(TRACEPARENT)) == 4)

    assert "CreateUser" in collector.text
    assert secret not in collector.text


def test_commands_without_a_trace_and_unsampled_traces_have_no_spans(traced: Cluster, collector: Collector) -> None:
    unsampled = TRACEPARENT.replace("4bf9", "1111")[:-2] + "00"
    with RawClient(traced.front) as client:
        client.ask(create("Ada"), traced_message(create("Bob"), unsampled))
        client.ask(traced_message(create("Eve"), TRACEPARENT))

        until(lambda: len(collector.spans(TRACEPARENT)) == 4)
        assert collector.spans(unsampled) == {}
        assert collector.text.count("trace_id") == 4


def test_a_client_sends_the_span_of_its_caller(traced: Cluster, collector: Collector) -> None:
    tracer = TracerProvider().get_tracer("test")
    with Client(traced.front) as client, tracer.start_as_current_span("caller") as span:
        client.command("CreateUser", name="Ada", email="ada@example.com")
        context = span.get_span_context()
        trace = f"00-{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}-01"

        spans = exported(collector, trace, 4)
        assert {one.parent_span_id.hex() for one in spans.values()} == {format_span_id(context.span_id)}


def test_the_trace_of_an_http_request(traced: Cluster, collector: Collector) -> None:
    traced.start("web")
    wait_until_serving(traced)
    created = httpx.post(
        f"{traced.http}/commands/CreateUser",
        json={"name": "Ada", "email": "ada@example.com"},
        headers={"traceparent": TRACEPARENT, **traced.http_headers},
    )
    assert created.status_code == 200

    spans = exported(collector, TRACEPARENT, 5)
    web = spans.pop("web POST /commands/CreateUser")
    assert web.parent_span_id.hex() == TRACEPARENT.split("-")[2]
    assert {span.parent_span_id for span in spans.values()} == {web.span_id}
    # a request without a header, or with an invalid one, starts a trace of its own
    for header in ({}, {"traceparent": "nonsense"}):
        assert (
            httpx.get(f"{traced.http}/queries/ListUsers", headers={**header, **traced.http_headers}).status_code
            == 200
        )
    until(lambda: collector.text.count("web GET /queries/ListUsers") == 2)


def test_without_a_collector_the_log_keeps_the_trace_of_an_http_request(cluster: Cluster) -> None:
    cluster.start()
    cluster.start("web")
    wait_until_serving(cluster)
    url, body = f"{cluster.http}/commands/CreateUser", {"name": "Ada", "email": "ada@example.com"}
    for key, header in (("a", TRACEPARENT), ("b", "nonsense")):
        headers = {"traceparent": header, "idempotency-key": key, **cluster.http_headers}
        answer = httpx.post(url, json=body, headers=headers)
        assert answer.status_code == 200

    log = open_reader(cluster.data)
    assert {key: outcome.origin.trace for key, outcome in log.outcomes(["a", "b"]).items()} == {
        "a": TRACEPARENT,
        "b": None,
    }
    log.close()


def test_a_collector_that_is_gone_stops_nothing(traced: Cluster, collector: Collector) -> None:
    traced.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:1"
    for name in ("gateway", "commandbus", "projector", "querybus"):
        traced.restart(name)
    with RawClient(traced.front) as client:
        for number in range(5):
            [answer] = client.ask(traced_message(create(f"u{number}"), TRACEPARENT))
            assert answer["success"] is True
        until(lambda: process(client, "projector").get("state") == "following")

    # Every process stops in order, though its last spans cannot be exported
    for name in ("projector", "querybus", "commandbus", "gateway"):
        assert traced.stop(name, signal.SIGTERM) == 0


def test_without_configuration_no_process_imports_opentelemetry() -> None:
    code = "import sys, dualbus, {0}.node; print('opentelemetry' in sys.modules)"
    for name in ("gateway", "commandbus", "projector", "querybus", "web"):
        script = code.format(f"dualbus.{name}")
        environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        ran = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
        )
        assert ran.stdout == "False\n", name


def test_a_missing_package_is_a_warning(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)

    assert open_tracer("gateway", (), {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}) is None
    assert "Install dualbus[otel]" in caplog.text
    assert open_tracer("gateway", (), {}) is None


def test_the_trace_of_the_caller() -> None:
    assert current_trace() is None
    token = TRACE.set(TRACEPARENT)
    assert current_trace() == TRACEPARENT
    TRACE.reset(token)
