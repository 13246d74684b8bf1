"""Serving HTTP: one process on a listener, and how it stops without a loss."""

import asyncio
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from backend.config import Settings
from backend.main import create_app
from backend.telemetry.board import Board
from backend.web.middleware import STOP
from backend.web.protocol import BoundedProtocol

log = logging.getLogger(__name__)

STOP_SECONDS = 10  # how long running requests may take to finish once the process was told to stop
BACKLOG = 256  # connections that wait to be accepted: all of them may be, before one is refused
KEEP_ALIVE_SECONDS = 5  # a connection without a request is closed after them
RETIRE_SECONDS = KEEP_ALIVE_SECONDS + 1.0  # after which every connection that idled is closed


class Server(uvicorn.Server):
    """uvicorn's server, which goes on serving for DRAIN_SECONDS after SIGTERM.

    /ready says 503 from that moment on, so that whoever sends requests here sends them elsewhere, and each
    answer closes its connection. Then the listeners close, and what runs has STOP_SECONDS. A second SIGTERM,
    and SIGINT, end the draining.
    """

    def __init__(self, config: uvicorn.Config, app: FastAPI, drain: float, on_start: Callable[[str], None]):
        super().__init__(config)
        self._app = app
        self._drain = drain
        self._on_start = on_start
        self._ends: float | None = None  # when the draining does
        self._retires = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:
            if not self.lifespan.should_exit:  # the address is taken, or none of this machine's
                log.error("choose another address with HOST= or PORT=, as in: make run PORT=9000")
            raise
        if self.started:
            self._on_start(address_of(self.servers[0].sockets[0]))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig == signal.SIGTERM and self._drain and self._ends is None:
            self._begin_to_stop(self._drain)
        else:
            super().handle_exit(sig, frame)

    def retire(self) -> None:
        """Take no more connections, others do, and stop once those that are open have come to their end."""
        if self._ends is None and not self.should_exit:
            self._retires = True
            for server in self.servers:
                server.close()
            if end_streams := self.lifespan.state.get(STOP):
                end_streams()
            self._begin_to_stop(max(self._drain, RETIRE_SECONDS))

    def _begin_to_stop(self, seconds: float) -> None:
        self._app.state.stopping = True
        closing = (b"connection", b"close")
        self.config.encoded_headers.append(closing)  # from the next second's headers on
        self.server_state.default_headers = [*self.server_state.default_headers, closing]
        self._ends = time.monotonic() + seconds

    async def on_tick(self, counter: int) -> bool:
        if self._ends is not None and not self.should_exit:
            left = self._ends - time.monotonic()
            if left <= 0 or (self._retires and not self.server_state.connections):
                super().handle_exit(signal.SIGTERM, None)
        return await super().on_tick(counter)


def address_of(listener: socket.socket) -> str:
    """The URL of whoever listens there."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def say_where(settings: Settings, address: str) -> None:
    """Print the line that says what serves where."""
    print(f"Task API on {address} · database: {settings.dsn.public} · token: make token", flush=True)


def serve(settings: Settings) -> None:
    """Serve on HOST and PORT until SIGTERM or SIGINT."""
    _run(settings, None, lambda address: say_where(settings, address), watch=False)


def serve_as_worker(settings: Settings, listener: socket.socket, board: Board | None) -> None:
    """Serve on a listener that others share, and say so on stdout; SIGHUP means that another takes over.

    With a `board`, metrics are those of all who have a place on it.

    Stop as at SIGTERM once stdin ends: whoever started this is there no more.
    """
    with listener:
        _run(settings, [listener], lambda _: print("ready", flush=True), watch=True, board=board)


def _run(
    settings: Settings,
    listeners: list[socket.socket] | None,
    on_start: Callable[[str], None],
    *,
    watch: bool,
    board: Board | None = None,
) -> None:
    class Protocol(BoundedProtocol):
        per_address = settings.connections_per_address

    app = create_app(settings)
    if board is not None and settings.metrics_enabled:
        app.state.metrics.share(board)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        forwarded_allow_ips=settings.forwarded_allow_ips,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
        http=Protocol,
        ws="none",
        limit_concurrency=settings.connections_max,
        backlog=BACKLOG,
    )

    def started(address: str) -> None:
        if watch:
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGHUP, server.retire)
            loop.add_reader(sys.stdin.fileno(), orphaned)
        on_start(address)

    def orphaned() -> None:
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        server.handle_exit(signal.SIGTERM, None)

    server = Server(config, app, settings.drain_seconds, started)
    # uvicorn stops gracefully at a signal and then raises it again: for us that is a normal end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    server.run(listeners)
