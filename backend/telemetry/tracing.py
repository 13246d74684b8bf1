"""Traces of requests, exported by OTLP over HTTP as the OTEL_ variables say.

What a span holds is chosen here, one by one: a method, a route's template, a status, statements without
their parameters. FastAPI's own spans carry the path and the query, in which users and their words are, and
know nothing of the routes that are answered before it. See docs/decisions/traces.md.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from starlette.types import Scope

from backend import __version__
from backend.observation import Observation
from backend.telemetry.otlp_logs import OtlpHandler
from backend.web.logs import trace_id

STOP_SECONDS = 3.0  # what is left may take to be sent when the service stops
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
CONTEXT_HEADERS = frozenset({b"traceparent", b"tracestate", b"baggage", b"b3"})


class Tracing:
    """The spans of one application, on their way to a collector."""

    def __init__(self, dialect: str) -> None:
        resource = Resource.create({SERVICE_VERSION: __version__})
        if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: "task-api"}))
        self.provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self.provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self.provider.get_tracer("task-api", __version__)
        self.logs = OtlpHandler(resource) if os.environ.get("OTEL_LOGS_EXPORTER") == "otlp" else None
        self._database = {"db.system.name": dialect}

    def begin(self, scope: Scope) -> "TracedObservation":
        """Begin the span of a request: a part of its client's trace, where it says so."""
        carrier = {
            name.decode(): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in CONTEXT_HEADERS or name.startswith(b"x-b3-")
        }
        parent = propagate.extract(carrier) if carrier else Context()
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        attributes = {"http.request.method": method, "url.scheme": scope.get("scheme", "http")}
        span = self._tracer.start_span(method, parent, SpanKind.SERVER, attributes)
        return TracedObservation(self._tracer, span, method, self._database)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send what is left at the end, for STOP_SECONDS at most: a collector that hangs holds nobody up."""
        if self.logs is not None:
            logging.root.addHandler(self.logs)
        try:
            yield
        finally:
            if self.logs is not None:
                logging.root.removeHandler(self.logs)
            loop, done = asyncio.get_running_loop(), asyncio.Event()

            def stop() -> None:
                self.provider.shutdown()
                if self.logs is not None:
                    self.logs.provider.shutdown()
                with suppress(RuntimeError):  # it took too long, and the loop is closed
                    loop.call_soon_threadsafe(done.set)

            threading.Thread(target=stop, daemon=True).start()
            with suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), STOP_SECONDS)


class TracedObservation(Observation):
    """An observation, each part of which is a span of its own."""

    __slots__ = ("_children", "_database", "_method", "_span", "_token", "_tracer")

    def __init__(self, tracer: Tracer, span: Span, method: str, database: dict[str, str]) -> None:
        super().__init__()
        self._tracer = tracer
        self._span = span
        self._method = method
        self._database = database
        self._children = trace.set_span_in_context(span, Context()) if span.is_recording() else None
        self._token = trace_id.set(format(span.get_span_context().trace_id, "032x"))

    def waited(self, seconds: float) -> None:
        super().waited(seconds)
        self._part("gate", seconds, SpanKind.INTERNAL, {})

    def connected(self, seconds: float) -> None:
        super().connected(seconds)
        self._part("connect", seconds, SpanKind.CLIENT, self._database)

    def stated(self, sql: str, seconds: float, *, failed: bool) -> None:
        super().stated(sql, seconds, failed=failed)
        name = sql.lstrip("( ").partition(" ")[0]
        self._part(name, seconds, SpanKind.CLIENT, {**self._database, "db.query.text": sql}, failed=failed)

    def did(self, name: str, seconds: float) -> None:
        self._part(name, seconds, SpanKind.INTERNAL, {})

    @property
    def context(self) -> Context:
        return trace.set_span_in_context(self._span, Context())

    def end(self) -> None:
        """The request is over."""
        trace_id.reset(self._token)
        span = self._span
        if self.route:
            span.update_name(f"{self._method} {self.route}")
            span.set_attribute("http.route", self.route)
        if self.status:
            span.set_attribute("http.response.status_code", self.status)
        if not 0 < self.status < 500:
            span.set_attribute("error.type", str(self.status or "no answer"))
            span.set_status(StatusCode.ERROR)
        span.end()

    def _part(
        self,
        name: str,
        seconds: float,
        kind: SpanKind,
        attributes: dict[str, str],
        *,
        failed: bool = False,
    ) -> None:
        """Note what has just ended."""
        if self._children is None:
            return
        now = time.time_ns()
        began = now - int(seconds * 1e9)
        span = self._tracer.start_span(name, self._children, kind, attributes, start_time=began)
        if failed:  # without what the error says: databases quote values
            span.set_status(StatusCode.ERROR)
        span.end(now)
