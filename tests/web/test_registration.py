"""What a route says of itself holds under every address that it is given."""

import inspect
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException
from fastapi.responses import PlainTextResponse
from fastapi.routing import APIRoute

from backend.web.registration import add_routes, routes_under


async def refuse() -> None:
    """A guard."""
    raise HTTPException(403, "refused")


def registered(**said: Any) -> FastAPI:
    """An application with one route that says these things of itself, under two prefixes."""
    router = APIRouter()

    @router.get("/thing", **said)
    async def thing() -> str:
        return "x"

    app = FastAPI()
    for prefix in ("/api", "/api/{user_id}"):
        add_routes(app, routes_under(prefix, router, {418: {"description": "of all"}}))
    return app


@pytest.mark.parametrize("path", ["/api/thing", "/api/alice/thing"])
async def test_a_guard_of_the_route_is_asked(path: str) -> None:
    """A dependency that a route declares runs before it: 403 is 403."""
    app = registered(dependencies=[Depends(refuse)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        assert (await client.get(path)).status_code == 403
        app.dependency_overrides[refuse] = lambda: None
        assert (await client.get(path)).status_code == 200


def test_the_document_has_what_the_route_says() -> None:
    """Deprecated is deprecated, hidden is hidden, and responses are the route's and those of all."""
    document = registered(deprecated=True, responses={409: {"description": "own"}}).openapi()
    for path in ("/api/thing", "/api/{user_id}/thing"):
        operation = document["paths"][path]["get"]
        assert operation["deprecated"] is True
        assert {"409", "418"} <= operation["responses"].keys()
    assert registered(include_in_schema=False).openapi()["paths"] == {}


# Another value than its default for whatever a route can be told.
TOLD: dict[str, Any] = {
    "response_model": int,
    "status_code": 202,
    "tags": ["t"],
    "summary": "s",
    "description": "d",
    "response_description": "r",
    "deprecated": True,
    "name": "n",
    "methods": {"PUT"},
    "operation_id": "o",
    "response_model_include": {"a"},
    "response_model_exclude": {"b"},
    "response_model_by_alias": False,
    "response_model_exclude_unset": True,
    "response_model_exclude_defaults": True,
    "response_model_exclude_none": True,
    "include_in_schema": False,
    "response_class": PlainTextResponse,
    "callbacks": [],
    "openapi_extra": {"x-y": 1},
    "strict_content_type": False,
    "max_body_size": 7,
    "form_limits": {"max_files": 1},
}
# These the registration sets itself: tested above.
SET = {"path", "endpoint", "responses", "dependencies", "dependency_overrides_provider"}
SET |= {"generate_unique_id_function"}


def test_this_file_knows_whatever_a_route_can_be_told() -> None:
    """A new option of FastAPI's has to be named here, with a value that is not its default."""
    parameters = inspect.signature(APIRoute).parameters
    assert parameters.keys() - SET == TOLD.keys()
    assert [name for name, value in TOLD.items() if parameters[name].default == value] == []


@pytest.mark.parametrize("name", TOLD)
def test_nothing_that_a_route_is_told_is_dropped(name: str) -> None:
    """Each option arrives."""
    router = APIRouter()
    said: dict[str, Any] = {"methods": ["GET"], name: TOLD[name]}
    router.routes.append(APIRoute("/thing", refuse, **said))
    [route] = routes_under("/api", router, {})
    assert getattr(route, name) == getattr(router.routes[0], name) == TOLD[name]
