"""The published keys over time: rotated, deleted, of another algorithm, out of reach, made anew."""

import asyncio
import time
from contextlib import AsyncExitStack

import httpx
import pytest
from jose import jwt

from backend.auth.jwks import COOLDOWN
from tests.better_auth.conftest import Pair, Person, bearer, serving, together
from tests.better_auth.harness import TIMEOUT
from tests.conftest import Client, Databases

DEADLINE = 20.0  # seconds that an event may take on a busy machine

pytestmark = pytest.mark.asyncio(loop_scope="session")


def header(token: str) -> tuple[str, str]:
    """The algorithm of a token and the id of its key."""
    said = jwt.get_unverified_header(token)
    return said["alg"], said["kid"]


async def status(client: Client, token: str) -> tuple[int, str]:
    """How a list is answered to the holder of a token."""
    response = await client.get("/api/tasks", headers=bearer(token))
    return response.status_code, "" if response.is_success else response.json()["code"]


OK = (200, "")
REFUSED = (401, "invalid_token")
NO_KEYS = (503, "keys_unavailable")


async def until_accepted(client: Client, token: str) -> None:
    """Return once the token's key is known; nothing else may be wrong with it before."""
    async with asyncio.timeout(DEADLINE):
        while (found := await status(client, token)) != OK:
            assert found == NO_KEYS
            await asyncio.sleep(0.05)


async def test_rotation_fails_no_request(databases: Databases) -> None:
    """While keys that sign for two seconds follow each other, every new token of every client is accepted."""
    async with together(databases, jwt_rotation=2) as pair:
        people = [await pair.sign_up() for _ in range(3)]
        keys: set[str] = set()
        end = time.monotonic() + 6

        async def work(person: Person) -> None:
            while time.monotonic() < end:
                token = await pair.auth.token(person.session)
                keys.add(header(token)[1])
                assert await status(person, token) == OK

        async with asyncio.TaskGroup() as group:
            for person in people * 2:
                group.create_task(work(person))
        assert len(keys) >= 3


async def test_an_outage_of_the_issuer(databases: Databases) -> None:
    """Known keys go on serving; a token of a key not known is a 503 until the issuer is back, then it works.

    So it is with a service that was started meanwhile. And the issuer may come back with another algorithm.
    """
    async with together(databases) as pair, AsyncExitStack() as opened:
        person = await pair.sign_up()
        seen, unseen = person.token, await pair.auth.token(person.session)
        assert await status(person, seen) == OK
        await pair.auth.restart(alg="RS256")
        await pair.auth.rotate()
        new = await pair.auth.token(person.session)
        assert (header(seen)[0], header(new)[0]) == ("EdDSA", "RS256")
        await pair.auth.stop()
        with pytest.raises(httpx.ConnectError):
            await pair.auth.token(person.session)

        url = await opened.enter_async_context(serving(pair.environment))
        late = await opened.enter_async_context(Client(base_url=url, trust_env=False, timeout=TIMEOUT))
        assert (await late.get("/health")).status_code == 200
        assert await status(person, unseen) == await status(person, seen) == OK
        for client, token in ((late, seen), (person, new)):
            refused = await client.post("/api/tasks", json={"title": "a"}, headers=bearer(token))
            assert (refused.status_code, refused.json()["code"]) == NO_KEYS
            assert int(refused.headers["Retry-After"]) > 0
        assert await status(person, unseen) == await status(person, seen) == OK

        await pair.auth.restart()
        for client in (late, person):
            await until_accepted(client, new)
            assert [await status(client, token) for token in (seen, unseen)] == [OK] * 2
        assert await status(person, await pair.auth.token(person.session)) == OK


async def test_a_deleted_key_is_forgotten(pair: Pair) -> None:
    """Once the issuer has deleted a key and shown a new one, nobody gets in with a token of the old one."""
    person = await pair.sign_up()
    seen, unseen = person.token, await pair.auth.token(person.session)
    assert await status(person, seen) == OK
    await pair.auth.rotate(forget=True)
    new = await pair.auth.token(person.session)
    assert header(new) != header(seen)
    assert await status(person, new) == OK
    assert list(await asyncio.gather(*(status(person, old) for old in (seen, unseen)))) == [REFUSED] * 2
    assert await status(person, new) == OK


async def test_a_reset_of_better_auth(databases: Databases) -> None:
    """Emptied, with ids that start again at 1, it is accepted with its new key under the old key's id."""
    settings = {"AUTH_USER_ID_TYPE": "integer"}
    async with together(databases, settings, first="theirs", id_type="serial") as pair:
        before = await pair.sign_up()
        await before.new_task("before")
        fetched = time.monotonic()
        keys = await pair.auth.jwks()
        await pair.query('TRUNCATE "user", session, account, verification, jwks RESTART IDENTITY CASCADE')
        after = await pair.sign_up()
        assert after.user_id == before.user_id == "1"
        assert header(after.token) == header(before.token)
        assert await pair.auth.jwks() != keys

        assert await status(after, after.token) in (OK, REFUSED)
        # Signatures that are wrong do not make the service ask the issuer more often than this.
        await asyncio.sleep(fetched + COOLDOWN - time.monotonic())
        assert await status(after, after.token) == OK
        assert await after.titles() == []
        assert await status(before, before.token) == REFUSED
