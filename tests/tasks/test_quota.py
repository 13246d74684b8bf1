"""The limit on a user's tasks, on both databases."""

import asyncio
from typing import Any

import pytest

from backend.config import Settings
from tests.conftest import Client, Sent, settings_for
from tests.tasks.test_batch import about_tasks

MOST = 4
SERIES = {"title": "a series", "due_date": "2026-11-21", "recurring_pattern": "daily"}
REFUSED = {"task_limit_reached", "batch_failed"}


@pytest.fixture
def settings(database_url: str) -> Settings:
    """Those of a service where nobody has more than MOST tasks."""
    return settings_for(database_url, tasks_max=MOST)


async def test_whatever_makes_tasks_keeps_to_the_limit(alice: Client, bob: Client) -> None:
    """Creates, batches, imports and successors beyond it are a 409 that says so, and leave all as it was."""
    series = await alice.new_task(**SERIES)
    for _ in range(MOST - 1):
        await alice.new_task()
    path = f"/api/tasks/{series['id']}"
    before = (await alice.get("/api/tasks")).json()
    create = {"op": "create", "title": "b"}
    requests: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/api/tasks", {"json": {"title": "b"}}),
        ("POST", "/api/tasks", {"json": {"title": "b"}, "headers": {"Idempotency-Key": "k"}}),
        ("POST", "/api/tasks/batch", {"json": {"operations": [create]}}),
        ("POST", "/api/tasks/batch", {"json": {"operations": [{"op": "complete", "id": series["id"]}]}}),
        ("POST", "/api/tasks/complete-all", {}),
        (
            "POST",
            "/api/tasks/import",
            {"json": {"title": "b"}, "headers": {"Content-Type": "application/x-ndjson"}},
        ),
        ("PATCH", f"{path}/complete", {}),
        ("PATCH", f"{path}/complete", {"json": {"completed": True}}),
        ("PATCH", path, {"json": {"completed": True}}),
    ]
    for method, address, sent in requests:
        answer = await alice.request(method, address, **sent)
        assert (answer.status_code, answer.json()["code"] in REFUSED) == (409, True), answer.text
        assert f"you may have {MOST} tasks" in answer.text
    assert (await alice.get("/api/tasks")).json() == before
    await bob.new_task()

    operations = [create, {"op": "delete", "id": series["id"]}, create, create]
    done = await alice.post("/api/tasks/batch", json={"operations": operations}, params={"atomic": False})
    assert [result["status"] for result in done.json()["results"]] == [409, 204, 201, 409]
    assert (await alice.post("/api/tasks", json={"title": "b"})).status_code == 409
    await alice.delete(f"/api/tasks/{before[0]['id']}")
    assert (await alice.post("/api/tasks", json={"title": "b", "tags": ["x"]})).json()["tags"] == ["x"]


async def test_the_limit_is_looked_at_in_the_same_statement(alice: Client, statements: Sent) -> None:
    """A create is one statement with a limit too."""
    await alice.new_task(**SERIES)
    assert len(about_tasks(statements)) == 1


async def test_creates_at_once_come_to_the_limit(alice: Client) -> None:
    """Side by side they may go over it by those that run at the same time, and no further."""
    answers = await asyncio.gather(*(alice.post("/api/tasks", json={"title": "b"}) for _ in range(40)))
    made = sum(answer.status_code == 201 for answer in answers)
    assert MOST <= made <= MOST + 9  # ten connections
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert (await alice.post("/api/tasks", json={"title": "b"})).status_code == 409
