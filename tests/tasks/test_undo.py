"""Trash, history, restore and undo: what was acknowledged can be looked up and taken back."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import text

from tests.conftest import Client

WHOLE: dict[str, Any] = {
    "title": "Größe",
    "description": "two\nlines",
    "priority": "high",
    "tags": ["a", "Ä"],
    "due_date": "2026-11-21T09:00:00Z",
    "timezone": "Europe/Berlin",
    "recurring_pattern": "daily",
}


def content(task: dict[str, Any]) -> dict[str, Any]:
    """A task without what counts its changes."""
    return {name: value for name, value in task.items() if name not in ("version", "updated_at")}


async def everything(client: Client) -> dict[int, Any]:
    """A user's tasks, by id, without what counts their changes."""
    return {task["id"]: content(task) for task in (await client.get("/api/tasks")).json()}


async def test_a_deleted_task_comes_back_as_it_was(alice: Client, bob: Client) -> None:
    """With its id and content at its next version, from the trash, once; and to nobody else."""
    task = await alice.new_task(**WHOLE)
    path = f"/api/tasks/{task['id']}"
    await alice.delete(path)
    assert (await alice.get(path)).status_code == 404
    [trashed] = (await alice.get("/api/tasks/trash")).json()
    assert {name: trashed[name] for name in task} == task
    assert (await bob.get("/api/tasks/trash")).json() == []
    assert (await bob.post(f"{path}/restore")).status_code == 404
    restored = await alice.post(f"{path}/restore")
    assert restored.status_code == 200
    assert content(restored.json()) == content(task)
    assert restored.json()["version"] == task["version"] + 1
    assert restored.headers["ETag"] == f'"{task["version"] + 1}"'
    assert (await alice.post(f"{path}/restore")).json() == restored.json(), "to repeat it changes nothing"
    assert (await alice.get("/api/tasks/trash")).json() == []


async def test_the_trash_is_emptied(app: FastAPI, alice: Client) -> None:
    """What deleted tasks were is erased, all of their history; that they were deleted stays known."""
    task, kept = await alice.new_task("secret"), await alice.new_task("kept")
    cursor = (await alice.get("/api/tasks/changes")).json()["cursor"]
    for path in (f"/api/tasks/{task['id']}", f"/api/tasks/{kept['id']}"):
        await alice.patch(path, json={"title": "still secret"})
    await alice.delete(f"/api/tasks/{task['id']}")
    assert (await alice.delete("/api/tasks/trash")).json() == {"erased": 1}
    assert (await alice.get("/api/tasks/trash")).json() == []
    assert (await alice.post(f"/api/tasks/{task['id']}/restore")).status_code == 404
    history = (await alice.get(f"/api/tasks/{task['id']}/history")).json()
    assert [(event["kind"], event["changes"]) for event in history] == [
        ("deleted", None),
        ("updated", None),
        ("created", None),
    ]
    assert len((await alice.get(f"/api/tasks/{kept['id']}/history")).json()[0]["changes"]) == 1
    changes = (await alice.get(f"/api/tasks/changes?since={cursor}")).json()["changes"]
    assert {"type": "delete", "id": task["id"]} in changes
    async with app.state.database.engine.execution_options(unobserved=True).connect() as connection:
        images = (await connection.execute(text("SELECT before FROM task_events"))).scalars().all()
    assert "secret" not in str([image for image in images if f'"id":{task["id"]},' in str(image)])


async def test_what_is_too_old_is_not_in_the_trash(app: FastAPI, alice: Client) -> None:
    """After TRASH_DAYS days a deleted task is gone, whether it was purged or not."""
    task = await alice.new_task()
    await alice.delete(f"/api/tasks/{task['id']}")
    long_ago = datetime.now(UTC) - timedelta(days=31)
    async with app.state.database.engine.execution_options(unobserved=True).begin() as connection:
        old = long_ago if connection.dialect.name == "postgresql" else f"{long_ago:%Y-%m-%d %H:%M:%S.%f}"
        await connection.execute(text("UPDATE task_events SET at = :old"), {"old": old})
    assert (await alice.get("/api/tasks/trash")).json() == []
    assert (await alice.post(f"/api/tasks/{task['id']}/restore")).status_code == 404


async def test_a_history_tells_what_changed(alice: Client) -> None:
    """Newest first, from what to what, by whom, in pages; of one task and of all."""
    task = await alice.new_task("a")
    await alice.patch(f"/api/tasks/{task['id']}", json={"title": "b", "tags": ["x"]})
    await alice.patch(f"/api/tasks/{task['id']}", json={"title": "b"})  # changes nothing
    await alice.delete(f"/api/tasks/{task['id']}")
    await alice.post(
        "/api/tasks/import", content='{"title":"i"}', headers={"Content-Type": "application/x-ndjson"}
    )
    events: list[dict[str, Any]] = []
    url: str | None = f"/api/tasks/{task['id']}/history?limit=2"
    while url:
        page = await alice.get(url)
        events += page.json()
        url = page.links.get("next", {}).get("url")
    assert [event["kind"] for event in events] == ["deleted", "updated", "created"]
    assert events[1]["changes"] == {"title": {"from": "a", "to": "b"}, "tags": {"from": [], "to": ["x"]}}
    assert events[2]["changes"]["title"] == {"from": None, "to": "a"}
    assert events[0]["changes"]["title"] == {"from": "b", "to": None}
    everything = (await alice.get("/api/tasks/history")).json()
    assert everything[1:] == events
    assert (everything[0]["by"], events[0]["by"]) == ("import", "api")
    assert [event["change"] for event in everything] == [4, 3, 2, 1]


async def test_the_last_change_of_a_task_is_taken_back(alice: Client) -> None:
    """And again: an undo is a change, so the second one does it again; ETags never come twice."""
    task = await alice.new_task(**WHOLE)
    path = f"/api/tasks/{task['id']}"
    changes: dict[str, Any] = {
        "title": "other",
        "description": None,
        "tags": [],
        "due_date": "2026-12-24",
        "priority": "low",
    }
    changed = (await alice.patch(path, json=changes)).json()
    undone = await alice.post(f"{path}/undo", headers={"If-Match": f'"{changed["version"]}"'})
    assert (undone.status_code, content(undone.json())) == (200, content(task))
    assert undone.json()["version"] == changed["version"] + 1
    stale = await alice.post(f"{path}/undo", headers={"If-Match": f'"{changed["version"]}"'})
    assert (stale.status_code, stale.json()["current"]) == (412, undone.json())
    assert content((await alice.post(f"{path}/undo")).json()) == content(changed)


async def test_a_creation_taken_back_is_a_deletion(alice: Client) -> None:
    """The task is in the trash then, and comes back from there."""
    task = await alice.new_task("a")
    assert (await alice.post(f"/api/tasks/{task['id']}/undo")).status_code == 204
    assert (await alice.get("/api/tasks")).json() == []
    assert content((await alice.post(f"/api/tasks/{task['id']}/restore")).json()) == content(task)


async def test_a_completion_takes_its_untouched_successor_along(alice: Client) -> None:
    """One that has been changed stays, and is not made a second time."""
    task = await alice.new_task("series", due_date="2026-11-21", recurring_pattern="daily")
    path = f"/api/tasks/{task['id']}"
    follower = (await alice.patch(f"{path}/complete")).json()["next_task_id"]
    await alice.patch(f"{path}/complete", json={"completed": False})
    done = (await alice.post(f"{path}/undo")).json()  # what a reopening took comes back
    assert (done["completed"], done["next_task_id"]) == (True, follower)
    assert (await alice.get(f"/api/tasks/{follower}")).status_code == 200
    await alice.delete(f"/api/tasks/{follower}")
    await alice.patch(f"{path}/complete")
    follower = (await alice.patch(f"{path}/complete")).json()["next_task_id"]
    undone = (await alice.post(f"{path}/undo")).json()
    assert content(undone) == content(task)
    assert (await alice.get(f"/api/tasks/{follower}")).status_code == 404
    follower = (await alice.patch(f"{path}/complete")).json()["next_task_id"]
    await alice.patch(f"/api/tasks/{follower}", json={"title": "mine"})
    undone = (await alice.post(f"{path}/undo")).json()
    assert (undone["completed"], undone["next_task_id"]) == (False, follower)
    assert (await alice.patch(f"{path}/complete")).json()["next_task_id"] == follower


MANY = {
    "batch": (
        "POST",
        "/batch",
        {
            "operations": [
                {"op": "create", "title": "new"},
                {"op": "delete", "id": 1},
                {"op": "complete", "id": 2},
            ]
        },
    ),
    "complete-all": ("POST", "/complete-all", None),
    "delete": ("DELETE", "?status=pending", None),
}


@pytest.mark.parametrize("how", MANY)
async def test_all_that_a_request_did_is_taken_back_by_its_number(alice: Client, how: str) -> None:
    """All of it, in one change, which can be taken back itself; or, once something has changed, nothing."""
    await alice.new_task("one", tags=["x"])
    await alice.new_task("two", due_date="2026-11-21", recurring_pattern="daily")
    await alice.new_task("three")
    before = await everything(alice)
    method, where, body = MANY[how]
    response = await alice.request(method, f"/api/tasks{where}", json=body)
    after = await everything(alice)
    undone = (await alice.post(f"/api/tasks/undo/{response.json()['change']}")).json()
    assert await everything(alice) == before
    again = await alice.post(f"/api/tasks/undo/{response.json()['change']}")
    assert (again.status_code, again.json()["code"]) == (409, "changed_since")
    assert len(again.json()["tasks"]) == undone["tasks"]
    assert (await alice.post(f"/api/tasks/undo/{undone['change']}")).json()["tasks"] == undone["tasks"]
    assert await everything(alice) == after


async def test_an_import_is_taken_back(alice: Client) -> None:
    """Also a long one; imported again it makes the same tasks anew."""
    kept = await alice.new_task("kept")
    file = "".join(f'{{"title":"t{n}"}}\n' for n in range(600))
    ndjson = {"Content-Type": "application/x-ndjson"}
    change = (await alice.post("/api/tasks/import", content=file, headers=ndjson)).json()["change"]
    assert (await alice.post(f"/api/tasks/undo/{change}")).json() == {"change": change + 1, "tasks": 600}
    assert [task["id"] for task in (await alice.get("/api/tasks")).json()] == [kept["id"]]
    again = (await alice.post("/api/tasks/import", content=file, headers=ndjson)).json()
    assert again["created"] == 600
    assert (await alice.post(f"/api/tasks/undo/{change + 1}?force=true")).json()["tasks"] == 600


async def test_what_changed_since_is_named_or_left_out(alice: Client) -> None:
    """409 with the tasks, and nothing is done; with `force` all but those."""
    tasks = [await alice.new_task(f"t{n}") for n in range(3)]
    change = (await alice.post("/api/tasks/complete-all")).json()["change"]
    await alice.patch(f"/api/tasks/{tasks[1]['id']}", json={"title": "mine"})
    refused = await alice.post(f"/api/tasks/undo/{change}")
    assert (refused.status_code, refused.json()["tasks"]) == (409, [tasks[1]["id"]])
    assert all(task["completed"] for task in (await alice.get("/api/tasks")).json())
    assert (await alice.post(f"/api/tasks/undo/{change}?force=true")).json()["tasks"] == 2
    pending = [task["title"] for task in (await alice.get("/api/tasks?status=pending&sort=title")).json()]
    assert pending == ["t0", "t2"]


async def test_ones_own_changes_only(alice: Client, bob: Client) -> None:
    """Numbers are each user's own: another's is a 404, or a change of one's own."""
    await alice.new_task()
    change = (await alice.post("/api/tasks/complete-all")).json()["change"]
    assert (await bob.post(f"/api/tasks/undo/{change}")).json()["code"] == "change_not_found"
    await bob.new_task("bob's")
    assert (await bob.post("/api/tasks/undo/1")).json()["tasks"] == 1
    assert (await alice.get("/api/tasks?status=completed")).json()


async def test_an_undo_is_done_once(alice: Client) -> None:
    """Of many that ask for the same at once one is served; with an Idempotency-Key a repetition is none."""
    await alice.new_task("a")
    change = (await alice.delete("/api/tasks?status=pending")).json()["change"]
    answers = await asyncio.gather(*(alice.post(f"/api/tasks/undo/{change}") for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 5
    [task] = (await alice.get("/api/tasks")).json()
    path = f"/api/tasks/{task['id']}"
    await alice.patch(path, json={"title": "b"})
    for _ in range(2):
        undone = await alice.post(f"{path}/undo", headers={"Idempotency-Key": "once"})
        assert undone.json()["title"] == "a"
    assert (await alice.get(path)).json()["title"] == "a"


async def test_a_change_of_many_kinds_leaves_one_event(app: FastAPI, alice: Client) -> None:
    """What a transaction makes of a task in all is what the log and its undo know."""
    task = await alice.new_task("a")
    operations = [
        {"op": "update", "id": task["id"], "title": "b"},
        {"op": "complete", "id": task["id"]},
        {"op": "delete", "id": task["id"]},
    ]
    change = (await alice.post("/api/tasks/batch", json={"operations": operations})).json()["change"]
    [event, _] = (await alice.get(f"/api/tasks/{task['id']}/history")).json()
    assert (event["change"], event["kind"]) == (change, "deleted")
    await alice.post(f"/api/tasks/undo/{change}")
    assert content((await alice.get(f"/api/tasks/{task['id']}")).json()) == content(task)
