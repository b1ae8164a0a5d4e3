"""The metrics in the text format of Prometheus."""

import json
import os
import re
import shutil
import subprocess
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dualbus.telemetry.prometheus import metrics_text
from dualbus.testing import Cluster, until
from tests.conftest import ROOT
from tests.raw import RawClient, create, query
from tests.telemetry.seeing import ask_gateway

DASHBOARD = json.loads((ROOT / "docs" / "grafana.json").read_text())
PAGE = (ROOT / "docs" / "monitoring.md").read_text()


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Return the samples by name and label values, in the order of label names, without pids."""
    return {
        (sample.name, *(value for label, value in sorted(sample.labels.items()) if label != "pid")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def scraped(running: Cluster, client: RawClient) -> str:
    """The metrics after ten commands, of which three were rejected, and four queries."""
    for name in ("a", "b", "", "c", "d", " ", "", "e", "f", "g"):
        client.ask(create(name))
    client.ask(*[query("GetUser", user_id="user-123")] * 4)

    def settled() -> dict[str, Any]:
        status: dict[str, Any] = ask_gateway(client, "Status")
        by_name = {one["name"]: one for one in status["processes"]}
        assert by_name.get("commandbus", {}).get("commits") == 7
        assert by_name.get("projector", {}).get("applied") == 8
        assert by_name["querybus"].get("answered") == 4
        assert status["lag_events"] == 0
        return status

    return metrics_text(until(settled)).decode()


def test_the_metrics_have_the_values_of_the_cluster(scraped: str) -> None:
    found = samples(scraped)

    expected = {
        ("dualbus_requests_total", "commandbus", "success", "CreateUser"): 7,
        ("dualbus_requests_total", "commandbus", "rejected", "CreateUser"): 3,
        ("dualbus_requests_total", "querybus", "success", "GetUser"): 4,
        ("dualbus_request_duration_seconds_count", "commandbus", "CreateUser"): 10,
        ("dualbus_request_duration_seconds_bucket", "commandbus", "+Inf", "CreateUser"): 10,
        ("dualbus_request_duration_seconds_bucket", "commandbus", "0.0001", "CreateUser"): 0,
        ("dualbus_gateway_accepted_total",): 14,
        ("dualbus_gateway_refused_total",): 0,
        ("dualbus_log_position",): 8,
        ("dualbus_read_model_position",): 8,
        ("dualbus_lag_events",): 0,
        ("dualbus_lag_seconds",): 0,
        ("dualbus_requests_pending",): 0,
        ("dualbus_requests_queued", "commandbus"): 0,
        ("dualbus_commandbus_commits_total", "commandbus"): 7,
        ("dualbus_commandbus_events_total", "commandbus"): 7,
        ("dualbus_commit_events_count", "commandbus"): 7,
        ("dualbus_commit_events_sum", "commandbus"): 7,
        ("dualbus_commit_events_bucket", "0.0", "commandbus"): 0,
        ("dualbus_commit_events_bucket", "1.0", "commandbus"): 7,
        ("dualbus_commit_fsync_seconds_count", "commandbus"): 7,
        ("dualbus_projector_applied_total", "projector"): 8,
        ("dualbus_querybus_answered_total", "querybus"): 4,
        ("dualbus_read_model_stopped", "projector"): 0,
    }
    assert {name: found[name] for name in expected} == expected
    for process in ("gateway", "commandbus", "projector", "querybus"):
        assert found["dualbus_process_cpu_seconds_total", process] > 0
        assert found["dualbus_process_resident_memory_bytes", process] > 1 << 20
        assert found["dualbus_process_uptime_seconds", process] >= 0


def test_promtool_accepts_the_metrics(scraped: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None and os.environ.get("CI") != "true":
        pytest.skip("promtool is missing: install the Debian package prometheus")
    assert promtool is not None

    checked = subprocess.run([promtool, "check", "metrics"], input=scraped, capture_output=True, text=True)

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_the_dashboard_queries_existing_metrics_and_labels(scraped: str) -> None:
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(scraped):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    expressions = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]

    assert len(expressions) > 20
    for expression in expressions:
        names = re.findall(r"dualbus_\w+", expression)
        assert names
        for name in names:
            assert name in found, expression
        labels = {label for names in re.findall(r"by \(([^)]*)\)", expression) for label in names.split(", ")}
        labels |= set(re.findall(r"(\w+)!?=\"", expression))
        assert labels <= found[names[0]], expression


def test_every_metric_is_in_the_documentation(scraped: str) -> None:
    for family in text_string_to_metric_families(scraped):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert f"`{name}`" in PAGE, name


def test_a_gateway_alone_has_metrics(cluster: Cluster) -> None:
    cluster.start("gateway")
    with RawClient(cluster.front) as client:
        found = samples(metrics_text(ask_gateway(client, "Status")).decode())
    assert found["dualbus_clients",] == 1
    assert ("dualbus_log_position",) not in found


def test_metrics_have_no_value_of_a_client(running: Cluster, client: RawClient) -> None:
    # Given commands and queries with private values, as types, keys, payloads, names of sessions and dests
    secret = "s3cret"
    client.ask(create(secret, email=f"{secret}@example.com", key=f"key-{secret}", src=secret))
    client.ask(create("", email=f"{secret}", src=secret))
    client.ask(query(secret, user_id=secret), query("GetUser", **{secret: secret}))
    client.ask({"dest": secret, "body": {"type": secret, "payload": {secret: secret}}})

    # Then neither the metrics nor Status contain any of these
    until(lambda: ask_gateway(client, "Status")["read_model_position"] == 2)
    status = ask_gateway(client, "Status")
    assert secret not in json.dumps(status)
    assert secret not in metrics_text(status).decode()
