"""Better Auth's session itself, as cookie and as bearer token, without the jwt plugin."""

from urllib.parse import unquote

import httpx
import pytest

from tests.better_auth.conftest import PASSWORD, Pair, bearer, serving, together
from tests.better_auth.harness import TIMEOUT, cookie_header
from tests.conftest import ORIGIN, Client, Databases
from tests.postgres import free_port

pytestmark = pytest.mark.asyncio(loop_scope="session")

COOKIE = "better-auth.session_token"


async def test_the_browsers_cookie_signs_in(pair: Pair) -> None:
    """A browser sends us what Better Auth has set: it reads, and it writes for pages of our origins alone."""
    person = await pair.sign_up()
    async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT) as browser:
        credentials = {"email": person.email, "password": PASSWORD}
        answer = await browser.post(f"{pair.auth.url}/api/auth/sign-in/email", json=credentials)
        assert answer.status_code == 200
        assert COOKIE in browser.cookies  # cookies do not tell ports apart
        tasks, body = f"{pair.url}/api/tasks", {"title": "by cookie"}
        created = await browser.post(tasks, json=body, headers={"Origin": ORIGIN})
        assert created.status_code == 201
        assert created.json()["user_id"] == person.user_id
        for headers in ({}, {"Origin": "https://evil.example"}):
            refused = await browser.post(tasks, json=body, headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (403, "origin_not_allowed")
        assert (await browser.get(tasks)).json() == [created.json()]
    assert await person.titles() == ["by cookie"]


async def test_sign_out_is_known_here_at_once(pair: Pair) -> None:
    """Cookie, bare and signed token work until the sign-out, and the next request is a 401."""
    person, nobody = await pair.sign_up(), await pair.nobody()
    task = await person.new_task()
    ways = {
        "cookie": {"Cookie": cookie_header(person.session)},
        "bare": bearer(person.session.token),
        "signed": bearer(unquote(person.session.cookies[COOKIE])),
        "signed, as the cookie has it": bearer(person.session.cookies[COOKIE]),
    }
    for way, headers in ways.items():
        assert (await nobody.get("/api/tasks", headers=headers)).json() == [task], way
    await pair.auth.sign_out(person.session)
    for way, headers in ways.items():
        refused = await nobody.get("/api/tasks", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (401, "invalid_token"), way


async def test_an_altered_cookie_is_refused(pair: Pair) -> None:
    """A session's token with another's signature, or with none, is no cookie of Better Auth's."""
    ann, bob, nobody = await pair.sign_up(), await pair.sign_up(), await pair.nobody()
    signature = bob.session.cookies[COOKIE].partition(".")[2]
    for value in (f"{ann.session.token}.{signature}", f"{ann.session.token}.", ann.session.token):
        refused = await nobody.get("/api/tasks", headers={"Cookie": f"{COOKIE}={value}"})
        assert (refused.status_code, refused.json()["code"]) == (401, "invalid_token")


async def test_sessions_are_refused_unless_asked_for(pair: Pair) -> None:
    """By default only JWTs sign in: no cookie, and no token of a session."""
    person = await pair.sign_up()
    async with (
        serving(pair.environment | {"AUTH_ACCEPT_SESSIONS": "false"}) as url,
        Client(base_url=url, trust_env=False, timeout=TIMEOUT) as client,
    ):
        refused = await client.get("/api/tasks", headers={"Cookie": cookie_header(person.session)})
        assert (refused.status_code, refused.json()["code"]) == (401, "missing_token")
        refused = await client.get("/api/tasks", headers=bearer(person.session.token))
        assert (refused.status_code, refused.json()["code"]) == (401, "invalid_token")
        assert (await client.get("/api/tasks", headers=bearer(person.token))).json() == []


async def test_behind_a_public_https_address(databases: Databases) -> None:
    """Where users see https, the Secure cookie works, and tokens name that address; keys come from inside."""
    public, port = "https://app.example.com", free_port()
    settings = {
        "BETTER_AUTH_URL": public,
        "AUTH_JWKS_URL": f"http://127.0.0.1:{port}/api/auth/jwks",
        "AUTH_ACCEPT_SESSIONS": "true",
        "CORS_ORIGINS": public,
    }
    async with together(databases, settings, port=port, better_auth_url=public) as pair:
        person, nobody = await pair.sign_up(), await pair.nobody()
        task = await person.new_task()
        [cookie] = [line for line in person.session.set_cookie if line.startswith(f"__Secure-{COOKIE}=")]
        assert "; Secure" in cookie
        headers = {"Cookie": cookie_header(person.session), "Origin": public}
        assert (await nobody.get("/api/tasks", headers=headers)).json() == [task]
        assert (await nobody.post("/api/tasks", json={"title": "a"}, headers=headers)).status_code == 201
