"""Delta sync: a client that does what it is told has a copy, and misses nothing."""

import asyncio
import random
from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from tests.conftest import Client, MakeClient, on_postgresql


class Copy:
    """A client's copy of its tasks, kept by what the service tells of changes."""

    def __init__(self, client: Client, limit: int = 500) -> None:
        self._client = client
        self._limit = limit
        self.cursor: str | None = None
        self.tasks: dict[int, Any] = {}
        self.told: list[dict[str, Any]] = []

    async def update(self) -> None:
        """Ask until there is no more."""
        has_more = True
        while has_more:
            since = "" if self.cursor is None else f"&since={self.cursor}"
            response = await self._client.get(f"/api/tasks/changes?limit={self._limit}{since}")
            assert response.status_code == 200, response.text
            answer = response.json()
            for change in answer["changes"]:
                if change["type"] == "delete":
                    self.tasks.pop(change["id"], None)
                else:
                    self.tasks[change["task"]["id"]] = change["task"]
            self.told += answer["changes"]
            self.cursor, has_more = answer["cursor"], answer["has_more"]


async def everything(client: Client) -> dict[int, Any]:
    """A user's tasks as they are."""
    return {task["id"]: task for task in (await client.get("/api/tasks")).json()}


@pytest.mark.parametrize("limit", [1, 2, 500])
async def test_a_copy_is_what_there_is(alice: Client, bob: Client, limit: int) -> None:
    """From nothing to live with one loop, whatever the size of a page; nobody else's is told."""
    await bob.new_task("bob's")
    first, second, third = [await alice.new_task(f"t{n}") for n in range(3)]
    copy = Copy(alice, limit)
    await copy.update()
    assert copy.tasks == await everything(alice)
    copy.told.clear()
    await alice.patch(f"/api/tasks/{first['id']}", json={"title": "once"})
    await alice.patch(f"/api/tasks/{first['id']}", json={"title": "twice"})
    await alice.delete(f"/api/tasks/{second['id']}")
    await alice.new_task("new", due_date="2026-11-21", recurring_pattern="daily")
    await alice.post("/api/tasks/complete-all")
    await bob.new_task("bob's, too")
    await copy.update()
    assert copy.tasks == await everything(alice)
    ids = [change["id"] if change["type"] == "delete" else change["task"]["id"] for change in copy.told]
    assert len(ids) == len(set(ids)), "each task is told of once"
    assert {"type": "delete", "id": second["id"]} in copy.told
    copy.told.clear()
    await copy.update()
    assert copy.told == []
    assert third["id"] in copy.tasks


async def test_what_changes_while_a_copy_is_made_is_not_missed(alice: Client) -> None:
    """A change between two pages of the first copy comes after them, and `has_more` says that it does."""
    tasks = [await alice.new_task(f"t{n}") for n in range(4)]
    begun = (await alice.get("/api/tasks/changes?limit=2")).json()
    assert begun["has_more"]
    await alice.patch(f"/api/tasks/{tasks[0]['id']}", json={"title": "changed"})
    await alice.delete(f"/api/tasks/{tasks[1]['id']}")
    rest = (await alice.get(f"/api/tasks/changes?limit=2&since={begun['cursor']}")).json()
    assert [change["task"]["title"] for change in rest["changes"]] == ["t2", "t3"]
    assert rest["has_more"], "what has changed since the beginning may be half of something"
    last = (await alice.get(f"/api/tasks/changes?since={rest['cursor']}")).json()
    told = [change.get("task", {}).get("title", change["type"]) for change in last["changes"]]
    assert told == ["changed", "delete"]
    assert not last["has_more"]


async def test_a_transaction_comes_whole(alice: Client) -> None:
    """Half of what one request did is never all there is: `has_more` stays true until the other half."""
    copy = Copy(alice)
    await copy.update()
    await alice.post(
        "/api/tasks/batch", json={"operations": [{"op": "create", "title": f"t{n}"} for n in range(5)]}
    )
    seen, has_more, since = 0, True, copy.cursor
    while has_more:
        answer = (await alice.get(f"/api/tasks/changes?limit=2&since={since}")).json()
        seen += len(answer["changes"])
        since, has_more = answer["cursor"], answer["has_more"]
        assert has_more == (seen < 5)


async def test_a_cursor_that_leads_nowhere_is_a_410(app: FastAPI, alice: Client, bob: Client) -> None:
    """Another user's, one from before the log begins or after it ends: begin again without it."""
    await bob.new_task()
    await alice.new_task()
    copies = [Copy(alice), Copy(bob)]
    for copy in copies:
        await copy.update()
    assert copies[0].cursor is not None
    set_counter = "UPDATE change_counters SET {} WHERE user_id = 'alice'"

    async def status(client: Client, cursor: str | None) -> tuple[int, str]:
        answer = await client.get("/api/tasks/changes", params={"since": cursor or ""} if cursor else {})
        return answer.status_code, answer.json().get("code", "")

    expired = (410, "cursor_expired")
    assert await status(alice, copies[1].cursor) == expired
    assert await status(alice, "x" * 60) == expired
    assert await status(alice, copies[0].cursor) == (200, "")
    engine = app.state.database.engine.execution_options(unobserved=True)
    for change, back in (("floor = 5", "floor = 0"), ("seq = 0", "seq = 1")):
        async with engine.begin() as connection:
            await connection.execute(text(set_counter.format(change)))
        assert await status(alice, copies[0].cursor) == expired, change
        async with engine.begin() as connection:
            await connection.execute(text(set_counter.format(back)))
    assert await status(alice, copies[0].cursor) == (200, "")


async def write_at_once(database_url: str, tasks: list[int]) -> None:
    """Change tasks of alice's on eight connections, on each 60 times, some of them slow to commit."""
    chance = random.Random(1)

    async def write() -> None:
        connection = await asyncpg.connect(database_url, statement_cache_size=0)  # a pooler may be between
        try:
            for number in range(60):
                task_id = chance.choice(tasks)
                async with connection.transaction():
                    await connection.execute(
                        "UPDATE tasks SET title = $1, version = version + 1 "
                        "WHERE user_id = 'alice' AND id = $2",
                        f"n{number}",
                        task_id,
                    )
                    for _ in range(chance.choice((0, 0, 5))):
                        await asyncio.sleep(0)
                        await connection.execute("SELECT 1")
        finally:
            await connection.close()

    await asyncio.gather(*(write() for _ in range(8)))


async def nothing_is_missed(alice: Client, database_url: str) -> None:
    """Fail unless a reader that polls beside such writers has all that they wrote."""
    tasks = [(await alice.new_task(f"t{n}"))["id"] for n in range(40)]
    copy, done = Copy(alice, limit=7), asyncio.Event()

    async def read() -> None:
        while not done.is_set():
            await copy.update()

    reading = asyncio.create_task(read())
    await write_at_once(database_url, tasks)
    done.set()
    await reading
    await copy.update()
    assert copy.tasks == await everything(alice)


@on_postgresql
async def test_no_reader_misses_what_is_committed_late(database_url: str, alice: Client) -> None:
    """Eight writers of one user, some slow to commit, a reader that polls: nothing is stale in the end."""
    await nothing_is_missed(alice, database_url)


@on_postgresql
async def test_deleting_a_user_never_fails_beside_writers(
    app: FastAPI, database_url: str, client_for: MakeClient
) -> None:
    """Better Auth deletes users while their tasks are changed: each goes, and nothing of theirs stays."""
    for number in range(6):
        client = await client_for(f"user{number}")
        for title in ("a", "b"):
            await client.new_task(title)

    async def write(user_id: str) -> None:
        connection = await asyncpg.connect(database_url)
        try:
            for _ in range(30):
                await connection.execute(
                    "UPDATE tasks SET completed = NOT completed, version = version + 1 WHERE id = "
                    "(SELECT min(id) FROM tasks WHERE user_id = $1) AND user_id = $1",
                    user_id,
                )
        finally:
            await connection.close()

    async def delete(user_id: str) -> None:
        connection = await asyncpg.connect(database_url)
        try:
            await asyncio.sleep(0)
            assert await connection.execute('DELETE FROM "user" WHERE id = $1', user_id) == "DELETE 1"
        finally:
            await connection.close()

    users = [f"user{number}" for number in range(6)]
    await asyncio.gather(*(write(user) for user in users for _ in range(2)), *map(delete, users))
    engine = app.state.database.engine.execution_options(unobserved=True)
    async with engine.connect() as connection:
        for table in ("tasks", "change_counters", "task_events", "change_sources"):
            assert (await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar() == 0
