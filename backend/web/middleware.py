"""What happens around every request: its id, its log line, the security headers, and no bare 500."""

import logging
import os
import re
import time

from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.engine.gate import Gate
from backend.errors import ApiError, Overloaded
from backend.web.handlers import problem
from backend.web.logs import request_id

log = logging.getLogger("backend.requests")

BODY_MAX = 1024 * 1024

_ACCEPTABLE_ID = re.compile(rb"[A-Za-z0-9._-]{8,128}")

_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),  # answers are one user's own
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
# Swagger UI's page loads its script and style from FastAPI's CDN and starts with an inline script.
_DOCS_HEADERS = [
    *_HEADERS[:-1],
    (
        b"content-security-policy",
        b"default-src 'none'; connect-src 'self'; img-src data: https://fastapi.tiangolo.com; "
        b"script-src 'unsafe-inline' https://cdn.jsdelivr.net; "
        b"style-src 'unsafe-inline' https://cdn.jsdelivr.net; "
        b"frame-ancestors 'none'",
    ),
]


class RequestMiddleware:
    """Gives each request an id (a client's own `X-Request-ID` where it is sane), headers and a log line."""

    def __init__(self, app: ASGIApp, docs_path: str) -> None:
        self.app = app
        self.docs_path = docs_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            brief = _without_traceback(send) if scope["type"] == "lifespan" else send
            await self.app(scope, receive, brief)
            return
        started = time.perf_counter()
        status = 0
        own_id = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        name = own_id if _ACCEPTABLE_ID.fullmatch(own_id) else os.urandom(16).hex().encode()
        reset = request_id.set(name.decode())

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = _DOCS_HEADERS if scope["path"] == self.docs_path else _HEADERS
                message["headers"] = [*message["headers"], *headers, (b"x-request-id", name)]
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            # Never the query, a header or the body: they hold what people wrote. The path as it was sent,
            # percent-encoded, cannot break the line.
            fields = {
                "method": scope["method"],
                "path": scope["raw_path"].decode("ascii", "backslashreplace"),
                "status": status,
                "ms": round((time.perf_counter() - started) * 1000, 1),
                "user": scope.get("user_id", "-"),
            }
            log.info("request", extra={"fields": fields})
            request_id.reset(reset)


def _without_traceback(send: Send) -> Send:
    """A failed start has been logged where it was understood; the server need not print the traceback too."""

    async def send_brief(message: Message) -> None:
        if message["type"] == "lifespan.startup.failed":
            message["message"] = ""
        await send(message)

    return send_brief


class BrowserMiddleware(CORSMiddleware):
    """CORS for requests that name their origin. The others, from servers, need none of its work.

    Their answers lack `Vary: Origin`, which is for caches: no answer may be kept by one.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and any(name == b"origin" for name, _ in scope["headers"]):
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)


class ServerErrorMiddleware:
    """Turns what nobody caught into a 500 with its request id. Stands inside CORS: browsers may read it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except Exception:
            log.exception("unhandled error")
            if started:
                raise  # too late for another answer: the connection is cut
            await problem(ApiError())(scope, receive, send)


class AdmissionMiddleware:
    """Turns requests for the API away while the line for the database is full, before they cost anything."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self.app = app
        self.gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.gate.is_full and scope["type"] == "http" and scope["path"].startswith("/api/"):
            await problem(Overloaded())(scope, receive, send)
        else:
            await self.app(scope, receive, send)


class BodyLimitMiddleware:
    """Stops reading a body that is too large. FastAPI's own limit answers in plain text, outside CORS."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = 0

        async def limited() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > BODY_MAX:
                raise HTTPException(413, f"The body is larger than {BODY_MAX} bytes")
            return message

        await self.app(scope, limited, send)
