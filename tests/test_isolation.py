"""Another user's data does not exist. Driven by the OpenAPI document: a new operation is held to it too."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.conftest import Client, Statements, token_for
from tests.test_openapi import SYSTEM, Operation, operations

MISSING = 2**62

# Bodies that each operation takes, None for no body: one for each way through its code.
BODIES: dict[str, tuple[Any, ...]] = {
    "list_tasks": (None,),
    "create_task": ({"title": "bob's"},),
    "get_task": (None,),
    "put_task": ({}, {"title": "bob's"}, {"description": None, "completed": True}),
    "update_task": ({}, {"title": "bob's"}, {"description": None, "completed": True}),
    "complete_task": (None, {}, {"completed": True}, {"completed": False}),
    "delete_task": (None,),
}


def bodies(operation: Operation) -> tuple[Any, ...]:
    """What to send to an operation."""
    name = operation.id.removesuffix("_of_user")
    if name not in BODIES:
        pytest.fail(f"add the smallest bodies of {name} to BODIES: it must keep users apart like all others")
    return BODIES[name]


def address(operation: Operation, user_id: str, task_id: int) -> str:
    """The operation's path with these ids in it."""
    if unknown := operation.parameters - {"user_id", "task_id"}:
        pytest.fail(f"{operation.id} has {unknown} in its path: fill in another user's in these tests")
    return operation.path.format(user_id=user_id, task_id=task_id)


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


async def test_anothers_task_is_a_missing_task(
    app: FastAPI, alice: Client, bob: Client, statements: Statements
) -> None:
    """Every operation answers for another's task, byte for byte, what it answers for one that never was."""
    hers = await alice.new_task("alice's", description="secret")
    deleted = await bob.new_task()
    await bob.delete(f"/api/tasks/{deleted['id']}")
    for operation, body in requests(app, "task_id"):
        answers, sent = [], []
        for task_id in (hers["id"], deleted["id"], MISSING):
            statements.clear()
            response = await bob.request(operation.method, address(operation, "bob", task_id), json=body)
            answers.append(comparable(response))
            sent.append(list(statements))
        assert answers[0][0] == 404, f"{operation.id} {body}"
        assert answers[0] == answers[1] == answers[2], f"{operation.id} {body}"
        assert sent[0] == sent[1] == sent[2], f"{operation.id} {body} asks the database something else"
        assert (await alice.get(f"/api/tasks/{hers['id']}")).json() == hers, f"{operation.id} {body}"


async def test_anothers_path_is_refused_before_the_database(
    app: FastAPI, alice: Client, bob: Client, statements: Statements
) -> None:
    """Under another's prefix every operation is the same 403, whoever it is and whatever is there."""
    hers = await alice.new_task("alice's", description="secret")
    for operation, body in requests(app, "user_id"):
        statements.clear()
        answers = {
            comparable(await bob.request(operation.method, address(operation, user_id, task_id), json=body))
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
    lists = [
        operation
        for operation in operations(app)
        if operation.method == "GET" and operation.id not in SYSTEM and "task_id" not in operation.parameters
    ]
    assert lists
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


async def test_a_request_cannot_name_its_owner_or_its_id(app: FastAPI, alice: Client, bob: Client) -> None:
    """`user_id` and `id` in a body or a query change nothing: rows are the caller's, ids the database's."""
    hers = await alice.new_task("alice's")
    named = {"id": hers["id"], "user_id": "alice", "userId": "alice", "owner": "alice"}
    concerned = [operation for operation in operations(app) if "requestBody" in operation.spec]
    assert concerned
    for operation in concerned:
        for body in bodies(operation):
            own = await bob.new_task()
            response = await bob.request(
                operation.method,
                address(operation, "bob", own["id"]),
                json=(body or {}) | named,
                params={"user_id": "alice", "id": hers["id"]},
            )
            assert response.is_success, f"{operation.id} {body}: {response.text}"
            task = response.json()
            assert task["user_id"] == "bob", f"{operation.id} {body}"
            if "task_id" in operation.parameters:
                assert task["id"] == own["id"], f"{operation.id} {body}"
            else:
                assert task["id"] > own["id"], f"{operation.id} {body}"
    assert (await alice.get("/api/tasks")).json() == [hers]


async def test_without_a_good_token_nothing_is_done(
    app: FastAPI, alice: Client, client: Client, statements: Statements
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
                response = await client.request(operation.method, path, json=body, headers=headers)
                case = f"{operation.id} {body} with {name}"
                if operation.id in SYSTEM:
                    assert response.status_code == 200, case
                    continue
                assert response.status_code == 401, case
                assert response.headers["www-authenticate"] == "Bearer", case
                assert statements == [], case
    assert (await alice.get("/api/tasks")).json() == [hers]
