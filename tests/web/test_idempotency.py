"""Retry safety with Idempotency-Key, and lost updates with ETags, on both databases."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from backend.config import Settings
from tests.conftest import Client, on_postgresql, on_sqlite, settings_for

BODY = {"title": "once"}


@pytest.fixture
def settings(request: pytest.FixtureRequest, database_url: str) -> Settings:
    """Those of the usual service, or with the limits that a test names."""
    return settings_for(database_url, **getattr(request, "param", {}))


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


@on_sqlite
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


@on_postgresql
async def test_fifty_identical_posts_at_once_make_one_task(alice: Client) -> None:
    """However they race, on PostgreSQL, all get the one task and one of them made it."""
    posts = (alice.post("/api/tasks", json=BODY, headers=keyed("k")) for _ in range(50))
    answers = await asyncio.gather(*posts)
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert await count(alice) == 1


@pytest.mark.parametrize("settings", [{"idempotency_bytes_max": 10_000}], indirect=True)
async def test_an_answer_that_is_too_large_is_done_once_all_the_same(alice: Client) -> None:
    """What does not fit beside the others is not kept; its repetition is told so, and does nothing."""
    many = {"operations": [{"op": "create", "title": "t" * 200}] * 10}
    for key, kept in (("k1", True), ("k2", False), ("k3", False)):
        first = await alice.post("/api/tasks/batch", json=many, headers=keyed(key))
        assert (first.status_code, 4096 < len(first.content) < 10_000) == (200, True)
        again = await alice.post("/api/tasks/batch", json=many, headers=keyed(key))
        if kept:
            assert again.content == first.content
        else:
            assert (again.status_code, again.json()["code"]) == (409, "answer_not_kept")
    assert await count(alice) == 30
    small = [await alice.post("/api/tasks", json=BODY, headers=keyed("k4")) for _ in range(2)]
    assert small[0].content == small[1].content


@pytest.mark.parametrize("settings", [{"idempotency_keys_max": 2}], indirect=True)
async def test_no_user_has_keys_without_end(alice: Client, bob: Client) -> None:
    """One more is a 429 that did nothing; those that are kept still answer, and other users are others."""
    for key in ("k1", "k2"):
        assert (await alice.post("/api/tasks", json=BODY, headers=keyed(key))).status_code == 201
    refused = await alice.post("/api/tasks", json=BODY, headers=keyed("k3"))
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_keys")
    assert int(refused.headers["retry-after"]) > 0
    again = await alice.post("/api/tasks", json=BODY, headers=keyed("k1"))
    assert again.headers["idempotency-replayed"] == "true"
    assert await count(alice) == 2
    assert (await bob.post("/api/tasks", json=BODY, headers=keyed("k3"))).status_code == 201


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


@on_postgresql
async def test_one_of_fifty_writers_wins(alice: Client) -> None:
    """Fifty writes under one ETag, on PostgreSQL: one succeeds, the others are told."""
    path = (await alice.post("/api/tasks", json={"title": "a"})).headers["location"]
    writes = (alice.patch(path, json={"title": f"t{n}"}, headers={"If-Match": '"1"'}) for n in range(50))
    statuses = [answer.status_code for answer in await asyncio.gather(*writes)]
    assert sorted(statuses) == [200] + [412] * 49
    assert (await alice.get(path)).json()["version"] == 2


UNSAFE: list[tuple[str, str, dict[str, Any] | None]] = [
    ("PATCH", "/api/tasks/1/complete", None),
    ("PATCH", "/api/tasks/1/complete", {"completed": False}),
    ("PATCH", "/api/tasks/1", {"title": "b"}),
    ("PUT", "/api/tasks/1", {"due_date": "2026-11-21", "recurring_pattern": "daily"}),
    ("PATCH", "/api/tasks/1/complete", {"completed": True}),
    ("POST", "/api/tasks/complete-all", None),
    ("DELETE", "/api/tasks/2", None),
    ("DELETE", "/api/tasks?status=completed", None),
]


async def test_a_key_is_honoured_on_every_change(alice: Client) -> None:
    """A toggle, an update and a deletion that come again are answered alike and done once."""
    for title in ("a", "b"):
        await alice.new_task(title)
    for number, (method, path, body) in enumerate(UNSAFE):
        first = await alice.request(method, path, json=body, headers=keyed(f"k{number}"))
        before = (await alice.get("/api/tasks")).json()
        again = await alice.request(method, path, json=body, headers=keyed(f"k{number}"))
        assert first.is_success, (path, first.text)
        assert (again.status_code, again.content) == (first.status_code, first.content), path
        assert again.headers["idempotency-replayed"] == "true"
        assert again.headers.get("etag") == first.headers.get("etag")
        assert again.headers.get("content-type") == first.headers.get("content-type")
        assert (await alice.get("/api/tasks")).json() == before


async def test_a_key_outlives_its_condition(alice: Client) -> None:
    """A change under If-Match that was done is answered again, though its version has passed."""
    await alice.new_task()
    headers = keyed("k") | {"If-Match": '"1"'}
    first = await alice.patch("/api/tasks/1", json={"title": "b"}, headers=headers)
    again = await alice.patch("/api/tasks/1", json={"title": "b"}, headers=headers)
    assert (again.status_code, again.content) == (200, first.content)
    assert (await alice.patch("/api/tasks/1", json={"title": "c"}, headers=headers)).status_code == 422
    stale = keyed("other") | {"If-Match": '"1"'}
    for _ in range(2):  # what was not done leaves its key free
        assert (await alice.delete("/api/tasks/1", headers=stale)).status_code == 412
    assert (await alice.delete("/api/tasks/1", headers=keyed("other"))).status_code == 204


async def test_conditions_may_come_on_several_lines(alice: Client) -> None:
    """A list header on several lines is one list (RFC 9110 §5.3)."""
    await alice.new_task()
    lines = [(b"If-None-Match", b'"7"'), (b"If-None-Match", b'W/"1", "8"')]
    assert (await alice.get("/api/tasks/1", headers=lines)).status_code == 304
    for method in ("PATCH", "PUT", "DELETE"):
        body = b"{}" if method != "DELETE" else b""
        lines = [(b"If-Match", b'"7"'), (b"If-Match", b'"1"'), (b"Content-Type", b"application/json")]
        assert (await alice.request(method, "/api/tasks/1", content=body, headers=lines)).is_success
    await alice.new_task()
    lines = [(b"If-Match", b'"7"'), (b"If-Match", b'"8"')]
    assert (await alice.delete("/api/tasks/2", headers=lines)).status_code == 412


@on_sqlite
@pytest.mark.parametrize(
    ("name", "values", "refused"),
    [
        ("Idempotency-Key", ("a", "b"), True),
        ("Idempotency-Key", ("a", "a"), False),
        ("Content-Type", ("application/json", "text/plain"), True),
        ("Content-Type", ("application/json", "application/json"), False),
        ("Authorization", ("Bearer x", "Bearer y"), True),
        ("Origin", ("http://localhost:3000", "http://evil.example"), True),
    ],
)
async def test_what_there_is_one_of_may_not_differ(
    alice: Client, name: str, values: tuple[str, str], refused: bool
) -> None:
    """Two lines of such a header that say two things are a 422 that names it; the same twice is once."""
    kept = [(n, v) for n, v in alice.headers.raw if n.lower() == b"authorization" and name != "Authorization"]
    given = [(b"Content-Type", b"application/json")] if name != "Content-Type" else []
    lines = [(name.encode(), value.encode()) for value in values]
    request = alice.build_request("POST", "/api/tasks", content=b'{"title": "a"}')
    others = [(n, v) for n, v in request.headers.raw if n.lower() not in (b"authorization", b"content-type")]
    request.headers = httpx.Headers([*others, *kept, *given, *lines])
    response = await alice.send(request)
    assert (response.status_code == 422) is refused, response.text
    assert refused or response.status_code == 201
    if refused:
        assert response.json()["detail"][0]["loc"] == ["header", name.lower()]
    assert await count(alice) == (0 if refused else 1)
