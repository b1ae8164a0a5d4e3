"""Spans for OpenTelemetry, in the traces of clients.

A process imports OpenTelemetry and records spans only if OTEL_EXPORTER_OTLP_ENDPOINT is set.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Container, Mapping
from contextvars import ContextVar
from typing import Any

from dualbus.protocol.origin import is_trace
from dualbus.protocol.outcomes import UNKNOWN

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
CLOSE_SECONDS = 1.0  # to export the last spans
EXPORT_SECONDS = 5.0

TRACE: ContextVar[str | None] = ContextVar("trace", default=None)  # the traceparent of the caller

logger = logging.getLogger(__name__)


def current_trace() -> str | None:
    """Return the traceparent of the caller: TRACE, or the current span if the caller uses OpenTelemetry."""
    if trace := TRACE.get():
        return trace
    api: Any = sys.modules.get("opentelemetry.trace")
    return _traceparent(api.get_current_span()) if api else None


def open_tracer(process: str, types: Container[str], environ: Mapping[str, str] = os.environ) -> "Tracer | None":
    """Return a tracer if OpenTelemetry is configured and installed; spans show no other types than `types`."""
    if not any(environ.get(name) for name in ENDPOINTS) or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        return Tracer(process, types, environ)
    except ImportError as missing:
        logger.warning("Spans are not recorded: %s. Install dualbus[otel], or unset %s.", missing, ENDPOINTS[0])
        return None


class Tracer:
    """Records the spans of a process, and exports them in a thread of OpenTelemetry, from a bounded queue."""

    def __init__(self, process: str, types: Container[str], environ: Mapping[str, str]) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        name = {} if environ.get("OTEL_SERVICE_NAME") else {"service.name": "dualbus"}
        provider = TracerProvider(
            resource=Resource.create({**name, "dualbus.process": process}), shutdown_on_exit=False
        )
        self._processor = BatchSpanProcessor(OTLPSpanExporter(timeout=EXPORT_SECONDS))
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("dualbus")
        self._propagator = TraceContextTextMapPropagator()
        self._process = process
        self._types = types

    def record(self, name: str, trace: str, type_: str, began: float, ended: float) -> None:
        """Record a span of a trace for a message type, with times of the monotonic clock."""
        offset = time.time_ns() - time.monotonic_ns()
        type_ = type_ if type_ in self._types else UNKNOWN
        span = self._start(f"{name} {type_}", trace, {"dualbus.type": type_}, int(began * 1e9) + offset)
        span.end(int(ended * 1e9) + offset)

    def begin(self, name: str, trace: str | None) -> tuple[Any, str]:
        """Begin a span of a trace, or of a new trace; return the span to `end()`, and its traceparent."""
        span = self._start(name, trace, {}, None)
        return span, _traceparent(span) or ""

    def _start(self, name: str, trace: str | None, attributes: Mapping[str, str], began: int | None) -> Any:
        context = self._propagator.extract({"traceparent": trace} if trace else {})
        return self._tracer.start_span(f"{self._process} {name}", context, attributes=attributes, start_time=began)

    def close(self) -> None:
        """Export the last spans, for CLOSE_SECONDS at most."""
        thread = threading.Thread(target=self._processor.shutdown, daemon=True)  # without a limit of its own
        thread.start()
        thread.join(CLOSE_SECONDS)


def _traceparent(span: Any) -> str | None:
    context = span.get_span_context()
    trace = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    return trace if is_trace(trace) else None
