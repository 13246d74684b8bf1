"""A hot route answers as FastAPI would: whatever is asked, both ways say the same bytes."""

import itertools
import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Cookie, Depends, FastAPI, Query
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from backend.config import Settings
from backend.deps import authenticated
from backend.main import create_app
from backend.web.hot_routes import HotRoutes, is_hot
from tests.conftest import Client, MakeTables, add_user, settings_for, token_for

HOT = {
    "list_tasks",
    "create_task",
    "get_task",
    "put_task",
    "update_task",
    "complete_task",
    "delete_task",
    "watch_changes",
}

JSON = {"content-type": "application/json"}
PATHS = [
    "1",
    "0",
    "2",
    "-1",
    "007",
    "+1",
    " 1",
    "1.0",
    "abc",
    "9" * 19,
    "9" * 400,
    "%31",
    "%00",
    "é",
    "1%2F2",
]
BODIES: list[bytes] = [
    b"",
    b"{}",
    b"null",
    b"[]",
    b'"text"',
    b"7",
    b"{",
    b'{"title"',
    b'{"title": "a"}',
    b'{"title": " a ", "unknown": {"deep": [1]}}',
    b'{"title": "a", "title": "b"}',
    b'{"title": ""}',
    b'{"title": null}',
    b'{"title": 7}',
    b'{"title": "\\u0000"}',
    b'{"title": "\\ud800"}',
    '{"title": "Ä 漢 🧀"}'.encode(),
    b'{"title": "\xff"}',
    '{"title": "utf-16"}'.encode("utf-16"),
    b'\xef\xbb\xbf{"title": "bom"}',
    b'{"title": "a", "description": NaN}',
    b'{"title": "a", "other": NaN}',
    b'{"title": "a", "other": 1e999}',
    b'{"title": "a", "other": ' + b"9" * 5000 + b"}",
    b'{"title": "a", "other": ' + b"[" * 3000 + b"]" * 3000 + b"}",
    b'{"title": "' + b"x" * 201 + b'"}',
    b'{"title": "a", "completed": true, "priority": "HIGH", "tags": ["x", "x"]}',
    b'{"title": "a", "completed": 1}',
    b'{"title": "a", "due_date": "2026-11-21", "recurring_pattern": "daily"}',
    b'{"title": "a", "due_date": 5}',
    b'{"completed": true}',
    b'{"completed": null}',
    b" " * (1024 * 1024 + 1),
]
HEADERS: list[dict[str, str]] = [
    JSON,
    {},
    {"content-type": "application/json; charset=utf-8"},
    {"content-type": "APPLICATION/JSON"},
    {"content-type": "application/vnd.api+json"},
    {"content-type": "text/plain"},
    {"content-type": "application/x-www-form-urlencoded"},
]
EXTRA: list[dict[str, str]] = [
    {},
    {"idempotency-key": "key-1"},
    {"idempotency-key": ""},
    {"if-match": '"1"'},
    {"if-match": '"7"'},
    {"if-none-match": '"1"'},
    {"if-none-match": "*"},
    {"authorization": ""},
    {"authorization": "Bearer nonsense"},
    {"authorization": "Basic x"},
    {"origin": "http://localhost:3000"},
]
QUERIES = ["", "?limit=1", "?limit=0", "?status=pending&sort=title", "?cursor=x", "?sort=relevance"]

Asked = tuple[str, str, bytes, dict[str, str]]


def corpus() -> list[Asked]:
    """Every path with an ordinary body, every body on every operation that takes one, every odd header."""
    one = "/api/tasks/1"
    lists = [*QUERIES, "/stats", "/count", "/count?overdue=true"]
    asked: list[Asked] = [("GET", f"/api/tasks{query}", b"", extra) for query in lists for extra in EXTRA]
    for method, path in itertools.product(("GET", "PATCH", "PUT", "DELETE"), PATHS):
        asked.append((method, f"/api/tasks/{path}", b"{}", JSON))
        asked.append((method, f"/api/tasks/{path}/complete", b"", {}))
    some = (b"", b"{", b'{"title": "a", "completed": true}')
    for body, headers in itertools.chain(((body, JSON) for body in BODIES), itertools.product(some, HEADERS)):
        asked += [
            ("POST", "/api/tasks", body, headers),
            ("PATCH", one, body, headers),
            ("PUT", one, body, headers),
            ("PATCH", f"{one}/complete", body, headers),
        ]
    for extra in EXTRA:
        asked += [
            ("POST", "/api/tasks", b'{"title": "kept"}', JSON | extra),
            ("PATCH", one, b'{"title": "new"}', JSON | extra),
            ("PATCH", f"{one}/complete", b"", extra),
            ("GET", one, b"", extra),
            ("DELETE", "/api/tasks/2", b"", extra),
        ]
    both = [(m, p.replace("/api/", "/api/alice/", 1), b, h) for m, p, b, h in asked[::7]]
    return asked + both + [("GET", "/api/bob/tasks", b"", {}), ("GET", "/api/bob/tasks/1", b"", {})]


@pytest.fixture
async def ways(make_tables: MakeTables) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    """Alice's client of two services: one with hot routes, the other with FastAPI's own."""
    clients: dict[str, httpx.AsyncClient] = {}
    settings: Settings = settings_for("sqlite://")
    apps = {"hot": create_app(settings), "ordinary": create_app(settings)}
    apps["ordinary"].user_middleware = [
        layer for layer in apps["ordinary"].user_middleware if str(layer.cls) != str(HotRoutes)
    ]
    assert len(apps["ordinary"].user_middleware) == len(apps["hot"].user_middleware) - 1
    for name, app in apps.items():
        await make_tables(app.state.database, settings)
        transport = httpx.ASGITransport(app)
        clients[name] = httpx.AsyncClient(transport=transport, base_url="http://test")
        clients[name].headers["Authorization"] = f"Bearer {token_for('alice', iat=1, exp=9_999_999_999)}"
    async with (
        apps["hot"].router.lifespan_context(apps["hot"]),
        apps["ordinary"].router.lifespan_context(apps["ordinary"]),
    ):
        for app in apps.values():
            await add_user(app, "alice")
        yield clients
        for client in clients.values():
            await client.aclose()


TIMES = re.compile(rb'"\d{4}-\d\d-\d\dT[\d:.]+Z"')
IDS = re.compile(rb"[0-9a-f]{32}")
CURSOR = re.compile(
    r'cursor=[\w-]+|"[0-9a-f]{32}(\.[0-9]+)?"'
)  # it holds a moment, as the ETag of a list does


def said(response: httpx.Response) -> tuple[int, dict[str, str], bytes]:
    """An answer, but for the moment and the request's own id."""
    headers = {
        name: CURSOR.sub("cursor", value)
        for name, value in response.headers.items()
        if name != "x-request-id"
    }
    body = IDS.sub(b"id", TIMES.sub(b'"time"', response.content))
    if "content-length" in headers:
        headers["content-length"] = str(len(body))
    return response.status_code, headers, body


@pytest.mark.slow
async def test_both_ways_say_the_same(ways: dict[str, httpx.AsyncClient]) -> None:
    """The whole corpus, in one order, to a service of each kind: status, headers and bytes are equal."""
    seen: set[int] = set()
    for method, path, body, headers in corpus():
        answers = {
            name: said(await client.request(method, path, content=body, headers=headers))
            for name, client in ways.items()
        }
        assert answers["hot"] == answers["ordinary"], (method, path, body[:80], headers)
        seen.add(answers["hot"][0])
    assert seen >= {200, 201, 204, 304, 401, 403, 404, 405, 412, 413, 422}


async def test_both_ways_know_what_has_not_changed(ways: dict[str, httpx.AsyncClient]) -> None:
    """Who sends the ETag of a list, of its count or of the statistics gets the same 304 either way."""
    for client in ways.values():
        await client.post("/api/tasks", json={"title": "a", "due_date": "2100-01-01"})
    for path in ("/api/tasks", "/api/alice/tasks?limit=1", "/api/tasks/count", "/api/tasks/stats"):
        answers = {}
        for name, client in ways.items():
            known = {"if-none-match": (await client.get(path)).headers["etag"]}
            answers[name] = said(await client.get(path, headers=known))
        assert answers["hot"] == answers["ordinary"], path
        assert answers["hot"][0] == 304


def test_the_busiest_routes_are_hot() -> None:
    """Under both prefixes; those that take a query of FastAPI's are not. Others may be as well."""
    app = create_app(settings_for("sqlite://"))
    found = [route.name for route in app.routes if isinstance(route, APIRoute) and is_hot(route)]
    assert all(found.count(name) == 2 for name in HOT), found


async def test_an_override_is_heeded(app: FastAPI, alice: Client) -> None:
    """Where a test puts another dependency in place, FastAPI solves them all."""
    route = next(route for route in app.routes if isinstance(route, APIRoute))
    asked: Any = authenticated
    assert asked in [part.call for part in route.dependant.dependencies]

    async def somebody(request: Request) -> Any:
        return (await asked(request))._replace(id="somebody else")

    assert (await alice.post("/api/tasks", json={"title": "a"})).status_code == 201
    app.dependency_overrides[asked] = somebody
    assert (await alice.get("/api/tasks")).json() == []
    app.dependency_overrides.clear()
    assert len((await alice.get("/api/tasks")).json()) == 1


async def _yields() -> AsyncIterator[int]:
    yield 1


def _blocks() -> int:
    return 1


async def _plain(request: Request) -> Response:
    return Response(b"plain")


async def _queries(q: Annotated[str, Query()]) -> Response:
    return Response(q)


async def _bakes(c: Annotated[str, Cookie()]) -> Response:
    return Response(c)


async def _uses_yield(value: Annotated[int, Depends(_yields)]) -> Response:
    return Response(str(value))


async def _uses_thread(value: Annotated[int, Depends(_blocks)]) -> Response:
    return Response(str(value))


async def _leaves_it(request: Request) -> int:
    return 1


@pytest.mark.parametrize(
    ("endpoint", "hot"),
    [(_plain, True)]
    + [(other, False) for other in (_queries, _bakes, _uses_yield, _uses_thread, _leaves_it)],
)
def test_what_it_cannot_read_is_an_ordinary_route(endpoint: Any, hot: bool) -> None:
    """A query, a cookie, a yield, a thread, an answer that FastAPI makes: FastAPI's, without a word."""
    assert is_hot(APIRoute("/x", endpoint)) is hot
