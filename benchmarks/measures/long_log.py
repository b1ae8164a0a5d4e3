"""The effect of a million commands on memory, on the next command, and on a rebuild."""

from pathlib import Path
from time import perf_counter

from benchmarks import cluster, load, machine
from benchmarks.children import ask
from benchmarks.peers import bare_sqlite
from benchmarks.stage import WINDOW, Stage

PARTS = 10
SMALL, MIDDLE = 1_000, (10_000, 100_000)
READ_MODEL = "read-*"  # the projector's files, rebuilt from the log


def measure_memory(stage: Stage) -> None:
    """Fill a log, and measure the memory of each process after every tenth."""
    results, folder = stage.results, stage.folder("long-log")
    resident: dict[str, list[float]] = {name: [] for name in cluster.NAMES}
    with cluster.running(folder) as ours:
        for part in range(1, PARTS + 1):
            stage.say(f"memory, {part} of {PARTS}")
            ask(load.fill, ours.front, stage.scale.events // PARTS)
            for name, pid in ours.pids.items():
                resident[name].append(machine.resident_mb(pid))
                results.draw("memory", name, part * stage.scale.events // PARTS, resident[name][-1])
        peaks = {name: machine.peak_mb(pid) for name, pid in ours.pids.items()}
    for name, peak in peaks.items():
        results.add(f"memory.{name}_peak_mb", peak)
    results.add("memory.peak_mb", max(peaks.values()))
    results.add("memory.growth_mb", max(values[-1] - values[PARTS // 2 - 1] for values in resident.values()))
    stage.big_log = folder


def measure_log(stage: Stage) -> None:
    """Measure the same commands on a short log and on a long log."""
    big, results = _big_log(stage), stage.results
    # The two compared sizes run in succession, on the same state of the machine.
    sizes = [*(size for size in MIDDLE if size < stage.scale.events), SMALL, stage.scale.events]
    for _ in range(stage.scale.few_rounds):
        p50s, rates = {}, {}
        for size in sizes:
            stage.say(f"log, {size:,} events")
            folder = big if size == stage.scale.events else stage.folder("log")
            p50s[size], rates[size] = _at(folder, stage, 0 if folder == big else size)
            results.draw("log p50", "dualbus, one command at a time", size, p50s[size])
            results.draw("log throughput", "dualbus, many commands in flight", size, rates[size])
        results.add("log.p50_ratio", p50s[sizes[-1]] / p50s[SMALL])
        results.add("log.throughput_ratio", rates[sizes[-1]] / rates[SMALL])


def measure_rebuild(stage: Stage) -> None:
    """Measure from the start of a projector without a read model until a query returns the last row."""
    big, results = _big_log(stage), stage.results
    with cluster.running(big) as ours:
        filled = ask(load.fill, ours.front, 1)
        for _ in range(stage.scale.few_rounds):
            stage.say(f"rebuild, {filled.position:,} events")
            ours.stop("projector", "querybus")
            for path in ours.data.glob(READ_MODEL):
                path.unlink()
            ours.start("querybus")
            started = perf_counter()
            ours.start("projector")
            ours.wait_until_visible(filled.last_user_id)
            results.add("rebuild.events_per_second", filled.position / (perf_counter() - started))
            bare = ask(bare_sqlite.bulk_insert, stage.folder("bulk"), filled.position)
            results.add("rebuild.bare_rows_per_second", bare)


def _big_log(stage: Stage) -> Path:
    if stage.big_log is None:
        measure_memory(stage)
    assert stage.big_log is not None
    return stage.big_log


def _at(folder: Path, stage: Stage, fill: int) -> tuple[float, float]:
    """Add `fill` commands, then return the p50 of a command and the commands per second."""
    with cluster.running(folder) as ours:
        if fill:
            ask(load.fill, ours.front, fill)
        p50 = ask(load.one_at_a_time, ours.front, "create", stage.scale.p50_seconds)
        many = ask(load.throughput, ours.front, "create", 1, WINDOW, stage.scale.seconds)
        return p50, many.per_second
