"""The spans of a command batch: for each command with a trace its decision, and the append of the batch."""

from dualbus.protocol.records import Job
from dualbus.telemetry.tracing import Tracer


class BatchSpans:
    """Collects the decisions of a batch; the spans are recorded after the answers have been sent."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._decisions: list[tuple[Job, float, float, bool]] = []

    def add(self, job: Job, began: float, ended: float, *, decided: bool) -> None:
        """Add a command, with the times of its decision; `decided` if the log will have the decision."""
        if "trace" in job.body:
            self._decisions.append((job, began, ended, decided))

    def record(self, began: float, ended: float, *, committed: bool) -> None:
        """Record all spans, with the times of the append."""
        for job, decision_began, decision_ended, decided in self._decisions:
            trace = job.body["trace"]
            self._tracer.record("decide", trace, job.what, decision_began, decision_ended)
            if decided and committed:
                self._tracer.record("append", trace, job.what, began, ended)
        self._decisions.clear()
