"""The tasks over HTTP, on both databases."""

import asyncio
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.conftest import Client, Sent, moment, on_sqlite, token_for


async def test_create_answers_the_task_and_its_address(alice: Client) -> None:
    """A created task is answered whole, trimmed, with a Location that leads to it."""
    response = await alice.post("/api/tasks", json={"title": "  Buy milk ", "description": "two litres"})
    assert response.status_code == 201
    task = response.json()
    assert task | {"id": 0, "created_at": "", "updated_at": ""} == {
        "id": 0,
        "user_id": "alice",
        "title": "Buy milk",
        "description": "two litres",
        "completed": False,
        "completed_at": None,
        "priority": "medium",
        "tags": [],
        "due_date": None,
        "timezone": "UTC",
        "recurring": False,
        "recurring_pattern": None,
        "recur_from": "due",
        "next_task_id": None,
        "version": 1,
        "created_at": "",
        "updated_at": "",
    }
    assert response.headers["ETag"] == '"1"'
    assert task["created_at"] == task["updated_at"]
    assert task["created_at"].endswith("Z")
    assert (await alice.get(response.headers["Location"])).json() == task


async def test_a_task_can_be_created_with_every_field(alice: Client) -> None:
    """What is planned with comes back as it was sent, an instant in UTC; a done task says since when."""
    sent = {
        "title": "Pay rent",
        "description": None,
        "completed": True,
        "priority": "HIGH",
        "tags": ["home", " money ", "home"],
        "due_date": "2026-11-21T09:00:00+01:00",
        "timezone": "Europe/Berlin",
        "recurring": True,
        "recurring_pattern": "rrule:freq=monthly;bymonthday=1",
        "recur_from": "completion",
    }
    response = await alice.post("/api/tasks", json=sent)
    assert response.status_code == 201, response.text
    task = response.json()
    assert task | {"id": 0} == sent | {
        "id": 0,
        "user_id": "alice",
        "completed_at": task["created_at"],
        "priority": "high",
        "tags": ["home", "money"],
        "due_date": "2026-11-21T08:00:00Z",
        "recurring_pattern": "FREQ=MONTHLY;BYMONTHDAY=1",
        "next_task_id": None,
        "version": 1,
        "created_at": task["created_at"],
        "updated_at": task["created_at"],
    }
    assert (await alice.get(response.headers["Location"])).json() == task


async def test_both_prefixes_are_the_same_tasks(alice: Client) -> None:
    """What is created under one prefix is read under the other, and Location keeps to its prefix."""
    response = await alice.post("/api/alice/tasks", json={"title": "a"})
    assert response.headers["Location"].startswith("/api/alice/tasks/")
    assert (
        (await alice.get("/api/tasks")).json()
        == (await alice.get("/api/alice/tasks")).json()
        == [response.json()]
    )


async def test_unknown_keys_are_ignored(alice: Client) -> None:
    """A client that sends fields this version does not know is served."""
    response = await alice.post(
        "/api/tasks", json={"title": "a", "category": "x", "due_date": "", "user_id": "bob", "id": 9}
    )
    assert response.status_code == 201
    assert response.json()["user_id"] == "alice"


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_updates_are_partial(alice: Client, method: str) -> None:
    """Absent stays, null clears, {} changes nothing; PUT and PATCH are the same."""
    task = await alice.new_task("a", description="b")
    path = f"/api/tasks/{task['id']}"
    assert (await alice.request(method, path, json={})).json() == task
    renamed = (await alice.request(method, path, json={"title": " c "})).json()
    assert (renamed["title"], renamed["description"], renamed["completed"]) == ("c", "b", False)
    cleared = (await alice.request(method, path, json={"description": None, "completed": True})).json()
    assert (cleared["title"], cleared["description"], cleared["completed"]) == ("c", None, True)
    assert (await alice.get(path)).json() == cleared


async def test_updated_at_moves_with_real_changes_only(alice: Client) -> None:
    """Writing what is already there leaves the time; a change moves it."""
    task = await alice.new_task("a", description=None)
    path = f"/api/tasks/{task['id']}"
    await asyncio.sleep(0.005)  # SQLite's clock counts milliseconds
    same = {"title": "a", "description": None, "completed": False}
    assert (await alice.patch(path, json=same)).json() == task
    assert (await alice.patch(f"{path}/complete", json={"completed": False})).json() == task
    changed = (await alice.patch(path, json={"description": "b"})).json()
    assert moment(changed["updated_at"]) > moment(task["updated_at"])
    assert changed["created_at"] == task["created_at"]


async def test_complete_toggles_without_a_body_and_sets_with_one(alice: Client) -> None:
    """No body turns the state over; a body sets it however often it is sent."""
    path = f"/api/tasks/{(await alice.new_task())['id']}/complete"
    assert [(await alice.patch(path)).json()["completed"] for _ in range(3)] == [True, False, True]
    for state in (True, True, False, False):
        response = await alice.patch(path, json={"completed": state})
        assert response.json()["completed"] is state
    assert (await alice.patch(path, json={"unknown": 1})).json()["completed"] is True


async def test_delete_is_done_once(alice: Client) -> None:
    """A deleted task is gone: 204 without a body, then a clean 404."""
    path = f"/api/tasks/{(await alice.new_task())['id']}"
    response = await alice.delete(path)
    assert (response.status_code, response.content) == (204, b"")
    for method in ("DELETE", "GET", "PATCH"):
        again = await alice.request(method, path, json={} if method == "PATCH" else None)
        assert again.status_code == 404
        assert again.json()["detail"] == "Task not found"


async def test_ids_are_never_used_again(alice: Client) -> None:
    """A repeated DELETE cannot meet a task that was created since."""
    first = await alice.new_task()
    await alice.delete(f"/api/tasks/{first['id']}")
    assert (await alice.new_task())["id"] > first["id"]


@pytest.mark.parametrize(
    "task_id", [str(number) for number in (0, -1, 2**31, 2**63 - 1, 2**63, -(10**30), 10**4000)]
)
async def test_ids_beyond_any_column_are_missing(alice: Client, task_id: str) -> None:
    """Whatever number a client makes up is a 404."""
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        response = await alice.request(method, f"/api/tasks/{task_id}", json={} if method[0] == "P" else None)
        assert response.status_code == 404


@on_sqlite
@pytest.mark.parametrize("task_id", ["abc", "1.5", "%00", "1e3"])
async def test_ids_that_are_no_numbers_are_refused(alice: Client, task_id: str) -> None:
    """A path that is not an id is a 422."""
    assert (await alice.get(f"/api/tasks/{task_id}")).status_code == 422


BAD_BODIES: list[tuple[str, Any]] = [
    ("no title", {}),
    ("a null title", {"title": None}),
    ("an empty title", {"title": ""}),
    ("a blank title", {"title": " \t\n "}),
    ("a title that nobody sees", {"title": "\u200b\u3164"}),
    ("a tag that nobody sees", {"title": "a", "tags": ["\u2060"]}),
    ("a title too long", {"title": "x" * 201}),
    ("a title that is no text", {"title": 5}),
    ("a NUL in the title", {"title": "a\x00b"}),
    ("half a surrogate pair in the title", {"title": "\ud800"}),
    ("a description too long", {"title": "a", "description": "x" * 1001}),
    ("a description that is no text", {"title": "a", "description": {"a": 1}}),
    ("a NUL in the description", {"title": "a", "description": "\x00"}),
    ("half a surrogate pair in the description", {"title": "a", "description": "\udfff"}),
    ("a state that is no boolean", {"title": "a", "completed": "yes"}),
    ("a null state", {"title": "a", "completed": None}),
    ("a list", [{"title": "a"}]),
    ("a text", "title"),
    ("a number", 1),
    ("null", None),
]


@on_sqlite
@pytest.mark.parametrize("body", [pytest.param(body, id=name) for name, body in BAD_BODIES])
async def test_bad_bodies_are_refused(alice: Client, body: Any, statements: Sent) -> None:
    """Each is a 422 that names the place, before the database hears of it."""
    task = await alice.new_task()
    statements.clear()
    content, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
    response = await alice.post("/api/tasks", content=content, headers=headers)
    assert response.status_code == 422
    problem = response.json()
    assert problem["code"] == "validation_error"
    assert problem["detail"][0].keys() == {"loc", "msg", "type"}
    assert problem["detail"][0]["loc"][0] == "body"
    if body != {}:
        update = await alice.patch(f"/api/tasks/{task['id']}", content=content, headers=headers)
        assert update.status_code == 422
    assert statements == []


RAW_BODIES: list[tuple[str, bytes, str]] = [
    ("broken JSON", b'{"title": ', "application/json"),
    ("not UTF-8", b'{"title": "\xff"}', "application/json"),
    ("too deep", b"[" * 500_000, "application/json"),
    ("a number too long", b'{"title": ' + b"1" * 5000 + b"}", "application/json"),
]


@on_sqlite
@pytest.mark.parametrize(
    ("content", "content_type"), [pytest.param(content, kind, id=name) for name, content, kind in RAW_BODIES]
)
async def test_unreadable_bodies_are_refused(alice: Client, content: bytes, content_type: str) -> None:
    """What is not JSON, though it says so, is a 422."""
    response = await alice.post("/api/tasks", content=content, headers={"Content-Type": content_type})
    assert response.status_code == 422, response.text
    assert response.json()["code"] == "validation_error"


async def test_large_bodies_are_refused(alice: Client) -> None:
    """A body above 1 MiB is a 413 in the shape of every error; one below is read."""
    headers = {"Content-Type": "application/json"}
    body = b'{"title": "a", "x": "' + b"x" * (1024 * 1024 - 23) + b'"}'
    assert (await alice.post("/api/tasks", content=body, headers=headers)).status_code == 201
    response = await alice.post("/api/tasks", content=body + b" ", headers=headers)
    assert response.status_code == 413
    assert response.json().keys() == {"detail", "code", "request_id"}


async def test_lists_are_newest_first(alice: Client) -> None:
    """The list is a bare array, the newest task at its head."""
    made = [(await alice.new_task(f"t{number}"))["id"] for number in range(4)]
    listed = (await alice.get("/api/tasks")).json()
    assert [task["id"] for task in listed] == made[::-1]


async def test_lists_filter_by_status_under_every_name(alice: Client) -> None:
    """`status`, `status_filter` and `completed` mean the same."""
    open_, done = await alice.new_task("open"), await alice.new_task("done", completed=True)

    async def ids(query: str) -> list[int]:
        return [task["id"] for task in (await alice.get(f"/api/tasks?{query}")).json()]

    for query in (
        "status=pending",
        "status_filter=pending",
        "completed=false",
        "status=pending&completed=false",
    ):
        assert await ids(query) == [open_["id"]]
    for query in (
        "status=completed",
        "status_filter=completed",
        "completed=true",
        "status=all&completed=true",
    ):
        assert await ids(query) == [done["id"]]
    assert await ids("status=all") == await ids("unknown=1") == [done["id"], open_["id"]]


async def test_lists_sort_under_every_name(alice: Client) -> None:
    """`sort` and `order` work under both of their names; titles go up by default, times down."""
    for title in ("b", "c", "a"):
        await alice.new_task(title)
    first = (await alice.get("/api/tasks?sort=title&limit=1")).json()[0]
    await asyncio.sleep(0.005)  # SQLite's clock counts milliseconds
    await alice.patch(f"/api/tasks/{first['id']}", json={"description": "changed"})

    async def titles(query: str) -> str:
        return "".join(task["title"] for task in (await alice.get(f"/api/tasks?{query}")).json())

    assert await titles("sort=title") == await titles("sort_by=title&sort_order=asc") == "abc"
    assert await titles("sort=title&order=desc") == "cba"
    assert await titles("sort=created") == await titles("sort_by=created_at&sort_order=desc") == "acb"
    assert await titles("sort=created&order=asc") == "bca"
    assert (await titles("sort=updated"))[0] == (await titles("sort=updated_at"))[0] == "a"


@on_sqlite
@pytest.mark.parametrize(
    "query",
    [
        "status=done",
        "completed=perhaps",
        "status=pending&completed=true",
        "sort=id",
        "order=up",
        "limit=0",
        "limit=-1",
        "limit=1001",
        "limit=9223372036854775808",
        "limit=x",
        "cursor=x",
        "cursor=%00",
        "cursor=%ff",
        "cursor=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "cursor=" + "a" * 5000,
    ],
)
async def test_bad_list_parameters_are_refused(alice: Client, query: str, statements: Sent) -> None:
    """Each is a 422 with FastAPI's list, before the database hears of it."""
    response = await alice.get(f"/api/tasks?{query}")
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"][0] == "query"
    assert statements == []


def next_link(response: Any) -> str | None:
    """The address of the next page."""
    link: str | None = response.links.get("next", {}).get("url")
    return link


@pytest.mark.parametrize("sort", ["created", "updated", "title"])
@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_make_up_the_list(alice: Client, sort: str, order: str) -> None:
    """Following `next` shows each task once in the list's order, equal sort values included."""
    for number in range(7):
        await alice.new_task(f"t{number % 2}", completed=number % 3 == 0)
    for query in (f"sort={sort}&order={order}", f"sort={sort}&order={order}&status=pending"):
        whole = await alice.get(f"/api/tasks?{query}")
        assert next_link(whole) is None
        pages: list[Any] = []
        url: str | None = f"/api/tasks?{query}&limit=2"
        while url:
            response = await alice.get(url)
            pages += response.json()
            url = next_link(response)
        assert pages == whole.json()


async def test_pages_stand_still_while_tasks_come_and_go(alice: Client) -> None:
    """A task inserted or deleted between two pages neither repeats nor hides another."""
    ids = [(await alice.new_task())["id"] for _ in range(6)][::-1]
    first = await alice.get("/api/tasks?limit=3")
    await alice.new_task("new")
    await alice.delete(f"/api/tasks/{ids[2]}")
    url = next_link(first)
    assert url
    assert [task["id"] for task in (await alice.get(url)).json()] == ids[3:]


async def test_the_last_page_has_no_next(alice: Client) -> None:
    """A page that ends with the list says so by the absence of a link."""
    for _ in range(2):
        await alice.new_task()
    assert next_link(await alice.get("/api/tasks?limit=2")) is None
    assert next_link(await alice.get("/api/tasks?limit=1")) is not None


async def test_cursors_belong_to_their_user_and_list(alice: Client, bob: Client) -> None:
    """A cursor is worth nothing to another user, filter, sort or order, or with one character changed."""
    for title in ("a", "b"):
        await alice.new_task(title)
        await bob.new_task(title)
    url = next_link(await alice.get("/api/tasks?limit=1&sort=title"))
    assert url
    assert url.startswith("/api/tasks?")
    cursor = parse_qs(urlsplit(url).query)["cursor"][0]
    assert (await alice.get(url)).json()[0]["title"] == "b"
    assert (await bob.get(url)).status_code == 422
    altered = ("B" if cursor[30] != "B" else "C").join((cursor[:30], cursor[31:]))
    for query in (
        f"cursor={cursor}",
        f"sort=title&order=desc&cursor={cursor}",
        f"sort=title&status=pending&cursor={cursor}",
        f"sort=title&cursor={altered}",
        f"sort=title&cursor={cursor[:-4]}",
    ):
        response = await alice.get(f"/api/tasks?{query}")
        assert response.status_code == 422, query
        assert response.json()["detail"][0]["type"] == "invalid_cursor"


async def test_every_operation_is_one_statement(alice: Client, statements: Sent) -> None:
    """List, get, create, update, toggle, set and delete: one statement each."""

    async def count(method: str, path: str, **options: Any) -> int:
        statements.clear()
        response = await alice.request(method, path, **options)
        assert response.is_success
        return len(statements)

    task = await alice.new_task()
    path = f"/api/tasks/{task['id']}"
    assert [
        await count("GET", "/api/tasks"),
        await count("GET", path),
        await count("POST", "/api/tasks", json={"title": "a"}),
        await count("PATCH", path, json={"title": "b"}),
        await count("PATCH", f"{path}/complete"),
        await count("PATCH", f"{path}/complete", json={"completed": True}),
        await count("DELETE", path),
    ] == [1] * 7


async def test_a_token_without_a_user_is_told_so(client: Client) -> None:
    """A valid token of a deleted user cannot write: a 401 with its own code."""
    response = await client.post(
        "/api/tasks", json={"title": "a"}, headers={"Authorization": f"Bearer {token_for('gone')}"}
    )
    assert response.status_code == 401
    assert response.json()["code"] == "user_not_found"
