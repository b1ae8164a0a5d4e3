"""The context of a measure: scale, folder and results."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

from benchmarks.histogram import Latencies
from benchmarks.results import Results

WINDOW = 2_048


@dataclass(frozen=True)
class Scale:
    rounds: int
    few_rounds: int  # of slow measures
    seconds: float  # of a throughput measurement
    p50_seconds: float
    sweep_seconds: float  # of a point in a chart
    open_loop_seconds: float
    idle_seconds: float
    events: int
    lines: int


FULL = Scale(
    rounds=5,
    few_rounds=3,
    seconds=1.5,
    p50_seconds=0.7,
    sweep_seconds=0.5,
    open_loop_seconds=3.0,
    idle_seconds=10.0,
    events=1_000_000,
    lines=100_000,
)
QUICK = Scale(
    rounds=2,
    few_rounds=1,
    seconds=0.7,
    p50_seconds=0.4,
    sweep_seconds=0.2,
    open_loop_seconds=1.0,
    idle_seconds=3.0,
    events=100_000,
    lines=20_000,
)


@dataclass
class Stage:
    scale: Scale
    results: Results
    root: Path
    say: Callable[[str], None]  # show the current step
    latencies: dict[str, Latencies] = field(default_factory=dict)
    big_log: Path | None = None  # folder of a cluster with `scale.events` events, if already filled

    def folder(self, name: str) -> Path:
        return Path(mkdtemp(prefix=f"{name}-", dir=self.root))

    def add_latencies(self, name: str, text: str) -> None:
        self.latencies.setdefault(name, Latencies()).add(text)
