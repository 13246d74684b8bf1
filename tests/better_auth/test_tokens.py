"""Better Auth's tokens as bearer tokens: those of the secret, and what only looks like one."""

import time

import pytest
from jose import jwt

from tests.better_auth.conftest import PASSWORD, Pair, bearer
from tests.better_auth.harness import SECRET, BetterAuth

pytestmark = pytest.mark.asyncio(loop_scope="session")


def secret_token(user_id: str, secret: str = SECRET) -> str:
    """What a frontend without the jwt plugin signs for its user."""
    now = int(time.time())
    return str(jwt.encode({"sub": user_id, "iat": now, "exp": now + 900}, secret, algorithm="HS256"))


async def test_the_shared_secret_works_beside_the_published_keys(pair: Pair) -> None:
    """A token signed with the secret is the same user as one of the jwt plugin; another secret is nobody."""
    person = await pair.sign_up()
    await person.new_task("with a published key")
    headers = bearer(secret_token(person.user_id))
    created = await person.post("/api/tasks", json={"title": "with the secret"}, headers=headers)
    assert created.status_code == 201
    assert created.json()["user_id"] == person.user_id
    listed = await person.get("/api/tasks", headers=headers)
    assert [task["title"] for task in listed.json()] == ["with the secret", "with a published key"]
    assert await person.titles() == ["with the secret", "with a published key"]
    forged = bearer(secret_token(person.user_id, SECRET[::-1]))
    assert (await person.get("/api/tasks", headers=forged)).status_code == 401


async def test_the_cached_session_works(pair: Pair) -> None:
    """The session_data cookie of strategy "jwt" is a bearer token of its user."""
    person = await pair.sign_up()
    task = await person.new_task()
    headers = bearer(person.session.cookies["better-auth.session_data"])
    assert (await person.get("/api/tasks", headers=headers)).json() == [task]
    assert (await person.post("/api/tasks", json={"title": "a"}, headers=headers)).status_code == 201


async def test_a_cached_session_of_the_published_key_is_refused(pair: Pair) -> None:
    """What Better Auth signs with the same key for another purpose and audience is no token for us."""
    person = await pair.sign_up()
    async with BetterAuth.start(
        pair.database_url, migrate=0, better_auth_url=pair.auth.url, cookie_cache="jwks"
    ) as twin:
        token = (await twin.sign_in(person.email, PASSWORD)).cookies["better-auth.session_data"]
    assert jwt.get_unverified_header(token).items() >= jwt.get_unverified_header(person.token).items()
    assert jwt.get_unverified_claims(token)["sub"] == person.user_id
    refused = await person.get("/api/tasks", headers=bearer(token))
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_token")


async def test_a_mailed_token_is_refused(pair: Pair) -> None:
    """Who holds the link of a verification mail, signed with the secret, is not signed in."""
    person = await pair.sign_up()
    [token] = [mail["token"] for mail in await pair.auth.mails() if mail["to"] == person.email]
    claims = jwt.decode(token, SECRET, algorithms=["HS256"])  # otherwise good
    assert claims["email"] == person.email
    refused = await person.get("/api/tasks", headers=bearer(token))
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_token")


async def test_an_expired_token_is_told_so(pair: Pair) -> None:
    """A token whose time is over is a 401 that says so."""
    person = await pair.sign_up()
    # Another process of the same Better Auth: same address to the outside, same keys.
    async with BetterAuth.start(
        pair.database_url, migrate=0, better_auth_url=pair.auth.url, jwt_expires_in="-1m"
    ) as twin:
        token = await twin.token(person.session)
    refused = await person.get("/api/tasks", headers=bearer(token))
    assert (refused.status_code, refused.json()["code"]) == (401, "token_expired")


async def test_another_issuer_is_refused(pair: Pair) -> None:
    """A token that our keys verify, but that another address has issued, is refused."""
    person = await pair.sign_up()
    async with BetterAuth.start(pair.database_url, migrate=0) as other:
        token = await other.token(person.session)
    assert jwt.get_unverified_header(token) == jwt.get_unverified_header(person.token)
    refused = await person.get("/api/tasks", headers=bearer(token))
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_token")
