"""Watches each request from outside, and hands what was noted to metrics, traces and Server-Timing."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.config import Settings
from backend.db import Database
from backend.observation import Observation, observing
from backend.telemetry.metrics import Metrics
from backend.telemetry.routes import router
from backend.telemetry.tracing import Tracing


class Telemetry:
    """What is on of it, for one application."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        database: Database = app.state.database
        troubles = database.troubles
        self.metrics = Metrics(app, settings) if settings.metrics_enabled else None
        self.tracing = Tracing(database.engine.dialect.name) if settings.tracing_enabled else None
        origins = ", ".join(settings.cors_origins).encode()  # whose scripts may read it too
        self.server_timing = [(b"timing-allow-origin", origins)] if settings.server_timing else []
        statements = self.metrics.statements if self.metrics else None

        def measured(sql: str, seconds: float, failed: bool) -> None:
            if statements is not None:
                statements.add(seconds)
            if not failed:
                troubles.latest = ""
            if (observation := observing.get()) is not None:
                observation.stated(sql, seconds, failed=failed)

        self.measured = measured
        database.measure(measured)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Do what has to be done all the while that the application runs."""
        async with AsyncExitStack() as stack:
            for part in (self.metrics, self.tracing):
                if part is not None:
                    await stack.enter_async_context(part.running())
            yield


def install(app: FastAPI, settings: Settings) -> Telemetry:
    """Let an application that is put together otherwise be observed."""
    telemetry = Telemetry(app, settings)
    app.user_middleware.insert(1, Middleware(_Route))  # inside RequestMiddleware, which may copy the scope
    app.add_middleware(_Observer, telemetry=telemetry)
    if telemetry.metrics is not None:
        app.state.metrics = telemetry.metrics
        app.include_router(router)
    return telemetry


class _Observer:
    """The outermost layer: a request begins and ends here."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app = app
        self._metrics = telemetry.metrics
        self._tracing = telemetry.tracing
        self._server_timing = telemetry.server_timing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        traced = None if self._tracing is None else self._tracing.begin(scope)
        observation = traced or Observation()
        began = time.perf_counter()

        async def send_observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                observation.status = message["status"]
                if self._server_timing:
                    timing = _server_timing(observation, began)
                    message["headers"] = [*message["headers"], timing, *self._server_timing]
            await send(message)

        metrics = self._metrics
        if metrics is not None:
            metrics.in_flight += 1
        token = observing.set(observation)
        try:
            await self._app(scope, receive, send_observed)
        finally:
            observing.reset(token)
            if metrics is not None:
                metrics.in_flight -= 1
                metrics.add(scope["method"], observation, time.perf_counter() - began)
            if traced is not None:
                traced.end()


class _Route:
    """Notes which route a request came to: the scope has it once that is found out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        finally:
            observation = observing.get()
            if observation is not None and (route := scope.get("route")) is not None:
                observation.route = route.path_format


def _server_timing(observation: Observation, began: float) -> tuple[bytes, bytes]:
    """Milliseconds until the answer begins: in line, at the database, all in all."""
    total = (time.perf_counter() - began) * 1000
    database = (observation.database + observation.connecting) * 1000
    value = f"wait;dur={observation.waiting * 1000:.1f}, db;dur={database:.1f}, total;dur={total:.1f}"
    return b"server-timing", value.encode()
