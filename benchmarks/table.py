"""The rows of the results table: workload, baseline and target."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from benchmarks.results import Results

Outcome = Literal["yes", "no", "no target", "not measured"]


@dataclass(frozen=True)
class AtLeast:
    value: float

    def holds(self, measured: float) -> bool:
        return measured >= self.value


@dataclass(frozen=True)
class AtMost:
    value: float

    def holds(self, measured: float) -> bool:
        return measured <= self.value


@dataclass(frozen=True)
class Row:
    name: str
    work: str
    beside: str  # the baseline of the ratio
    figures: tuple[str, ...]
    formula: Callable[..., float]  # of the figures of a round, in this order
    unit: str
    target: AtLeast | AtMost | None

    @property
    def needs(self) -> set[str]:
        """Return the measures with these figures."""
        return {figure.partition(".")[0] for figure in self.figures}


@dataclass(frozen=True)
class Verdict:
    row: Row
    samples: list[float]  # a value for each round

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def outcome(self) -> Outcome:
        if not self.samples:
            return "not measured"
        if self.row.target is None:
            return "no target"
        return "yes" if self.row.target.holds(self.median) else "no"


def verdicts(results: Results) -> list[Verdict]:
    return [Verdict(row, _samples(row, results)) for row in ROWS]


def _samples(row: Row, results: Results) -> list[float]:
    """Apply the formula within each round, so a slow period of the machine affects both sides of a ratio."""
    rounds = zip(*(results.figures.get(figure, []) for figure in row.figures), strict=False)
    return [row.formula(*figures) for figures in rounds]


def itself(figure: float) -> float:
    return figure


def ratio(own: float, other: float) -> float:
    return own / other


def more(own: float, other: float) -> float:
    return own - other


COMMANDS, QUERIES = "dualbus.commands_per_second", "dualbus.queries_per_second"
COMMAND, QUERY, BOTH = "dualbus.command_p50_ms", "dualbus.query_p50_ms", "dualbus.command_then_query_p50_ms"
DURABLE, ANSWERED = "durable CreateUser, many in flight", "GetUser, many in flight"
ONE_COMMAND, ONE_QUERY = "single durable command in flight, p50", "single query in flight, p50"
HTTP_CREATES, HTTP_GETS = "durable CreateUser over HTTP, 64 connections", "GetUser over HTTP, 64 connections"
CREATES, GETS = "web.creates_per_second", "web.gets_per_second"  # of FastAPI
HTTP_CREATE, HTTP_GET = "single durable command over HTTP, p50", "single query over HTTP, p50"
LIVE = "1,000 listeners of a live query have the answer, p99"
DRAINING = "draining echo"
REBUILD_EVENTS_PER_SECOND = 100_000
REBUILD_SHARE = 0.6
THEN_MS = 0.3

ROWS = [
    Row("commands", DURABLE, "plain echo", (COMMANDS, "echo.per_second"), ratio, "×", AtLeast(1.0)),
    Row("commands", DURABLE, DRAINING, (COMMANDS, "echo.drained_per_second"), ratio, "×", None),
    Row(
        "commands",
        DURABLE,
        "eventsourcing",
        (COMMANDS, "eventsourcing.creates_per_second"),
        ratio,
        "×",
        AtLeast(10),
    ),
    Row("commands", DURABLE, "FastAPI", (COMMANDS, "web.creates_per_second"), ratio, "×", None),
    Row("queries", ANSWERED, "plain echo", (QUERIES, "echo.per_second"), ratio, "×", AtLeast(1.8)),
    Row("queries", ANSWERED, DRAINING, (QUERIES, "echo.drained_per_second"), ratio, "×", None),
    Row(
        "queries",
        ANSWERED,
        "eventsourcing",
        (QUERIES, "eventsourcing.reads_per_second"),
        ratio,
        "×",
        AtLeast(5),
    ),
    Row("queries", ANSWERED, "FastAPI", (QUERIES, "web.gets_per_second"), ratio, "×", None),
    Row(
        "command-p50",
        ONE_COMMAND,
        "echo p50 + FULL commit p50",
        (COMMAND, "echo.p50_ms", "sqlite.commit_p50_ms"),
        lambda own, echo, commit: own / (echo + commit),
        "×",
        AtMost(1.3),
    ),
    Row("command-p50", ONE_COMMAND, "FastAPI", (COMMAND, "web.create_p50_ms"), ratio, "×", None),
    Row("query-p50", ONE_QUERY, "echo p50", (QUERY, "echo.p50_ms"), ratio, "×", AtMost(1.3)),
    Row("query-p50", ONE_QUERY, "FastAPI", (QUERY, "web.get_p50_ms"), ratio, "×", None),
    Row("http", HTTP_CREATES, "FastAPI", ("http.creates_per_second", CREATES), ratio, "×", AtLeast(3)),
    Row("http", HTTP_GETS, "FastAPI", ("http.gets_per_second", GETS), ratio, "×", AtLeast(1)),
    Row("http", HTTP_CREATE, "more than FastAPI", ("http.create_p50_ms", "web.create_p50_ms"), more, "ms", AtMost(1)),
    Row("http", HTTP_GET, "more than FastAPI", ("http.get_p50_ms", "web.get_p50_ms"), more, "ms", AtMost(1)),
    Row(
        "live",
        "1,000 listeners of a live query have the answer, p99",
        "",
        ("live.p99_ms",),
        itself,
        "ms",
        AtMost(100),
    ),
    Row(
        "own-write",
        "command, then a query for the new row, p50",
        f"p50 of command + query + {THEN_MS} ms",
        (BOTH, COMMAND, QUERY),
        lambda both, command, query: both / (command + query + THEN_MS),
        "×",
        AtMost(1.0),
    ),
    Row(
        "rebuild",
        "rebuild of the read model, with the projector's start",
        f"{REBUILD_EVENTS_PER_SECOND // 1000} k/s, or {REBUILD_SHARE} × apsw's bulk insert",
        ("rebuild.events_per_second", "rebuild.bare_rows_per_second"),
        lambda own, bare: own / min(REBUILD_EVENTS_PER_SECOND, REBUILD_SHARE * bare),
        "×",
        AtLeast(1.0),
    ),
    Row(
        "reactions", "reactions to a backlog of events", "", ("reactions.per_second",), itself, "/s", AtLeast(10_000)
    ),
    Row(
        "reactions",
        "event committed to the reaction's command committed, p50",
        "p50 of a command",
        ("reactions.latency_ms", "reactions.command_ms"),
        ratio,
        "×",
        AtMost(3),
    ),
    Row(
        "reactions",
        "processor time of commandbus for a command of a reaction",
        "for a command of a client",
        ("reactions.commandbus_us", "reactions.commandbus_client_us"),
        ratio,
        "×",
        AtMost(1.2),
    ),
    Row("stdin", "standard input, mixed messages", "", ("stdin.per_second",), itself, "/s", AtLeast(20_000)),
    Row(
        "log",
        "command p50 with a long log",
        "with 1,000 events",
        ("log.p50_ratio",),
        itself,
        "×",
        AtMost(1.2),
    ),
    Row(
        "log",
        "commands per second with a long log",
        "with 1,000 events",
        ("log.throughput_ratio",),
        itself,
        "×",
        AtLeast(1 / 1.2),
    ),
    Row("memory", "peak memory of the largest process", "", ("memory.peak_mb",), itself, "MB", AtMost(100)),
    # The target exceeds the normal variation of an allocator's free memory.
    Row("memory", "memory growth in the second half", "", ("memory.growth_mb",), itself, "MB", AtMost(2)),
    Row("idle", "idle cluster, share of a core", "", ("idle.core_percent",), itself, "%", AtMost(1)),
    Row("idle", "idle cluster with web, share of a core", "", ("idle.web_core_percent",), itself, "%", AtMost(1.5)),
    Row("idle", "start until the first replies", "", ("idle.start_seconds",), itself, "s", AtMost(1)),
]
