"""Tables of a run, for the terminal and for the results file."""

import statistics

from rich.console import Console
from rich.table import Table

from benchmarks.results import Results
from benchmarks.table import AtLeast, Row, Verdict, verdicts

COLOURS = {"yes": "green", "no": "red", "no target": "dim", "not measured": "yellow"}


def show(results: Results, console: Console) -> None:
    console.print(_targets(verdicts(results), set(results.failures)), _figures(results))
    if results.latency:
        console.print(_latency(results))
    for measure, reason in results.failures.items():
        console.print(f"[red]{measure} was not measured:[/red]", reason, markup=True, highlight=False)


def as_values(verdict: Verdict) -> dict[str, object]:
    """Return a row of the results file."""
    row = verdict.row
    values: dict[str, object] = {"name": row.name, "work": row.work, "beside": row.beside, "unit": row.unit}
    values |= {"target": _target(row), "outcome": verdict.outcome}
    if verdict.samples:
        values |= {"median": verdict.median, "least": min(verdict.samples), "most": max(verdict.samples)}
    return values


def _targets(rows: list[Verdict], failed: set[str]) -> Table:
    table = Table(title="Targets", title_justify="left")
    for heading in ("workload", "baseline"):
        table.add_column(heading)
    for heading in ("target", "measured", "min – max"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("reached")
    for verdict in rows:
        if verdict.outcome == "not measured" and not verdict.row.needs & failed:
            continue  # not selected
        outcome = f"[{COLOURS[verdict.outcome]}]{verdict.outcome}[/]"
        values = [_number(verdict.median), _spread(verdict.samples)] if verdict.samples else ["", ""]
        measured = f"{values[0]} {verdict.row.unit}" if values[0] else ""
        table.add_row(verdict.row.work, verdict.row.beside, _target(verdict.row), measured, values[1], outcome)
    return table


def _figures(results: Results) -> Table:
    table = Table(title="Figures", title_justify="left")
    table.add_column("figure")
    for heading in ("median", "min – max", "rounds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, samples in results.figures.items():
        table.add_row(name, _number(statistics.median(samples)), _spread(samples), str(len(samples)))
    return table


def _latency(results: Results) -> Table:
    percentiles = (50.0, 90.0, 99.0, 99.9, 100.0)
    table = Table(title="Open-loop latency, in ms", title_justify="left")
    table.add_column("requests")
    for percentile in percentiles:
        table.add_column("max" if percentile == 100 else f"p{percentile:g}", justify="right")
    for name, curve in results.latency.items():
        at = dict(curve)
        table.add_row(name, *(f"{at[percentile]:.2f}" for percentile in percentiles))
    return table


def _target(row: Row) -> str:
    if row.target is None:
        return ""
    sign = "≥" if isinstance(row.target, AtLeast) else "≤"
    return f"{sign} {_number(row.target.value)} {row.unit}"


def _spread(samples: list[float]) -> str:
    return f"{_number(min(samples))} – {_number(max(samples))}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
