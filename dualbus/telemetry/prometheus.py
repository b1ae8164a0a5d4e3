"""The answer to Status as Prometheus metrics. docs/monitoring.md lists them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST

_STATE_GAUGES = {
    "log_position": ("dualbus_log_position", "Position of the log."),
    "read_model_position": ("dualbus_read_model_position", "Position of the read model."),
    "lag_events": ("dualbus_lag_events", "Events of the log that the read model lacks."),
    "lag_s": ("dualbus_lag_seconds", "Time since the read model had all events of the log."),
    "reactor_lag_events": ("dualbus_reactor_lag_events", "Events of the log that a reaction has not finished."),
}
_GATEWAY_GAUGES = {
    "clients": ("dualbus_clients", "Connections that the gateway remembers."),
    "under_way": ("dualbus_requests_pending", "Accepted requests without an answer."),
    "bytes_under_way": ("dualbus_requests_pending_bytes", "Size of the accepted requests without an answer."),
    "deferred": ("dualbus_queries_deferred", "Queries that wait in the gateway for the read model."),
    "subscriptions": ("dualbus_subscriptions_waiting", "Requests for events that wait for the next event."),
}
_GATEWAY_COUNTERS = {
    "accepted": "Requests accepted.",
    "answered": "Replies queued for clients.",
    "refused": "Requests refused at once.",
    "timed_out": "Requests whose deadline has passed.",
    "malformed": "Invalid messages.",
    "dropped_replies": "Replies dropped, because a client did not receive.",
    "clients_gone": "Clients that disconnected before their replies were sent.",
    "sent_again": "Requests sent again after the loss of a worker.",
    "late_answers": "Answers of workers to sendings that were no longer in flight.",
    "lost_workers": "Workers lost.",
}
_PROCESS_GAUGES = {
    "uptime_s": ("dualbus_process_uptime_seconds", "Time since the start of the process."),
    "seen_s": ("dualbus_process_heartbeat_age_seconds", "Time since the last heartbeat of the process."),
    "memory_bytes": ("dualbus_process_resident_memory_bytes", "Resident memory of the process."),
    "position": ("dualbus_process_position", "Position of the log or the read model in the process."),
    "in_flight": ("dualbus_process_in_flight", "Requests sent to the process and not answered."),
    "listeners": ("dualbus_web_listeners", "Streams of events and live queries."),
    "failed": ("dualbus_read_model_stopped", "1 while the read model cannot apply an event, else 0."),
    "queue": ("dualbus_process_queue", "Requests queued in the process."),
    "under_way": ("dualbus_reactor_under_way", "Events whose reactions are under way."),
    "timers": ("dualbus_reactor_timers", "Pending timers of reactions."),
    "parked": ("dualbus_reactor_parked", "Events whose reactions have failed at every try."),
    "waiting": ("dualbus_reactor_waiting", "Events that wait for the next try, or behind a parked event."),
}
_PROCESS_COUNTERS = {  # by process
    "commandbus": {
        "decided": "Decisions in the log.",
        "commits": "Commits.",
        "events": "Events appended.",
        "expired": "Commands that arrived after their deadline.",
        "retaken": "Commands decided again after a conflict with another writer.",
    },
    "projector": {
        "applied": "Events applied to the read model.",
        "commits": "Transactions of the read model.",
        "gaps": "Gaps in the publications, read from the log.",
        "refused": "Publications refused, because the log lacks their events.",
    },
    "reactor": {
        "finished": "Events whose reactions have finished.",
        "failures": "Runs of reactions that failed, and were tried again or parked.",
        "commands": "Commands executed.",
        "refused": "Commands refused.",
    },
    "querybus": {
        "answered": "Queries answered.",
        "snapshots": "Snapshots of the read model.",
        "late": "Queries whose deadline passed in the query bus.",
    },
}
_HISTOGRAMS = {
    "fsync_s": ("dualbus_commit_fsync_seconds", "Time of writing a commit durably."),
    "events_per_commit": ("dualbus_commit_events", "Events of a commit."),
}


def metrics_text(status: Mapping[str, Any]) -> bytes:
    """Return the metrics of the `data` of a Status reply in the text format of Prometheus."""
    return generate_latest(_Status(status))


class _Status(Collector):
    """The metrics of one Status reply."""

    def __init__(self, status: Mapping[str, Any]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics with values."""
        status = self._status
        yield from _gauges(_STATE_GAUGES, status)
        yield from _gateway(status["gateway"])
        yield from _requests(status["requests"])
        yield from _processes(status["processes"])


def _gauges(names: Mapping[str, tuple[str, str]], values: Mapping[str, Any]) -> Iterator[Metric]:
    for key, (name, text) in names.items():
        if values.get(key) is not None:
            yield GaugeMetricFamily(name, text, values[key])


def _gateway(gateway: Mapping[str, Any]) -> Iterator[Metric]:
    yield from _gauges(_GATEWAY_GAUGES, gateway)
    queued = GaugeMetricFamily("dualbus_requests_queued", "Requests that wait for a worker.", labels=["dest"])
    for dest, count in gateway["queued"].items():
        queued.add_metric([dest], count)
    yield queued
    for key, text in _GATEWAY_COUNTERS.items():
        yield CounterMetricFamily(f"dualbus_gateway_{key}", text, gateway[key])


def _requests(requests: Iterable[Mapping[str, Any]]) -> Iterator[Metric]:
    labels = ["dest", "type"]
    counts = CounterMetricFamily("dualbus_requests", "Requests by type and outcome.", labels=[*labels, "outcome"])
    durations = HistogramMetricFamily(
        "dualbus_request_duration_seconds", "Time from the acceptance of a request to its answer.", labels=labels
    )
    for request in requests:
        values = [request["dest"], request["type"]]
        for outcome, count in request["outcomes"].items():
            counts.add_metric([*values, outcome], count)
        durations.add_metric(values, *_buckets(request["duration_s"]))
    yield counts
    yield durations


def _processes(processes: Iterable[Mapping[str, Any]]) -> Iterator[Metric]:
    """Yield the metrics of each process, with its name and pid. Most values arrive with its first heartbeat."""
    labels = ["process", "pid"]
    for key, (name, text) in _PROCESS_GAUGES.items():
        yield _of_processes(GaugeMetricFamily(name, text, labels=labels), key, processes)
    seconds = CounterMetricFamily("dualbus_process_cpu_seconds", "Processor time of the process.", labels=labels)
    yield _of_processes(seconds, "cpu_s", processes)
    for name, counters in _PROCESS_COUNTERS.items():
        alike = [process for process in processes if process["name"] == name]
        for key, text in counters.items():
            yield _of_processes(CounterMetricFamily(f"dualbus_{name}_{key}", text, labels=labels), key, alike)
    lags = GaugeMetricFamily(
        "dualbus_reaction_lag_events", "Events of the log that the reaction has not finished.", labels=["reaction"]
    )
    for process in processes:
        for reaction, lag in process.get("lags", {}).items():
            lags.add_metric([reaction], lag)
    yield lags
    for key, (name, text) in _HISTOGRAMS.items():
        histogram = HistogramMetricFamily(name, text, labels=labels)
        for process in processes:
            if key in process.get("histograms", ()):
                histogram.add_metric(_labels(process), *_buckets(process["histograms"][key]))
        yield histogram


def _of_processes(
    family: GaugeMetricFamily | CounterMetricFamily, key: str, processes: Iterable[Mapping[str, Any]]
) -> Metric:
    """Add the value of each process to a family."""
    for process in processes:
        if key in process:
            family.add_metric(_labels(process), process[key])
    return family


def _labels(process: Mapping[str, Any]) -> list[str]:
    return [str(process["name"]), str(process["pid"])]


def _buckets(histogram: Mapping[str, Any]) -> tuple[list[tuple[str, float]], float]:
    """Return the cumulative buckets of a histogram, and its sum."""
    total = 0
    buckets = []
    for bound, count in zip([*histogram["le"], "+Inf"], histogram["counts"], strict=True):
        total += count
        buckets.append((str(bound), float(total)))
    return buckets, histogram["sum"]
