"""Another user's data does not exist. Driven by the OpenAPI document: a new operation is held to it too."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.conftest import Client, Sent, token_for
from tests.test_openapi import BY_SECRET, SYSTEM, Operation, is_of_tasks, operations

MISSING = 2**62

# Bodies that each operation takes, None for no body: one for each way through its code.
BODIES: dict[str, tuple[Any, ...]] = {
    "list_tasks": (None,),
    "count_tasks": (None,),
    "get_stats": (None,),
    "preview_recurrence": (None,),
    "export_tasks": (None,),
    "create_task": ({"title": "bob's"}, {"title": "bob's", "due_date": "2026-11-21", "tags": ["a"]}),
    "get_task": (None,),
    "put_task": ({}, {"title": "bob's"}, {"description": None, "completed": True}, {"due_date": None}),
    "update_task": ({}, {"title": "bob's"}, {"description": None, "completed": True}, {"timezone": "UTC"}),
    "complete_task": (None, {}, {"completed": True}, {"completed": False}),
    "delete_task": (None,),
    "run_batch": ({"operations": []}, {"operations": [{"op": "create", "title": "bob's"}]}),
    "complete_all": (None,),
    "delete_all": (None,),
    "import_tasks": ({"title": "bob's"},),
    "get_changes": (None,),
    "watch_changes": (None,),
    "get_history": (None,),
    "get_task_history": (None,),
    "get_trash": (None,),
    "empty_trash": (None,),
    "restore_task": (None,),
    "undo_task": (None,),
    "undo_change": (None,),
    "create_calendar": ({}, {"name": "bob's", "component": "todo", "alarm": 5, "filter": {"tag": "a"}}),
    "list_calendars": (None,),
    "delete_calendar": (None,),
    "get_calendar": (None,),
    "list_conversations": (None,),
    "get_conversation": (None,),
    "list_messages": (None,),
    "update_conversation": ({"title": "bob's"},),
    "delete_conversation": (None,),
    "chat": ({"message": "bob's"},),
    "stream_chat": (
        {"messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "bob's"}]}]},
    ),
    "resume_chat": (None,),
    "stop_conversation": (None,),
}

# The parameters that an operation cannot do without.
QUERIES: dict[str, dict[str, str]] = {
    "preview_recurrence": {"pattern": "daily", "due_date": "2026-11-21"},
    "delete_all": {"completed": "false"},
}

# The operations that answer a list or a number of whatever the caller has.
READING = {
    "list_tasks",
    "count_tasks",
    "get_stats",
    "preview_recurrence",
    "export_tasks",
    "get_changes",
    "watch_changes",
    "get_history",
    "get_trash",
}

# The operations on a task that may be in the trash.
LOOKING_BACK = {"get_task_history", "restore_task"}

NDJSON = {"Content-Type": "application/x-ndjson"}


def bodies(operation: Operation) -> tuple[Any, ...]:
    """What to send to an operation."""
    if operation.name not in BODIES:
        pytest.fail(f"add the smallest bodies of {operation.name} to BODIES: it must keep users apart too")
    return BODIES[operation.name]


def options(operation: Operation, body: Any, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """How a client hands a body over, with the parameters that it cannot do without."""
    sent: dict[str, Any] = {"params": QUERIES.get(operation.name, {}), "headers": headers or {}}
    if operation.name == "import_tasks":
        return sent | {"content": json.dumps(body), "headers": sent["headers"] | NDJSON}
    return sent | {"json": body}


def address(operation: Operation, user_id: str, task_id: int) -> str:
    """The operation's path with these ids in it."""
    known = {"user_id", "task_id", "change", "calendar_id", "secret", "conversation_id", "chat_id"}
    if unknown := operation.parameters - known:
        pytest.fail(f"{operation.id} has {unknown} in its path: fill in another user's in these tests")
    ids = {"task_id": task_id, "calendar_id": task_id, "conversation_id": task_id, "chat_id": task_id}
    return operation.path.format(user_id=user_id, change=1, secret="guessed", **ids)


def requests(app: FastAPI, parameter: str) -> Iterator[tuple[Operation, Any]]:
    """Every operation with this parameter in its path, with each of its bodies."""
    found = [operation for operation in operations(app) if parameter in operation.parameters]
    assert len(found) >= 5, "the document names too few operations: does this test still read it?"
    return ((operation, body) for operation in found for body in bodies(operation))


def comparable(response: httpx.Response) -> tuple[int, tuple[tuple[bytes, bytes], ...], bytes]:
    """All that a client can see of an answer but the request's id and the time."""
    volatile = (b"x-request-id", b"date")
    headers = tuple(header for header in response.headers.raw if header[0].lower() not in volatile)
    request_id = response.headers["x-request-id"].encode()
    return response.status_code, headers, response.content.replace(request_id, b"")


async def everything(client: Client) -> list[dict[str, Any]]:
    """All of a user's tasks."""
    listed: list[dict[str, Any]] = (await client.get("/api/tasks")).json()
    return listed


async def both_have(alice: Client, bob: Client) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Tasks of every kind for both, alike but for the title; returns alice's, then bob's, newest first."""
    for client in (alice, bob):
        title = f"{client.user_id}'s"
        await client.new_task(f"{title} plain")
        await client.new_task(f"{title} done", completed=True, tags=["work"])
        await client.new_task(f"{title} late", due_date="2020-01-01", priority="high", tags=["work", "home"])
        await client.new_task(f"{title} series", due_date="2020-01-01", recurring_pattern="yearly")
    return await everything(alice), await everything(bob)


# Filters that tasks of both meet.
FILTERS = (
    "status=pending",
    "status=completed",
    "priority=high",
    "tag=work",
    "overdue=true",
    "has_due_date=false",
    "recur_from=due",
    "search=alice",
    "search=s",
    "created_after=2020-01-01",
    "due_before=2021-01-01",
)


# Conditions that every version meets.
CONDITIONAL = {"If-Match": '"1", "2"', "If-None-Match": "*"}


async def test_anothers_task_is_a_missing_task(
    app: FastAPI, alice: Client, bob: Client, statements: Sent
) -> None:
    """Every operation answers for another's task, byte for byte, what it answers for one that never was."""
    hers = await alice.new_task("alice's", description="secret")
    deleted = await bob.new_task()
    await bob.delete(f"/api/tasks/{deleted['id']}")
    cases = [(*case, headers) for case in requests(app, "task_id") for headers in ({}, CONDITIONAL)]
    for operation, body, headers in cases:
        answers, sent = [], []
        # What looks back knows one's own deleted tasks.
        ids = (hers["id"], MISSING, *([] if operation.name in LOOKING_BACK else [deleted["id"]]))
        for task_id in ids:
            statements.clear()
            path = address(operation, "bob", task_id)
            response = await bob.request(operation.method, path, **options(operation, body, headers))
            answers.append(comparable(response))
            sent.append(list(statements))
        case = f"{operation.id} {body} {headers}"
        assert answers[0][0] == 404, case
        assert answers == answers[:1] * len(ids), case
        assert sent == sent[:1] * len(ids), f"{case} asks the database something else"
        assert (await alice.get(f"/api/tasks/{hers['id']}")).json() == hers, case


async def test_anothers_path_is_refused_before_the_database(
    app: FastAPI, alice: Client, bob: Client, statements: Sent
) -> None:
    """Under another's prefix every operation is the same 403, whoever it is and whatever is there."""
    hers = await alice.new_task("alice's", description="secret")
    for operation, body in requests(app, "user_id"):
        statements.clear()
        answers = {
            comparable(
                await bob.request(
                    operation.method, address(operation, user_id, task_id), **options(operation, body)
                )
            )
            for user_id in ("alice", "nobody", "Bob", "bob%20", "%62ob2", "%00", "%C3%BC", "%FF")
            for task_id in (hers["id"], MISSING)
        }
        assert len(answers) == 1, f"{operation.id} {body}"
        assert answers.pop()[0] == 403, f"{operation.id} {body}"
        assert statements == [], f"{operation.id} {body}"
    assert (await alice.get("/api/tasks")).json() == [hers]


async def test_lists_show_ones_own_tasks_only(app: FastAPI, alice: Client, bob: Client) -> None:
    """No list of bob's, however it is filtered, sorted or paged, shows anything of alice's."""
    own = []
    for number in range(4):
        await alice.new_task(f"alice's {number}", completed=number % 2 == 0)
        own.append((await bob.new_task(f"bob's {number}", completed=number % 2 == 0))["id"])
    lists = [operation for operation in operations(app) if operation.name == "list_tasks"]
    assert len(lists) == 2
    for operation in lists:
        for query in ("", "status=pending", "status=completed", "sort=title", "user_id=alice"):
            shown: list[int] = []
            url: str | None = f"{address(operation, 'bob', 0)}?limit=1&{query}"
            while url:
                response = await bob.get(url)
                assert response.status_code == 200, f"{operation.id} {query}"
                assert "alice's" not in response.text, f"{operation.id} {query}"
                shown += [task["id"] for task in response.json()]
                url = response.links.get("next", {}).get("url")
            expected = own if "status" not in query else own[::2] if "completed" in query else own[1::2]
            assert sorted(shown) == expected, f"{operation.id} {query}"


def test_all_that_reads_many_tasks_is_known(app: FastAPI) -> None:
    """Each operation that reads tasks without naming one is held to keep users apart by name below."""
    found = {
        operation.name
        for operation in filter(is_of_tasks, operations(app))
        if operation.method == "GET" and "task_id" not in operation.parameters
    }
    assert found == READING


@pytest.mark.parametrize("prefix", ["/api", "/api/bob"])
async def test_numbers_are_of_ones_own_tasks(alice: Client, bob: Client, prefix: str) -> None:
    """Counts and statistics are what they would be without anybody else."""
    _, own = await both_have(alice, bob)
    listed = {query: (await bob.get(f"{prefix}/tasks?{query}")).json() for query in ("", *FILTERS)}
    assert len(listed[""]) == len(own) == 4
    for query, found in listed.items():
        assert (await bob.get(f"{prefix}/tasks/count?{query}")).json() == {"count": len(found)}, query
    stats = (await bob.get(f"{prefix}/tasks/stats")).json()
    assert (stats["total"], stats["completed"], stats["overdue"]) == (4, 1, 2)
    assert stats["by_priority"] == {"low": 0, "medium": 3, "high": 1}
    assert stats["by_tag"] == {"work": 2, "home": 1}


@pytest.mark.parametrize("prefix", ["/api", "/api/bob"])
async def test_a_file_holds_ones_own_tasks(alice: Client, bob: Client, prefix: str) -> None:
    """An export of bob's has every task of his and nothing of alice's, in each format."""
    _, own = await both_have(alice, bob)
    lines = (await bob.get(f"{prefix}/tasks/export")).text.splitlines()
    assert [json.loads(line)["title"] for line in lines] == [task["title"] for task in reversed(own)]
    csv = (await bob.get(f"{prefix}/tasks/export?format=csv&user_id=alice")).text
    assert (csv.count("bob's"), csv.count("alice")) == (4, 0)


@pytest.mark.parametrize("prefix", ["/api", "/api/bob"])
async def test_many_at_once_are_ones_own(alice: Client, bob: Client, prefix: str) -> None:
    """Completing and deleting by a filter changes as many tasks as bob's list shows, and none of alice's."""
    hers, _ = await both_have(alice, bob)
    for query in ("", *FILTERS):
        found = (await bob.get(f"{prefix}/tasks?{query}")).json()
        pending = [task["id"] for task in found if not task["completed"]]
        answer = await bob.post(f"{prefix}/tasks/complete-all?{query}")
        assert answer.json()["completed"] == len(pending), query
        assert await everything(alice) == hers, query
        await bob.new_task("bob's plain")
    for query in FILTERS:
        found = (await bob.get(f"{prefix}/tasks?{query}")).json()
        assert (await bob.delete(f"{prefix}/tasks?{query}")).json()["deleted"] == len(found), query
        assert (await bob.get(f"{prefix}/tasks?{query}")).json() == [], query
        assert await everything(alice) == hers, query


@pytest.mark.parametrize("prefix", ["/api", "/api/bob"])
@pytest.mark.parametrize("atomic", ["true", "false"])
async def test_a_batch_finds_ones_own_tasks(
    alice: Client, bob: Client, statements: Sent, prefix: str, atomic: str
) -> None:
    """Each operation on another's task says what it says of a missing one, byte for byte."""
    hers = await alice.new_task("alice's", due_date="2026-11-21", recurring_pattern="daily")
    deleted = await bob.new_task()
    await bob.delete(f"/api/tasks/{deleted['id']}")
    for operation in (
        {"op": "update", "title": "bob's"},
        {"op": "update", "completed": True, "version": 1},
        {"op": "update"},
        {"op": "complete"},
        {"op": "complete", "completed": False, "version": 7},
        {"op": "delete"},
        {"op": "delete", "version": 1},
    ):
        answers, sent = [], []
        for task_id in (hers["id"], deleted["id"]):
            statements.clear()
            body = {"operations": [operation | {"id": task_id}, {"op": "update", "id": task_id}]}
            response = await bob.post(f"{prefix}/tasks/batch?atomic={atomic}", json=body)
            assert [result["status"] for result in response.json()["results"]] == [404, 404], response.text
            answers.append(comparable(response))
            sent.append(list(statements))
        assert answers[0] == answers[1], operation
        assert sent[0] == sent[1], operation
        assert await everything(alice) == [hers], operation
        assert await everything(bob) == [], operation


@pytest.mark.parametrize("prefix", ["/api", "/api/bob"])
async def test_anothers_file_is_new_tasks(alice: Client, bob: Client, prefix: str) -> None:
    """What alice exported, ids and all, is for bob a file of tasks that never were."""
    hers, _ = await both_have(alice, bob)
    await bob.delete("/api/tasks?created_after=2020-01-01")
    file = (await alice.get("/api/tasks/export")).content
    for created, unchanged in ((4, 0), (0, 4)):
        reply = (await bob.post(f"{prefix}/tasks/import", content=file, headers=NDJSON)).json()
        assert (reply["created"], reply["unchanged"], reply["invalid"]) == (created, unchanged, 0)
        assert {line["id"] for line in reply["lines"]}.isdisjoint(task["id"] for task in hers)
    assert {task["user_id"] for task in await everything(bob)} == {"bob"}
    assert await everything(alice) == hers
    # Nor is her file any less new to her for having been his.
    reply = (await alice.post("/api/tasks/import", content=file, headers=NDJSON)).json()
    assert (reply["created"], reply["unchanged"]) == (0, 4)


async def test_an_idempotency_key_is_ones_own(app: FastAPI, alice: Client, bob: Client) -> None:
    """The same key and the same request of two users are two requests: neither reads the other's answer."""
    concerned = [
        operation
        for operation in filter(is_of_tasks, operations(app))
        if operation.method == "POST" and not operation.parameters  # the other prefix names the user
    ]
    assert {operation.name for operation in concerned} >= {"create_task", "run_batch", "import_tasks"}
    for operation in concerned:
        headers = {"Idempotency-Key": f"the-key-of-{operation.name}"}
        sent = options(operation, bodies(operation)[-1], headers)
        first = await alice.request(operation.method, operation.path, **sent)
        hers = await everything(alice)
        other = await bob.request(operation.method, operation.path, **sent)
        again = await alice.request(operation.method, operation.path, **sent)
        assert first.is_success, operation.id
        assert other.is_success, operation.id
        assert "idempotency-replayed" not in other.headers, operation.id
        assert "alice" not in other.text, operation.id
        assert again.headers["idempotency-replayed"] == "true", operation.id
        assert again.content == first.content, operation.id
        assert await everything(alice) == hers, operation.id
        assert {task["user_id"] for task in await everything(bob)} <= {"bob"}, operation.id


async def answered_tasks(bob: Client, response: httpx.Response) -> list[dict[str, Any]]:
    """The tasks that an answer is about, whatever its shape."""
    answer = response.json()
    if "results" in answer:
        return [result["task"] for result in answer["results"]]
    if "lines" in answer:
        return [(await bob.get(f"/api/tasks/{line['id']}")).json() for line in answer["lines"]]
    return [answer]


async def test_a_request_cannot_name_its_owner_or_its_id(app: FastAPI, alice: Client, bob: Client) -> None:
    """`user_id` and `id` in a body or a query change nothing: rows are the caller's, ids the database's."""
    hers = await alice.new_task("alice's")
    named = {"id": hers["id"], "user_id": "alice", "userId": "alice", "owner": "alice"}
    concerned = [
        operation for operation in filter(is_of_tasks, operations(app)) if "requestBody" in operation.spec
    ]
    assert {operation.name for operation in concerned} >= {"create_task", "run_batch", "import_tasks"}
    for operation in concerned:
        for number, body in enumerate(bodies(operation)):
            own = await bob.new_task()
            naming = (body or {}) | named | {"description": f"{operation.id} {number}"}
            if operation.name == "run_batch":
                naming["operations"] = [each | named for each in naming["operations"]]
            sent = options(operation, naming)
            sent["params"] = sent["params"] | {"user_id": "alice", "id": hers["id"]}
            path = address(operation, "bob", own["id"])
            response = await bob.request(operation.method, path, **sent)
            assert response.is_success, f"{operation.id} {body}: {response.text}"
            for task in await answered_tasks(bob, response):
                assert task["user_id"] == "bob", f"{operation.id} {body}"
                if "task_id" in operation.parameters:
                    assert task["id"] == own["id"], f"{operation.id} {body}"
                else:
                    assert task["id"] > own["id"], f"{operation.id} {body}"
    assert (await alice.get("/api/tasks")).json() == [hers]


async def test_many_at_once_cannot_name_an_owner(alice: Client, bob: Client) -> None:
    """Where a parameter more could select too much it is refused, `user_id` like any other."""
    hers, own = await both_have(alice, bob)
    for method, path in (("POST", "/api/tasks/complete-all"), ("DELETE", "/api/tasks")):
        response = await bob.request(method, path, params={"completed": "false", "user_id": "alice"})
        assert response.status_code == 422, path
    assert (await everything(alice), await everything(bob)) == (hers, own)


async def test_without_a_good_token_nothing_is_done(
    app: FastAPI, alice: Client, client: Client, statements: Sent
) -> None:
    """Every operation but the system's answers 401 and asks for a Bearer token, before the database hears."""
    hers = await alice.new_task("alice's")
    own, bobs = token_for("alice"), token_for("bob")
    bad = {
        "no token": {},
        "an expired token": {"Authorization": f"Bearer {token_for('alice', exp=1)}"},
        "another's signature": {
            "Authorization": f"Bearer {own.rpartition('.')[0]}.{bobs.rpartition('.')[2]}"
        },
    }
    for operation in operations(app):
        for body in (None,) if operation.id in SYSTEM else bodies(operation):
            for name, headers in bad.items():
                statements.clear()
                path = address(operation, "alice", hers["id"])
                sent = options(operation, body, headers)
                response = await client.request(operation.method, path, **sent)
                case = f"{operation.id} {body} with {name}"
                if operation.id in SYSTEM:
                    assert response.status_code == 200, case
                    continue
                if operation.id in BY_SECRET:
                    assert (response.status_code, statements) == (404, []), case
                    continue
                assert response.status_code == 401, case
                assert response.headers["www-authenticate"] == "Bearer", case
                assert statements == [], case
    assert (await alice.get("/api/tasks")).json() == [hers]


@pytest.mark.parametrize("prefix", ["/api", "/api/bob"])
async def test_a_calendar_is_ones_own(
    alice: Client, bob: Client, client: Client, statements: Sent, prefix: str
) -> None:
    """Another's calendar is neither listed nor deleted, and what one's own shows is one's own tasks."""
    await both_have(alice, bob)
    await alice.post("/api/calendar", json={"name": "alice's"})
    [hers] = (await alice.get("/api/calendar")).json()
    own = (await bob.post(f"{prefix}/calendar", json={"filter": {"status": "all"}})).json()
    assert [found["id"] for found in (await bob.get(f"{prefix}/calendar")).json()] == [own["id"]]
    answers, sent = [], []
    for calendar_id in (hers["id"], MISSING):
        statements.clear()
        answers.append(comparable(await bob.delete(f"{prefix}/calendar/{calendar_id}")))
        sent.append(list(statements))
    assert answers[0][0] == 404
    assert (answers[0], sent[0]) == (answers[1], sent[1])
    shown = (await client.get(own["url"])).text
    assert (shown.count("SUMMARY:bob's"), shown.count("alice")) == (2, 0)
    assert (await alice.get("/api/calendar")).json() == [hers]
