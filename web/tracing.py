"""The trace of an HTTP request: the header `traceparent`, or a new trace if spans are recorded."""

from collections.abc import Iterator
from contextlib import contextmanager

from dualbus.protocol.origin import is_trace
from dualbus.telemetry.tracing import TRACE, Tracer

from .request import Request


@contextmanager
def traced(tracer: Tracer | None, request: Request) -> Iterator[None]:
    """Send the calls inside with the trace of the request; record a span if there is a tracer."""
    header = request.field(b"traceparent")
    if not (header or tracer):
        yield
        return
    trace = header if is_trace(header) else None
    span = None
    if tracer:
        span, trace = tracer.begin(f"{request.method} {request.url.path}", trace)
    token = TRACE.set(trace)
    try:
        yield
    finally:
        TRACE.reset(token)
        if span:
            span.end()
