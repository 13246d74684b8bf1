"""What the database undid for others' sake is done again, and has its own name when that does not help."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

from backend.db import Database
from backend.engine import statements as engine
from backend.engine.statements import CONFLICT_TRIES, again
from backend.errors import DatabaseConflict
from backend.main import create_app
from backend.tasks import crud
from backend.tasks.schemas import TaskCreate, TaskUpdate
from tests.conftest import Client, add_user, on_postgresql, settings_for


class Work:
    """Something that is undone a number of times."""

    def __init__(self, undone: int) -> None:
        self.undone = undone
        self.done = 0

    async def __call__(self) -> str:
        self.done += 1
        if self.done <= self.undone:
            raise DatabaseConflict
        return "done"


async def test_it_is_done_again_a_few_times() -> None:
    """As often as CONFLICT_TRIES says, and no more."""
    assert await again(work := Work(CONFLICT_TRIES - 1)) == "done"
    assert work.done == CONFLICT_TRIES
    with pytest.raises(DatabaseConflict):
        await again(work := Work(CONFLICT_TRIES))
    assert work.done == CONFLICT_TRIES


async def test_nothing_is_begun_again_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the database has waited long by itself, once was enough."""
    monkeypatch.setattr(engine, "CONFLICT_SECONDS", -1)
    with pytest.raises(DatabaseConflict):
        await again(work := Work(1))
    assert work.done == 1


FAILING = """
CREATE SEQUENCE writes;
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF nextval('writes') <= {times} THEN RAISE EXCEPTION 'undone' USING ERRCODE = '{state}'; END IF;
  RETURN NULL;
END $$;
CREATE {kind} TRIGGER fail AFTER INSERT OR UPDATE ON tasks {when} FOR EACH ROW EXECUTE FUNCTION fail();
"""
AT_ONCE = {"kind": "", "when": ""}
AT_COMMIT = {"kind": "CONSTRAINT", "when": "DEFERRABLE INITIALLY DEFERRED"}


@pytest.fixture
async def postgres(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Straight to the app's database."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


REQUESTS: list[tuple[str, str, Any, int]] = [
    ("PATCH", "/api/tasks/1", {"title": "changed"}, 0),
    ("PATCH", "/api/tasks/1", {"due_date": "2026-11-21"}, 0),
    ("PATCH", "/api/tasks/1/complete", None, 0),
    ("POST", "/api/tasks", {"title": "new"}, 1),
    ("POST", "/api/tasks/batch", {"operations": [{"op": "create", "title": "new"}]}, 1),
    ("POST", "/api/tasks/complete-all", None, 0),
]


@on_postgresql
@pytest.mark.parametrize("where", [AT_ONCE, AT_COMMIT], ids=["at once", "at commit"])
async def test_every_write_is_done_again(
    alice: Client, postgres: asyncpg.Connection, where: dict[str, str]
) -> None:
    """A statement, a transaction, and either with a key: each goes through, and is done once."""
    await alice.new_task()
    await postgres.execute(FAILING.format(times=2, state="40P01", **where))
    for number, (method, path, body, new) in enumerate(REQUESTS):
        for headers in ({}, {"Idempotency-Key": str(number)}):
            before = await postgres.fetchval("SELECT count(*) FROM tasks")
            await postgres.execute("SELECT setval('writes', 1, false)")
            response = await alice.request(method, path, json=body, headers=headers)
            assert response.status_code in (200, 201), response.text
            assert await postgres.fetchval("SELECT count(*) FROM tasks") - before == new, path


@on_postgresql
@pytest.mark.parametrize("state", ["40001", "40P01"])
async def test_what_does_not_go_through_has_its_own_name(
    alice: Client, postgres: asyncpg.Connection, state: str
) -> None:
    """A 503 `database_conflict` that says when to come again, and nothing was done."""
    await alice.new_task()
    await postgres.execute(FAILING.format(times=1000, state=state, **AT_ONCE))
    for method, path, body, _ in REQUESTS:
        response = await alice.request(method, path, json=body)
        assert (response.status_code, response.json()["code"]) == (503, "database_conflict"), path
        assert int(response.headers["retry-after"]) >= 1
    assert await postgres.fetchval("SELECT count(*) FROM tasks") == 1


async def test_a_locked_file_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's BUSY is such a conflict too: once whoever held the file is done, the write goes through."""
    app = create_app(settings_for(f"sqlite:///{tmp_path}/tasks.db", database_pool_size=1))
    async with app.router.lifespan_context(app):
        await add_user(app, "alice")
        database: Database = app.state.database
        async with database.engine.connect() as connection:  # the one that serves
            await connection.execute(text("PRAGMA busy_timeout=1"))
        other = sqlite3.connect(tmp_path / "tasks.db", isolation_level=None)
        pauses = []

        def pause(*_: float) -> float:
            pauses.append(0)
            if len(pauses) == 2:
                other.execute("ROLLBACK")
            return 0

        monkeypatch.setattr("random.uniform", pause)
        for changes in ({"title": "a statement"}, {"due_date": "2026-11-21"}):
            pauses.clear()
            task = await crud.create_task(database.statements, "alice", TaskCreate(title="a"))
            other.execute("BEGIN IMMEDIATE")
            await crud.update_task(database.statements, "alice", task.id, TaskUpdate.model_validate(changes))
            assert len(pauses) == 2
        other.execute("BEGIN IMMEDIATE")
        pauses.extend([0] * 10)
        with pytest.raises(DatabaseConflict):
            await crud.create_task(database.statements, "alice", TaskCreate(title="a"))
        other.close()
