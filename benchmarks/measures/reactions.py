"""Reactions: throughput of a backlog, latency, and the cost for commandbus."""

import asyncio
import statistics
from contextlib import closing
from datetime import datetime
from pathlib import Path
from time import perf_counter, sleep

from benchmarks import cluster, machine
from benchmarks.children import ask
from benchmarks.jobs import StartJob
from benchmarks.stage import WINDOW, Stage
from dualbus import AsyncClient
from dualbus.log.contract import RecordedEvent
from dualbus.log.sqlite.reader import SqliteLogReader

PATIENCE_SECONDS = 60.0
BACKLOG_PART = 20  # of the events of a long log
PAUSE_SECONDS = 0.005  # longer than a reaction
WARM_PART = 10  # of a backlog: the start of the reactor


def measure_reactions(stage: Stage) -> None:
    backlog, results = stage.scale.events // BACKLOG_PART, stage.results
    with cluster.prepared(stage.folder("reactions"), app="benchmarks.jobs:app") as ours:
        ours.start("gateway", "commandbus", "reactor")
        ask(start_jobs, ours.front, 1)
        _read(ours.data, 2)
        results.add("reactions.command_ms", ask(paced_commands_ms, ours.front, stage.scale.p50_seconds))
        sleep(1)
        results.add("reactions.latency_ms", _latency_ms(_read(ours.data, 4)))
        ours.stop("reactor")

        [commandbus, first] = [ours.pids["commandbus"], len(_read(ours.data, 0))]
        seconds = machine.cpu_seconds([commandbus])
        ask(start_jobs, ours.front, backlog)
        results.add("reactions.commandbus_client_us", (machine.cpu_seconds([commandbus]) - seconds) * 1e6 / backlog)
        seconds = machine.cpu_seconds([commandbus])
        ours.start("reactor")
        events = _read(ours.data, first + 2 * backlog)
        results.add("reactions.commandbus_us", (machine.cpu_seconds([commandbus]) - seconds) * 1e6 / backlog)
        finished = events[-backlog:][backlog // WARM_PART :]
        results.add("reactions.per_second", len(finished) / (_time(finished[-1]) - _time(finished[0])))


def start_jobs(front: str, number: int) -> None:
    """Execute so many commands, many in flight."""
    asyncio.run(_start_jobs(front, number))


async def _start_jobs(front: str, number: int) -> None:
    async with _client(front) as client:
        for first in range(0, number, WINDOW):
            names = range(first, min(number, first + WINDOW))
            await asyncio.gather(*(client.command(StartJob(job=f"{number}-{name}")) for name in names))


def paced_commands_ms(front: str, seconds: float) -> float:
    """Execute commands one at a time, with pauses; return the median latency in milliseconds."""
    return asyncio.run(_paced_commands_ms(front, seconds))


async def _paced_commands_ms(front: str, seconds: float) -> float:
    took: list[float] = []
    end = perf_counter() + seconds
    async with _client(front) as client:
        while (began := perf_counter()) < end:
            await client.command(StartJob(job=f"paced-{len(took)}"))
            took.append(perf_counter() - began)
            await asyncio.sleep(PAUSE_SECONDS)
    return statistics.median(took) * 1000


def _client(front: str) -> AsyncClient:
    address, keys, _ = front.split("#")
    return AsyncClient(address, keys=keys, timeout=PATIENCE_SECONDS)


def _read(folder: Path, number: int) -> list[RecordedEvent]:
    """Return the events of the log as soon as there are so many."""
    end = perf_counter() + PATIENCE_SECONDS
    with closing(SqliteLogReader(folder)) as log:
        while log.head().position < number:
            if perf_counter() > end:
                raise RuntimeError(f"The log has {log.head().position} events, not {number}.")
            sleep(0.05)
        return log.read(0, 1 << 40)


def _latency_ms(events: list[RecordedEvent]) -> float:
    """Return the median time from an event to the event of the command of its reaction."""
    started = {event.data: _time(event) for event in events if event.type == "JobStarted"}
    finished = {event.data: _time(event) for event in events if event.type == "JobFinished"}
    return statistics.median(finished[job] - started[job] for job in finished) * 1000


def _time(event: RecordedEvent) -> float:
    return datetime.fromisoformat(event.time).timestamp()
