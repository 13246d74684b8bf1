"""What a frontend may rely on beside the tasks themselves: errors, headers, browsers, failures, the log."""

import asyncio
import io
import json
import re
import sys
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import pytest
from asyncpg import ConnectionDoesNotExistError
from fastapi import FastAPI
from jose import jwt
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from backend.config import Settings
from backend.db import VERSION_TABLE
from backend.engine.statements import Statements
from backend.main import create_app
from backend.tasks import crud
from tests.conftest import (
    ORIGIN,
    SECRET,
    Client,
    MakeClient,
    Sent,
    on_postgresql,
    on_sqlite,
    settings_for,
    token_for,
)
from tests.postgres import free_port

on_a_sqlite_file = pytest.mark.parametrize(
    ("database_url", "settings"), [("sqlite", {"database_url": "sqlite:///tasks.db"})], indirect=True
)

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def settings(request: pytest.FixtureRequest, database_url: str) -> Settings:
    """The settings of the app under test, with those that a test asks for by parameter."""
    return settings_for(**({"database_url": database_url} | getattr(request, "param", {})))


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the service logs. To be asked for before the app, which takes hold of it."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


async def execute(app: FastAPI, *statements: str) -> list[Any]:
    """Run the test's own statements in one transaction; return the rows of the last one."""
    engine: AsyncEngine = app.state.database.engine
    async with engine.execution_options(unobserved=True).begin() as connection:
        for statement in statements:
            result = await connection.execute(text(statement))
        return list(result.all()) if result.returns_rows else []


def client_of(app: FastAPI, user_id: str = "") -> Client:
    """A client of an app that was never started: its database is not there."""
    headers = {"Authorization": f"Bearer {token_for(user_id)}"} if user_id else {}
    return Client(transport=httpx.ASGITransport(app), base_url="http://test", headers=headers)


# ---- What the service says of itself


@on_sqlite
async def test_the_root_leads_to_what_there_is(client: Client, app: FastAPI) -> None:
    """`/` names the service and its version, and its addresses are good."""
    response = await client.get("/")
    assert response.status_code == 200
    service = response.json()
    assert service.keys() == {"name", "version", "docs", "health"}
    assert (service["name"], service["version"]) == (app.title, app.version)
    for name in ("docs", "health"):
        assert (await client.get(service[name])).status_code == 200


async def test_health_never_asks_the_database(client: Client, statements: Sent) -> None:
    """`/health` is exactly this body, and lets an idle database sleep."""
    response = await client.get("/health")
    assert (response.status_code, response.content) == (200, b'{"status":"ok"}')
    assert statements == []


async def test_ready_means_that_the_database_answers(client: Client, statements: Sent) -> None:
    """`/ready` is a 200 once the database answers."""
    response = await client.get("/ready")
    assert (response.status_code, response.content) == (200, b'{"status":"ready"}')
    assert statements


async def test_ready_means_that_the_schema_is_current(client: Client, app: FastAPI) -> None:
    """A database whose schema another version has made cannot serve this one: `/ready` is a 503 and why."""
    await execute(app, f"UPDATE {VERSION_TABLE} SET version_num = 'another'")
    response = await client.get("/ready")
    assert response.status_code == 503
    assert response.json()["code"] == "schema_outdated"
    assert int(response.headers["retry-after"]) >= 1


# ---- Errors


class Error(NamedTuple):
    """A request and the error it meets."""

    method: str
    path: str
    status: int
    code: str
    detail: str | None  # None: the list of a 422
    options: Mapping[str, Any] = MappingProxyType({})


INTERNAL = "column tasks.sekret of relation pg_sekret at 10.1.2.3"

ERRORS = [
    Error(
        "GET",
        "/api/tasks",
        401,
        "missing_token",
        "Missing authorization token",
        {"headers": {"Authorization": ""}},
    ),
    Error(
        "GET",
        "/api/bob/tasks",
        403,
        "forbidden",
        "Access denied: Not authorized to access other users' resources",
    ),
    Error("GET", "/api/tasks/999", 404, "task_not_found", "Task not found"),
    Error("GET", "/nowhere", 404, "not_found", "Not Found"),
    Error("GET", "/api/nowhere", 404, "not_found", "Not Found"),
    Error("PATCH", "/api/tasks", 405, "method_not_allowed", "Method Not Allowed"),
    Error(
        "POST",
        "/api/tasks",
        413,
        "[a-z_]+",  # see test_a_code_is_the_services_own
        "The body is larger than 1048576 bytes",
        {"content": b" " * (1024 * 1024 + 1), "headers": JSON},
    ),
    Error("POST", "/api/tasks", 422, "validation_error", None, {"json": {}}),
    Error("POST", "/api/tasks", 422, "validation_error", None, {"content": b"{", "headers": JSON}),
    Error("GET", "/api/tasks?limit=0", 422, "validation_error", None),
    Error("GET", "/api/tasks/abc", 422, "validation_error", None),
    # What `broken` breaks:
    Error("DELETE", "/api/tasks/1", 500, "internal_error", "Internal server error"),
    Error(
        "PATCH",
        "/api/tasks/1",
        503,
        "database_unavailable",
        "The database cannot be reached; try again shortly",
        {"json": {}},
    ),
]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleting meets a bug, updating a lost connection; both with a text that is nobody's business."""

    async def bug(*_: Any) -> None:
        raise RuntimeError(INTERNAL)

    async def lost(statements: Statements, *_: Any) -> None:
        async with statements.transaction():
            raise ConnectionDoesNotExistError(INTERNAL)

    monkeypatch.setattr(crud, "delete_task", bug)
    monkeypatch.setattr(crud, "update_task", lost)


@on_sqlite
@pytest.mark.usefixtures("broken")
async def test_all_errors_have_one_shape(alice: Client) -> None:
    """Each error is JSON of `detail`, `code` and the request's id, in the contract's words, and no more."""
    for error in ERRORS:
        response = await alice.request(error.method, error.path, **error.options)
        case = f"{error.method} {error.path}: {response.text}"
        assert response.status_code == error.status, case
        assert response.headers["content-type"] == "application/json", case
        problem = response.json()
        assert problem.keys() == {"detail", "code", "request_id"}, case
        assert re.fullmatch(error.code, problem["code"]), case
        assert problem["request_id"] == response.headers["x-request-id"], case
        assert "sekret" not in response.text, case
        if error.detail is None:
            assert problem["detail"], case
            assert all(entry.keys() == {"loc", "msg", "type"} for entry in problem["detail"]), case
        else:
            assert problem["detail"] == error.detail, case
        assert ("retry-after" in response.headers) is (error.status == 503), case
        assert response.headers.get("www-authenticate") == ("Bearer" if error.status == 401 else None), case


@on_sqlite
async def test_a_code_is_the_services_own(alice: Client) -> None:
    """Codes do not come from http.HTTPStatus, whose phrase for 413 is another one from Python 3.13 on."""
    response = await alice.post("/api/tasks", content=b" " * (1024 * 1024 + 1), headers=JSON)
    assert (response.status_code, response.json()["code"]) == (413, "content_too_large")


@on_sqlite
async def test_a_wrong_method_is_told_the_right_ones(alice: Client) -> None:
    """The Allow header of a 405 names every method of the path (RFC 9110 §15.5.6)."""
    expected = {
        "/health": {"GET"},
        "/api/tasks": {"GET", "POST", "DELETE"},
        "/api/alice/tasks": {"GET", "POST", "DELETE"},
        "/api/tasks/1": {"GET", "PUT", "PATCH", "DELETE"},
        "/api/alice/tasks/1": {"GET", "PUT", "PATCH", "DELETE"},
        "/api/tasks/counts": {"GET", "PUT", "PATCH", "DELETE"},
        "/api/tasks/count": {"GET"},
        "/api/tasks/stats": {"GET"},
        "/api/tasks/recurrence": {"GET"},
        "/api/tasks/batch": {"POST"},
        "/api/tasks/complete-all": {"POST"},
        "/api/tasks/export": {"GET"},
        "/api/tasks/import": {"POST"},
        "/api/alice/tasks/import": {"POST"},
        "/api/tasks/1/complete": {"PATCH"},
    }
    for path, methods in expected.items():
        response = await alice.request("TRACE", path)
        assert response.status_code == 405
        assert set(re.split(", *", response.headers["allow"])) - {"HEAD", "OPTIONS"} == methods, path
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - methods:
            assert (await alice.request(method, path)).status_code == 405, f"{method} {path}"


INVALID_SCHEME = "Invalid authorization scheme, expected Bearer"
GOOD = token_for("alice", exp=2**31)
CLAIMS = GOOD.split(".")[1]

UNAUTHORIZED: list[tuple[str, str, str]] = [
    ("", "Missing authorization token", "missing_token"),
    (f"Basic {GOOD}", INVALID_SCHEME, "invalid_scheme"),
    (f"JWT {GOOD}", INVALID_SCHEME, "invalid_scheme"),
    (f"Bearer  {GOOD}", INVALID_SCHEME, "invalid_scheme"),
    (f"Bearer {GOOD} {GOOD}", INVALID_SCHEME, "invalid_scheme"),
    (f" Bearer {GOOD}", INVALID_SCHEME, "invalid_scheme"),
    (f"Bearer\t{GOOD}", INVALID_SCHEME, "invalid_scheme"),
    (f"Bearer{GOOD}", INVALID_SCHEME, "invalid_scheme"),
    ("Bearer", INVALID_SCHEME, "invalid_scheme"),
    ("Bearer ", INVALID_SCHEME, "invalid_scheme"),
    (GOOD, INVALID_SCHEME, "invalid_scheme"),
    (f"Bearer {token_for('alice', exp=1)}", "Token has expired", "token_expired"),
    ("Bearer x", "Invalid token", "invalid_token"),
    ("Bearer null", "Invalid token", "invalid_token"),
    ("Bearer undefined", "Invalid token", "invalid_token"),
    (f"Bearer {GOOD}x", "Invalid token", "invalid_token"),
    (f"Bearer {GOOD}=", "Invalid token", "invalid_token"),
    (f"Bearer .{CLAIMS}.", "Invalid token", "invalid_token"),
    (f"Bearer eyJhbGciOiJub25lIn0.{CLAIMS}.", "Invalid token", "invalid_token"),
    (f"Bearer {token_for('alice', exp=None)}", "Invalid token", "invalid_token"),
    (f"Bearer {token_for('alice', nbf=2**31)}", "Invalid token", "invalid_token"),
    (f"Bearer {token_for('alice', sub='')}", "Invalid token", "invalid_token"),
    (f"Bearer {token_for('alice', sub=1)}", "Invalid token", "invalid_token"),
    (f"Bearer {token_for('a' * 9000)}", "Invalid token", "invalid_token"),
    (
        f"Bearer {jwt.encode({'exp': 2**31}, SECRET, algorithm='HS256')}",
        "Invalid token: missing sub claim",
        "invalid_token",
    ),
]


@on_sqlite
async def test_every_bad_token_is_told_what_is_wrong(alice: Client, statements: Sent) -> None:
    """A 401 has the contract's sentence for its cause, and the database is not asked."""
    statements.clear()
    for authorization, detail, code in UNAUTHORIZED:
        response = await alice.get("/api/tasks", headers={"Authorization": authorization})
        case = f"{authorization[:60]!r}: {response.text}"
        assert response.status_code == 401, case
        assert response.headers["www-authenticate"] == "Bearer", case
        problem = response.json()
        assert (problem["detail"], problem["code"]) == (detail, code), case
    assert statements == []


@on_sqlite
async def test_the_scheme_is_case_insensitive(alice: Client) -> None:
    """`bearer` and `BEARER` are Bearer (RFC 9110 §11.1)."""
    for scheme in ("Bearer", "bearer", "BEARER"):
        response = await alice.get("/api/tasks", headers={"Authorization": f"{scheme} {token_for('alice')}"})
        assert response.status_code == 200, scheme


async def test_numbers_in_any_spelling_are_no_server_error(alice: Client) -> None:
    """However an id is written, it is found, missing or refused; none reaches the database out of range."""
    await alice.new_task()
    for beyond in (2**63, -(2**63) - 1, 10**30):
        for spelling in ("{}", "+{}", " {}", "{} ", "{}.0", "{:_}", "00{}"):
            task_id = spelling.format(beyond)
            response = await alice.get(f"/api/tasks/{quote(task_id)}")
            assert response.status_code in (404, 422), f"{task_id!r}: {response.text}"


USER_IDS = [
    "\u00fc",
    "\u0436\u0443\u043a",
    "\U0001f600",
    "a b",
    "a?b",
    "a#b",
    "a%b",
    'a";b',
    "<a>",
    "a+b",
    "a;b=c",
]


@on_sqlite
async def test_every_users_addresses_lead_back(client_for: MakeClient) -> None:
    """Location and `next` are sound addresses, and good, for every user id that a token may hold."""
    failed = []
    for user_id in USER_IDS:
        user: Client = await client_for(user_id)
        path = f"/api/{quote(user_id, safe='')}/tasks"
        created = [await user.post(path, json={"title": title}) for title in ("a", "b")]
        page = await user.get(f"{path}?limit=1")
        location = created[0].headers.get("location", "")
        following = page.links.get("next", {}).get("url", "")
        if not re.fullmatch("[!-~]+", location) or not re.fullmatch("[!-~]+", following):
            failed.append(f"{user_id!r}: {location!r} {created[0].text}, {following!r} {page.text}")
        elif (await user.get(location)).content != created[0].content:
            failed.append(f"{user_id!r}: Location {location} leads elsewhere")
        elif (await user.get(following)).json() != [created[0].json()]:
            failed.append(f"{user_id!r}: next {following} leads elsewhere")
    assert not failed, "\n" + "\n".join(failed)


# ---- Request ids


@on_sqlite
async def test_a_clients_request_id_is_kept_where_it_is_sane(client: Client) -> None:
    """A sane X-Request-ID comes back, in the header and in an error; anything else is replaced."""
    for sane in (b"12345678", b"a-Request_id.42", b"0" * 128, b"3f2b9f6e-7c1d-4a53-9a43-0d9a4b0f1c11"):
        response = await client.get("/api/tasks", headers=[(b"X-Request-ID", sane)])
        assert response.headers["x-request-id"] == response.json()["request_id"] == sane.decode()
    for insane in (
        b"",
        b"0" * 129,
        b"with some spaces",
        b"12345678 ",
        b"12345678\n",
        b"1234\r\nSet-Cookie: a=b",
        b"1234\x005678",
        b"12345678\xff",
        "12345678\u0661".encode(),
        b'"12345678"',
        b"<script>alert(1)</script>",
        b"12345678;level=error",
    ):
        response = await client.get("/api/tasks", headers=[(b"X-Request-ID", insane)])
        made = response.headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", made), insane
        assert response.json()["request_id"] == made, insane


@on_sqlite
async def test_every_request_has_an_id_of_its_own(client: Client) -> None:
    """No two requests share one, at the same time or after each other."""
    responses = await asyncio.gather(*(client.get("/health") for _ in range(20)))
    assert len({response.headers["x-request-id"] for response in responses}) == 20
    assert all(len(response.headers.get_list("x-request-id")) == 1 for response in responses)


# ---- Browsers


@on_sqlite
async def test_a_browser_may_call_from_the_frontend(client: Client, statements: Sent) -> None:
    """The preflight of each method is allowed, with credentials and the headers a client sends, unasked."""
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        for path in ("/api/tasks", "/api/alice/tasks/1"):
            response = await client.options(
                path,
                headers={
                    "Origin": ORIGIN,
                    "Access-Control-Request-Method": method,
                    "Access-Control-Request-Headers": "authorization, content-type",
                },
            )
            assert response.status_code == 200, method
            assert response.headers["access-control-allow-origin"] == ORIGIN
            assert response.headers["access-control-allow-credentials"] == "true"
            assert method in response.headers["access-control-allow-methods"].split(", ")
            allowed = {name.lower() for name in response.headers["access-control-allow-headers"].split(", ")}
            assert {"authorization", "content-type", "x-request-id"} <= allowed
            assert "*" not in response.headers["access-control-allow-headers"]
            assert "Origin" in response.headers["vary"]
    assert statements == []


@on_sqlite
async def test_other_origins_are_not_let_in(alice: Client) -> None:
    """No other origin, however alike, is named in an answer, to a preflight or to a request."""
    for origin in (
        "http://evil.example",
        "https://localhost:3000",
        "http://localhost:30000",
        "http://localhost",
        "http://localhost:3000.evil.example",
        "http://localhost:3000@evil.example",
        "http://LOCALHOST:3000/",
        "null",
        "",
    ):
        headers = {"Origin": origin, "Access-Control-Request-Method": "GET"}
        for response in (
            await alice.options("/api/tasks", headers=headers),
            await alice.get("/api/tasks", headers={"Origin": origin}),
        ):
            assert "access-control-allow-origin" not in response.headers, origin


@on_sqlite
@pytest.mark.usefixtures("broken")
async def test_a_browser_may_read_every_answer(alice: Client) -> None:
    """Successes and errors, the server's own included, carry the CORS headers, or a frontend sees nothing."""
    task = await alice.new_task()
    successes = [Error("GET", "/health", 200, "", ""), Error("GET", f"/api/tasks/{task['id']}", 200, "", "")]
    for case in successes + ERRORS:
        headers = {"Origin": ORIGIN} | case.options.get("headers", {})
        response = await alice.request(case.method, case.path, **{**case.options, "headers": headers})
        assert response.status_code == case.status, case
        assert response.headers["access-control-allow-origin"] == ORIGIN, case
        assert response.headers["access-control-allow-credentials"] == "true", case
        exposed = {name.lower() for name in response.headers["access-control-expose-headers"].split(", ")}
        assert {"link", "location", "retry-after", "x-request-id"} <= exposed, case
        assert "Origin" in response.headers["vary"], case


HARDENING = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


@on_sqlite
@pytest.mark.usefixtures("broken")
async def test_every_answer_is_hardened(alice: Client) -> None:
    """Whatever the status, an answer is not cached, framed, sniffed or run."""
    task = await alice.new_task()
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET"}
    others = [
        Error("GET", "/", 200, "", ""),
        Error("GET", "/health", 200, "", ""),
        Error("GET", "/docs", 200, "", ""),
        Error("GET", "/openapi.json", 200, "", ""),
        Error("POST", "/api/tasks", 201, "", "", {"json": {"title": "a"}}),
        Error("PATCH", f"/api/tasks/{task['id']}/complete", 200, "", ""),
        Error("OPTIONS", "/api/tasks", 200, "", "", {"headers": preflight}),
        Error(
            "OPTIONS", "/api/tasks", 400, "", "", {"headers": preflight | {"Origin": "http://evil.example"}}
        ),
    ]
    for case in others + ERRORS:
        response = await alice.request(case.method, case.path, **case.options)
        assert response.status_code == case.status, case
        for name, value in HARDENING.items():
            assert response.headers.get_list(name) == [value], f"{name} of {case}"
        [policy] = response.headers.get_list("content-security-policy")
        assert policy.startswith("default-src 'none'"), case
        assert "frame-ancestors 'none'" in policy, case
        if case.path != "/docs":
            assert "unsafe" not in policy, case
        assert "server" not in response.headers, case


@on_sqlite
async def test_an_empty_answer_is_hardened_too(alice: Client) -> None:
    """A 204 has the headers, and neither body nor type."""
    task = await alice.new_task()
    response = await alice.delete(f"/api/tasks/{task['id']}")
    assert (response.status_code, response.content) == (204, b"")
    assert "content-type" not in response.headers
    assert HARDENING.items() <= dict(response.headers).items()


# ---- Failures


@pytest.mark.usefixtures("broken")
@on_sqlite
async def test_a_bug_is_logged_and_not_told(stderr: io.StringIO, alice: Client) -> None:
    """The answer to an unhandled error has its request id alone; the log has the rest under that id."""
    response = await alice.delete("/api/tasks/1")
    assert response.status_code == 500
    assert response.json() == {
        "detail": "Internal server error",
        "code": "internal_error",
        "request_id": response.headers["x-request-id"],
    }
    log = stderr.getvalue()
    assert f"RuntimeError: {INTERNAL}" in log
    assert f"request_id={response.headers['x-request-id']}" in log


async def test_an_error_of_the_database_is_not_told(stderr: io.StringIO, alice: Client, app: FastAPI) -> None:
    """What the database objects to is a 500 without its text, and what people wrote is not logged either."""
    await execute(app, "ALTER TABLE tasks RENAME COLUMN title TO heading")
    response = await alice.post("/api/tasks", json={"title": "private words", "description": "more of them"})
    assert response.status_code == 500
    assert response.json().keys() == {"detail", "code", "request_id"}
    assert response.json()["detail"] == "Internal server error"
    log = stderr.getvalue()
    assert "INSERT INTO tasks" in log
    assert "private words" not in log
    assert "more of them" not in log


async def test_a_database_that_is_not_there_is_a_503() -> None:
    """Nothing listens on its port: every operation says so and when to retry; the process stays healthy."""
    url = f"postgresql://user:pass@127.0.0.1:{free_port()}/tasks"
    app = create_app(settings_for(url, database_connect_budget=0))
    async with client_of(app, "alice") as alice:
        for method, path, body in (
            ("GET", "/api/tasks", None),
            ("POST", "/api/tasks", {"title": "a"}),
            ("DELETE", "/api/tasks/1", None),
            ("GET", "/ready", None),
        ):
            response = await alice.request(method, path, json=body)
            assert response.status_code == 503, path
            assert int(response.headers["retry-after"]) >= 1, path
            assert response.json()["code"].startswith("database_"), path
            assert "127.0.0.1" not in response.text, path
        assert (await alice.get("/health")).status_code == 200
        assert (await alice.get("/api/tasks", headers={"Authorization": ""})).status_code == 401
        assert (await alice.get("/api/bob/tasks")).status_code == 403


async def test_a_database_that_does_not_exist_is_a_503(postgres_url: str) -> None:
    """The server is there, the database is not (dropped, not yet made): a 503 too, `/ready` first of all."""
    app = create_app(settings_for(f"{postgres_url.rpartition('/')[0]}/not_there"))
    async with client_of(app, "alice") as alice:
        for path in ("/ready", "/api/tasks"):
            response = await alice.get(path)
            assert response.status_code == 503, f"{path}: {response.text}"
            assert response.json()["code"] == "database_unavailable", path


@on_postgresql
async def test_cut_connections_are_replaced(alice: Client, app: FastAPI) -> None:
    """After the database has cut every connection a request is a 503 at worst, and the next is served."""
    task = await alice.new_task()
    engine: AsyncEngine = app.state.database.engine
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    for _ in range(2):
        with pytest.raises(Exception, match=r"terminat|closed"):
            await execute(app, cut)
        first = await alice.get(f"/api/tasks/{task['id']}")
        assert first.status_code in (200, 503), first.text
        assert (await alice.get(f"/api/tasks/{task['id']}")).json() == task
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined] # of the pool classes that count


@pytest.mark.parametrize(
    "settings", [{"database_pool_size": 1, "database_pool_wait": 0.05}], indirect=True, ids=["one-session"]
)
async def test_too_much_at_once_is_a_503_soon(alice: Client, app: FastAPI) -> None:
    """With every session taken a request waits its turn for a moment, is told so, and the next is served."""
    async with app.state.database.turn():
        started = time.perf_counter()
        responses = await asyncio.gather(*(alice.get("/api/tasks") for _ in range(5)))
        assert time.perf_counter() - started < 2
        for response in responses:
            assert response.status_code == 503
            assert response.json()["code"] == "overloaded"
            assert int(response.headers["retry-after"]) >= 1
        assert (await alice.get("/health")).status_code == 200
    assert (await alice.get("/api/tasks")).status_code == 200


@pytest.mark.parametrize(
    "settings", [{"database_pool_size": 1, "database_queue_size": 0}], indirect=True, ids=["no-line"]
)
async def test_who_is_turned_away_costs_nothing(client: Client, app: FastAPI, statements: Sent) -> None:
    """With the line full nobody is even asked who they are; browsers may read that, and probes go through."""
    origin = {"Origin": "http://localhost:3000"}
    async with app.state.database.turn():
        refused = await client.post("/api/tasks", content=b"{" * 1000, headers=origin)
        assert (await client.get("/health")).status_code == 200
    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert refused.headers["access-control-allow-origin"] == origin["Origin"]
    assert refused.headers["retry-after"] == "1"
    assert not statements
    assert (await client.post("/api/tasks", json={"title": "a"})).status_code == 401


@pytest.mark.parametrize(
    "settings", [{"database_pool_size": 1, "database_queue_size": 3}], indirect=True, ids=["short-line"]
)
async def test_one_users_flood_is_no_other_users_503(alice: Client, bob: Client, app: FastAPI) -> None:
    """Who floods is refused what is too much; another who comes then is served."""
    for user in (alice, bob):
        assert (await user.get("/api/tasks")).status_code == 200
    async with app.state.database.turn(), asyncio.timeout(10):
        flood = [asyncio.create_task(alice.get("/api/tasks/stats")) for _ in range(10)]
        answered = asyncio.as_completed(flood)
        refused = [await next(answered) for _ in range(7)]
        one = asyncio.create_task(bob.get("/api/tasks"))
        refused.append(await next(answered))
    assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(503, "overloaded")}
    assert (await one).status_code == 200
    assert sorted([(await task).status_code for task in flood]) == [200, 200, *[503] * 8]


@on_postgresql
async def test_a_commit_that_fails_is_not_a_success(alice: Client, app: FastAPI) -> None:
    """What only the commit finds wrong is a 5xx, and no row is there: the client is never told a lie."""
    await execute(
        app,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'not at commit'; END $$",
        "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT OR UPDATE OR DELETE ON tasks "
        "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()",
        "ALTER TABLE tasks DISABLE TRIGGER refuse",
    )
    task = await alice.new_task()
    await execute(app, "ALTER TABLE tasks ENABLE TRIGGER refuse")
    path = f"/api/tasks/{task['id']}"
    for method, address, body in (
        ("POST", "/api/tasks", {"title": "b"}),
        ("PATCH", path, {"title": "b"}),
        ("PUT", path, {"title": "b"}),
        ("PATCH", f"{path}/complete", None),
        ("DELETE", path, None),
    ):
        response = await alice.request(method, address, json=body)
        assert response.status_code >= 500, f"{method} {address}"
        assert "not at commit" not in response.text, f"{method} {address}"
        assert (await alice.get("/api/tasks")).json() == [task], f"{method} {address}"


# ---- At once


async def _toggle_at_once(alice: Client) -> None:
    task = await alice.new_task()
    path = f"/api/tasks/{task['id']}"
    responses = await asyncio.gather(*(alice.patch(f"{path}/complete") for _ in range(50)))
    assert {response.status_code for response in responses} == {200}
    states = [response.json()["completed"] for response in responses]
    assert (states.count(True), states.count(False)) == (25, 25)
    assert (await alice.get(path)).json()["completed"] is False


async def test_parallel_toggles_are_all_done(alice: Client) -> None:
    """Of 50 toggles at once half answer true and half false: none is lost or done twice."""
    await _toggle_at_once(alice)


@on_a_sqlite_file
async def test_parallel_toggles_are_all_done_in_a_file(alice: Client) -> None:
    """So too in a SQLite file, which has a connection for each request."""
    await _toggle_at_once(alice)


async def test_parallel_updates_of_different_fields_all_last(alice: Client) -> None:
    """51 updates at once, each of one field of a task, leave every field as it was last told."""
    ids = [(await alice.new_task("old", description="old"))["id"] for _ in range(17)]
    changes = ({"title": "new"}, {"description": "new"}, {"completed": True})
    responses = await asyncio.gather(
        *(alice.patch(f"/api/tasks/{task_id}", json=change) for task_id in ids for change in changes)
    )
    assert {response.status_code for response in responses} == {200}
    listed = (await alice.get("/api/tasks")).json()
    assert [(task["title"], task["description"], task["completed"]) for task in listed] == [
        ("new", "new", True)
    ] * 17


async def test_parallel_deletes_are_done_once(alice: Client) -> None:
    """Of 20 deletes at once one is the 204, the others are 404s."""
    task = await alice.new_task()
    responses = await asyncio.gather(*(alice.delete(f"/api/tasks/{task['id']}") for _ in range(20)))
    assert sorted(response.status_code for response in responses) == [204] + [404] * 19


async def test_parallel_creates_are_all_there(alice: Client) -> None:
    """30 creates at once are 30 tasks, each with an id of its own."""
    made = await asyncio.gather(*(alice.new_task(f"t{number}") for number in range(30)))
    listed = (await alice.get("/api/tasks")).json()
    assert len({task["id"] for task in made}) == 30
    assert sorted(task["id"] for task in listed) == sorted(task["id"] for task in made)


# ---- The log


async def _say_much(alice: Client) -> list[httpx.Response]:
    """Requests that hold in every place what must not be logged."""
    task = await alice.new_task("the-body")
    return [
        await alice.post("/api/tasks", json={"title": "the-body", "description": "the-body"}),
        await alice.get("/api/tasks?status=pending&search=the-query"),
        await alice.get("/api/tasks?limit=the-query"),
        await alice.patch(f"/api/tasks/{task['id']}", json={"title": "the-body", "completed": "the-body"}),
        await alice.get("/api/tasks/1%0Ainfo%20forged%1b%5B31m"),
        await alice.get("/health", headers={"Cookie": "a=the-cookie", "User-Agent": "the-agent"}),
        await alice.get("/api/tasks", headers={"Authorization": "Bearer the-token"}),
        await alice.get("/api/tasks", headers={"Authorization": "the-token"}),
    ]


PRIVATE = ("the-body", "the-query", "the-cookie", "the-agent", "the-token", "Bearer", "eyJ")


@on_sqlite
@pytest.mark.parametrize("settings", [{"log_format": "json"}], indirect=True, ids=["json"])
async def test_each_request_is_one_line_of_json(stderr: io.StringIO, alice: Client) -> None:
    """LOG_FORMAT=json: a line a request, saying who asked for what and how it went, and nothing private."""
    responses = await _say_much(alice)
    lines = [json.loads(line) for line in stderr.getvalue().splitlines()]
    lines = [line for line in lines if line["message"] == "request"][1:]
    assert len(lines) == len(responses)
    for line, response in zip(lines, responses, strict=True):
        assert line["method"] == response.request.method
        assert line["path"] == response.request.url.raw_path.decode().partition("?")[0]
        assert line["status"] == response.status_code
        assert 0 <= line["ms"] < 10_000
        unknown = response.status_code == 401 or line["path"] == "/health"
        assert line["user"] == ("-" if unknown else "alice")
        assert line["request_id"] == response.headers["x-request-id"]
        assert line["level"] == "info"
        assert line["time"].endswith("+00:00")
    for private in PRIVATE:
        assert private not in stderr.getvalue()


@on_sqlite
async def test_each_request_is_one_line_of_text(stderr: io.StringIO, alice: Client) -> None:
    """LOG_FORMAT=text: the same for people; no path can make a second line or colour the screen."""
    responses = await _say_much(alice)
    lines = stderr.getvalue().splitlines()[1:]
    assert len(lines) == len(responses)
    for line, response in zip(lines, responses, strict=True):
        path = response.request.url.raw_path.decode().partition("?")[0]
        assert f" request method={response.request.method} path={path} status={response.status_code} " in line
        assert line.endswith(f"request_id={response.headers['x-request-id']}")
        assert line.isprintable()
    for private in PRIVATE:
        assert private not in stderr.getvalue()
