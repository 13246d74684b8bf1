"""What the service says of itself. No user, no token."""

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from backend import __version__
from backend.errors import DatabaseUnavailable, DatabaseWaking, Overloaded, SchemaOutdated
from backend.web.errors import Stopping
from backend.web.handlers import documented

router = APIRouter(tags=["system"])


class Service(BaseModel):
    """The name of the service and where to go from here."""

    name: str
    version: str
    docs: str
    health: str


class Health(BaseModel):
    """The process lives."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """The service can serve."""

    status: Literal["ready"] = "ready"


@router.get("/", summary="Name and version")
async def root(request: Request) -> Service:
    """The service's name, version and addresses."""
    root_path = request.scope.get("root_path", "")
    docs, health = (f"{root_path}{path}" for path in ("/docs", "/health"))
    return Service(name=request.app.title, version=__version__, docs=docs, health=health)


@router.get("/health", summary="Liveness")
async def health() -> Health:
    """The process lives. Never asks the database, so that an idle one may sleep."""
    return Health()


@router.get(
    "/ready",
    summary="Readiness",
    responses=documented(DatabaseUnavailable, DatabaseWaking, SchemaOutdated, Overloaded, Stopping),
)
async def ready(request: Request) -> Readiness:
    """The database answers, its schema is this version's, and this copy is not about to stop."""
    if request.app.state.stopping:
        raise Stopping
    await request.app.state.database.ready()
    return Readiness()
