"""Spans for OpenTelemetry that continue the caller's trace, where the extra `otel` is installed and an endpoint set."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from service.errors import TracingUnavailable
from service.exchange import Exchange


class Span:
    """One request's."""

    def __init__(self, span: Any) -> None:
        self._span = span

    def end_with(self, status: int, route: str) -> None:
        """What became of the request."""
        self._span.set_attribute("http.response.status_code", status)
        if route:
            self._span.set_attribute("http.route", route)
            self._span.update_name(f"{self._span.attributes['http.request.method']} {route}")


class Tracing:
    """Makes spans with a provider of its own, or none at all."""

    def __init__(self, provider: Any = None) -> None:
        """`provider` is an OpenTelemetry TracerProvider."""
        self.enabled = provider is not None
        self._provider = provider
        self._tracer = provider.get_tracer("latent-codes") if provider is not None else None

    @classmethod
    def to(cls, endpoint: str, service_name: str = "latent-codes") -> "Tracing":
        """Exporting over OTLP and HTTP to an endpoint; to nowhere when that is empty. Raises TracingUnavailable."""
        if not endpoint:
            return cls()
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import SERVICE_NAME, Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise TracingUnavailable(
                f"LATENT_CODES_OTLP_ENDPOINT is set, and {error.name} is not installed: install the extra otel"
            ) from error
        provider = TracerProvider(resource=Resource.create({SERVICE_NAME: service_name}))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
        return cls(provider)

    @contextmanager
    def span(self, exchange: Exchange) -> Iterator[Span]:
        """Around one request; inside, it is the current span."""
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        scope = exchange.scope
        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        assert self._tracer is not None
        with self._tracer.start_as_current_span(
            scope["method"],
            context=TraceContextTextMapPropagator().extract(carrier),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": scope["method"],
                "url.path": scope["path"][:200],
                "latent_codes.request_id": exchange.request_id,
            },
        ) as span:
            yield Span(span)

    def close(self) -> None:
        """Export what is left."""
        if self._provider is not None:
            self._provider.shutdown()
