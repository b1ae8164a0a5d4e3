"""dualbus, its peers and its limits, in succession in every round."""

from benchmarks import cluster, load, machine, stages
from benchmarks.children import ask
from benchmarks.peers import bare_sqlite, echo, event_library, web_app, web_client
from benchmarks.stage import WINDOW, Stage

EVENTS_A_COMMIT = 1_000
BULK_ROWS = 200_000
WEB_CLIENTS = 64  # keep-alive connections


def measure_echo(stage: Stage) -> None:
    results, scale = stage.results, stage.scale
    with echo.road(echo.one_message) as front:
        results.add("echo.per_second", ask(echo.throughput, front, 1, WINDOW, scale.seconds))
        results.add("echo.p50_ms", ask(echo.one_at_a_time, front, scale.p50_seconds))
    with echo.road(echo.all_messages) as front:
        results.add("echo.drained_per_second", ask(echo.throughput, front, 1, WINDOW, scale.seconds))


def measure_sqlite(stage: Stage) -> None:
    folder, results, scale = stage.folder("sqlite"), stage.results, stage.scale
    results.add("sqlite.commit_p50_ms", ask(bare_sqlite.commit_p50, folder, scale.p50_seconds))
    rate = ask(bare_sqlite.group_commits, folder, EVENTS_A_COMMIT, scale.seconds)
    results.add("sqlite.events_per_second", rate)
    results.add("sqlite.rows_per_second", ask(bare_sqlite.bulk_insert, folder, BULK_ROWS))


def measure_eventsourcing(stage: Stage) -> None:
    folder, results, scale = stage.folder("eventsourcing"), stage.results, stage.scale
    creates = ask(event_library.creates_per_second, folder, scale.seconds)
    results.add("eventsourcing.creates_per_second", creates)
    reads = ask(event_library.reads_per_second, folder, scale.seconds)
    results.add("eventsourcing.reads_per_second", reads)


def measure_web(stage: Stage) -> None:
    results, scale = stage.results, stage.scale
    with web_app.serving(stage.folder("web")) as port:
        creates = ask(web_client.throughput, port, "create", WEB_CLIENTS, scale.seconds)
        results.add("web.creates_per_second", creates)
        gets = ask(web_client.throughput, port, "get", WEB_CLIENTS, scale.seconds)
        results.add("web.gets_per_second", gets)
        results.add("web.create_p50_ms", ask(web_client.one_at_a_time, port, "create", scale.p50_seconds))
        results.add("web.get_p50_ms", ask(web_client.one_at_a_time, port, "get", scale.p50_seconds))


def measure_dualbus(stage: Stage) -> None:
    results, scale = stage.results, stage.scale
    with cluster.running(stage.folder("dualbus")) as ours:
        commands = _throughput(stage, ours, "create", "a_command")
        results.add("dualbus.commands_per_second", commands.per_second)
        results.add("dualbus.lag_ms", commands.lag_ms)
        queries = _throughput(stage, ours, "get", "a_query")
        results.add("dualbus.queries_per_second", queries.per_second)
        results.add("dualbus.command_p50_ms", ask(load.one_at_a_time, ours.front, "create", scale.p50_seconds))
        results.add("dualbus.query_p50_ms", ask(load.one_at_a_time, ours.front, "get", scale.p50_seconds))
        both = ask(load.command_then_query, ours.front, scale.p50_seconds)
        results.add("dualbus.command_then_query_p50_ms", both)


def measure_stages(stage: Stage) -> None:
    """Measure the stages of a command and a query."""
    folder = stage.folder("stages")
    costs = {
        "gateway": ask(stages.gateway),
        "commandbus": ask(stages.commandbus, folder / "commandbus"),
        "projector": ask(stages.projector, folder / "projector"),
        "querybus": ask(stages.querybus, folder / "querybus"),
    }
    for process, found in costs.items():
        for name, microseconds in found.items():
            stage.results.add(f"stages.{process}: {name}, us", microseconds)


def _throughput(stage: Stage, ours: cluster.Cluster, work: load.Work, what: str) -> load.Throughput:
    """Measure throughput, and the CPU time of each process and the client per request."""
    before = {name: machine.cpu_seconds([pid]) for name, pid in ours.pids.items()}
    found = ask(load.throughput, ours.front, work, 1, WINDOW, stage.scale.seconds)
    for name, pid in ours.pids.items():
        used = machine.cpu_seconds([pid]) - before[name]
        stage.results.add(f"dualbus.{what}_{name}_cpu_us", used * 1e6 / found.answered)
    stage.results.add(f"dualbus.{what}_client_cpu_us", found.cpu_seconds * 1e6 / found.answered)
    return found
