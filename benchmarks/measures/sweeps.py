"""Throughput by the number of clients, and by the window of a single client."""

from benchmarks import cluster, load
from benchmarks.children import ask
from benchmarks.peers import echo, web_app, web_client
from benchmarks.stage import Stage

CLIENTS = (1, 4, 16, 64, 256)
WINDOWS = (1, 8, 64, 512, 2_048)


def measure_clients(stage: Stage) -> None:
    """Vary the number of clients, each with a single request in flight."""
    seconds, draw = stage.scale.sweep_seconds, stage.results.draw
    with cluster.running(stage.folder("clients")) as ours, echo.road(echo.one_message) as front:
        for number in CLIENTS:
            stage.say(f"clients, {number}")
            _dualbus(stage, ours, "clients", number, clients=number, window=1)
            draw("clients", "plain echo", number, ask(echo.throughput, front, number, 1, seconds))
    with web_app.serving(stage.folder("clients-web")) as port:
        for number in CLIENTS:
            stage.say(f"clients of FastAPI, {number}")
            draw(
                "clients",
                "FastAPI, creates",
                number,
                ask(web_client.throughput, port, "create", number, seconds),
            )
            draw("clients", "FastAPI, gets", number, ask(web_client.throughput, port, "get", number, seconds))


def measure_window(stage: Stage) -> None:
    """Vary the number of requests in flight of a single client."""
    seconds, draw = stage.scale.sweep_seconds, stage.results.draw
    with cluster.running(stage.folder("window")) as ours, echo.road(echo.one_message) as front:
        for window in WINDOWS:
            stage.say(f"window, {window}")
            _dualbus(stage, ours, "window", window, clients=1, window=window)
            draw("window", "plain echo", window, ask(echo.throughput, front, 1, window, seconds))


def _dualbus(stage: Stage, ours: cluster.Cluster, chart: str, x: int, clients: int, window: int) -> None:
    seconds, draw = stage.scale.sweep_seconds, stage.results.draw
    commands = ask(load.throughput, ours.front, "create", clients, window, seconds)
    draw(chart, "dualbus, commands", x, commands.per_second)
    queries = ask(load.throughput, ours.front, "get", clients, window, seconds)
    draw(chart, "dualbus, queries", x, queries.per_second)
