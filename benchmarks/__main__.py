"""`python -m benchmarks`: measure dualbus, its peers and its limits."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import charts, report, results
from benchmarks.measures import MEASURES
from benchmarks.run import run
from benchmarks.stage import FULL, QUICK
from benchmarks.table import ROWS, verdicts

ROOT = Path(__file__).resolve().parent.parent
SAVED = ROOT / "benchmarks" / "results.json"
CHARTS = ROOT / "docs"
# Not in /tmp: a temporary folder may be in memory, where an fsync costs nothing.
SCRATCH = ROOT / "build" / "benchmarks"
NAMES = list(dict.fromkeys([row.name for row in ROWS] + list(MEASURES)))

Only = Annotated[
    list[str] | None, typer.Option(help=f"Run only this row or measure; repeatable. Names: {', '.join(NAMES)}.")
]
Quick = Annotated[bool, typer.Option("--quick", help="Run fewer and shorter rounds with a tenth of the events.")]
Again = Annotated[bool, typer.Option("--again", help="Print and draw the saved results of the last run.")]


def main(only: Only = None, quick: Quick = False, again: Again = False) -> None:
    """Measure dualbus, its peers and its limits.

    A complete run needs some minutes, and writes benchmarks/results.json and the charts in docs. With --quick or
    --only, results and charts are written to build/benchmarks.
    """
    console = Console()
    if unknown := set(only or ()) - set(NAMES):
        raise typer.BadParameter(f"Unknown name: {', '.join(sorted(unknown))}. Known names: {', '.join(NAMES)}.")
    SCRATCH.mkdir(parents=True, exist_ok=True)
    whole = not (quick or only)
    saved, folder = (SAVED, CHARTS) if whole else (SCRATCH / "results.json", SCRATCH)
    found = results.load(saved) if again else run(_measures(only), QUICK if quick else FULL, SCRATCH, console)
    if not again:
        found.save(saved, [report.as_values(verdict) for verdict in verdicts(found)])
    report.show(found, console)
    folder.mkdir(exist_ok=True)
    for path in (saved, *charts.draw(found, folder)):
        console.print(f"wrote {path.relative_to(ROOT)}", highlight=False)
    raise typer.Exit(1 if found.failures else 0)


def _measures(only: list[str] | None) -> set[str]:
    if not only:
        return set(MEASURES)
    rows = [row for row in ROWS if row.name in only]
    return set(only) & set(MEASURES) | {measure for row in rows for measure in row.needs}


if __name__ == "__main__":
    typer.run(main)
