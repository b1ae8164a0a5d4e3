"""An idle cluster: start time and CPU use."""

from time import perf_counter, sleep

from benchmarks import cluster, machine
from benchmarks.peers import web_client
from benchmarks.stage import Stage

STARTS = 3
SETTLE_SECONDS = 1.0


def measure_idle(stage: Stage) -> None:
    for number in range(STARTS):
        with cluster.prepared(stage.folder("idle")) as ours:
            started = perf_counter()
            ours.start()
            ours.wait_until_working()
            stage.results.add("idle.start_seconds", perf_counter() - started)
            if number == STARTS - 1:
                stage.results.add("idle.core_percent", _core_percent(ours, stage.scale.idle_seconds))
                ours.start("web")
                web_client.wait_until_serving(ours.http_port)
                stage.results.add("idle.web_core_percent", _core_percent(ours, stage.scale.idle_seconds))


def _core_percent(ours: cluster.Cluster, seconds: float) -> float:
    sleep(SETTLE_SECONDS)
    pids = list(ours.pids.values())
    before, started = machine.cpu_seconds(pids), perf_counter()
    sleep(seconds)
    used = machine.cpu_seconds(pids) - before
    return 100 * used / (perf_counter() - started)
