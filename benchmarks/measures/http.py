"""dualbus over HTTP, beside the web application of the peers: see `measure_web`."""

from benchmarks import cluster, listeners
from benchmarks.children import ask
from benchmarks.measures.side_by_side import WEB_CLIENTS
from benchmarks.peers import web_client
from benchmarks.stage import Stage

LISTENERS = 1_000
COMMANDS = 100  # that change the answer of the listeners


def measure_http(stage: Stage) -> None:
    results, seconds, p50_seconds = stage.results, stage.scale.seconds, stage.scale.p50_seconds
    with cluster.running(stage.folder("http")) as ours:
        ours.start("web")
        port = ours.http_port
        web_client.wait_until_serving(port)
        headers = ours.http_headers
        for work in ("create", "get"):
            rate = ask(web_client.throughput, port, work, WEB_CLIENTS, seconds, "dualbus", headers)
            results.add(f"http.{work}s_per_second", rate)
            p50_ms = ask(web_client.one_at_a_time, port, work, p50_seconds, "dualbus", headers)
            results.add(f"http.{work}_p50_ms", p50_ms)


def measure_live(stage: Stage) -> None:
    with cluster.running(stage.folder("live")) as ours:
        ours.start("web")
        web_client.wait_until_serving(ours.http_port)
        p99_ms = ask(listeners.p99_ms, ours.http_port, LISTENERS, COMMANDS, ours.http_headers)
        stage.results.add("live.p99_ms", p99_ms)
