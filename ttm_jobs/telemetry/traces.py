"""OpenTelemetry traces of requests and runs. Not imported unless TTM_TRACES_ENDPOINT is set."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_tracer: Any = None
_provider: Any = None


def set_up(endpoint: str | None, service: str) -> None:
    """Exports spans to an OTLP/HTTP endpoint such as http://collector:4318.

    Raises RuntimeError if OpenTelemetry is not installed.
    """
    global _tracer, _provider
    if endpoint is None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise RuntimeError("TTM_TRACES_ENDPOINT needs OpenTelemetry: pip install 'ttm-service[traces]'") from error
    _provider = TracerProvider(resource=Resource.create({"service.name": service}))
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")))
    _tracer = _provider.get_tracer("ttm")


def shut_down() -> None:
    """Flushes pending spans."""
    global _tracer, _provider
    if _provider is not None:
        _provider.shutdown()
    _tracer = _provider = None


@contextmanager
def span(name: str, *, parent: str | None = None, **attributes: str | int) -> Iterator["Span"]:
    """A span, a child of the current span or of `parent` (a W3C traceparent)."""
    if _tracer is None:
        yield Span(None)
        return
    with _tracer.start_as_current_span(name, context=_context(parent), attributes=attributes) as opened:
        yield Span(opened)


def traceparent() -> str | None:
    """The traceparent of the current span; None without tracing."""
    if _tracer is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


class Span:
    """An open span; does nothing without tracing."""

    def __init__(self, opened: Any) -> None:
        self._opened = opened

    def update(self, *, name: str | None = None, **attributes: str | int) -> None:
        """Sets the name and attributes."""
        if self._opened is None:
            return
        if name is not None:
            self._opened.update_name(name)
        self._opened.set_attributes(attributes)


class Phases:
    """Consecutive child spans of the current span."""

    def __init__(self) -> None:
        self._open: Any = None

    def next(self, name: str) -> None:
        self.end()
        if _tracer is not None:
            self._open = _tracer.start_span(name)

    def end(self) -> None:
        if self._open is not None:
            self._open.end()
            self._open = None


def _context(parent: str | None) -> Any:
    if parent is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": parent})


def tracer_provider() -> Any:
    """The tracer provider of this process for instrumentation libraries. None before `set_up`."""
    return _provider
