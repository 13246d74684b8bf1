"""Better Auth's tables and ours in one database: who makes them, of which kind, what a deletion takes."""

from typing import Literal

import pytest
from jose import jwt

from tests.better_auth.conftest import PASSWORD, Pair, bearer, new_database, serving, together
from tests.better_auth.harness import Algorithm, BetterAuth, Options, cookie_header
from tests.conftest import Client, Databases

pytestmark = pytest.mark.asyncio(loop_scope="session")

# What Better Auth is told about its tables, and what our service has to be told then.
LAYOUTS: dict[str, tuple[Options, dict[str, str]]] = {
    "text": ({}, {}),
    "integer": (
        {"id_type": "serial", "user_model": "users"},
        {"AUTH_USER_ID_TYPE": "integer", "AUTH_USER_TABLE": "users"},
    ),
    "uuid": (
        {"id_type": "uuid", "user_model": "users", "schema": "neon_auth"},
        {
            "AUTH_USER_ID_TYPE": "uuid",
            "AUTH_USER_TABLE": "neon_auth.users",
            "AUTH_SESSION_TABLE": "neon_auth.session",
        },
    ),
}


@pytest.mark.parametrize(
    ("layout", "first", "alg"),
    [
        ("text", "theirs", "ES256"),  # the other way round, and with EdDSA, is what `pair` is
        ("integer", "ours", "ES512"),
        ("integer", "theirs", "RS256"),
        ("uuid", "ours", "EdDSA"),
        ("uuid", "theirs", "PS256"),
    ],
)
async def test_every_setup_works(
    databases: Databases, layout: str, first: Literal["ours", "theirs"], alg: Algorithm
) -> None:
    """Sign-up, JWTs of each algorithm, session, tasks and deletion work over tables of every kind.

    Whoever starts first, on an empty database, makes its tables; the other one makes what is missing.
    """
    options, settings = LAYOUTS[layout]
    settings = settings | {"AUTH_ACCEPT_SESSIONS": "true"}
    async with together(databases, settings, first=first, alg=alg, **options) as pair:
        person, nobody = await pair.sign_up(), await pair.nobody()
        assert jwt.get_unverified_header(person.token)["alg"] == alg
        task = await person.new_task("Buy milk")
        assert task["user_id"] == person.user_id
        assert (await person.get("/api/tasks")).json() == [task]
        assert (await person.get(f"/api/{person.user_id}/tasks")).json() == [task]
        cookie = {"Cookie": cookie_header(person.session)}
        assert (await nobody.get("/api/tasks", headers=cookie)).json() == [task]
        table = settings.get("AUTH_USER_TABLE", '"user"')
        assert await pair.query(f"SELECT email FROM {table}") == [person.email]
        await pair.auth.delete_user(person.session, PASSWORD)
        assert await pair.query("SELECT id FROM tasks") == []


async def test_a_deleted_user_leaves_nothing(pair: Pair) -> None:
    """Deleted in Better Auth, a user loses every task, and no other does; the JWT lives on, worth nothing."""
    leaver, stayer, nobody = await pair.sign_up(), await pair.sign_up(), await pair.nobody()
    tasks = [await leaver.new_task(title) for title in ("a", "b")]
    kept = await stayer.new_task()
    answer = await pair.auth.request("POST", "/api/auth/delete-user", leaver.session, {"password": PASSWORD})
    assert answer.status_code == 200, answer.text
    for table, column in (("tasks", "user_id"), ("session", '"userId"'), ("account", '"userId"')):
        assert await pair.query(f"SELECT id FROM {table} WHERE {column} = $1", leaver.user_id) == []
    assert await leaver.titles() == []
    path = f"/api/tasks/{tasks[0]['id']}"
    for method, address in (
        ("GET", path),
        ("PUT", path),
        ("PATCH", path),
        ("PATCH", f"{path}/complete"),
        ("DELETE", path),
    ):
        answer = await leaver.request(method, address, json={"title": "c"} if method[0] == "P" else None)
        assert (answer.status_code, answer.json()["code"]) == (404, "task_not_found")
    refused = await leaver.post("/api/tasks", json={"title": "c"})
    assert (refused.status_code, refused.json()["code"]) == (401, "user_not_found")
    for headers in ({"Cookie": cookie_header(leaver.session)}, bearer(leaver.session.token)):
        refused = await nobody.get("/api/tasks", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (401, "invalid_token")
    assert (await stayer.get("/api/tasks")).json() == [kept]


async def test_sessions_before_better_auths_tables(databases: Databases) -> None:
    """Where Better Auth has not made its tables yet nobody is signed in: a refusal, not an error of ours."""
    async with (
        new_database(databases, empty=True) as url,
        serving({"DATABASE_URL": url, "AUTH_ACCEPT_SESSIONS": "true"}) as address,
        Client(base_url=address, headers=bearer("x" * 32), trust_env=False) as client,
    ):
        refused = await client.get("/api/tasks")
        assert refused.status_code in (401, 503), refused.text


async def test_a_wrong_id_type_is_named_at_start(databases: Databases) -> None:
    """Set up for ids of another type than Better Auth's, the service does not start, and says why."""
    async with new_database(databases, empty=True) as url, BetterAuth.start(url, id_type="uuid"):
        with pytest.raises(RuntimeError, match="AUTH_USER_ID_TYPE"):
            async with serving({"DATABASE_URL": url}):
                pass
