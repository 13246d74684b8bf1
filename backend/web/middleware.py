"""What happens around every request: its id, its log line, the security headers, and no bare 500."""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterable
from random import getrandbits
from typing import NamedTuple

from starlette._utils import get_route_path
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.config import Settings
from backend.engine.gate import NOBODY, Gate, asking
from backend.errors import ApiError, Overloaded, RepeatedHeader, TooManyRequests
from backend.web import docs
from backend.web.addresses import is_feed, settled
from backend.web.answers import PIECE, Outbox, Unread
from backend.web.cors import Cors
from backend.web.handlers import REASON, TOOL, problem
from backend.web.limits import ANSWER_HEADERS, UNLIMITED_PATHS, Limits
from backend.web.logs import log_request, request_id, without_secrets

log = logging.getLogger("backend.requests")

BODY_MAX = 1024 * 1024
BODY_SECONDS = 30.0  # without a byte of a body that somebody waits for, where the server has no bound

BODY_COMES = "task_api.body_comes"  # among a scope's extensions: the server itself bounds the wait for a body
STOP = "task_api.stop"  # in the lifespan's state: what is to be called, maybe often, once the server stops
_EXCHANGE = "task_api.exchange"  # in the scope: this request's _Exchange
_ACCEPTABLE_ID = re.compile(rb"[A-Za-z0-9._-]{8,128}")

# Headers that say one thing: a second line that says another leaves open which of them anybody has looked at.
_ONCE = frozenset({b"authorization", b"content-type", b"idempotency-key", b"origin"})

_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),  # answers are one user's own
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
_KEPT_HEADERS = [header for header in _HEADERS if header[0] != b"cache-control"]
# What a calendar program may keep, if it asks whether that is the newest; search engines may not.
_FEED_HEADERS = [
    *_KEPT_HEADERS,
    (b"cache-control", b"private, no-cache"),
    (b"x-robots-tag", b"noindex"),
]
# Swagger UI's page starts with an inline script, has pictures in its style, and writes styles of its own.
_DOCS_HEADERS = [
    *_HEADERS[:-1],
    (
        b"content-security-policy",
        b"default-src 'none'; connect-src 'self'; img-src 'self' data:; script-src 'self' 'unsafe-inline'; "
        b"style-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
    ),
]
# Its files are nobody's own, and change with a version of the service.
_ASSET_HEADERS = [*_KEPT_HEADERS, (b"cache-control", b"public, max-age=3600")]
_HEADERS_OF = {docs.PATH: _DOCS_HEADERS} | dict.fromkeys(docs.ASSETS, _ASSET_HEADERS)


class RequestMiddleware:
    """The one layer around every request. Five of them cost a tenth of a request more.

    It gives each an id (a client's own `X-Request-ID` where it is sane), security headers and a log line;
    CORS to those that name their origin (the others, from servers, need none of its work); turns those away
    whose line for the database is full, and those without a token of which too many came, before they cost
    anything; stops reading a body that is too large or does not come; sends large answers in pieces; and
    answers 500 where nobody caught an error, inside CORS, so that browsers may read it.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        gate: Gate,
        limits: Limits,
        known: Callable[[bytes], str],
        stop: Callable[[], None],
        settings: Settings,
    ) -> None:
        self._app = app
        self._gate = gate
        self._limits = limits
        self._known = known  # whose an Authorization header is, where that is known already
        self._stop = stop  # what to call once the server stops, which it tells nobody but its own connections
        self._outbox = Outbox()
        self._trusts_prefix = settings.trust_forwarded_prefix
        self._serve_browser = Cors(self._serve, settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if "state" in scope:
                scope["state"][STOP] = self._stop
            brief = _without_traceback(send) if scope["type"] == "lifespan" else send
            await self._app(scope, receive, brief)
            return
        began = time.perf_counter()
        read = _read_headers(scope["headers"])
        own_id = read.own_id if _ACCEPTABLE_ID.fullmatch(read.own_id) else b"%032x" % getrandbits(128)
        reset = request_id.set(own_id.decode())
        asking.set(NOBODY)
        method = scope["method"]
        scope = settled(scope, read.prefix if self._trusts_prefix else b"")
        path = get_route_path(scope)
        headers = _HEADERS_OF.get(path) or (_FEED_HEADERS if is_feed(path) else _HEADERS)
        headers = scope[ANSWER_HEADERS] = [*headers, (b"x-request-id", own_id)]
        exchange = scope[_EXCHANGE] = _Exchange(
            path,
            receive,
            send,
            read,
            self._outbox,
            headers,
            is_head=method == "HEAD",
            is_timed=BODY_COMES not in scope.get("extensions", ()),
        )
        try:
            serve: ASGIApp = self._serve_browser if read.names_origin else self._serve
            if read.repeated:
                serve = problem(RepeatedHeader(read.repeated.decode()))
            await serve(scope, exchange.receive, exchange.send)
        finally:
            _log_request(method, scope, exchange.status, time.perf_counter() - began)
            request_id.reset(reset)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, or answer that it cannot be: it is refused, or an error was not caught."""
        try:
            self._admit(scope)
        except (Overloaded, TooManyRequests) as error:
            await problem(error)(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except Unread:
            pass  # the server closes a connection whose answer is not complete
        except Exception:
            log.exception("unhandled error")
            if scope[_EXCHANGE].status:
                raise  # too late for another answer: the connection is cut
            await problem(ApiError())(scope, receive, send)

    def _admit(self, scope: Scope) -> None:
        """Let a request pass, if it is not known already that it will be refused.

        Raises:
            Overloaded: the line of whoever asks is full.
            TooManyRequests: it has no token, and too many such came from its address.
        """
        exchange: _Exchange = scope[_EXCHANGE]
        path, read = exchange.path, exchange.read
        is_api = path.startswith("/api/") or path == "/mcp"
        if is_api and self._gate.is_full and self._gate.refuses(self._who(read)):
            raise Overloaded
        if is_api and (read.authorization or read.has_cookie or is_feed(path)):
            return  # whether that is good is found out where users and calendars are
        if path in UNLIMITED_PATHS or scope["method"] == "OPTIONS" or self._who(read):
            return
        self._limits.count_address(scope)

    def _who(self, read: "_Read") -> str:
        return self._known(read.authorization) if read.authorization else NOBODY


class _Exchange:
    """A request's headers as they were read and its body as it comes in, and its answer as it goes out."""

    __slots__ = (
        "_headers",
        "_is_head",
        "_is_timed",
        "_more",
        "_outbox",
        "_receive",
        "_send",
        "_size",
        "_streams",
        "path",
        "read",
        "status",
    )

    def __init__(
        self,
        path: str,
        receive: Receive,
        send: Send,
        read: "_Read",
        outbox: Outbox,
        headers: list[tuple[bytes, bytes]],
        *,
        is_head: bool,
        is_timed: bool,
    ) -> None:
        self.path = path
        self.read = read
        self._is_timed = is_timed  # its body is
        self._receive = receive
        self._send = send
        self._outbox = outbox
        self._headers = headers
        self._is_head = is_head
        self._size = 0
        self._more = True  # of the body is to come
        self._streams = False  # the answer came in parts before
        self.status = 0  # of the answer, once it has begun

    async def receive(self) -> Message:
        """Stop reading a body that is too large. FastAPI's own limit answers in plain text, outside CORS."""
        if not self._more:
            return await self._receive()
        if self._is_timed:
            message = await self._receive_in_time()
        else:
            message = await self._receive()
        self._more = message.get("more_body", False)
        self._size += len(message.get("body", b""))
        if self._size > BODY_MAX:
            raise HTTPException(413, f"The body is larger than {BODY_MAX} bytes")
        return message

    async def _receive_in_time(self) -> Message:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                return await self._receive()
        except TimeoutError:
            raise HTTPException(408, f"No more of the body came for {BODY_SECONDS:.0f} seconds") from None

    async def send(self, message: Message) -> None:
        """Send it with the headers that every answer has, and to a HEAD without its body."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], *self._headers]
            await self._send(message)
            return
        if self._is_head:
            message["body"] = b""
        if self._streams or message.get("more_body") or len(message.get("body", b"")) > PIECE:
            self._streams = True
            await self._outbox.send(self._send, message)
        else:
            await self._send(message)


class _Read(NamedTuple):
    """What is to be known of a request's headers before anything else."""

    own_id: bytes  # the first X-Request-ID
    names_origin: bool
    prefix: bytes  # the last X-Forwarded-Prefix: the nearest proxy's
    repeated: bytes  # the name of a header that contradicts itself
    authorization: bytes
    has_cookie: bool


def _read_headers(headers: Iterable[tuple[bytes, bytes]]) -> _Read:
    own_id = prefix = repeated = b""
    has_cookie = False
    once: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _ONCE:
            if once.setdefault(name, value) != value:
                repeated = name
        elif name == b"x-request-id":
            own_id = own_id or value
        elif name == b"x-forwarded-prefix":
            prefix = value.rstrip(b"/")
        elif name == b"cookie":
            has_cookie = True
    return _Read(own_id, b"origin" in once, prefix, repeated, once.get(b"authorization", b""), has_cookie)


def _log_request(method: str, scope: Scope, status: int, seconds: float) -> None:
    """Never the query, a header or the body: they hold what people wrote.

    The path as it was sent, percent-encoded, cannot break the line.
    """
    fields: dict[str, object] = {
        "method": method,
        "path": without_secrets(scope["raw_path"]).decode("ascii", "backslashreplace"),
        "status": status,
        "ms": round(seconds * 1000, 1),
        "user": scope.get("user_id", "-"),
    }
    if TOOL in scope:
        fields["tool"] = scope[TOOL]
    if REASON in scope:
        fields["reason"] = scope[REASON]
    log_request(fields)


def _without_traceback(send: Send) -> Send:
    """A failed start has been logged where it was understood; the server need not print the traceback too."""

    async def send_brief(message: Message) -> None:
        if message["type"] == "lifespan.startup.failed":
            message["message"] = ""
        await send(message)

    return send_brief
