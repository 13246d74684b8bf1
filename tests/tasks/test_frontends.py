"""What real frontends send: their words, their spelling, their times without a zone, on both databases."""

import json
from typing import Any

import pytest

from backend.tasks.files.reading import read
from tests.conftest import Client

BERLIN = {"timezone": "Europe/Berlin"}
NINE = "2026-12-24T09:00"  # what <input type="datetime-local"> sends


async def titles(client: Client, query: str) -> set[str]:
    """The titles that a list query finds."""
    response = await client.get(f"/api/tasks?{query}")
    assert response.status_code == 200, response.text
    return {task["title"] for task in response.json()}


async def test_values_have_one_rule(alice: Client) -> None:
    """In bodies and in queries alike case is folded, and blank means absent."""
    task = await alice.new_task(
        "a", priority=" HIGH ", due_date=" ", timezone=" ", recurring_pattern=" ", tags=""
    )
    assert (task["priority"], task["due_date"], task["timezone"], task["tags"]) == ("high", None, "UTC", [])
    assert (await alice.new_task("b", priority=" ", recurring=""))["priority"] == "medium"
    for query in (
        "priority=HIGH",
        "priority=High&status=PENDING",
        "priority=high&status=&tag=&due_before=&sort=&order=&limit=&cursor=&completed=&tag_match=",
        "priority=high&search=&timezone=&overdue=%20&has_due_date=+",
        "priority=&priority=high&sort=TITLE&order=DESC&sortOrder=Asc",
        "priority=high&statusFilter=Pending&tagMatch=ANY",
    ):
        assert await titles(alice, query) == {"a"}, query
        count = "&".join(part for part in query.split("&") if part.split("=")[0] in ("priority", "status"))
        assert (await alice.get(f"/api/tasks/count?{count}")).json() == {"count": 1}
    assert (await alice.get("/api/tasks/export?format=CSV")).headers["content-type"].startswith("text/csv")
    assert (await alice.get("/api/tasks/export?format=")).status_code == 200
    assert (await alice.post("/api/tasks/batch?atomic=", json={"operations": []})).status_code == 200
    assert (await alice.delete("/api/tasks?priority=&tag=")).status_code == 422  # which would be all of them


async def test_a_priority_that_cannot_be_is_no_tasks(alice: Client) -> None:
    """A filter by another frontend's word finds nothing and changes nothing; a body is told the three."""
    await alice.new_task("a", priority="high")
    for word in ("urgent", "critical", "none", "5"):
        assert await titles(alice, f"priority={word}") == set()
        assert await titles(alice, f"priority={word}&priority=HIGH") == {"a"}
        assert (await alice.get(f"/api/tasks/count?priority={word}")).json() == {"count": 0}
        assert (await alice.post(f"/api/tasks/complete-all?priority={word}")).json()["completed"] == 0
        assert (await alice.delete(f"/api/tasks?priority={word}")).json()["deleted"] == 0
        for response in (
            await alice.post("/api/tasks", json={"title": "b", "priority": word}),
            await alice.patch("/api/tasks/1", json={"priority": word}),
        ):
            assert response.status_code == 422
            assert all(known in response.text for known in ("low", "medium", "high"))
    assert (await alice.get("/api/tasks?" + "&".join(["priority=x"] * 21))).status_code == 422


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        (NINE, "2026-12-24T08:00:00Z"),
        ("2026-12-24T09:00:30.5", "2026-12-24T08:00:30.500000Z"),
        ("2026-07-01 09:00:00", "2026-07-01T07:00:00Z"),
        ("2026-12-24T09:00+01:00", "2026-12-24T08:00:00Z"),
        ("2026-12-24T09:00Z", "2026-12-24T09:00:00Z"),
        ("2026-03-29T02:30", "2026-03-29T01:30:00Z"),  # skipped by the clocks
        ("2026-10-25T02:30", "2026-10-25T00:30:00Z"),  # there twice: the first of them
    ],
)
async def test_a_time_without_a_zone_is_the_tasks(alice: Client, sent: str, stored: str) -> None:
    """It is read in the zone beside it, whichever of them comes first; in an update, in the task's own."""
    first = await alice.new_task("a", due_date=sent, **BERLIN)
    after = await alice.new_task("b", **BERLIN)
    kept = await alice.patch(f"/api/tasks/{after['id']}", json={"due_date": sent})
    moved = await alice.put("/api/tasks/1", json={"due_date": sent, "timezone": "Europe/Berlin"})
    batch = [
        {"op": "create", "title": "c", "due_date": sent, **BERLIN},
        {"op": "update", "id": 2, "dueDate": sent},
    ]
    results = (await alice.post("/api/tasks/batch", json={"operations": batch})).json()["results"]
    line = json.dumps({"title": "d", "dueDate": sent, **BERLIN})
    kind = {"Content-Type": "application/x-ndjson"}
    imported = (await alice.post("/api/tasks/import", content=line, headers=kind)).json()["lines"][0]["id"]
    tasks = [first, kept.json(), moved.json(), *(result["task"] for result in results)]
    tasks.append((await alice.get(f"/api/tasks/{imported}")).json())
    assert {task["due_date"] for task in tasks} == {stored}


async def test_a_time_beyond_all_is_refused(alice: Client) -> None:
    """At the ends of time a zone may lead out of it: a 422, wherever it is written."""
    await alice.new_task("a", timezone="Asia/Tokyo")
    await alice.new_task("b", timezone="America/Los_Angeles")
    for task_id, moment in ((1, "0001-01-01T00:00"), (2, "9999-12-31T23:00")):
        zone = ("Asia/Tokyo", "America/Los_Angeles")[task_id - 1]
        for response in (
            await alice.post("/api/tasks", json={"title": "c", "due_date": moment, "timezone": zone}),
            await alice.patch(f"/api/tasks/{task_id}", json={"due_date": moment}),
            await alice.get(f"/api/tasks?due_before={moment}&timezone={zone}"),
            await alice.get(f"/api/tasks/recurrence?pattern=daily&due_date={moment}&timezone={zone}"),
        ):
            assert response.status_code == 422, response.request.url


async def test_names_in_camel_case_are_ours(alice: Client) -> None:
    """`dueDate` is `due_date` in each body that has one, in parameters and in what is sorted by."""
    fields: Any = {"dueDate": "2026-12-24", "recurringPattern": "daily"}
    task = await alice.new_task("a", **fields)
    assert (task["due_date"], task["recurring_pattern"], task["recurring"]) == ("2026-12-24", "daily", True)
    for method in ("PUT", "PATCH"):
        changed = await alice.request(method, "/api/tasks/1", json={"dueDate": "2026-12-25"})
        assert changed.json()["due_date"] == "2026-12-25"
        changed = await alice.request(method, "/api/tasks/1", json={"dueDate": "2026-12-24"})
    operations = [
        {"op": "create", "title": "b", **fields},
        {"op": "update", "id": 1, "dueDate": "2026-12-31"},
    ]
    results = (await alice.post("/api/tasks/batch", json={"operations": operations})).json()["results"]
    assert [result["task"]["due_date"] for result in results] == ["2026-12-24", "2026-12-31"]
    assert await titles(alice, "dueBefore=2026-12-25&hasDueDate=true&sortBy=dueDate&sortOrder=asc") == {"b"}
    for sort in ("dueDate", "createdAt", "updatedAt", "created_at", "CreatedAt"):
        assert await titles(alice, f"sort_by={sort}&limit=2") == {"a", "b"}
    preview = await alice.get("/api/tasks/recurrence?pattern=daily&dueDate=2026-12-24")
    assert preview.json()[0] == "2026-12-24"
    assert (await alice.post("/api/tasks/complete-all?dueBefore=2026-12-25")).json()["completed"] == 1


async def test_a_field_in_both_spellings_is_refused(alice: Client) -> None:
    """Nobody knows which was meant: a 422 that names both."""
    both = {"title": "a", "due_date": "2026-12-24", "dueDate": "2026-12-25"}
    await alice.new_task()
    operations = [{"op": "create", **both}]
    for response in (
        await alice.post("/api/tasks", json=both),
        await alice.patch("/api/tasks/1", json=both),
        await alice.put("/api/tasks/1", json=both),
        await alice.post("/api/tasks/batch?atomic=false", json={"operations": operations}),
    ):
        assert "due_date and dueDate" in response.text
    assert response.json()["results"][0]["status"] == 422
    [line] = read(json.dumps(both).encode(), "ndjson")
    assert "due_date and dueDate" in (line.problem or "")


def test_files_may_be_in_camel_case() -> None:
    """Lines of an import, and the header row of a CSV, in either spelling."""
    fields = {"title": "a", "dueDate": "2026-12-24", "createdAt": "2026-01-01T00:00:00Z", "completed": True}
    [line] = read(json.dumps(fields | {"completedAt": "2026-01-02T00:00"}).encode(), "ndjson")
    _, row = read(
        b"title,dueDate,createdAt,completed,completedAt\n"
        b"a,2026-12-24,2026-01-01T00:00:00Z,true,2026-01-02T00:00\n",
        "csv",
    )
    assert line.task == row.task
    assert line.task is not None
    assert str(line.task.due_date) == "2026-12-24"
    assert line.task.completed_at is not None


async def test_the_statistics_have_a_second_address(alice: Client, bob: Client) -> None:
    """Where some frontends look for them: the same numbers, for their owner alone, undocumented."""
    await alice.new_task()
    stats = (await alice.get("/api/tasks/stats")).json()
    assert (await alice.get("/api/alice/stats")).json() == (await alice.get("/api/stats")).json() == stats
    assert (await bob.get("/api/alice/stats")).status_code == 403
    assert "/api/{user_id}/stats" not in (await alice.get("/openapi.json")).json()["paths"]


async def test_recurring_null_is_no_opinion(alice: Client) -> None:
    """In an update as in a new task, null and blank leave it to the pattern."""
    task = await alice.new_task("a", recurring=None, due_date="2026-12-24", recurring_pattern="daily")
    for value in (None, ""):
        changed = await alice.patch(f"/api/tasks/{task['id']}", json={"recurring": value})
        assert (changed.status_code, changed.json()) == (200, task)
    plain = await alice.new_task("b")
    assert (await alice.patch(f"/api/tasks/{plain['id']}", json={"recurring": None})).json() == plain


# Each due on the 21st where its owner is, which is another day in UTC for two of them.
EVENING, MORNING = "2026-11-21T23:30:00-05:00", "2026-11-21T01:00:00+09:00"


@pytest.fixture
async def abroad(alice: Client) -> Client:
    """Alice, with tasks of the 21st in three places, and of the days around it."""
    await alice.new_task("evening", due_date=EVENING, timezone="America/New_York")
    await alice.new_task("morning", due_date=MORNING, timezone="Asia/Tokyo")
    await alice.new_task("day", due_date="2026-11-21", timezone="Pacific/Kiritimati")
    await alice.new_task("noon", due_date="2026-11-21T12:00:00Z")
    await alice.new_task("before", due_date="2026-11-20T23:59:59", timezone="America/New_York")
    await alice.new_task("after", due_date="2026-11-22T00:00:00", timezone="Asia/Tokyo")
    return alice


async def test_a_day_is_each_tasks_own(abroad: Client) -> None:
    """What is due at an instant is due on the day that it is in the task's zone."""
    of_day = {"evening", "morning", "day", "noon"}
    assert await titles(abroad, "due_after=2026-11-20&due_before=2026-11-22") == of_day
    assert await titles(abroad, "due_before=2026-11-21") == {"before"}
    assert await titles(abroad, "due_after=2026-11-21") == {"after"}
    count = await abroad.get("/api/tasks/count?due_after=2026-11-20&due_before=2026-11-22")
    assert count.json() == {"count": 4}
    for beyond in ("due_before=0001-01-01", "due_after=9999-12-31"):
        assert await titles(abroad, beyond) == set()


async def test_today_is_where_the_user_is(abroad: Client) -> None:
    """With `timezone` a day is the user's: of instants by that zone, of whole days as they are."""
    day = "due_after=2026-11-20&due_before=2026-11-22&timezone="
    assert await titles(abroad, f"{day}America/New_York") == {"day", "noon", "evening", "after"}
    assert await titles(abroad, f"{day}Asia/Tokyo") == {"day", "noon", "morning", "before"}
    assert await titles(abroad, "due_before=2026-11-21T09:00&timezone=Asia/Tokyo") >= {"morning"}
    assert (await abroad.get(f"/api/tasks?{day}Mars/Base")).status_code == 422
    assert (await abroad.delete(f"/api/tasks?{day}America/New_York")).json()["deleted"] == 4
