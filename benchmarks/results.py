"""The results of a run, as plain values: the file contains all input of the tables and charts."""

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path

Point = tuple[float, float]
Curves = dict[str, list[Point]]


@dataclass
class Results:
    machine: dict[str, str]
    scale: dict[str, float]
    figures: dict[str, list[float]] = field(default_factory=dict)  # a value for each round
    latency: Curves = field(default_factory=dict)  # milliseconds at a percentile
    curves: dict[str, Curves] = field(default_factory=dict)  # by chart and line: (x, y)
    failures: dict[str, str] = field(default_factory=dict)  # by measure: the error

    def add(self, figure: str, value: float) -> None:
        self.figures.setdefault(figure, []).append(value)

    def draw(self, chart: str, line: str, x: float, y: float) -> None:
        self.curves.setdefault(chart, {}).setdefault(line, []).append((x, y))

    def median(self, figure: str) -> float:
        return statistics.median(self.figures[figure])

    def save(self, path: Path, rows: list[dict[str, object]]) -> None:
        """Write the file, with the rows of the table first for readers; `load` ignores the rows."""
        path.write_text(json.dumps({"rows": rows, **asdict(self)}, indent=1) + "\n")


def load(path: Path) -> Results:
    values = json.loads(path.read_text())
    del values["rows"]
    return Results(**values)
