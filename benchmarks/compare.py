"""`make compare WITH=…`: compare this checkout with another commit.

Both sides alternate, so a slow period of the machine affects both. Single requests: both clusters run, and receive
some dozens of requests in turn. Many in flight: each side runs alone, with a fresh cluster in every round, because
the placement of processes on cores is random and stays the same for the life of a cluster.

`make compare WITH=--without-keys`: compare this checkout with itself, without encryption and authentication.
"""

import random
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import cluster, load
from benchmarks.children import ask
from benchmarks.stage import WINDOW

SCRATCH = cluster.ROOT / "build" / "benchmarks"
USERS = 40_000  # written first: commits are twice as slow until the write-ahead log reaches full size
TURNS, REQUESTS = 40, 60
SECONDS = 1.2  # of a throughput
WHAT = {
    "create": ("one command at a time, p50 ms", "commands a second"),
    "get": ("one query at a time, p50 ms", "queries a second"),
}


class Side(NamedTuple):
    source: Path
    keys: bool = True


Pairs = list[tuple[float, float]]  # of a turn: other commit, this checkout


def main(
    commit: Annotated[str, typer.Argument(help="The commit to compare with.")] = "HEAD",
    without_keys: Annotated[bool, typer.Option(help="Compare with this checkout with DUALBUS_KEYS=off.")] = False,
    rounds: Annotated[int, typer.Option(help="Number of fresh clusters for each throughput.")] = 8,
) -> None:
    """Compare this checkout with another commit."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    console = Console()
    other = "keys off" if without_keys else commit
    table = Table(title=f"This checkout beside {other}", title_justify="left")
    for heading in ("", other, "here", "here / there", "half of the turns"):
        table.add_column(heading, justify="right" if heading else "left")
    with TemporaryDirectory(dir=SCRATCH) as folder:
        there = cluster.ROOT if without_keys else _checked_out(commit, Path(folder) / "there")
        sources = [Side(there, keys=not without_keys), Side(cluster.ROOT)]
        for name, pairs in (*_alone(sources, Path(folder)), *_together(sources, Path(folder), rounds, console)):
            table.add_row(name, *_cells(pairs))
    console.print(table)


def _checked_out(commit: str, folder: Path) -> Path:
    folder.mkdir()
    packed = subprocess.run(["git", "archive", commit], cwd=cluster.ROOT, check=True, stdout=subprocess.PIPE).stdout
    subprocess.run(["tar", "-x"], cwd=folder, input=packed, check=True)
    return folder


def _alone(sources: list[Side], folder: Path) -> Iterator[tuple[str, Pairs]]:
    with ExitStack() as stack:
        running = [
            stack.enter_context(cluster.running(folder / f"alone-{number}", side.source, keys=side.keys))
            for number, side in enumerate(sources)
        ]
        for one in running:
            ask(load.fill, one.front, USERS)
        found = ask(load.in_turns, [one.front for one in running], TURNS, REQUESTS)
    for work in load.WORKS:
        yield WHAT[work][0], [(turn[f"{work} 0"], turn[f"{work} 1"]) for turn in found]


def _together(sources: list[Side], folder: Path, rounds: int, console: Console) -> Iterator[tuple[str, Pairs]]:
    found: dict[load.Work, list[dict[int, float]]] = {work: [] for work in load.WORKS}
    for number in track(range(rounds), "many in flight", console=console):
        for work in load.WORKS:
            found[work].append({})
            for side in random.sample(range(len(sources)), len(sources)):
                source, keys = sources[side]
                with cluster.running(folder / f"{work}-{number}-{side}", source, keys=keys) as one:
                    found[work][-1][side] = ask(load.throughput, one.front, work, 1, WINDOW, SECONDS).per_second
    for work in load.WORKS:
        yield WHAT[work][1], [(one[0], one[1]) for one in found[work]]


def _cells(pairs: Pairs) -> Iterator[str]:
    there, here = zip(*pairs, strict=True)
    yield from (_number(median(there)), _number(median(here)))
    ratios = [one / other for other, one in pairs]
    low, middle, high = quantiles(ratios, n=4, method="inclusive")
    yield from (f"{middle:.3f} ×", f"{low:.3f} – {high:.3f}")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3f}"


if __name__ == "__main__":
    typer.run(main)
