"""All measures. The name of a measure is the prefix of its figures."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.measures.http import measure_http, measure_live
from benchmarks.measures.idling import measure_idle
from benchmarks.measures.long_log import measure_log, measure_memory, measure_rebuild
from benchmarks.measures.open_loops import measure_latency
from benchmarks.measures.piped import measure_stdin
from benchmarks.measures.reactions import measure_reactions
from benchmarks.measures.side_by_side import (
    measure_dualbus,
    measure_echo,
    measure_eventsourcing,
    measure_sqlite,
    measure_stages,
    measure_web,
)
from benchmarks.measures.sweeps import measure_clients, measure_window
from benchmarks.stage import Scale, Stage


@dataclass(frozen=True)
class Measure:
    run: Callable[[Stage], None]
    rounds: Callable[[Scale], int]


def every(scale: Scale) -> int:
    return scale.rounds


def few(scale: Scale) -> int:
    return scale.few_rounds


def once(_: Scale) -> int:
    return 1


# Every other round runs backwards, so a measure does not always follow the same neighbour.
MEASURES = {
    "echo": Measure(measure_echo, every),
    "dualbus": Measure(measure_dualbus, every),
    "sqlite": Measure(measure_sqlite, every),
    "eventsourcing": Measure(measure_eventsourcing, every),
    "web": Measure(measure_web, every),
    "http": Measure(measure_http, every),
    "live": Measure(measure_live, few),
    "stages": Measure(measure_stages, few),
    "stdin": Measure(measure_stdin, few),
    "latency": Measure(measure_latency, few),
    "reactions": Measure(measure_reactions, few),
    "idle": Measure(measure_idle, once),
    "memory": Measure(measure_memory, once),
    "log": Measure(measure_log, once),
    "rebuild": Measure(measure_rebuild, once),
    "clients": Measure(measure_clients, once),
    "window": Measure(measure_window, once),
}
