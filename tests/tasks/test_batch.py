"""Many tasks at once: batches, complete-all, deleting by a filter; on both databases."""

import asyncio
import json
from typing import Any

import pytest

from backend.tasks.batch import crud
from backend.tasks.errors import TooManyFollowed
from tests.conftest import Client, Sent, moment, on_postgresql, on_sqlite


async def batch(client: Client, *operations: Any, **params: Any) -> Any:
    """Send operations; return the response."""
    return await client.post("/api/tasks/batch", json={"operations": operations}, params=params)


async def results(client: Client, *operations: Any, **params: Any) -> list[dict[str, Any]]:
    """The results of operations that are done."""
    response = await batch(client, *operations, **params)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["results"]
    assert [result["index"] for result in found] == list(range(len(operations)))
    return found


async def everything(client: Client) -> dict[int, dict[str, Any]]:
    """The user's tasks by their ids."""
    return {task["id"]: task for task in (await client.get("/api/tasks")).json()}


def about_tasks(statements: Sent) -> list[str]:
    """What was sent, without SQLite's BEGIN and the question for the number of the change."""
    others = ("BEGIN", "SELECT change_counters.seq")
    return [statement for statement in statements if not statement.startswith(others)]


async def test_each_operation_does_what_its_request_does(alice: Client) -> None:
    """Create, update, complete and delete answer the tasks as they are read afterwards."""
    changed, done, gone = [await alice.new_task(title) for title in ("a", "b", "c")]
    found = await results(
        alice,
        {"op": "create", "title": " new ", "tags": ["x"], "due_date": "2026-11-21", "category": "ignored"},
        {"op": "update", "id": changed["id"], "description": "d", "priority": "high"},
        {"op": "complete", "id": done["id"]},
        {"op": "delete", "id": gone["id"]},
    )
    assert [result["status"] for result in found] == [201, 200, 200, 204]
    assert [result["op"] for result in found] == ["create", "update", "complete", "delete"]
    tasks = await everything(alice)
    assert {result["task"]["id"]: result["task"] for result in found if result["task"]} == tasks
    assert gone["id"] not in tasks
    new = found[0]["task"]
    assert (new["title"], new["tags"], new["due_date"]) == ("new", ["x"], "2026-11-21")
    assert tasks[changed["id"]]["description"] == "d"
    completed = tasks[done["id"]]
    assert completed["completed_at"] == completed["updated_at"]
    assert moment(completed["updated_at"]) > moment(done["updated_at"])


async def test_created_tasks_come_in_their_order(alice: Client) -> None:
    """The ids of new tasks ascend in the order of the operations, and each result is its own operation's."""
    found = await results(alice, *({"op": "create", "title": f"t{n}"} for n in range(300)))
    assert [result["task"]["title"] for result in found] == [f"t{n}" for n in range(300)]
    ids = [result["task"]["id"] for result in found]
    assert ids == sorted(ids)


async def test_operations_on_one_task_apply_in_order(alice: Client) -> None:
    """Each sees what the ones before it did: values, versions and deletions."""
    task = await alice.new_task("a")
    key = {"id": task["id"]}
    found = await results(
        alice,
        {"op": "update", "title": "b", "version": 1, **key},
        {"op": "update", "title": "c", "version": 2, **key},
        {"op": "complete", **key},
        {"op": "complete", "completed": False, "version": 4, **key},
    )
    assert [result["task"]["version"] for result in found] == [2, 3, 4, 5]
    assert [result["task"]["title"] for result in found] == ["b", "c", "c", "c"]
    assert (await everything(alice))[task["id"]] == found[-1]["task"]
    response = await batch(alice, {"op": "delete", **key}, {"op": "update", "title": "d", **key})
    assert [result["status"] for result in response.json()["results"]] == [424, 404]


async def test_without_a_real_change_nothing_moves(alice: Client, statements: Sent) -> None:
    """Writing what is there already leaves time and version, and writes no row."""
    task = await alice.new_task("a", tags=["x"], due_date="2026-11-21T10:00:00Z")
    await asyncio.sleep(0.005)  # SQLite's clock counts milliseconds
    statements.clear()
    same = {"title": "a", "tags": ["x"], "due_date": "2026-11-21T11:00:00+01:00", "completed": False}
    found = await results(
        alice, {"op": "update", "id": task["id"], **same}, {"op": "update", "id": task["id"]}
    )
    assert [result["task"] for result in found] == [task, task]
    assert not [statement for statement in statements if statement.startswith("UPDATE")]


async def test_a_version_guards_its_operation(alice: Client) -> None:
    """An operation for another version is a 412 with the task as it is, and writes nothing."""
    task = await alice.new_task("a")
    operations = [{"op": "delete", "id": task["id"], "version": 2}, {"op": "create", "title": "b"}]
    response = await batch(alice, *operations)
    assert response.status_code == 409
    assert response.json()["results"][0] | {"detail": ""} == {
        "index": 0,
        "op": "delete",
        "status": 412,
        "task": task,
        "detail": "",
    }
    assert [result["status"] for result in await results(alice, *operations, atomic=False)] == [412, 201]
    assert len(await everything(alice)) == 2


async def test_a_batch_is_done_whole_or_not_at_all(alice: Client) -> None:
    """When the 400th operation fails nothing is written, and the answer says which one it was."""
    kept = [await alice.new_task(f"t{n}") for n in range(3)]
    operations: list[Any] = [{"op": "create", "title": f"new {n}"} for n in range(397)]
    operations[10:10] = [
        {"op": "update", "id": kept[0]["id"], "title": "changed"},
        {"op": "delete", "id": kept[1]["id"]},
    ]
    operations += [{"op": "update", "id": 10**6, "title": "x"}, {"op": "complete", "id": kept[2]["id"]}]
    before = await everything(alice)
    response = await batch(alice, *operations)
    assert response.status_code == 409
    problem = response.json()
    assert problem.keys() == {"detail", "code", "request_id", "results"}
    assert problem["code"] == "batch_failed"
    statuses = [result["status"] for result in problem["results"]]
    assert (statuses.index(404), statuses.count(404), statuses.count(424)) == (399, 1, 400)
    assert await everything(alice) == before


async def test_without_atomic_what_can_be_done_is(alice: Client) -> None:
    """`atomic=false` answers 200 with each operation's own status."""
    task = await alice.new_task("a")
    found = await results(
        alice,
        {"op": "update", "id": 10**30, "title": "x"},
        {"op": "create", "title": ""},
        {"op": "update", "id": task["id"], "recurring": True},
        {"op": "update", "id": task["id"], "title": "b"},
        atomic=False,
    )
    assert [result["status"] for result in found] == [404, 422, 422, 200]
    assert found[1]["detail"][0]["loc"] == ["body", "operations", 1, "title"]
    assert found[2]["detail"][0]["loc"] == ["body", "operations", 2, "recurring"]
    assert (await everything(alice))[task["id"]]["title"] == "b"


async def test_foreign_tasks_are_missing(alice: Client, bob: Client) -> None:
    """Another user's id is a 404 among the results, the same as a missing one, and is never touched."""
    theirs = await bob.new_task("bob's", due_date="2026-11-21", recurring_pattern="daily")
    for task_id in (theirs["id"], 10**9):
        operations = [
            {"op": "update", "id": task_id, "title": "mine"},
            {"op": "complete", "id": task_id},
            {"op": "delete", "id": task_id, "version": 1},
        ]
        for result in await results(alice, *operations, atomic=False):
            assert (result["status"], result["task"], result["detail"]) == (404, None, "Task not found")
    assert (await alice.post("/api/tasks/complete-all")).json()["completed"] == 0
    assert (await alice.delete("/api/tasks?status=pending")).json()["deleted"] == 0
    assert await everything(bob) == {theirs["id"]: theirs}
    assert await everything(alice) == {}


async def test_recurring_tasks_are_followed_once(alice: Client) -> None:
    """However often a batch completes a recurring task, it gets one successor, and knows its id."""
    task = await alice.new_task("a", due_date="2026-11-21", recurring_pattern="daily")
    key = {"id": task["id"]}
    found = await results(
        alice,
        {"op": "create", "title": "between"},
        {"op": "complete", **key},
        {"op": "complete", "completed": False, **key},
        {"op": "update", "completed": True, **key},
    )
    tasks = await everything(alice)
    assert len(tasks) == 3
    assert found[1]["task"]["next_task_id"] is None  # that one was taken back
    following = found[-1]["task"]["next_task_id"]
    assert [result["task"]["next_task_id"] for result in found[2:]] == [None, following]
    assert tasks[task["id"]] == found[-1]["task"]
    assert (tasks[following]["title"], tasks[following]["due_date"]) == ("a", "2026-11-22")
    assert not tasks[following]["completed"]
    await results(alice, {"op": "complete", **key, "completed": False}, {"op": "complete", **key})
    assert len(await everything(alice)) == 3


async def test_a_batch_can_begin_a_series_and_end_a_task(alice: Client) -> None:
    """A pattern that comes with completion counts at once; a task deleted after it leaves its successor."""
    task = await alice.new_task("a")
    series = {"due_date": "2026-11-21", "recurring_pattern": "daily", "completed": True}
    await results(alice, {"op": "update", "id": task["id"], **series}, {"op": "delete", "id": task["id"]})
    [following] = (await everything(alice)).values()
    assert (following["title"], following["due_date"]) == ("a", "2026-11-22")


BAD: list[tuple[str, Any]] = [
    ("no operation", {"title": "a"}),
    ("an unknown operation", {"op": "upsert", "id": 1}),
    ("half a surrogate pair", {"op": "\ud800"}),
    ("a NUL", {"op": "create", "title": "a\x00"}),
    ("no id", {"op": "delete"}),
    ("an id that is text", {"op": "delete", "id": "1"}),
    ("an id that is a boolean", {"op": "delete", "id": True}),
    ("a null id", {"op": "update", "id": None}),
    ("no object", [1]),
    ("null", None),
    ("a state that is no boolean", {"op": "complete", "id": 1, "completed": "yes"}),
    ("a version that is no number", {"op": "delete", "id": 1, "version": '"1"'}),
    ("a series without a due date", {"op": "create", "title": "a", "recurring_pattern": "daily"}),
]


@on_sqlite
@pytest.mark.parametrize("operation", [pytest.param(operation, id=name) for name, operation in BAD])
async def test_bad_operations_fail_alone(alice: Client, operation: Any, statements: Sent) -> None:
    """Each is a 422 with its place; an atomic batch with one fails before the database hears of it."""
    content = json.dumps({"operations": [{"op": "create", "title": "good"}, operation]})
    headers = {"Content-Type": "application/json"}
    statements.clear()
    response = await alice.post("/api/tasks/batch", content=content, headers=headers)
    assert response.status_code == 409
    assert [result["status"] for result in response.json()["results"]] == [424, 422]
    assert statements == []
    response = await alice.post("/api/tasks/batch?atomic=false", content=content, headers=headers)
    [good, bad] = response.json()["results"]
    assert (good["status"], bad["status"]) == (201, 422)
    assert bad["detail"][0].keys() == {"loc", "msg", "type"}
    assert bad["detail"][0]["loc"][:3] == ["body", "operations", 1]


@on_sqlite
@pytest.mark.parametrize(
    "body",
    [{}, [], {"operations": None}, {"operations": {}}, {"operations": [{"op": "delete", "id": 1}] * 501}],
)
async def test_bad_batches_are_refused(alice: Client, body: Any, statements: Sent) -> None:
    """What is no list of at most 500 operations is a 422 as a whole."""
    response = await alice.post("/api/tasks/batch", json=body)
    assert response.status_code == 422
    assert response.json()["code"] == "validation_error"
    assert statements == []


async def test_an_empty_batch_is_done(alice: Client) -> None:
    """No operations are no results."""
    assert await results(alice) == []


async def test_the_number_of_statements_is_that_of_the_kinds(alice: Client, statements: Sent) -> None:
    """500 operations are a statement of each kind to lock, insert and delete, and one for AT_ONCE updates."""
    recurring = {"due_date": "2026-11-21", "recurring_pattern": "daily"}
    found = await results(alice, *({"op": "create", "title": f"t{n}", **recurring} for n in range(400)))
    ids = [result["task"]["id"] for result in found]
    operations: list[Any] = [{"op": "create", "title": "new"} for _ in range(100)]
    for number, task_id in enumerate(ids):
        kinds: list[Any] = [
            {"op": "update", "title": f"u{number}", "priority": "low"},
            {"op": "update", "recurring": False},
            {"op": "complete"},
            {"op": "delete"},
        ]
        operations.append(kinds[number % 4] | {"id": task_id})
    statements.clear()
    found = await results(alice, *operations)
    assert [statement.split()[0] for statement in about_tasks(statements)] == [
        "SELECT",
        "INSERT",
        "UPDATE",
        "UPDATE",
        "DELETE",
    ]
    tasks = await everything(alice)
    assert len(tasks) == 100 + 300 + 100  # the new, those not deleted, the successors
    assert all(tasks[result["task"]["id"]] == result["task"] for result in found if result["task"])


@on_postgresql
async def test_parallel_batches_do_not_deadlock(alice: Client, statements: Sent) -> None:
    """Batches on the same tasks in opposite orders, beside complete-all: all of them succeed."""
    ids = [(await alice.new_task(f"t{n}"))["id"] for n in range(40)]

    async def run(number: int) -> int:
        order = ids if number % 2 else ids[::-1]
        operations = [{"op": "update", "id": task_id, "title": f"by {number}"} for task_id in order]
        return int((await batch(alice, *operations)).status_code)

    async def complete(number: int) -> int:
        query = {"search": "by"} if number % 2 else {}
        return int((await alice.post("/api/tasks/complete-all", params=query)).status_code)

    statuses = await asyncio.gather(*(run(n) for n in range(24)), *(complete(n) for n in range(8)))
    assert statuses == [200] * 32
    tasks = (await everything(alice)).values()
    assert len({task["title"] for task in tasks}) == 1
    assert {task["completed"] for task in tasks} == {True}
    locking = [statement for statement in statements if "FOR UPDATE" in statement]
    assert len(locking) == 32
    for statement in locking:  # the plans of a small table happen to lock in this order anyway
        assert "ORDER BY tasks.id FOR UPDATE" in " ".join(statement.split())


@on_postgresql
async def test_parallel_completions_make_one_successor(alice: Client) -> None:
    """Batches and complete-all that complete the same recurring task at once make one next task, not many."""
    task = await alice.new_task("a", due_date="2026-11-21", recurring_pattern="daily", tags=["x"])
    await asyncio.gather(
        *(batch(alice, {"op": "complete", "id": task["id"]}) for _ in range(8)),
        *(alice.patch(f"/api/tasks/{task['id']}/complete", json={"completed": True}) for _ in range(4)),
    )
    assert len(await everything(alice)) == 2


async def test_a_repeated_batch_is_done_once(alice: Client) -> None:
    """With an Idempotency-Key the first answer is given again; a batch that failed leaves its key free."""
    body = {"operations": [{"op": "create", "title": "a"}]}
    headers = {"Idempotency-Key": "k1"}
    first, second = [await alice.post("/api/tasks/batch", json=body, headers=headers) for _ in range(2)]
    assert first.json() == second.json()
    assert second.headers["Idempotency-Replayed"] == "true"
    assert len(await everything(alice)) == 1
    headers = {"Idempotency-Key": "k2"}
    failing = {"operations": [{"op": "create", "title": "b"}, {"op": "delete", "id": 10**6}]}
    assert (await alice.post("/api/tasks/batch", json=failing, headers=headers)).status_code == 409
    assert len(await everything(alice)) == 1
    assert (await alice.post("/api/tasks/batch", json=body, headers=headers)).status_code == 200
    assert len(await everything(alice)) == 2


async def test_complete_all_completes_what_meets_the_filter(alice: Client, statements: Sent) -> None:
    """A filter's pending tasks are completed in one statement and counted; others stay as they were."""
    ids = [(await alice.new_task(f"t{n}", tags=["x"] if n % 2 else []))["id"] for n in range(6)]
    done = await alice.new_task("done", tags=["x"], completed=True)
    other = (await everything(alice))[ids[0]]
    await asyncio.sleep(0.005)  # SQLite's clock counts milliseconds
    statements.clear()
    query = "tag=x&priority=medium&search=t&status=all&created_after=2000-01-01"
    assert (await alice.post(f"/api/tasks/complete-all?{query}")).json()["completed"] == 3
    assert len(about_tasks(statements)) == 1
    tasks = await everything(alice)
    assert [tasks[task_id]["completed"] for task_id in ids] == [False, True] * 3
    assert tasks[done["id"]] == done
    assert tasks[ids[0]] == other
    changed = tasks[ids[1]]
    assert changed["version"] == 2
    assert changed["completed_at"] == changed["updated_at"]
    assert moment(changed["updated_at"]) > moment(changed["created_at"])
    assert (await alice.post("/api/tasks/complete-all")).json()["completed"] == 3
    assert (await alice.post("/api/tasks/complete-all")).json()["completed"] == 0
    assert (await alice.post("/api/tasks/complete-all?completed=true")).json()["completed"] == 0


async def test_complete_all_follows_recurring_tasks(alice: Client, statements: Sent) -> None:
    """Each recurring task gets its successor, in a number of statements that is the same for all of them."""
    recurring = {"due_date": "2026-11-21", "recurring_pattern": "daily"}
    await results(alice, *({"op": "create", "title": f"t{n}", **recurring} for n in range(50)))
    await alice.new_task("once")
    statements.clear()
    headers = {"Idempotency-Key": "k"}
    for _ in range(2):
        response = await alice.post("/api/tasks/complete-all", headers=headers)
        assert response.json()["completed"] == 51
    writes = [statement for statement in about_tasks(statements) if "idempotency" not in statement]
    assert [statement.split()[0] for statement in writes] == ["UPDATE", "SELECT", "INSERT", "UPDATE"]
    tasks = await everything(alice)
    pending = {task["title"]: task for task in tasks.values() if not task["completed"]}
    assert len(tasks) == 101
    assert pending.keys() == {f"t{n}" for n in range(50)}
    for task in tasks.values():
        if task["completed"] and task["recurring"]:
            assert task["next_task_id"] == pending[task["title"]]["id"]
            assert (task["version"], pending[task["title"]]["due_date"]) == (2, "2026-11-22")


async def test_deleting_needs_a_filter(alice: Client, statements: Sent) -> None:
    """Without a condition, or with one that is misspelt, it is a 422 that says so, and nothing is deleted."""
    await alice.new_task()
    statements.clear()
    for query in ("", "?status=all", "?search=", "?search=%20", "?statu=completed", "?status=all&limit=1"):
        response = await alice.delete(f"/api/tasks{query}")
        assert response.status_code == 422, query
        assert response.json()["detail"][0]["loc"][0] == "query"
    assert statements == []
    assert "condition" in (await alice.delete("/api/tasks")).json()["detail"][0]["msg"]


@pytest.mark.parametrize(
    "query",
    [
        "status=completed",
        "status_filter=completed",
        "completed=true",
        "tag=x",
        "priority=high&tag=x",
        "search=gone",
        "has_due_date=true",
        "due_before=2026-01-02",
    ],
)
async def test_deleting_takes_what_meets_the_filter(alice: Client, query: str, statements: Sent) -> None:
    """Any condition will do: the tasks that meet it are deleted in one statement and counted."""
    fields: dict[str, Any] = {"completed": True, "tags": ["x"], "priority": "high", "due_date": "2026-01-01"}
    for _ in range(2):
        await alice.new_task("gone", **fields)
    kept = await alice.new_task("kept")
    statements.clear()
    response = await alice.delete(f"/api/alice/tasks?{query}")
    assert (response.status_code, response.json()["deleted"]) == (200, 2)
    assert len(about_tasks(statements)) == 1
    assert await everything(alice) == {kept["id"]: kept}


async def test_other_paths_keep_their_users(alice: Client, bob: Client, statements: Sent) -> None:
    """Under another user's path each is a 403 before the database is asked."""
    for method, path in (("POST", "batch"), ("POST", "complete-all"), ("DELETE", "?status=completed")):
        url = f"/api/bob/tasks/{path}".replace("/?", "?")
        response = await alice.request(method, url, json={"operations": []} if path == "batch" else None)
        assert response.status_code == 403
    assert statements == []


async def test_the_last_day_of_all_can_be_due(alice: Client) -> None:
    """A day that ends after the last moment there is, in its time zone, is due at that moment."""
    last = {"title": "a", "due_date": "9999-12-31", "timezone": "America/New_York"}
    [result] = await results(alice, {"op": "create", **last})
    assert result["task"]["due_date"] == "9999-12-31"
    assert (await alice.post("/api/tasks", json=last)).status_code == 201


async def test_too_many_to_follow_are_refused(alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recurring tasks are worked out one by one: beyond a number, none is completed; others have no limit."""
    monkeypatch.setattr(crud, "FOLLOWED_MAX", 2)
    for number in range(3):
        await alice.new_task(f"series {number}", due_date="2026-11-21", recurring_pattern="daily")
        await alice.new_task("once")
    refused = await alice.post("/api/tasks/complete-all")
    assert refused.status_code == 422
    [problem] = refused.json()["detail"]
    assert problem["loc"] == ["query"]
    assert "choose fewer" in problem["msg"]
    assert len((await alice.get("/api/tasks?completed=false")).json()) == 6
    assert (await alice.post("/api/tasks/complete-all?search=once")).json()["completed"] == 3
    await alice.delete("/api/tasks?search=2")
    assert (await alice.post("/api/tasks/complete-all")).json()["completed"] == 2


def test_the_refusal_names_the_limit() -> None:
    """The sentence that clients read says the number that holds."""
    assert f" {crud.FOLLOWED_MAX} " in str(TooManyFollowed.__doc__)
