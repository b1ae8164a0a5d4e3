"""The charts of docs/benchmarks.md."""

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib  # type: ignore[import-not-found, unused-ignore]

from benchmarks.measures.open_loops import OWN_RATE
from benchmarks.results import Curves, Point, Results

matplotlib.use("svg")

from matplotlib import pyplot, ticker  # after the backend is chosen  # type: ignore[import-not-found, unused-ignore]

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "dualbus",  # equal figures produce equal files
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "legend.fontsize": 8,
}
# By the first word of a label. Readers with colour blindness can distinguish these colours.
COLOURS = {"dualbus": "#0072B2", "FastAPI": "#D55E00", "eventsourcing": "#009E73", "plain": "#777777"}
COLOURS |= {"gateway": "#0072B2", "commandbus": "#D55E00", "projector": "#009E73", "querybus": "#CC79A7"}
PALE = "#56B4E9"
CREATES = {
    "dualbus": "dualbus.commands_per_second",
    "plain echo": "echo.per_second",
    "plain echo, draining": "echo.drained_per_second",
    "eventsourcing, in process": "eventsourcing.creates_per_second",
    "FastAPI": "web.creates_per_second",
}
READS = {
    "dualbus": "dualbus.queries_per_second",
    "plain echo": "echo.per_second",
    "plain echo, draining": "echo.drained_per_second",
    "eventsourcing, in process": "eventsourcing.reads_per_second",
    "FastAPI": "web.gets_per_second",
}
NINES = {50: "50 %", 90: "90 %", 99: "99 %", 99.9: "99.9 %", 99.99: "99.99 %"}


def draw(results: Results, folder: Path) -> list[Path]:
    """Draw each chart with complete figures; return the files."""
    drawn = []
    with pyplot.rc_context(STYLE):
        for name, (has_figures, chart) in CHARTS.items():
            if has_figures(results):
                path = folder / f"benchmarks-{name}.svg"
                chart(results).savefig(path, metadata={"Date": None})
                drawn.append(path)
        pyplot.close("all")
    return drawn


def _throughput(results: Results) -> Any:
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 3), layout="constrained", sharey=True)
    _bars(axes[0], "Durable creates a second", CREATES, results)
    _bars(axes[1], "Reads a second", READS, results)
    axes[0].invert_yaxis()  # first label at the top; both charts share the axis
    return figure


def _bars(axes: Any, title: str, figures: dict[str, str], results: Results) -> None:
    labels = list(figures)
    values = [results.median(figures[label]) for label in labels]
    bars = axes.barh(labels, values, color=[_colour(label) for label in labels])
    axes.bar_label(bars, [f" {value:,.0f}" for value in values])
    axes.set_title(title)
    axes.set_xlim(0, max(values) * 1.2)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.locator_params(axis="x", nbins=5)


def _latency(results: Results) -> Any:
    """Draw percentiles as HdrHistogram does: every further nine has the same width."""
    figure, axes = pyplot.subplots(figsize=(10, 4.5), layout="constrained")
    for label, curve in results.latency.items():
        points = [(100 / (100 - percentile), ms) for percentile, ms in curve if percentile < 100]
        axes.plot(*_columns(points), label=label, color=_colour(label), **_line(label))
    axes.set_xscale("log")
    _logarithmic(axes)
    axes.set_xticks([100 / (100 - percentile) for percentile in NINES], list(NINES.values()))
    axes.xaxis.minorticks_off()
    axes.set_title("Latency of requests that come when they are due, whether or not the ones before are answered")
    axes.set_xlabel("share of the requests")
    axes.set_ylabel("ms, from due to answered")
    axes.legend()
    return figure


def _concurrency(results: Results) -> Any:
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
    _logarithmic(axes[0])
    _lines(axes[0], "Clients, each with one request at a time", results.curves["clients"])
    _lines(axes[1], "One client, with so many requests in flight", results.curves["window"])
    axes[0].set_ylabel("requests a second")
    axes[0].legend()
    return figure


def _log_size(results: Results) -> Any:
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
    _lines(axes[0], "One command at a time, p50 in ms", results.curves["log p50"])
    _lines(axes[1], "Many commands in flight, commands a second", results.curves["log throughput"])
    for one in axes:
        one.set_xlabel("events in the log")
        one.set_ylim(0, one.get_ylim()[1] * 1.1)
    return figure


def _memory(results: Results) -> Any:
    figure, axes = pyplot.subplots(figsize=(10, 3.5), layout="constrained")
    for label, points in results.curves["memory"].items():
        axes.plot(*_columns(points), label=label, color=_colour(label), marker="o", markersize=3)
    axes.set_title("Memory of each process, in MB")
    axes.set_xlabel("commands since its start")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylim(bottom=0)
    axes.legend()
    return figure


def _lines(axes: Any, title: str, curves: Curves) -> None:
    for label, points in curves.items():
        axes.plot(*_columns(_medians(points)), label=label, color=_colour(label), marker="o", **_line(label))
    axes.set_title(title)
    axes.set_xscale("log")
    axes.set_xticks(sorted({x for points in curves.values() for x, _ in points}))
    axes.xaxis.minorticks_off()
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:,g}")


def _logarithmic(axes: Any) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.yaxis.minorticks_off()


def _medians(points: list[Point]) -> list[Point]:
    """Return the median of all rounds for every x."""
    return [(x, statistics.median(y for at, y in points if at == x)) for x in sorted({x for x, _ in points})]


def _columns(points: list[Point]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _colour(label: str) -> str:
    """Return the colour of the first word, paler for the rate measured on dualbus only."""
    return PALE if f"{OWN_RATE:,}/s" in label else COLOURS[label.replace(",", " ").split()[0]]


def _line(label: str) -> dict[str, Any]:
    style = "--" if "queries" in label or "gets" in label else "-"
    return {"linestyle": style, "marker": ""} if "/s" in label else {"linestyle": style}


def _has(*figures: str) -> Callable[[Results], bool]:
    return lambda results: all(figure in results.figures for figure in figures)


def _has_curves(*charts: str) -> Callable[[Results], bool]:
    return lambda results: all(chart in results.curves for chart in charts)


CHARTS: dict[str, tuple[Callable[[Results], bool], Callable[[Results], Any]]] = {
    "throughput": (_has(*CREATES.values(), *READS.values()), _throughput),
    "latency": (lambda results: bool(results.latency), _latency),
    "concurrency": (_has_curves("clients", "window"), _concurrency),
    "log-size": (_has_curves("log p50", "log throughput"), _log_size),
    "memory": (_has_curves("memory"), _memory),
}
