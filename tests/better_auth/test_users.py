"""Two users of one Better Auth: what either does never touches the other."""

from typing import Any

import pytest

from tests.better_auth.conftest import Pair, Person

pytestmark = pytest.mark.asyncio(loop_scope="session")

MISSING = 2**40  # an id that no task has had
BODY = {"title": "taken", "description": "taken", "completed": True}


async def operations(person: Person, user_id: str, task_id: int) -> list[tuple[str, str]]:
    """Every operation on tasks that the running service offers, with these ids in its path."""
    document = (await person.get("/openapi.json")).json()
    return [
        (method.upper(), path.format(user_id=user_id, task_id=task_id, change=1))
        for path, item in document["paths"].items()
        if path.startswith("/api/") and "/tasks" in path
        for method in item
    ]


def answer(response: Any) -> tuple[int, Any]:
    """What a response says, but for the id of its request."""
    return response.status_code, response.json() | {"request_id": ""}


async def test_users_never_meet(pair: Pair) -> None:
    """Another's task is the same 404 as a missing one, another's path a 403, whatever the operation."""
    ann, bob = await pair.sign_up(), await pair.sign_up()
    task = await ann.new_task("ann's", description="hers")
    await bob.new_task("bob's")
    theirs = await operations(bob, bob.user_id, task["id"])
    nothing = await operations(bob, bob.user_id, MISSING)
    assert len(theirs) >= 14
    for (method, path), (_, unknown) in zip(theirs, nothing, strict=True):
        if path == unknown:  # no task in it
            continue
        body = BODY if method[0] == "P" else None
        refused = await bob.request(method, path, json=body)
        assert refused.status_code == 404, (method, path)
        assert answer(refused) == answer(await bob.request(method, unknown, json=body)), (method, path)
    foreign = [(m, p) for m, p in await operations(bob, ann.user_id, task["id"]) if ann.user_id in p]
    assert len(foreign) >= 7
    for method, path in foreign:
        refused = await bob.request(method, path, json=BODY if method[0] == "P" else None)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden"), (method, path)
    assert (await ann.get("/api/tasks")).json() == [task]
    assert await bob.titles() == ["bob's"]
