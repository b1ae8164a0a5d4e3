"""GET /metrics."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

from dualbus.testing import Cluster, until


def scraped(browser: httpx.Client) -> dict[tuple[str, ...], float]:
    """Return the samples by name and label values, in the order of label names, without pids."""
    response = browser.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, *(value for label, value in sorted(sample.labels.items()) if label != "pid")): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_metrics_count_requests_over_http(site: Cluster, browser: httpx.Client) -> None:
    for name in ("Ada", "", "Bob"):
        browser.post("/commands/CreateUser", json={"name": name, "email": "a@example.com"})
    browser.get("/queries/ListUsers")

    found = scraped(browser)
    assert found["dualbus_requests_total", "commandbus", "success", "CreateUser"] == 2
    assert found["dualbus_requests_total", "commandbus", "rejected", "CreateUser"] == 1
    assert found["dualbus_requests_total", "querybus", "success", "ListUsers"] == 1
    assert found["dualbus_web_listeners", "web"] == 0
    assert found["dualbus_process_resident_memory_bytes", "web"] > 1 << 20


def test_a_listener_counts_while_it_is_connected(site: Cluster, browser: httpx.Client) -> None:
    with browser.stream("GET", "/events", headers={"accept": "text/event-stream"}):
        until(lambda: scraped(browser)["dualbus_web_listeners", "web"] == 1)
    until(lambda: scraped(browser)["dualbus_web_listeners", "web"] == 0)


def test_without_a_gateway_there_are_no_metrics(site: Cluster, browser: httpx.Client) -> None:
    site.kill("gateway")
    assert browser.get("/metrics").status_code == 503
    site.start("gateway")
    until(lambda: browser.get("/metrics").status_code == 200)
