"""Retry safety with Idempotency-Key, and lost updates with ETags, on both databases."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from fastapi import FastAPI
from sqlalchemy import text

from tests.conftest import Client

BODY = {"title": "once"}


def keyed(key: str) -> dict[str, str]:
    """The header of a key."""
    return {"Idempotency-Key": key}


async def count(client: Client) -> int:
    """How many tasks there are."""
    return len((await client.get("/api/tasks")).json())


async def test_a_repeated_post_is_answered_alike_and_done_once(alice: Client) -> None:
    """The first answer comes again, with its Location and ETag, and says that it is a replay."""
    first = await alice.post("/api/tasks", json=BODY, headers=keyed("k1"))
    again = await alice.post("/api/tasks", json=BODY, headers=keyed("k1"))
    assert (again.status_code, again.content) == (first.status_code, first.content) == (201, first.content)
    for name in ("location", "etag", "content-type"):
        assert again.headers[name] == first.headers[name]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert await count(alice) == 1


async def test_a_key_is_for_one_request_of_one_user(alice: Client, bob: Client) -> None:
    """Another body, or another operation, under a used key is a 422; another user's key is another key."""
    await alice.post("/api/tasks", json=BODY, headers=keyed("k"))
    other = await alice.post("/api/tasks", json={"title": "other"}, headers=keyed("k"))
    assert other.status_code == 422
    assert other.json()["detail"][0]["loc"] == ["header", "Idempotency-Key"]
    assert (await alice.post("/api/tasks/complete-all", headers=keyed("k"))).status_code == 422
    assert (await bob.post("/api/tasks", json=BODY, headers=keyed("k"))).status_code == 201
    assert (await count(alice), await count(bob)) == (1, 1)


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ä".encode().decode("latin-1")])
async def test_keys_that_are_none_are_refused(alice: Client, key: str) -> None:
    """A key is 1 to 255 visible ASCII characters."""
    response = await alice.post(
        "/api/tasks", json=BODY, headers=[(b"Idempotency-Key", key.encode("latin-1"))]
    )
    assert response.status_code == 422
    assert await count(alice) == 0


async def test_a_failed_post_leaves_its_key_free(alice: Client) -> None:
    """What was refused was not done: the same key serves the corrected request."""
    assert (await alice.post("/api/tasks", json={"title": ""}, headers=keyed("k"))).status_code == 422
    assert (await alice.post("/api/tasks", json=BODY, headers=keyed("k"))).status_code == 201


async def test_a_key_is_forgotten_after_a_day(alice: Client, app: FastAPI) -> None:
    """A key older than 24 hours is as good as new; a younger one is kept."""
    await alice.post("/api/tasks", json=BODY, headers=keyed("k"))
    for hours, expected in ((23, 1), (25, 2)):
        aged = (datetime.now(UTC) - timedelta(hours=hours)).replace(tzinfo=None)
        engine = app.state.database.engine.execution_options(unobserved=True)
        async with engine.begin() as connection:
            moment = aged.isoformat(" ", "microseconds")
            zone = "" if engine.dialect.name == "sqlite" else "+00"
            await connection.execute(text(f"UPDATE idempotency_keys SET created_at = '{moment}{zone}'"))
        await alice.post("/api/tasks", json=BODY, headers=keyed("k"))
        assert await count(alice) == expected


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_fifty_identical_posts_at_once_make_one_task(alice: Client) -> None:
    """However they race, on PostgreSQL, all get the one task and one of them made it."""
    posts = (alice.post("/api/tasks", json=BODY, headers=keyed("k")) for _ in range(50))
    answers = await asyncio.gather(*posts)
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert await count(alice) == 1


async def test_etags_follow_versions(alice: Client) -> None:
    """Every answer with a task has its ETag; it moves with real changes only."""
    created = await alice.post("/api/tasks", json={"title": "a"})
    path = created.headers["location"]
    assert created.headers["etag"] == (await alice.get(path)).headers["etag"] == '"1"'
    assert (await alice.patch(path, json={"title": "a"})).headers["etag"] == '"1"'
    assert (await alice.patch(path, json={"title": "b"})).headers["etag"] == '"2"'
    assert (await alice.patch(f"{path}/complete")).headers["etag"] == '"3"'


async def test_if_match_lets_no_update_be_lost(alice: Client) -> None:
    """A write under another ETag is a 412 with the task as it is, and changes nothing."""
    path = (await alice.post("/api/tasks", json={"title": "a"})).headers["location"]
    current = (await alice.patch(path, json={"title": "b"})).json()
    for method, address, body in (
        ("PUT", path, {"title": "c"}),
        ("PATCH", path, {"title": "c"}),
        ("PATCH", path, {"due_date": "2026-01-01"}),
        ("PATCH", path, {}),
        ("PATCH", f"{path}/complete", None),
        ("PATCH", f"{path}/complete", {"completed": True}),
        ("DELETE", path, None),
    ):
        for etag in ('"1"', 'W/"2"', "2", '"x"', "", '"99999999999"'):
            response = await alice.request(method, address, json=body, headers={"If-Match": etag})
            assert response.status_code == 412, (method, etag)
            assert response.json()["code"] == "version_mismatch"
            assert response.json()["current"] == current
    for number, etag in enumerate(('"2"', '"1", "3"', "*")):
        response = await alice.patch(path, json={"title": f"c{number}"}, headers={"If-Match": etag})
        assert response.status_code == 200
    assert (await alice.delete(path, headers={"If-Match": '"5"'})).status_code == 204
    assert (await alice.delete(path, headers={"If-Match": '"5"'})).status_code == 404


async def test_if_none_match_spares_the_body(alice: Client) -> None:
    """A task that the client has is a 304 without a body, and only then."""
    path = (await alice.post("/api/tasks", json={"title": "a"})).headers["location"]
    for etag in ('"1"', 'W/"1"', '"7", "1"', "*"):
        response = await alice.get(path, headers={"If-None-Match": etag})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == '"1"'
    for etag in ('"2"', "1", ""):
        assert (await alice.get(path, headers={"If-None-Match": etag})).status_code == 200


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_one_of_fifty_writers_wins(alice: Client) -> None:
    """Fifty writes under one ETag, on PostgreSQL: one succeeds, the others are told."""
    path = (await alice.post("/api/tasks", json={"title": "a"})).headers["location"]
    writes = (alice.patch(path, json={"title": f"t{n}"}, headers={"If-Match": '"1"'}) for n in range(50))
    statuses = [answer.status_code for answer in await asyncio.gather(*writes)]
    assert sorted(statuses) == [200] + [412] * 49
    assert (await alice.get(path)).json()["version"] == 2
