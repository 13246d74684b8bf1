"""What has expired goes, of all users, in small pieces; on both databases."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from fastapi import FastAPI
from sqlalchemy import insert, select, text

from backend import purge
from backend.db import Database
from backend.migrate import prepare
from backend.models import idempotency_keys, users
from backend.web.kept_answers import KEPT
from tests.conftest import Client, settings_for

NDJSON = {"Content-Type": "application/x-ndjson"}
OLD, YOUNG = (datetime.now(UTC) - KEPT + timedelta(hours=hours) for hours in (-6, 6))


@pytest.fixture
async def database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """With keys of four users, of whom one has none that is old."""
    monkeypatch.setattr(purge, "BATCH", 2)
    keys = []
    for user_id, old, young in (("ann", 5, 1), ("bea", 0, 2), ("cleo", 2, 0), ("dora", 1, 1)):
        times = [OLD] * old + [YOUNG] * young
        keys += [
            {"user_id": user_id, "key": f"k{number}", "fingerprint": "", "created_at": time}
            for number, time in enumerate(times)
        ]
    settings = settings_for(database_url)
    database = Database(settings)
    await prepare(database, settings)
    people = [
        {"id": name, "name": name, "email": name, "emailVerified": False}
        for name in {key["user_id"] for key in keys}
    ]
    async with database.engine.begin() as connection:
        await connection.execute(insert(users), people)
        await connection.execute(insert(idempotency_keys), keys)
    yield database
    await database.close()


async def test_what_is_old_goes_and_the_rest_stays(database: Database) -> None:
    """Each statement is about one user and few rows; a second run finds nothing."""
    [keys] = purge.PURGES
    assert await purge.run(database, keys) == 8
    assert await purge.run(database, keys) == 0
    async with database.engine.connect() as connection:
        left = (await connection.execute(select(idempotency_keys.c.user_id, idempotency_keys.c.key))).all()
    assert sorted(tuple(row) for row in left) == [("ann", "k5"), ("bea", "k0"), ("bea", "k1"), ("dora", "k1")]


async def test_several_may_purge_at_once(database: Database) -> None:
    """Together they remove each row once."""
    [keys] = purge.PURGES
    assert sum(await asyncio.gather(*(purge.run(database, keys) for _ in range(4)))) == 8


async def test_old_changes_go_and_a_reader_is_told(app: FastAPI, alice: Client, bob: Client) -> None:
    """The log, its trash and sources are trimmed, and what asks from below the floor begins anew."""
    gone, kept = [await alice.new_task(title) for title in ("gone", "kept")]
    begun = (await alice.get("/api/tasks/changes")).json()["cursor"]
    await alice.delete(f"/api/tasks/{gone['id']}")
    await alice.post("/api/tasks/import", content='{"title":"i"}', headers=NDJSON)
    await bob.new_task("young")
    database = app.state.database
    database.statements.observers.clear()  # a purge alone asks for the rows of all
    assert await purge.forget_changes(database, timedelta(days=30)) == 0
    long_ago = datetime.now(UTC) - timedelta(days=31)
    async with database.engine.execution_options(unobserved=True).begin() as connection:
        old = long_ago if connection.dialect.name == "postgresql" else f"{long_ago:%Y-%m-%d %H:%M:%S.%f}"
        await connection.execute(
            text("UPDATE task_events SET at = :old WHERE user_id = 'alice'"), {"old": old}
        )
    await alice.patch(f"/api/tasks/{kept['id']}", json={"title": "new"})
    assert await purge.forget_changes(database, timedelta(days=30)) == 4
    assert (await alice.get(f"/api/tasks/changes?since={begun}")).status_code == 410
    assert [event["change"] for event in (await alice.get("/api/tasks/history")).json()] == [5]
    assert len((await bob.get("/api/tasks/history")).json()) == 1
    whole = (await alice.get("/api/tasks/changes")).json()
    assert [change["task"]["title"] for change in whole["changes"]] == ["new", "i"]
    assert (await alice.get(f"/api/tasks/changes?since={whole['cursor']}")).json()["changes"] == []
