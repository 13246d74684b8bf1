"""Better Auth's session as a credential: its cookie or its token, looked up in its table."""

import hashlib
import hmac
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from backend.auth.sessions import get_user
from backend.config import Settings
from backend.main import create_app
from tests.conftest import ORIGIN, SECRET, Client, Sent, add_user, on_sqlite, settings_for, token_for

TOKEN = "Zs0cVd8mQwXy3rTbN5uHjK1pLgF7aEo2"
COOKIE = "better-auth.session_token"
OLD_SECRET = "the-secret-before-that-one-of-enough-bytes"

# What Better Auth's own migration makes of it.
TABLE = {
    "sqlite": 'create table "session" ("id" text not null primary key, "expiresAt" date not null, '
    '"token" text not null unique, "createdAt" date not null, "updatedAt" date not null, '
    '"ipAddress" text, "userAgent" text, '
    '"userId" {id} not null references "user" ("id") on delete cascade)',
    "postgresql": 'create table {schema}"session" ("id" {id} not null primary key, '
    '"expiresAt" timestamptz not null, "token" text not null unique, '
    '"createdAt" timestamptz default CURRENT_TIMESTAMP not null, "updatedAt" timestamptz not null, '
    '"ipAddress" text, "userAgent" text, '
    '"userId" {id} not null references "user" ("id") on delete cascade)',
}


@pytest.fixture
def settings(database_url: str) -> Settings:
    return settings_for(database_url, auth_accept_sessions=True, better_auth_secrets=f"1:{OLD_SECRET}")


async def run(app: FastAPI, statement: str, **values: Any) -> None:
    """Do what Better Auth does, past the service."""
    engine: AsyncEngine = app.state.database.engine
    async with engine.execution_options(unobserved=True).begin() as connection:
        await connection.execute(text(statement), values)


async def create_session_table(app: FastAPI, id_type: str = "text", schema: str = "") -> None:
    dialect = app.state.database.engine.dialect.name
    await run(app, TABLE[dialect].format(id=id_type, schema=schema))


async def open_session(
    app: FastAPI,
    token: str = TOKEN,
    user_id: Any = "alice",
    lasts: timedelta = timedelta(days=7),
    table: str = '"session"',
    session_id: Any = "s1",
) -> None:
    """Write a session's row with its times as Better Auth does: ISO 8601 text on SQLite."""
    now = datetime.now(UTC)
    times: dict[str, Any] = {"expires": now + lasts, "now": now}
    if app.state.database.engine.dialect.name == "sqlite":
        times = {
            name: time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            for name, time in times.items()
        }
    await run(
        app,
        f'INSERT INTO {table} ("id", "expiresAt", "token", "createdAt", "updatedAt", "ipAddress", "userId") '
        "VALUES (:id, :expires, :token, :now, :now, '', :user_id)",
        id=session_id,
        token=token,
        user_id=user_id,
        **times,
    )


def signed(token: str = TOKEN, secret: str = SECRET) -> str:
    """The session's token with its signature."""
    return f"{token}.{b64encode(hmac.digest(secret.encode(), token.encode(), hashlib.sha256)).decode()}"


@pytest.fixture
async def api(app: FastAPI, client: Client) -> Client:
    """Nobody's client of a service beside a Better Auth where alice is signed in."""
    await add_user(app, "alice")
    await create_session_table(app)
    await open_session(app)
    return client


def cookie(value: str, name: str = COOKIE, **others: str) -> dict[str, str]:
    return {"Cookie": f"{name}={value}"} | others


def bearer(value: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {value}"}


async def test_a_session_is_a_credential(api: Client) -> None:
    """The cookie as a browser sends it, and as a bearer the signed value or the bare token: alice's tasks."""
    created = await api.post("/api/tasks", json={"title": "a"}, headers=bearer(TOKEN))
    assert created.status_code == 201
    assert created.json()["user_id"] == "alice"
    for headers in (
        cookie(quote(signed(), safe="")),
        cookie(signed()),
        cookie(f'"{signed()}"'),
        cookie(quote(signed(), safe=""), f"__Secure-{COOKIE}"),
        {"Cookie": f"theme=dark; {COOKIE}={quote(signed(), safe='')}; other={TOKEN}"},
        bearer(TOKEN),
        bearer(signed()),
        bearer(quote(signed(), safe="")),
        {"Authorization": f"bearer {TOKEN}"},
    ):
        response = await api.get("/api/tasks", headers=headers)
        assert response.status_code == 200, headers
        assert response.json() == [created.json()]
        assert (await api.get("/api/bob/tasks", headers=headers)).status_code == 403


async def test_ended_sessions_are_refused_at_once(app: FastAPI, api: Client) -> None:
    """Signed out, expired, or with its user deleted: a session is over with the next request."""
    await open_session(app, "expired1", lasts=timedelta(seconds=-1), session_id="s2")
    await open_session(app, "expired2", lasts=timedelta(days=-3), session_id="s3")
    await open_session(app, "nearly1", lasts=timedelta(seconds=30), session_id="s4")
    await add_user(app, "bob")
    await open_session(app, "bobs1", "bob", session_id="s5")

    async def status(token: str) -> set[int]:
        answers = [await api.get("/api/tasks", headers=h) for h in (bearer(token), cookie(signed(token)))]
        return {response.status_code for response in answers}

    assert await status("expired1") == await status("expired2") == await status("nobodys1") == {401}
    assert await status("nearly1") == await status("bobs1") == await status(TOKEN) == {200}
    await run(app, 'DELETE FROM "session" WHERE "token" = :token', token=TOKEN)
    assert await status(TOKEN) == {401}
    await run(app, 'DELETE FROM "user" WHERE "id" = \'bob\'')
    assert await status("bobs1") == {401}
    assert await status("nearly1") == {200}


async def test_the_table_is_read_and_nothing_else(api: Client, statements: Sent) -> None:
    """A session costs one SELECT, and its row is never written."""
    statements.clear()
    assert (await api.get("/api/tasks", headers=bearer(TOKEN))).status_code == 200
    asked, listed = statements
    assert asked.startswith("SELECT session.")
    assert asked.count("SELECT") == 1
    assert "tasks" in listed
    statements.clear()
    assert (await api.get("/api/bob/tasks", headers=bearer(TOKEN))).status_code == 403
    assert statements == [asked]


@on_sqlite
async def test_signatures_are_checked_before_the_database_is_asked(api: Client, statements: Sent) -> None:
    """A cookie without the right signature, whatever it looks like, is a 401 and costs no statement."""
    good = signed()
    token, _, signature = good.rpartition(".")
    url_safe = signature.replace("+", "-").replace("/", "_")
    statements.clear()
    for value in (
        token,
        f"{token}.",
        f".{signature}",
        f"{token}.{signature[:-1]}",
        f"{token}.{signature}=",
        f"{token}.{signature}%20",
        f"{token}.{url_safe[:-1]}",
        f"{token[:-1]}.{signature}",
        f"{token}x.{signature}",
        f"{token.lower()}.{signature}",
        f"{signature}.{token}",
        signed(secret="another-secret-of-just-as-many-bytes-as-that"),
        signed(secret=""),
        signed(secret=SECRET.upper()),
        signed("' OR 1=1 --"),
        signed("alice"[:0]),
        signed(f"{TOKEN}\x00"),
        signed("ünïcödé"),
        signed(f"{TOKEN}.{TOKEN}"),
        signed(f"{TOKEN}:true"),
        quote(quote(good, safe=""), safe=""),
        "%FF%FE.%FF",
        "%ZZ",
        "." * 4000,
        "a" * 60_000,
        token_for("alice"),
    ):
        response = await api.get("/api/tasks", headers={b"Cookie": f"{COOKIE}={value}".encode()})
        assert response.status_code == 401, value[:80]
        assert response.json()["code"] in ("invalid_token", "missing_token"), value[:80]
        assert statements == [], value[:80]


@on_sqlite
async def test_hostile_bearers_are_refused(api: Client, statements: Sent) -> None:
    """What is no session token and no JWT is a 401, and only what could be a token is looked up."""
    statements.clear()
    for value in (
        f"{TOKEN}.{TOKEN}",
        f"{TOKEN}.",
        f".{TOKEN}",
        ".",
        "'--",
        "%00",
        "a\x00b",
        "tökén",
        f"{TOKEN}%20",
        "a.b.c",
        "....",
        signed(secret="another-secret-of-just-as-many-bytes-as-that"),
        quote(signed("a b")),
        quote(signed("' OR 1=1 --")),
    ):
        response = await api.get("/api/tasks", headers={b"Authorization": f"Bearer {value}".encode()})
        assert response.status_code == 401, value
        assert response.json()["code"] == "invalid_token", value
        assert statements == [], value
    for value in (TOKEN[:-1], TOKEN.lower(), "a" * 8000):
        assert (await api.get("/api/tasks", headers=bearer(value))).status_code == 401, value


@on_sqlite
async def test_every_secret_of_a_rotation_signs(api: Client) -> None:
    """The secret and the ones before it are good, also as a bearer."""
    old = signed(secret=OLD_SECRET)
    for headers in (cookie(old), bearer(old), cookie(signed()), bearer(signed())):
        assert (await api.get("/api/tasks", headers=headers)).status_code == 200


SECURE, HOST = f"__Secure-{COOKIE}", f"__Host-{COOKIE}"
FORGED = signed(secret="another-secret-of-just-as-many-bytes-as-that")


@pytest.fixture
async def neighbours(app: FastAPI, api: Client) -> Client:
    """Beside alice bob is signed in, and each of them has another session that has ended."""
    await add_user(app, "bob")
    await open_session(app, "bobs1", "bob", session_id="s2")
    await open_session(app, "ended1", lasts=timedelta(days=-1), session_id="s3")
    await open_session(app, "ended2", "bob", lasts=timedelta(days=-1), session_id="s4")
    await open_session(app, "again1", session_id="s5")
    return api


ALICE, AGAIN, BOB, ENDED, BOBS_ENDED = map(signed, (TOKEN, "again1", "bobs1", "ended1", "ended2"))
# The cookies of a request, and whose it is; an error's code where it is nobody's.
NEIGHBOURS: list[tuple[list[tuple[str, str]], str]] = [
    ([(COOKIE, ALICE), (COOKIE, FORGED)], "alice"),
    ([(COOKIE, FORGED), (COOKIE, ALICE)], "alice"),
    ([(COOKIE, ALICE), (COOKIE, BOBS_ENDED)], "alice"),
    ([(COOKIE, BOBS_ENDED), (COOKIE, ALICE)], "alice"),
    ([(COOKIE, ""), (COOKIE, ALICE), (COOKIE, "")], "alice"),
    ([(COOKIE, ALICE), (COOKIE, ALICE), (COOKIE, quote(ALICE, safe=""))], "alice"),
    ([(COOKIE, ALICE), (COOKIE, AGAIN)], "alice"),
    ([(COOKIE, ALICE), (COOKIE, BOB)], "ambiguous_session"),
    ([(COOKIE, BOB), (COOKIE, ALICE)], "ambiguous_session"),
    ([(SECURE, ALICE), (SECURE, BOB), (COOKIE, ALICE)], "ambiguous_session"),
    ([(SECURE, ALICE), (COOKIE, BOB)], "alice"),
    ([(COOKIE, BOB), (SECURE, ALICE)], "alice"),
    ([(SECURE, BOB), (HOST, ALICE), (COOKIE, BOB)], "alice"),
    ([(HOST, ALICE), (SECURE, BOB), (SECURE, AGAIN)], "alice"),
    ([(HOST, FORGED), (SECURE, BOBS_ENDED), (COOKIE, ALICE)], "alice"),
    ([(COOKIE, FORGED), (SECURE, ENDED), (HOST, "x")], "invalid_token"),
    ([(COOKIE, f'"{ALICE}"'), (COOKIE, '"')], "alice"),
    ([("a", f'"; {COOKIE}={BOB}'), (SECURE, ALICE), ("b", '"')], "alice"),
    ([("x" + COOKIE, BOB), (COOKIE + "x", BOB), (f"{COOKIE}.0", BOB), (COOKIE, ALICE)], "alice"),
    ([(COOKIE, FORGED)] * 31 + [(COOKIE, ALICE)], "alice"),
    ([(COOKIE, FORGED)] * 32 + [(COOKIE, ALICE)], "invalid_token"),
    ([(COOKIE, signed(f"made{number}")) for number in range(5)], "ambiguous_session"),
]


@on_sqlite
async def test_a_neighbours_cookies_sign_nobody_in(neighbours: Client) -> None:
    """Of many session cookies the bad do not count, the better protected do, and two users are none."""
    for cookies, expected in NEIGHBOURS:
        header = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies), "Origin": ORIGIN}
        answer = (await neighbours.post("/api/tasks", json={"title": "a"}, headers=header)).json()
        assert answer.get("user_id", answer.get("code")) == expected, cookies
    apart = [("Cookie", f"{COOKIE}={FORGED}"), ("Cookie", f"{COOKIE}={ALICE}"), ("Cookie", "a=b")]
    assert (await neighbours.get("/api/tasks", headers=apart)).status_code == 200


@on_sqlite
async def test_many_cookies_cost_little(neighbours: Client, statements: Sent) -> None:
    """A header of 64 KiB of session cookies is one 401: no statement, and no CPU worth the name."""
    for cookie_of in (
        (f"{COOKIE}={FORGED}; "),
        f"{COOKIE}=; ",
        f"{COOKIE}={'%41' * 300}; ",
        ";",
        "; \t",
        "=;",
    ):
        header = {"Cookie": cookie_of * (65536 // len(cookie_of))}
        statements.clear()
        began = time.process_time()
        answer = await neighbours.get("/api/tasks", headers=header)
        assert time.process_time() - began < 0.1
        assert answer.status_code == 401
        assert statements == []


@on_sqlite
async def test_other_sites_cannot_use_the_cookie(app: FastAPI, api: Client, statements: Sent) -> None:
    """A change with a cookie comes from an allowed origin, or is a 403 before anything is read."""
    task = (await api.post("/api/tasks", json={"title": "a"}, headers=bearer(TOKEN))).json()
    path = f"/api/tasks/{task['id']}"
    requests: list[tuple[str, str, Any]] = [
        ("POST", "/api/tasks", {"title": "b"}),
        ("PUT", path, {"title": "b"}),
        ("PATCH", path, {"title": "b"}),
        ("PATCH", f"{path}/complete", {"completed": True}),
        ("DELETE", path, None),
        ("POST", "/api/alice/tasks", {"title": "b"}),
    ]
    good = cookie(signed())
    for method, url, body in requests:
        for origin in (
            None,
            "",
            "null",
            "https://evil.example",
            "http://localhost:3001",
            "https://localhost:3000",
            "http://localhost",
            f"{ORIGIN}.evil.example",
            f"{ORIGIN}/",
            f"http://evil.example#{ORIGIN}",
            f"{ORIGIN}, https://evil.example",
            "*",
        ):
            headers = good | ({"Origin": origin} if origin is not None else {}) | {"Referer": ORIGIN}
            statements.clear()
            response = await api.request(method, url, json=body, headers=headers)
            assert response.status_code == 403, (method, url, origin)
            assert response.json()["code"] == "origin_not_allowed"
            assert statements == []
    assert (await api.get("/api/tasks", headers=bearer(TOKEN))).json() == [task]
    for number, (method, url, body) in enumerate(requests):
        origin = ORIGIN if number % 2 else ORIGIN.upper().replace("HTTP", "http")
        response = await api.request(method, url, json=body, headers=good | {"Origin": origin})
        assert response.is_success, (method, url)


@on_sqlite
async def test_reading_needs_no_origin(api: Client) -> None:
    """GET with the cookie works without an Origin, as browsers send it to their own site."""
    for origin in ({}, {"Origin": ORIGIN}, {"Origin": "https://evil.example"}):
        response = await api.get("/api/tasks", headers=cookie(signed()) | origin)
        assert response.status_code == 200
        allowed = response.headers.get("Access-Control-Allow-Origin")
        assert allowed == (ORIGIN if origin.get("Origin") == ORIGIN else None)


@on_sqlite
async def test_a_bearer_needs_no_origin(api: Client) -> None:
    """No other site can make a browser send a bearer: it works from anywhere, and beside any cookie."""
    for headers in (bearer(TOKEN), bearer(signed()), bearer(token_for("alice"))):
        response = await api.post("/api/tasks", json={"title": "a"}, headers=headers)
        assert response.status_code == 201
        foreign = headers | {"Origin": "https://evil.example"} | cookie("rubbish")
        assert (await api.post("/api/tasks", json={"title": "a"}, headers=foreign)).status_code == 201


@on_sqlite
async def test_the_bearer_counts_where_both_are_sent(app: FastAPI, api: Client) -> None:
    """A wrong bearer is not saved by a good cookie, and a good one's user is not the cookie's."""
    await add_user(app, "bob")
    for wrong in ("Bearer x.y.z", "Basic YTpi", "Bearer"):
        headers = cookie(signed()) | {"Authorization": wrong, "Origin": ORIGIN}
        assert (await api.get("/api/tasks", headers=headers)).status_code == 401
    headers = cookie(signed()) | bearer(token_for("bob"))
    response = await api.post("/api/tasks", json={"title": "a"}, headers=headers)
    assert response.json()["user_id"] == "bob"


@on_sqlite
async def test_jwts_work_beside_sessions(api: Client) -> None:
    """With sessions accepted a JWT is still a JWT, and a broken one no session."""
    assert (await api.get("/api/tasks", headers=bearer(token_for("alice")))).status_code == 200
    assert (await api.get("/api/tasks", headers=bearer(token_for("alice") + "x"))).status_code == 401
    response = await api.get("/api/tasks")
    assert response.json()["code"] == "missing_token"


Serve = Callable[..., Coroutine[Any, Any, tuple[FastAPI, httpx.AsyncClient]]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a service with other settings."""
    async with AsyncExitStack() as stack:

        async def start(database_url: str = "sqlite://", **options: Any) -> tuple[FastAPI, httpx.AsyncClient]:
            app = create_app(settings_for(database_url, **options))
            await stack.enter_async_context(app.router.lifespan_context(app))
            client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")
            return app, await stack.enter_async_context(client)

        yield start


async def test_sessions_are_ignored_unless_told(serve: Serve) -> None:
    """Without AUTH_ACCEPT_SESSIONS neither the cookie nor the token is anything, and no table is read."""
    app, client = await serve()
    await add_user(app, "alice")
    response = await client.get("/api/tasks", headers=cookie(signed()))
    assert (response.status_code, response.json()["code"]) == (401, "missing_token")
    headers = cookie(signed(), Origin=ORIGIN)
    assert (await client.post("/api/tasks", json={"title": "a"}, headers=headers)).status_code == 401
    for value in (TOKEN, signed()):
        response = await client.get("/api/tasks", headers=bearer(value))
        assert (response.status_code, response.json()["code"]) == (401, "invalid_token")


async def test_the_cookie_may_have_another_prefix(serve: Serve) -> None:
    """Only the cookie with the prefix of the settings counts, with and without __Secure-."""
    app, client = await serve(auth_accept_sessions=True, auth_cookie_prefix="neonauth")
    await add_user(app, "alice")
    await create_session_table(app)
    await open_session(app)
    for name in ("neonauth.session_token", "__Secure-neonauth.session_token"):
        assert (await client.get("/api/tasks", headers=cookie(signed(), name))).status_code == 200
    for name in (COOKIE, "neonauth", "session_token", "neonauth.session_data", "Neonauth.session_token"):
        assert (await client.get("/api/tasks", headers=cookie(signed(), name))).status_code == 401


@pytest.mark.parametrize(
    ("kind", "user_id"), [("uuid", "0b9f7a1c-6d2e-4f3a-8b5c-1d2e3f4a5b6c"), ("integer", "7")]
)
async def test_sessions_of_other_kinds_of_ids(
    serve: Serve, empty_database: str, kind: str, user_id: str
) -> None:
    """Where Better Auth's ids are UUIDs or numbers the session's user is written as JWTs write it."""
    app, client = await serve(empty_database, auth_accept_sessions=True, auth_user_id_type=kind)
    own_id: Any = int(user_id) if kind == "integer" else user_id
    await run(
        app,
        f'INSERT INTO "user" (id, name, email, "emailVerified", "createdAt", "updatedAt") '
        f"VALUES (CAST(:id AS {kind}), 'a', 'a@b', false, now(), now())",
        id=own_id,
    )
    await create_session_table(app, kind)
    await open_session(app, user_id=own_id, session_id=own_id)
    headers = cookie(signed(), Origin=ORIGIN)
    response = await client.post("/api/tasks", json={"title": "a"}, headers=headers)
    assert response.status_code == 201, response.text
    assert response.json()["user_id"] == user_id
    assert (await client.get(f"/api/{user_id}/tasks", headers=headers)).json() == [response.json()]


async def test_the_table_may_be_elsewhere(serve: Serve, postgres_database: str) -> None:
    """AUTH_SESSION_TABLE names the table and its schema."""
    app, client = await serve(postgres_database, auth_accept_sessions=True, auth_session_table="auth.Session")
    await add_user(app, "alice")
    await run(app, "CREATE SCHEMA auth")
    await create_session_table(app, schema="auth.")
    await run(app, 'ALTER TABLE auth."session" RENAME TO "Session"')
    await open_session(app, table='auth."Session"')
    assert (await client.get("/api/tasks", headers=bearer(TOKEN))).status_code == 200


async def test_get_user_answers_for_running_sessions(app: FastAPI, api: Client) -> None:
    """The user of a running session, and nobody for any other text, however it is meant."""
    await open_session(app, "expired1", lasts=timedelta(minutes=-1), session_id="s2")
    statements = app.state.database.statements
    found = await get_user(statements, "session", TOKEN)
    assert found is not None
    assert (found[0], round(found[1], -1)) == ("alice", 7 * 24 * 3600)
    for token in (
        "expired1",
        "",
        TOKEN.lower(),
        f"{TOKEN} ",
        "' OR '1'='1",
        "%",
        "_" * 32,
        TOKEN[:-1] + "%",
    ):
        assert await get_user(statements, "session", token) is None
