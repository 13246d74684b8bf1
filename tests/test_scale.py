"""The tasks divided by their owner, as docs/scale.md says: nothing else has to change."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from backend import migrate
from backend.migrations import state
from tests.conftest import Client, Databases, Sent
from tests.streams import Watch
from tests.test_docs import CHECKOUT
from tests.test_migrate import NEWEST, NEXT, made
from tests.test_openapi import operations

OLD = """INSERT INTO "user" (id, name, email, "emailVerified") VALUES ('old', 'old', 'o@e.com', false);
INSERT INTO tasks (user_id, title) VALUES ('old', 'kept')"""

NDJSON = {"Content-Type": "application/x-ndjson"}
TASK = {"title": "a task", "tags": ["home"]}
SERIES = {"title": "a series", "due_date": "2020-01-31", "recurring_pattern": "monthly"}
BATCH = [{"op": "create", "title": "b"}, {"op": "update", "id": 2, "title": "c"}, {"op": "delete", "id": 99}]

# Each operation with its path in the document, what is sent, and the status of the answer.
UI_MESSAGE = {"id": "m", "role": "user", "parts": [{"type": "text", "text": "m"}]}
WALK: list[tuple[str, str, dict[str, Any], int]] = [
    ("GET", "/", {}, 200),
    ("GET", "/health", {}, 200),
    ("GET", "/ready", {}, 200),
    ("POST", "/api/tasks", {"json": TASK}, 201),
    ("POST", "/api/tasks", {"json": SERIES, "headers": {"Idempotency-Key": "k"}}, 201),
    ("POST", "/api/tasks", {"json": SERIES, "headers": {"Idempotency-Key": "k"}}, 201),
    ("POST", "/api/tasks/batch", {"json": {"operations": BATCH[:2]}}, 200),
    ("POST", "/api/tasks/batch", {"json": {"operations": BATCH}}, 409),
    ("GET", "/api/tasks", {"params": {"tag": "home"}}, 200),
    ("GET", "/api/tasks", {"params": {"status": "pending", "search": "a", "sort": "relevance"}}, 200),
    ("GET", "/api/tasks/count", {"params": {"overdue": "true"}}, 200),
    ("GET", "/api/tasks/stats", {}, 200),
    ("GET", "/api/tasks/recurrence", {"params": {"pattern": "daily", "due_date": "2026-11-21"}}, 200),
    ("GET", "/api/tasks/{task_id}", {}, 200),
    ("PUT", "/api/tasks/{task_id}", {"json": {"title": "d"}, "headers": {"If-Match": '"2"'}}, 200),
    ("PUT", "/api/tasks/{task_id}", {"json": {"title": "d"}, "headers": {"If-Match": '"2"'}}, 412),
    ("PATCH", "/api/tasks/{task_id}", {"json": {"due_date": "2020-02-01"}}, 200),
    ("PATCH", "/api/tasks/{task_id}/complete", {}, 200),
    ("PATCH", "/api/tasks/{task_id}/complete", {"json": {"completed": False}}, 200),
    ("POST", "/api/tasks/complete-all", {}, 200),
    ("GET", "/api/tasks/export", {}, 200),
    ("POST", "/api/tasks/import", {"content": '{"title": "e"}', "headers": NDJSON}, 200),
    ("POST", "/api/tasks/{task_id}/undo", {}, 200),
    ("POST", "/api/tasks/undo/{change}", {}, 409),
    ("GET", "/api/tasks/changes", {}, 200),
    ("GET", "/api/tasks/history", {}, 200),
    ("GET", "/api/tasks/{task_id}/history", {}, 200),
    ("DELETE", "/api/tasks/{task_id}", {}, 204),
    ("POST", "/api/tasks/{task_id}/restore", {}, 200),
    ("DELETE", "/api/tasks/{task_id}", {}, 204),
    ("DELETE", "/api/tasks/{task_id}", {}, 404),
    ("GET", "/api/tasks/trash", {}, 200),
    ("DELETE", "/api/tasks/trash", {}, 200),
    ("DELETE", "/api/tasks", {"params": {"completed": "true"}}, 200),
    ("POST", "/api/calendar", {"json": {"filter": {"status": "all"}}}, 201),
    ("GET", "/api/calendar", {}, 200),
    ("GET", "/api/calendar/{secret}.ics", {}, 200),
    ("DELETE", "/api/calendar/{calendar_id}", {}, 204),
    ("GET", "/api/conversations", {}, 200),
    ("GET", "/api/conversations/{conversation_id}", {}, 404),
    ("GET", "/api/conversations/{conversation_id}/messages", {}, 404),
    ("PATCH", "/api/conversations/{conversation_id}", {"json": {"title": "t"}}, 404),
    ("DELETE", "/api/conversations/{conversation_id}", {}, 404),
    ("POST", "/api/conversations/{conversation_id}/stop", {}, 503),
    ("GET", "/api/chat/stream/{chat_id}/stream", {}, 503),
    ("POST", "/api/chat", {"json": {"message": "m"}}, 503),
    ("POST", "/api/chat/stream", {"json": {"id": "c", "messages": [UI_MESSAGE]}}, 503),
]


@pytest.fixture
async def database_url(databases: Databases) -> AsyncIterator[str]:
    """The URL of a database whose tasks were divided into partitions when there was one already."""
    url = await databases.create()
    connection = await asyncpg.connect(url)
    await connection.execute(OLD)
    await connection.execute((CHECKOUT / "docs" / "partition.sql").read_text())
    await connection.close()
    yield url
    await databases.drop(url)


async def test_every_operation_works_on_partitions(app: FastAPI, alice: Client, statements: Sent) -> None:
    """Each answers as ever, by plans that are kept; each user's tasks are in one partition."""
    assert {(method, path) for method, path, _, _ in WALK} == {
        (operation.method, operation.path)
        for operation in operations(app)
        if "user_id" not in operation.parameters and operation.path != "/api/tasks/events"
    }
    async with Watch(app) as watch:  # it has no end that could be waited for
        assert (await watch.event()).name == "ready"
    secret = ""
    for number, (method, path, sent, status) in enumerate(WALK):
        ids = {
            "task_id": 2,
            "change": 1,
            "calendar_id": 1,
            "secret": secret,
            "conversation_id": 1,
            "chat_id": "c",
        }
        response = await alice.request(method, path.format(**ids), **sent)
        if path == "/api/calendar" and method == "POST":
            secret = response.json()["url"].rpartition("/")[2].removesuffix(".ics")
        assert response.status_code == status, f"{number}: {method} {path}: {response.text}"
    titles = [task["title"] for task in (await alice.get("/api/tasks")).json()]
    assert titles == ["e", "a series"]
    async with app.state.database.engine.execution_options(unobserved=True).connect() as connection:
        custom = "SELECT count(*) FROM pg_prepared_statements WHERE custom_plans > 0 AND statement ~ 'tasks'"
        assert (await connection.execute(text(custom))).scalar() == 0
        places = "SELECT user_id, count(DISTINCT tableoid), count(*) FROM tasks GROUP BY user_id ORDER BY 1"
        assert (await connection.execute(text(places))).all() == [("alice", 1, 2), ("old", 1, 1)]


async def test_the_next_migration_is_one_of_partitions_too(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start finds the schema that it needs; a later step changes and indexes all partitions."""
    await made(database_url, migrate.prepare)
    copy = tmp_path / "migrations"
    shutil.copytree(state.SCRIPTS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    index = '    op.create_index("tasks_later_idx", "tasks", ["user_id", "later"])\n\ndef downgrade'
    (copy / "versions" / "9999_later.py").write_text(
        NEXT.format(head=NEWEST).replace("\ndef downgrade", index)
    )
    monkeypatch.setattr(state, "SCRIPTS", copy)
    await made(database_url, migrate.upgrade)
    connection = await asyncpg.connect(database_url)
    assert await connection.fetch("SELECT title, later FROM tasks") == [("kept", None)]
    indexes = (
        "SELECT count(*), bool_and(indisvalid) FROM pg_index WHERE indexrelid::regclass::text ~ '_later_idx$'"
    )
    assert await connection.fetchrow(indexes) == (17, True)
    await connection.close()
