"""HTTP as uvicorn speaks it, with bounds on what a client may send, hold and leave unread.

uvicorn takes it with `--http backend.web.protocol:BoundedProtocol`. See docs/limits.md for the bounds.
"""

import asyncio
import http
import logging
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

from starlette.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from backend.errors import (
    ApiError,
    BadRequest,
    ConnectionsUsedUp,
    HeadersTooLarge,
    RequestTimeout,
    UrlTooLong,
)
from backend.web.answers import PIECE_SECONDS
from backend.web.handlers import problem
from backend.web.middleware import BODY_COMES, STOP

try:
    import resource
except ImportError:  # Windows, which has no such bound
    resource = None  # type: ignore[assignment] # asked for before it is used

log = logging.getLogger(__name__)

CONNECTIONS = 1000
URL_MAX = 8 * 1024
HEAD_MAX = 32 * 1024
HEADERS_MAX = 100
PIPELINE_MAX = 16
MESSAGE_MAX = 8 * 1024 * 1024  # all of a request as it is sent: 1 MiB in chunks of a byte comes to six
WAIT_SECONDS = 10.0
BODY_GRACE_SECONDS, BODY_RATE = 10.0, 16 * 1024
LINGER_SECONDS = 3.0  # so long what a refused client still sends is thrown away: a reset would eat its answer
SWEEP_SECONDS = 1.0
STOP_SECONDS = 5.0  # what a client may still take once the server stops: half of what requests may
HEALTH = b"/health"

_EXTENSIONS: dict[str, dict[object, object]] = {BODY_COMES: {}}


class BoundedProtocol(HttpToolsProtocol):
    """A connection of a client. A sweep each second finds those that are overdue: no request sets a timer."""

    per_address: int | None = None
    """How many connections an address may have; None for any. Those of trusted proxies are not counted."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.limit_concurrency = None  # uvicorn's own answers no /health any more
        self.door = _DOORS.get(server_state) or _DOORS.setdefault(server_state, _Door(config, self.loop))
        self.since = 0.0  # when it began to wait, its request to come in, or its end
        self._head = False  # the head of a request is coming in
        self._whole = True  # nothing of a request is to come
        self._read = 0  # of this request, as it came
        self._body = 0
        self._paused = 0.0  # since when nothing could be written
        self._refusal: ApiError | None = None
        self._refused = False
        self._stops: float | None = None  # when the server began to stop
        self.crowded = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        super().connection_made(transport)
        self.since = self.loop.time()
        self.door.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.door.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._read += len(data)
        super().data_received(data)
        if (self._head and self._read > HEAD_MAX) or len(self.headers or ()) > HEADERS_MAX:
            self._refuse(HeadersTooLarge())
        elif self._read > MESSAGE_MAX:
            self.cut()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.since = self.loop.time()
        self._head, self._whole, self._read, self._body = True, False, 0, 0

    def on_headers_complete(self) -> None:
        if len(self.url) > URL_MAX:
            self._refusal = UrlTooLong()
        elif len(self.headers) > HEADERS_MAX:
            self._refusal = HeadersTooLarge()
        elif len(self.pipeline) >= PIPELINE_MAX:
            self._refusal = BadRequest("Too many requests were sent before their answers were read")
        if self._refusal is not None:
            raise self._refusal  # ends the parser's work; it comes back to send_400_response
        self._head = False
        self.scope["extensions"] = _EXTENSIONS
        self.door.waiting.pop(self, None)
        if self.crowded and self.url != HEALTH:
            self.app = _no_place
        super().on_headers_complete()
        answer: Any = _Answer(self, self.transport, self.cycle)
        self.cycle.transport = answer

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._whole = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.since = self.loop.time()
        if self._refused:
            self._unset_keepalive_if_required()
        if self.cycle.response_complete and self in self.connections:
            self.door.waiting[self] = None

    def pause_writing(self) -> None:
        self._paused = self.loop.time()
        super().pause_writing()

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal or BadRequest(msg))

    def look(self, now: float) -> None:
        """End it if it is overdue."""
        waited = now - self.since
        closing = self._refused or self.transport.is_closing()
        blocked = self.flow.write_paused
        if self._stops is not None and (closing or blocked or not self._whole):
            if now - self._stops > STOP_SECONDS:
                self.cut()
        elif closing or blocked:
            since = self._paused if blocked else self.since
            if now - since > (LINGER_SECONDS if self._refused else PIECE_SECONDS):
                self.cut()
        elif self in self.door.waiting:
            if waited > max(WAIT_SECONDS, self.timeout_keep_alive + SWEEP_SECONDS):
                self._refuse(RequestTimeout()) if self._head else self.cut()
        else:
            self._look_at_body(now, waited)

    def _look_at_body(self, now: float, waited: float) -> None:
        if self._whole:
            self.since = now  # the service's own time
        elif self.flow.read_paused:  # it is the service that has not asked for more
            self.since += SWEEP_SECONDS
        elif waited > BODY_GRACE_SECONDS + self._body / BODY_RATE:
            self._refuse(RequestTimeout())

    def cut(self) -> None:
        """End it at once, whatever is on its way."""
        self.transport.abort()

    def end(self) -> None:
        """End it once all is sent. Closed while a body comes in, its reset would eat the answer."""
        if self._whole:
            self.transport.close()
        else:
            self._see_out()

    def shutdown(self) -> None:
        self.since = self._stops = self.loop.time()
        super().shutdown()
        # What would not end by itself is told so, by what the application has named at its start.
        if stop := self.app_state.get(STOP):
            stop()

    def _refuse(self, error: ApiError) -> None:
        """Answer with an error, and hear no more; where another answer is on its way, cut it."""
        if self._refused or self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            if self.cycle.response_started or self.pipeline:
                self.cut()
                return
            self.cycle.disconnected = True  # to whoever waits for its body
            self.cycle.message_event.set()
        response = problem(error)
        status = f"HTTP/1.1 {error.status} {http.HTTPStatus(error.status).phrase}\r\n".encode()
        headers = b"".join(b"%b: %b\r\n" % pair for pair in response.raw_headers)
        self.transport.write(status + headers + b"connection: close\r\n\r\n" + bytes(response.body))
        self._see_out()

    def _see_out(self) -> None:
        """Say that no more will come, and throw away what the client still sends, for a while."""
        self._unset_keepalive_if_required()
        self._refused = True
        self.since = self.loop.time()
        if self.transport.can_write_eof():
            self.transport.write_eof()


class _Answer:
    """What an answer is written to: the connection's transport, which ends as BoundedProtocol.end() does.

    Its head waits for what follows at once, mostly the whole body: one system call less, and one packet.
    Nothing follows the head of an answer to a HEAD.
    """

    __slots__ = ("_connection", "_cycle", "_head", "_waits", "_write", "is_closing")

    def __init__(
        self, connection: BoundedProtocol, transport: asyncio.Transport, cycle: RequestResponseCycle
    ) -> None:
        self.is_closing = transport.is_closing
        self._connection = connection
        self._cycle = cycle
        self._write = transport.write
        self._head = b""
        self._waits = cycle.scope["method"] != "HEAD"  # the head, once it comes

    def write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        elif self._waits and self._cycle.response_started:  # before that it may be a 100 Continue
            self._waits, self._head = False, data
            self._connection.loop.call_soon(self._flush)
            return
        self._write(data)

    def close(self) -> None:
        self._flush()
        self._connection.end()

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._write(head)


class _Door:
    """The places of a server. Where none is free, who has waited longest without a request makes room."""

    def __init__(self, config: Config, loop: asyncio.AbstractEventLoop) -> None:
        self.waiting: dict[BoundedProtocol, None] = {}  # without a request in work, the longest wait first
        self._inside: dict[BoundedProtocol, str] = {}
        self._places = affordable(config.limit_concurrency or CONNECTIONS)
        self._by_address: dict[str, int] = {}
        self._trusted = ProxyHeadersMiddleware(config.loaded_app, config.forwarded_allow_ips).trusted_hosts
        self._loop = loop
        self._sweep: asyncio.TimerHandle | None = None
        self._said = False

    def enter(self, connection: BoundedProtocol) -> None:
        """Give a connection a place, or mark it as crowded."""
        address = connection.client[0] if connection.client else ""
        self._inside[connection] = address
        count = self._by_address[address] = self._by_address.get(address, 0) + 1
        limit = connection.per_address
        if limit is not None and count > limit and address not in self._trusted:
            same = (other for other in self.waiting if self._inside[other] == address)
            connection.crowded = not self._make_room(same)
        elif len(self._inside) > self._places:
            self._say()
            connection.crowded = not self._make_room(iter(self.waiting))
        self.waiting[connection] = None
        if self._sweep is None:
            self._sweep = self._loop.call_later(SWEEP_SECONDS, self._look)

    def leave(self, connection: BoundedProtocol) -> None:
        """Take its place back."""
        self.waiting.pop(connection, None)
        address = self._inside.pop(connection, None)
        if address is None:
            return
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]

    def _make_room(self, candidates: Iterator[BoundedProtocol]) -> bool:
        longest = next(candidates, None)
        if longest is not None:
            longest.cut()
            self.leave(longest)  # now: the loop tells it later
        return longest is not None

    def _say(self) -> None:
        """Once until there is room again: an attack must not fill the log too."""
        if not self._said:
            self._said = True
            log.warning("all %d connections are in use: idle ones are closed for new ones", self._places)

    def _look(self) -> None:
        now = self._loop.time()
        for connection in list(self._inside):
            connection.look(now)
        self._said = self._said and len(self._inside) > self._places * 0.9
        again = bool(self._inside)
        self._sweep = self._loop.call_later(SWEEP_SECONDS, self._look) if again else None


_DOORS: WeakKeyDictionary[ServerState, _Door] = WeakKeyDictionary()


def affordable(wanted: int) -> int:
    """As many connections, or three quarters of the files that the process may open: others need some too."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if resource else -1
    return wanted if files < 0 else min(wanted, files * 3 // 4)


async def _no_place(scope: Scope, receive: Receive, send: Send) -> None:
    response = problem(ConnectionsUsedUp())
    response.headers["connection"] = "close"
    await response(scope, receive, send)
