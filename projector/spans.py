"""The spans of a transaction of the read model."""

import time

from dualbus.log.contract import ReadableLog
from dualbus.telemetry.tracing import Tracer


def record_spans(tracer: Tracer, log: ReadableLog, before: int, after: int, began: float) -> None:
    """Record a span for each command whose events were applied since `began`; the log has the traces."""
    ended = time.monotonic()
    events = log.read(before, after - before)
    for outcome in log.outcomes({event.command_id for event in events}).values():
        if outcome.origin.trace:
            tracer.record("project", outcome.origin.trace, outcome.origin.type, began, ended)
