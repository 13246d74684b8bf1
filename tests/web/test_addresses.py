"""One request, however its address is spelt: HEAD, slashes, prefixes, blank and camelCase parameters."""

import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from backend.main import create_app
from backend.web.addresses import settled, snake_case
from tests.conftest import Client, MakeTables, add_user, settings_for, token_for


@pytest.fixture
def database_url() -> str:
    """One kind of database: what is asked here hangs on none."""
    return "sqlite://"


READABLE = [
    "/",
    "/health",
    "/ready",
    "/docs",
    "/openapi.json",
    "/api/tasks",
    "/api/alice/tasks",
    "/api/tasks/1",
    "/api/tasks/count",
    "/api/tasks/stats",
    "/api/alice/stats",
    "/api/tasks/recurrence?pattern=daily&due_date=2026-11-21",
    "/api/tasks/export",
]


@pytest.mark.parametrize("path", READABLE)
async def test_head_is_get_without_its_body(alice: Client, path: str) -> None:
    """Status and headers are those of the GET, Content-Length included; there is no body."""
    await alice.new_task()
    get, head = await alice.get(path), await alice.head(path)
    assert (head.status_code, head.content) == (200, b"")
    ours = ("x-request-id",)
    assert {n: v for n, v in head.headers.items() if n not in ours} == {
        n: v for n, v in get.headers.items() if n not in ours
    }


async def test_head_of_what_is_not_there(alice: Client, client: Client) -> None:
    """Errors are those of the GET too: 304, 401, 404 and 405 have no body."""
    await alice.new_task()
    assert (await alice.head("/api/tasks/1", headers={"If-None-Match": '"1"'})).status_code == 304
    for response, status in (
        (await client.head("/api/tasks"), 401),
        (await alice.head("/api/tasks/99"), 404),
        (await alice.head("/api/tasks/batch"), 405),
    ):
        assert (response.status_code, response.content) == (status, b"")
        assert int(response.headers["content-length"]) > 2


async def test_head_of_an_export_reads_one_page(alice: Client, statements: list[str]) -> None:
    """Nobody reads the file, so that it is not made."""
    operations = [{"op": "create", "title": "a"}] * 500
    for _ in range(2):
        await alice.post("/api/tasks/batch", json={"operations": operations})
    statements.clear()
    assert (await alice.head("/api/tasks/export")).status_code == 200
    assert len(statements) == 1


async def test_options_names_the_methods(alice: Client) -> None:
    """OPTIONS is a 204 with Allow, and the Allow of a 405 names HEAD and OPTIONS too."""
    response = await alice.options("/api/tasks/1")
    assert (response.status_code, response.content) == (204, b"")
    assert set(response.headers["allow"].split(", ")) == {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "PUT"}
    allowed = (await alice.request("TRACE", "/api/tasks/batch")).headers["allow"]
    assert set(allowed.split(", ")) == {"POST", "OPTIONS"}
    assert (await alice.options("/nowhere")).status_code == 404


async def test_a_slash_at_the_end_is_nothing(alice: Client) -> None:
    """It is answered directly, after ids too, and its Location and Link are those without it."""
    created = await alice.post("/api/tasks/", json={"title": "a"})
    assert (created.status_code, created.headers["location"]) == (201, "/api/tasks/1")
    await alice.new_task()
    assert (await alice.get("/api/alice/tasks/?limit=1")).links["next"]["url"].startswith("/api/alice/tasks?")
    for path in [*(address.partition("?")[0] for address in READABLE[1:]), "/api/tasks/1"]:
        if path != "/api/tasks/recurrence":
            assert (await alice.get(f"{path}/")).status_code == 200, path
    assert (await alice.patch("/api/tasks/1/complete/")).json()["completed"] is True
    assert (await alice.put("/api/tasks/1//", json={"title": "b"})).status_code == 200
    assert (await alice.delete("/api/tasks/1/")).status_code == 204


async def test_an_encoded_slash_is_no_end(alice: Client) -> None:
    """`%2F` is a part of what it stands in."""
    await alice.new_task()
    assert (await alice.get("/api/tasks/1%2F")).status_code == 404


async def test_the_same_key_is_for_both_spellings(alice: Client) -> None:
    """With or without the slash it is the same request."""
    headers = {"Idempotency-Key": "k"}
    first = await alice.post("/api/tasks", json={"title": "a"}, headers=headers)
    again = await alice.post("/api/tasks/", json={"title": "a"}, headers=headers)
    assert (again.status_code, again.content) == (201, first.content)


@pytest.fixture
async def behind(make_tables: MakeTables) -> AsyncIterator[FastAPI]:
    """A service behind a proxy that it trusts, with a user."""
    settings = settings_for("sqlite://", trust_forwarded_prefix=True)
    app = create_app(settings)
    await make_tables(app.state.database, settings)
    async with app.router.lifespan_context(app):
        await add_user(app, "alice")
        yield app


def through(app: FastAPI, root_path: str = "", prefix: str = "") -> Client:
    """Alice's client, through a server that was told its root_path or a proxy that says its prefix."""
    headers = {"Authorization": f"Bearer {token_for('alice')}"} | (
        {"X-Forwarded-Prefix": prefix} if prefix else {}
    )
    transport = httpx.ASGITransport(app, root_path=root_path)
    return Client(transport=transport, base_url="http://test", headers=headers)


@pytest.mark.parametrize(
    ("root_path", "prefix", "sent"),
    [("/v1", "", "/v1"), ("/v1", "", ""), ("", "/v1", ""), ("", "/v1/", ""), ("/v1", "/v2", "")],
)
async def test_addresses_begin_with_the_prefix(
    behind: FastAPI, root_path: str, prefix: str, sent: str
) -> None:
    """Location, Link, the root and the docs know what the proxy takes away, however they are told."""
    client = through(behind, root_path, prefix)
    created = await client.post(f"{sent}/api/tasks", json={"title": "a"})
    assert created.headers["location"] == f"/v1/api/tasks/{created.json()['id']}"
    await client.post(f"{sent}/api/tasks/", json={"title": "a"})
    page = await client.get(f"{sent}/api/tasks/?limit=1")
    assert page.links["next"]["url"].startswith("/v1/api/tasks?limit=1")
    assert (await client.get(f"{sent}/")).json()["docs"] == "/v1/docs"
    docs = await client.get(f"{sent}/docs")
    assert "'/v1/openapi.json'" in docs.text
    assert '"/v1/docs/swagger-ui.css"' in docs.text
    assert "unsafe-inline" in docs.headers["content-security-policy"]
    assert (await client.get(f"{sent}/docs/swagger-ui.css")).status_code == 200
    assert (await client.get(f"{sent}/openapi.json")).json()["servers"] == [{"url": "/v1"}]


@pytest.mark.parametrize(
    "prefix", ["v1", "//evil.example", '/v1"><script>', "/a,/b", "/" + "a" * 1000, "/.?x", "é"]
)
async def test_a_prefix_that_is_none_is_not_believed(behind: FastAPI, prefix: str) -> None:
    """Only a plain path can be one."""
    client = through(behind)
    headers = [(b"X-Forwarded-Prefix", prefix.encode())]
    created = await client.post("/api/tasks", json={"title": "a"}, headers=headers)
    assert created.headers["location"].startswith("/api/tasks/")


async def test_nobody_is_believed_by_default(alice: Client) -> None:
    """A client's own X-Forwarded-Prefix has no say: TRUST_FORWARDED_PREFIX is for who has a proxy set it."""
    created = await alice.post("/api/tasks", json={"title": "a"}, headers={"X-Forwarded-Prefix": "/v1"})
    assert created.headers["location"] == "/api/tasks/1"


@pytest.mark.parametrize(
    ("query", "usual"),
    [
        (b"status=&priority=", b""),
        (b"a=1&status=&b=2", b"a=1&b=2"),
        (b"status=%20&search=+&limit=5", b"limit=5"),
        (b"status&limit=5", b"limit=5"),
        (b"sortBy=dueDate&hasDueDate=true", b"sort_by=dueDate&has_due_date=true"),
        (b"tag=aB&cursor=AbC", b"tag=aB&cursor=AbC"),
        (b"tag=a%3D&x=%2D", b"tag=a%3D&x=%2D"),
    ],
)
def test_parameters_have_one_spelling(query: bytes, usual: bytes) -> None:
    """A blank one is an absent one, and camelCase is snake_case; values stay as they are."""
    assert settled(_scope(query_string=query))["query_string"] == usual


def test_names_have_one_spelling() -> None:
    """JavaScript's spelling and SQL's are one."""
    for name in ("dueDate", "due_date", "DueDate", "DUE_DATE"):
        assert snake_case(name) == "due_date"


def _scope(**others: Any) -> dict[str, Any]:
    return {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "query_string": b""} | others


def test_the_usual_request_is_not_copied() -> None:
    """What is spelt as the routes know it stays the same object."""
    scope = _scope(path="/api/tasks", raw_path=b"/api/tasks", query_string=b"limit=5")
    assert settled(scope) is scope


@pytest.mark.parametrize(
    "query", [b"A" * 60_000, b"aB" * 30_000, b"&" * 60_000, b"a=&" * 20_000, b"=" * 60_000]
)
def test_a_long_query_costs_its_length(query: bytes) -> None:
    """As much as a server lets through is looked through in milliseconds, whatever it is made of."""
    began = time.process_time()
    settled(_scope(query_string=query))
    assert time.process_time() - began < 0.2
