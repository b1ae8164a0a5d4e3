"""A run: interleaved rounds of measures in a temporary folder."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from traceback import format_exception_only

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from benchmarks import machine
from benchmarks.measures import MEASURES
from benchmarks.results import Results
from benchmarks.stage import Scale, Stage


def run(names: set[str], scale: Scale, root: Path, console: Console) -> Results:
    """Run these measures and return the results. A failed measure is recorded and does not stop the others."""
    results = Results(machine.description(), asdict(scale))
    plan = list(_plan(names, scale))
    columns = (
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    # Rarely refreshed: the progress bar shares the cores with the measured processes.
    with (
        TemporaryDirectory(dir=root) as folder,
        Progress(*columns, console=console, refresh_per_second=2) as progress,
    ):
        bar = progress.add_task("", total=len(plan))
        stage = Stage(scale, results, Path(folder), lambda text: progress.update(bar, description=text))
        for name in plan:
            stage.say(name)
            _measure(name, stage)
            progress.advance(bar)
    results.latency = {name: latencies.curve() for name, latencies in stage.latencies.items()}
    return results


def _plan(names: set[str], scale: Scale) -> Iterator[str]:
    """Yield the measures in order: measures with many rounds first, every other round backwards."""
    for number in range(scale.rounds):
        due = [name for name in MEASURES if name in names and 1 < MEASURES[name].rounds(scale) > number]
        yield from reversed(due) if number % 2 else due
    yield from (name for name in MEASURES if name in names and MEASURES[name].rounds(scale) == 1)


def _measure(name: str, stage: Stage) -> None:
    if name in stage.results.failures:
        return
    try:
        MEASURES[name].run(stage)
    except Exception as error:
        stage.results.failures[name] = "".join(format_exception_only(error)).strip()
