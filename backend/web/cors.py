"""What browsers may send from other origins, and what a refused preflight is told."""

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from backend.config import Settings
from backend.errors import PreflightRefused
from backend.web.handlers import problem

# HEAD is among them: browsers ask for it with a token in the same way.
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_READ = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Last-Event-ID",
    "X-Request-ID",
)
# What the Model Context Protocol has agents in a page say.
_OF_AGENTS = ("MCP-Protocol-Version", "Mcp-Method", "Mcp-Name", "Mcp-Session-Id")
# What HTTP clients and tracing SDKs add to requests of their own accord. Nothing here reads it.
_HARMLESS = (
    "Cache-Control",
    "Pragma",
    "X-Requested-With",
    # W3C Trace Context and Baggage, Sentry
    "traceparent",
    "tracestate",
    "baggage",
    "sentry-trace",
    # Zipkin, Jaeger
    "b3",
    "X-B3-TraceId",
    "X-B3-SpanId",
    "X-B3-ParentSpanId",
    "X-B3-Sampled",
    "X-B3-Flags",
    "uber-trace-id",
    # Datadog, New Relic, Elastic, Application Insights, AWS, Google, others
    "X-Datadog-Trace-Id",
    "X-Datadog-Parent-Id",
    "X-Datadog-Origin",
    "X-Datadog-Sampling-Priority",
    "X-Datadog-Tags",
    "newrelic",
    "elastic-apm-traceparent",
    "Request-Id",
    "Request-Context",
    "X-Amzn-Trace-Id",
    "X-Cloud-Trace-Context",
    "X-Correlation-ID",
)
_SENT = (
    "Content-Disposition",
    "ETag",
    "Idempotency-Replayed",
    "Link",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-ID",
)
_QUOTED_MAX = 100  # characters of what was asked for


class Cors(CORSMiddleware):
    """Starlette's, which says in this service's own shape what of a preflight is refused."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        super().__init__(
            app,
            allow_origins=settings.cors_origins,
            allow_credentials=True,
            allow_methods=_METHODS,
            allow_headers=(*_READ, *_OF_AGENTS, *_HARMLESS, *settings.cors_headers),
            expose_headers=_SENT,
        )
        self._known = frozenset(self.allow_headers)

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer a preflight: 200, or 400 with the origin, method or header that is not allowed."""
        refused = self._refused(request_headers)
        asked = request_headers.mutablecopy()
        # Looked through above, in a set; Starlette would look each one up in a list.
        del asked["access-control-request-headers"]
        allowed = super().preflight_response(Headers(raw=asked.raw))
        if refused is None:
            return allowed
        response = problem(PreflightRefused(f"Not allowed from a browser: {refused}"))
        for name, value in allowed.headers.items():
            response.headers.setdefault(name, value)
        return response

    def _refused(self, headers: Headers) -> str | None:
        origin, method = headers["origin"], headers["access-control-request-method"]
        if not self.is_allowed_origin(origin):
            return f"the origin {origin[:_QUOTED_MAX]!r} is not in CORS_ORIGINS"
        if method not in self.allow_methods:
            return f"the method {method[:_QUOTED_MAX]!r} is not one of {', '.join(self.allow_methods)}"
        for line in headers.getlist("access-control-request-headers"):
            for name in line.lower().split(","):
                if name.strip() not in self._known and name.strip():
                    return f"the header {name.strip()[:_QUOTED_MAX]!r} is not known; CORS_HEADERS allows more"
        if "access-control-request-private-network" in headers:
            return "requests from a public site to a private network"
        return None
