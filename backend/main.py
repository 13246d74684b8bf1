"""The composition root: settings in, application out. Nothing is opened before the lifespan."""

import gc
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from functools import cache, partial
from typing import TYPE_CHECKING

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute

from backend import __version__
from backend.assistant import routes as assistant
from backend.assistant.turns import Turns
from backend.auth.caller import known_user
from backend.auth.tokens import TokenVerifier
from backend.calendar import routes as calendar
from backend.config import Settings, load_settings
from backend.conversations import routes as conversations
from backend.db import Database
from backend.deps import OwnedRoute, authenticated, require_own_path
from backend.errors import (
    AmbiguousSession,
    ApiError,
    DatabaseConflict,
    DatabaseReadOnly,
    DatabaseUnavailable,
    DatabaseWaking,
    ExpiredToken,
    ForeignOrigin,
    ForeignUser,
    InvalidScheme,
    InvalidToken,
    KeysUnavailable,
    MissingToken,
    Overloaded,
    StatementTimeout,
    TooManyRequests,
    UnknownUser,
)
from backend.migrate import SchemaError, prepare
from backend.tasks import routes as tasks
from backend.tasks.batch import routes as bulk
from backend.tasks.changes import routes as changes
from backend.tasks.changes.hub import Hub
from backend.tasks.files import routes as transfer
from backend.tasks.history import routes as history
from backend.tasks.undo import routes as undo
from backend.web import docs, handlers, logs, system
from backend.web.cursor import CursorCodec
from backend.web.hot_routes import HotRoutes
from backend.web.limits import Limits
from backend.web.middleware import RequestMiddleware
from backend.web.openapi import DocumentedApp
from backend.web.protocol import affordable
from backend.web.registration import add_routes, operation_id, routes_under

GC_THRESHOLD = 10_000  # objects; Python's own is 700

if TYPE_CHECKING:
    from backend.auth.jwks import Jwks
    from backend.mcp.endpoint import Mcp
    from backend.telemetry.observer import Telemetry

# What users own: served under /api and /api/{user_id}.
NOUNS = (
    ("/tasks", tasks.router),
    ("/tasks", bulk.router),
    ("/tasks", transfer.router),
    ("/tasks", changes.router),
    ("/tasks", history.router),
    ("/tasks", undo.router),
    ("/calendar", calendar.router),
    ("", tasks.aliases),
    ("/conversations", conversations.router),
    ("", assistant.router),
)

log = logging.getLogger(__name__)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the service. Without `settings` they come from the environment and `.env`.

    Raises:
        SystemExit: with status 2, where the environment's settings cannot be used.
    """
    settings = settings or load_settings(anywhere=True)
    logs.configure(settings)
    app = DocumentedApp(
        title="Task API",
        version=__version__,
        summary="The multi-user task backend behind a Next.js frontend",
        lifespan=_lifespan,
        docs_url=None,  # web/docs.py, which asks no CDN
        redoc_url=None,
        redirect_slashes=False,  # web/addresses.py takes them away
        generate_unique_id_function=operation_id,
        # Otherwise each request asks whether somebody has set up a provider.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.settings = settings
    app.state.stopping = False  # whether somebody has told the server to stop
    app.state.database = Database(settings)
    app.state.jwks = _published_keys(settings.jwks_url) if settings.jwks_url else None
    app.state.verifier = TokenVerifier(settings, app.state.jwks)
    app.state.limits = Limits(settings)
    app.state.cursors = CursorCodec(settings.cursor_secret)
    app.state.hub = Hub(app.state.database, app.state.cursors, settings, affordable(settings.connections_max))
    app.state.turns = _turns(app.state.database, settings) if settings.assistant_model else None
    app.state.mcp = _mcp(app) if settings.mcp_enabled else None
    verifiers = [app.state.verifier, *([app.state.mcp.verifier] if app.state.mcp else [])]
    app.add_middleware(HotRoutes, routes=_owned_routes())
    app.add_middleware(
        RequestMiddleware,
        gate=app.state.database.gate,
        limits=app.state.limits,
        known=partial(known_user, verifiers),
        stop=partial(_stop, app),
        settings=settings,
    )
    handlers.install(app)
    add_routes(app, _owned_routes())
    app.include_router(calendar.feeds)
    app.include_router(system.router)
    app.router.routes += docs.ROUTES
    if app.state.mcp is not None:
        app.router.routes += app.state.mcp.routes
    app.state.telemetry = _telemetry(app, settings) if settings.telemetry else None
    return app


def _telemetry(app: FastAPI, settings: Settings) -> "Telemetry":
    """Metrics and traces. Loaded where they are on."""
    from backend.telemetry.observer import install

    return install(app, settings)


def _published_keys(url: str) -> "Jwks":
    """The keys of an issuer. Loaded where there is one: the HTTP client that fetches them is 5 MB."""
    from backend.auth.jwks import Jwks

    return Jwks(url)


def _turns(database: Database, settings: Settings) -> Turns:
    """The assistant. Its library is loaded where a model is configured: it doubles what a start takes."""
    from backend.assistant.agent import Assistant

    return Turns(database, settings, Assistant(settings))


def _mcp(app: FastAPI) -> "Mcp":
    """The tools for agents of others. Loaded where they are served: the protocol's SDK is dear to load."""
    from backend.mcp.endpoint import make_mcp

    state = app.state
    return make_mcp(state.settings, state.database, state.limits, state.jwks, state.verifier)


@cache
def _owned_routes() -> list[APIRoute]:
    """The nouns' routes, each under both of its addresses. Most requests are for the first of them.

    Who asks is found out first, whatever order a route's own dependencies have. They take a tenth of a second
    to build, so all applications of a process share them.
    """
    errors = handlers.ALWAYS_DOCUMENTED | handlers.documented(
        MissingToken,
        InvalidScheme,
        InvalidToken,
        ExpiredToken,
        AmbiguousSession,
        UnknownUser,
        ForeignOrigin,
        KeysUnavailable,
        DatabaseUnavailable,
        DatabaseWaking,
        DatabaseConflict,
        DatabaseReadOnly,
        StatementTimeout,
        Overloaded,
        TooManyRequests,
    )
    of_user = errors | handlers.documented(ForeignOrigin, ForeignUser)
    routes: list[APIRoute] = []
    for path, router in NOUNS:
        routes += routes_under(f"/api{path}", router, errors, Depends(authenticated), kind=OwnedRoute)
    for path, router in NOUNS:
        owned = Depends(require_own_path)
        routes += routes_under(f"/api/{{user_id}}{path}", router, of_user, owned, kind=OwnedRoute)
    return routes


@contextmanager
def spared_garbage_collection() -> Iterator[None]:
    """Keep what lives as long as the process out of the collector's rounds, and let it make fewer of them.

    A request's objects go by reference counting; looking for cycles among 130,000 others took a twentieth of
    the time, and up to 70 ms of the requests that met a full round. Where that was done before, by another
    application or by whoever runs this one, it is theirs to undo.
    """
    threshold = gc.get_threshold()
    if threshold[0] >= GC_THRESHOLD:
        yield
        return
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*threshold)


def _stop(app: FastAPI) -> None:
    """End what would go on: streams of changes, and turns of the assistant."""
    app.state.hub.stop()
    if app.state.turns is not None:
        app.state.turns.stop()


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    database: Database = app.state.database
    try:
        await prepare(database, app.state.settings)
    except (ApiError, SchemaError) as error:
        log.error("cannot start: %s", error.detail if isinstance(error, ApiError) else error)
        await database.close()
        raise
    except Exception:
        log.exception("cannot start")
        await database.close()
        raise
    try:
        telemetry: Telemetry | None = app.state.telemetry
        with spared_garbage_collection():
            async with (
                app.state.mcp.running() if app.state.mcp is not None else nullcontext(),
                telemetry.running() if telemetry else nullcontext(),
            ):
                yield
    finally:
        await app.state.hub.close()
        if app.state.turns is not None:
            await app.state.turns.close()
        if app.state.jwks is not None:
            await app.state.jwks.close()
        await database.close()
