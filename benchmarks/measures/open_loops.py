"""Open-loop latency: a stall delays all requests scheduled meanwhile."""

from benchmarks import cluster, load
from benchmarks.children import ask
from benchmarks.peers import web_app, web_client
from benchmarks.stage import Stage

SHARED_RATE = 1_000  # requests per second within the capacity of both
OWN_RATE = 10_000


def measure_latency(stage: Stage) -> None:
    seconds = stage.scale.open_loop_seconds
    with cluster.running(stage.folder("latency")) as ours:
        for rate in (SHARED_RATE, OWN_RATE):
            spread = ask(load.spread, ours.front, rate, seconds)
            stage.add_latencies(f"dualbus, commands, {rate:,}/s", spread["create"])
            stage.add_latencies(f"dualbus, queries, {rate:,}/s", spread["get"])
    with web_app.serving(stage.folder("latency-web")) as port:
        spread = ask(web_client.spread, port, SHARED_RATE, seconds)
        stage.add_latencies(f"FastAPI, creates, {SHARED_RATE:,}/s", spread["create"])
        stage.add_latencies(f"FastAPI, gets, {SHARED_RATE:,}/s", spread["get"])
