"""Tasks as files: export, import, and back again; on both databases."""

import asyncio
import csv
import io
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from backend.engine.statements import AT_ONCE
from backend.tasks.errors import InvalidFile
from backend.tasks.files.crud import PAGE
from backend.tasks.files.reading import read
from backend.tasks.files.schemas import LINES_MAX, Format
from tests.conftest import Client, Sent, on_postgresql, on_sqlite, token_for
from tests.examples import examples

TYPES = {"ndjson": "application/x-ndjson", "csv": "text/csv"}
FORMATS = pytest.mark.parametrize("kind", ["ndjson", "csv"])
# What a file keeps of a task.
KEPT: tuple[str, ...] = (
    "title",
    "description",
    "completed",
    "completed_at",
    "priority",
    "tags",
    "due_date",
    "timezone",
)
KEPT += ("recurring", "recurring_pattern", "created_at")

TASKS: list[dict[str, Any]] = [
    {"title": "plain"},
    {"title": '=HYPERLINK("x")', "description": "=1+1"},
    {"title": "'quoted'", "description": "'"},
    {"title": "'=x", "description": ""},
    {"title": 'a,b;"c"', "description": "\r\n\tline\u2028two\x85 \r"},
    {"title": "\U0001f600 \u202eé", "tags": ["a,b", "[x]", "-1", 'q"']},
    {"title": "day", "due_date": "2026-11-21", "timezone": "Europe/Berlin", "priority": "low"},
    {"title": "instant", "due_date": "2026-11-21T10:00:00.123456+05:30", "priority": "high"},
    {"title": "series", "due_date": "2026-01-31", "recurring_pattern": "daily"},
    {"title": "done", "completed": True},
]


async def everything(client: Client) -> dict[int, dict[str, Any]]:
    """The user's tasks by their ids."""
    return {task["id"]: task for task in (await client.get("/api/tasks")).json()}


async def export(client: Client, kind: str = "ndjson") -> bytes:
    """The user's tasks as a file."""
    response = await client.get(f"/api/tasks/export?format={kind}")
    assert response.status_code == 200
    return bytes(response.content)


async def import_(
    client: Client, content: bytes | str, kind: str = "ndjson", on_conflict: str = "", **headers: str
) -> Any:
    """Send a file; return the response."""
    headers = {"Content-Type": TYPES[kind]} | headers
    address = f"/api/tasks/import?on_conflict={on_conflict}"
    return await client.post(address, content=content, headers=headers)


async def imported(
    client: Client, content: bytes | str, kind: str = "ndjson", on_conflict: str = ""
) -> dict[str, Any]:
    """Import a file that is taken; return what became of its lines."""
    response = await import_(client, content, kind, on_conflict)
    assert response.status_code == 200, response.text
    reply: dict[str, Any] = response.json()
    statuses = [line["status"] for line in reply["lines"]]
    for status in ("created", "unchanged", "changed", "invalid"):
        assert reply[status] == statuses.count(status)
    return reply


def totals(reply: dict[str, Any]) -> tuple[int, int, int]:
    """How many lines were created, unchanged and invalid."""
    return reply["created"], reply["unchanged"], reply["invalid"]


def kept(tasks: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """What a file keeps, in the order of the ids."""
    return [{name: tasks[task_id][name] for name in KEPT} for task_id in sorted(tasks)]


async def fill(app: FastAPI, user_id: str, count: int) -> None:
    """Give a user many tasks."""
    engine: AsyncEngine = app.state.database.engine
    rows = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < :count) SELECT n FROM n"
    async with engine.execution_options(unobserved=True).begin() as connection:
        await connection.execute(
            text(f"INSERT INTO tasks (user_id, title) SELECT :user_id, 't' || n FROM ({rows}) AS numbers"),
            {"user_id": user_id, "count": count},
        )


OnChunk = Callable[[str], Awaitable[None]]


async def stream(app: FastAPI, client: Client, kind: str, on_chunk: OnChunk) -> list[str]:
    """Export as a reader does who takes each part when it comes."""
    chunks: list[str] = []

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body" and message.get("body"):
            chunks.append(message["body"].decode())
            await on_chunk(chunks[-1])

    token = f"Bearer {token_for(client.user_id)}".encode()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "path": "/api/tasks/export",
        "raw_path": b"/api/tasks/export",
        "query_string": f"format={kind}".encode(),
        "headers": [(b"authorization", token)],
    }
    await app(scope, receive, send)
    return chunks


@FORMATS
async def test_an_export_is_a_file(alice: Client, kind: str) -> None:
    """It is an attachment of its type; without tasks it is empty, but for a CSV's header row."""
    response = await alice.get(f"/api/alice/tasks/export?format={kind}")
    assert response.headers["Content-Type"].partition(";")[0] == TYPES[kind]
    assert response.headers["Content-Disposition"] == f'attachment; filename="tasks.{kind}"'
    assert response.text.count("\n") == (1 if kind == "csv" else 0)
    assert (await alice.get("/api/tasks/export")).headers["Content-Type"] == TYPES["ndjson"]
    assert (await alice.get("/api/tasks/export?format=xml")).status_code == 422


@FORMATS
async def test_what_goes_out_comes_back_as_it_was(alice: Client, bob: Client, kind: str) -> None:
    """All of a task's own fields survive the way through a file into another account."""
    for fields in TASKS:
        await alice.new_task(**fields)
    reply = await imported(bob, await export(alice, kind), kind)
    assert totals(reply) == (len(TASKS), 0, 0)
    tasks = await everything(bob)
    assert kept(tasks) == kept(await everything(alice))
    assert [line["id"] for line in reply["lines"]] == sorted(tasks)
    assert {task["user_id"] for task in tasks.values()} == {"bob"}


@FORMATS
async def test_an_own_file_changes_nothing(alice: Client, kind: str) -> None:
    """A file whose tasks are all still there as they were is unchanged, however often it comes."""
    for fields in TASKS:
        await alice.new_task(**fields)
    before = await everything(alice)
    file = await export(alice, kind)
    for _ in range(2):
        reply = await imported(alice, file, kind)
        assert totals(reply) == (0, len(TASKS), 0)
        assert [line["id"] for line in reply["lines"]] == sorted(before)
    assert await everything(alice) == before


@FORMATS
async def test_a_file_restores_what_is_gone(alice: Client, kind: str) -> None:
    """Deleted tasks come back, once; a task that was changed meanwhile is said to be, and left as it is."""
    made = [await alice.new_task(**fields) for fields in TASKS]
    file = await export(alice, kind)
    await alice.delete(f"/api/tasks/{made[0]['id']}")
    await alice.patch(f"/api/tasks/{made[1]['id']}", json={"title": "changed"})
    before = await everything(alice)
    first = await imported(alice, file, kind)
    assert [line["status"] for line in first["lines"]] == ["created", "changed"] + ["unchanged"] * 8
    again = await imported(alice, file, kind)
    assert [line["status"] for line in again["lines"]] == ["unchanged", "changed"] + ["unchanged"] * 8
    assert [line["id"] for line in again["lines"]] == [line["id"] for line in first["lines"]]
    after = await everything(alice)
    assert {task_id: after[task_id] for task_id in before} == before
    assert after[first["lines"][0]["id"]]["title"] == made[0]["title"]


async def test_a_series_goes_on_from_where_it_began(alice: Client, bob: Client) -> None:
    """The due date that a series is counted from is in the file."""
    task = await alice.new_task("a", due_date="2026-01-31", recurring_pattern="FREQ=MONTHLY;BYMONTHDAY=31")
    await alice.patch(f"/api/tasks/{task['id']}/complete")
    lines = [json.loads(line) for line in (await export(alice)).splitlines()]
    assert [line["series_start"] for line in lines] == ["2026-01-31"] * 2
    await imported(bob, await export(alice))
    again = [json.loads(line) for line in (await export(bob)).splitlines()]
    for name in ("series_start", "due_date", "completed", "completed_at"):
        assert [line[name] for line in again] == [line[name] for line in lines]


async def test_identical_lines_are_as_many_tasks(alice: Client) -> None:
    """Two equal lines without ids are two tasks, and no more when they come again, in either form."""
    reply = await imported(alice, '{"title":"milk"}\n{"title":"milk","priority":"medium"}\n')
    assert totals(reply) == (2, 0, 0)
    again = await imported(alice, "title\r\nmilk\r\nmilk\r\nmilk\r\n", "csv")
    assert totals(again) == (1, 2, 0)
    assert [line["id"] for line in again["lines"][:2]] == [line["id"] for line in reply["lines"]]
    twice = await imported(alice, '{"id":7777,"title":"a"}\n' * 2)
    assert totals(twice) == (1, 1, 0)
    assert twice["lines"][0]["id"] == twice["lines"][1]["id"]


async def test_foreign_ids_are_nobodys(alice: Client, bob: Client) -> None:
    """A line with another user's id and content is a new task of one's own; theirs is not touched."""
    theirs = await bob.new_task("secret")
    reply = await imported(alice, await export(bob))
    assert totals(reply) == (1, 0, 0)
    assert reply["lines"][0]["id"] != theirs["id"]
    assert await everything(bob) == {theirs["id"]: theirs}


BAD_LINES: list[tuple[str, bytes]] = [
    ("broken JSON", b'{"title": '),
    ("no object", b"[1]"),
    ("null", b"null"),
    ("not UTF-8", b'{"title": "\xff"}'),
    ("UTF-16", '{"title": "a"}'.encode("utf-16").replace(b"\n", b"")),
    ("a NUL", b'{"title": "\\u0000"}'),
    ("a bare NUL", b'{"title": "\x00"}'),
    ("half a surrogate pair", b'{"title": "\\ud800"}'),
    ("half a pair in a list", b'{"title": "a", "tags": ["\\udfff"]}'),
    ("no title", b"{}"),
    ("too long", b'{"title": "' + b"x" * 500_000 + b'"}'),
    ("too deep", b'{"title": ' + b"[" * 300_000),
    ("a long number", b'{"title": "a", "id": ' + b"9" * 5000 + b"}"),
    ("a bad date", b'{"title": "a", "due_date": "tomorrow"}'),
    ("a completion day", b'{"title": "a", "completed": true, "completed_at": "2026-01-01"}'),
    ("after all time", b'{"title": "a", "created_at": "9999-12-31T23:00:00-14:00"}'),
    ("no due date", b'{"title": "a", "recurring_pattern": "daily"}'),
    (
        "two kinds of date",
        b'{"title": "a", "due_date": "2026-01-01T00:00:00Z", "recurring_pattern": "daily", '
        b'"series_start": "2026-01-01"}',
    ),
]


@on_sqlite
@pytest.mark.parametrize("line", [pytest.param(line, id=name) for name, line in BAD_LINES])
async def test_a_bad_line_loses_no_good_one(alice: Client, line: bytes) -> None:
    """It is named with its number and the reason; the lines around it are imported."""
    reply = await imported(alice, b'{"title":"a"}\n' + line + b'\n\n{"title":"b"}')
    assert [(found["line"], found["status"]) for found in reply["lines"]] == [
        (1, "created"),
        (2, "invalid"),
        (4, "created"),
    ]
    assert reply["lines"][1]["detail"]
    assert [task["title"] for task in kept(await everything(alice))] == ["a", "b"]


BAD_RECORDS: list[tuple[str, bytes]] = [
    ("an open quote", b'2,"x\r\n'),
    ("text after a quote", b'2,"x"y\r\n'),
    ("too many cells", b"2,x,y\r\n"),
    ("too few cells", b"2\r\n"),
    ("not UTF-8", b"2,\xff\r\n"),
    ("a NUL", b"2,x\x00\r\n"),
    ("a huge cell", b"2," + b"x" * 500_000 + b"\r\n"),
    ("no number", b"two,x\r\n"),
    ("a number too long", b"9" * 5000 + b",x\r\n"),
]


@on_sqlite
@pytest.mark.parametrize("record", [pytest.param(record, id=name) for name, record in BAD_RECORDS])
async def test_a_bad_record_loses_no_good_one(alice: Client, record: bytes) -> None:
    """In a CSV too, even where a quote is never closed."""
    reply = await imported(alice, b"id,title\r\n,a\r\n" + record + b",b\r\n,c\r\n", "csv")
    assert [(found["line"], found["status"]) for found in reply["lines"]] == [
        (2, "created"),
        (3, "invalid"),
        (4, "created"),
        (5, "created"),
    ]
    assert [task["title"] for task in kept(await everything(alice))] == ["a", "b", "c"]


async def test_what_people_write_by_hand_is_read(alice: Client) -> None:
    """A BOM, LF or CRLF, other columns, any order and case, tags with commas, TRUE, short or blank lines."""
    file = '\ufeffTags, Title ,Completed,Notes\n"x, y",a,TRUE,n\r\n\n,b\r\n,,,\nz,c,False,,\n'
    reply = await imported(alice, file, "csv")
    assert totals(reply) == (3, 0, 0)
    assert [(task["title"], task["tags"], task["completed"]) for task in kept(await everything(alice))] == [
        ("a", ["x", "y"], True),
        ("b", [], False),
        ("c", ["z"], False),
    ]
    assert totals(await imported(alice, '\ufeff{"title":"d","category":"x"}\r\n\r\n')) == (1, 0, 0)


BAD_FILES: list[tuple[str, bytes, str]] = [
    ("an empty CSV", b"", "text/csv"),
    ("no title column", b"id,named\r\n1,a\r\n", "text/csv"),
    ("a column twice", b"title,title\r\na,b\r\n", "text/csv"),
    ("a broken header", b'"title\r\na\r\n', "text/csv"),
    ("nothing but a quote", b'"', "text/csv"),
    ("a header of NUL", b"\x00", "text/csv"),
    ("too many lines", b'{"title":"a"}\n' * 70_000, "application/x-ndjson"),
    ("too many records", b"title\n" + b"a\n" * 100_000, "text/csv"),
    ("too many broken lines", b"title,x\n" + b'a","\n' * 9_000, "text/csv"),
]


@on_sqlite
@pytest.mark.parametrize(
    ("content", "content_type"), [pytest.param(content, kind, id=name) for name, content, kind in BAD_FILES]
)
async def test_unreadable_files_are_refused(
    alice: Client, content: bytes, content_type: str, statements: Sent
) -> None:
    """A file that cannot be read at all, or has too many lines, is a 422, before the database hears of it."""
    headers = {"Content-Type": content_type} if content_type else {}
    response = await alice.post("/api/tasks/import", content=content, headers=headers)
    assert response.status_code == 422, response.text
    assert response.json()["code"] == "validation_error"
    assert response.json()["detail"][0]["loc"][0] == "body"
    assert statements == []


async def test_large_files_are_refused(alice: Client) -> None:
    """Above 1 MiB it is a 413 in the shape of every error."""
    response = await import_(alice, b'{"title":"a"}\n' * 75_000)
    assert response.status_code == 413
    assert response.json().keys() == {"detail", "code", "request_id"}


async def test_an_empty_file_is_imported(alice: Client, statements: Sent) -> None:
    """No lines are no work."""
    assert totals(await imported(alice, b"\n \n")) == (0, 0, 0)
    assert totals(await imported(alice, b"title\r\n", "csv")) == (0, 0, 0)
    assert statements == []


@pytest.mark.slow
@pytest.mark.slow
async def test_a_file_is_a_few_statements(alice: Client, statements: Sent) -> None:
    """Each AT_ONCE lines are one look and one insert, all of them one number; again they are one look."""
    file = "".join(f'{{"id":{n},"title":"t{n}"}}\n' for n in range(LINES_MAX))
    statements.clear()
    assert totals(await imported(alice, file)) == (LINES_MAX, 0, 0)
    kinds = [statement.split()[0] for statement in statements if not statement.startswith("BEGIN")]
    parts = LINES_MAX // AT_ONCE
    assert kinds == ["SELECT", "INSERT"] * parts + ["WITH"]
    statements.clear()
    assert totals(await imported(alice, file)) == (0, LINES_MAX, 0)
    kinds = [statement.split()[0] for statement in statements if not statement.startswith("BEGIN")]
    assert kinds == ["SELECT"] * parts + ["WITH"]


@on_postgresql
async def test_parallel_imports_of_one_file_make_it_once(alice: Client) -> None:
    """However many copies of a file arrive at once, each line is one task, and all agree on its id."""
    file = "".join(f'{{"title":"t{n}"}}\n' for n in range(200))
    replies = await asyncio.gather(*(imported(alice, file) for _ in range(6)))
    assert sum(reply["created"] for reply in replies) == 200
    assert len({tuple(line["id"] for line in reply["lines"]) for reply in replies}) == 1
    assert len(await everything(alice)) == 200


async def test_a_repeated_import_is_answered_alike(alice: Client) -> None:
    """With an Idempotency-Key the first answer is given again."""
    headers = {"Idempotency-Key": "k"}
    first, second = [await import_(alice, '{"title":"a"}', **headers) for _ in range(2)]
    assert first.json() == second.json()
    assert second.headers["Idempotency-Replayed"] == "true"
    other = await import_(alice, '{"title":"b"}', **headers)
    assert other.status_code == 422


@FORMATS
async def test_an_export_is_streamed_page_by_page(
    app: FastAPI, alice: Client, statements: Sent, kind: str
) -> None:
    """Many tasks come in pages, none read before it is asked for, and no connection is held."""
    await fill(app, "alice", 10 * PAGE)
    statements.clear()
    pool = app.state.database.engine.pool
    asked: list[int] = []

    async def on_chunk(chunk: str) -> None:
        asked.append(len(statements))
        assert chunk.count("\n") <= PAGE + 1
        assert getattr(pool, "checkedout", int)() == 0

    chunks = await stream(app, alice, kind, on_chunk)
    assert asked == sorted(asked)
    assert set(asked) == set(range(1, 11)), "each page is on its way before the next one is read"
    assert "".join(chunks).count("\n") == 10 * PAGE + (kind == "csv")
    assert len(statements) == 11


async def test_an_export_stands_still_while_tasks_come_and_go(app: FastAPI, alice: Client) -> None:
    """What is there all the time is in the file once, whatever is created, deleted or changed meanwhile."""
    await fill(app, "alice", 3 * PAGE)
    ids = sorted(await everything(alice) | await everything_after(alice, 1000))
    step = 0

    async def on_chunk(chunk: str) -> None:
        nonlocal step
        if step == 3:
            return
        await alice.delete(f"/api/tasks/{ids[step]}")  # gone after it was read
        await alice.delete(f"/api/tasks/{ids[-1 - step]}")  # gone before
        await alice.patch(f"/api/tasks/{ids[PAGE + step]}", json={"title": "changed"})
        await alice.new_task("new")
        step += 1

    lines = "".join(await stream(app, alice, "ndjson", on_chunk)).splitlines()
    found = [json.loads(line)["id"] for line in lines]
    assert found == sorted(set(found))
    assert set(ids[:-3]) <= set(found)


async def everything_after(client: Client, limit: int) -> dict[int, Any]:
    """The oldest tasks: a list has at most a thousand."""
    tasks = (await client.get(f"/api/tasks?order=asc&limit={limit}")).json()
    return {task["id"]: task for task in tasks}


async def test_spreadsheets_compute_nothing(alice: Client) -> None:
    """No cell of a CSV that a person wrote begins as a formula does."""
    for start in "=+-@\uff1d":
        await alice.new_task(f"{start}1", description=f"{start}cmd|'/C calc'!A0")
    await alice.new_task("a", description="\t=1")
    rows = list(csv.reader(io.StringIO((await export(alice, "csv")).decode(), newline="")))
    for row in rows[1:]:
        for cell in row[1:3]:
            assert not cell or cell[0] in "'a"


async def test_other_users_files_are_theirs(alice: Client, bob: Client, statements: Sent) -> None:
    """A file has the caller's tasks only; another user's path is a 403 before the database is asked."""
    await bob.new_task("bob's")
    await alice.new_task("alice's")
    assert b"bob" not in await export(alice)
    statements.clear()
    assert (await alice.get("/api/bob/tasks/export")).status_code == 403
    response = await alice.post("/api/bob/tasks/import", content=b"", headers={"Content-Type": "text/csv"})
    assert response.status_code == 403
    assert statements == []


ODD = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30) | st.text(
    st.sampled_from("'=+-@\t\r\n\",;[]{} \\aé\u2028\x85\ufeff\uff1d\U0001f600"), max_size=8
)
ODD_TASKS = st.fixed_dictionaries(
    {
        "title": ODD.map(lambda text: f"{text}."),
        "description": st.none() | ODD,
        "tags": st.lists(ODD.map(lambda text: f"{text}."), max_size=3),
    }
)


@FORMATS
@pytest.mark.slow
@given(tasks=st.lists(ODD_TASKS, max_size=4))
@example(tasks=[{"title": "'", "description": "", "tags": ["[", ","]}, {"title": "''=", "description": "'"}])
@examples(60)
async def test_odd_texts_come_back_as_they_were(alice: Client, kind: str, tasks: list[Any]) -> None:
    """Whatever text a task holds, it is the same after a way through a file."""
    await alice.delete("/api/tasks?created_after=2000-01-01")
    operations = [{"op": "create", **task} for task in tasks]
    response = await alice.post("/api/tasks/batch", json={"operations": operations})
    assert response.status_code == 200, response.text
    before = kept(await everything(alice))
    file = await export(alice, kind)
    assert totals(await imported(alice, file, kind)) == (0, len(tasks), 0)
    await alice.delete("/api/tasks?created_after=2000-01-01")
    assert totals(await imported(alice, file, kind)) == (len(tasks), 0, 0)
    assert kept(await everything(alice)) == before


@given(
    content=st.binary(max_size=200)
    | ODD.map(str.encode)
    | ODD.map(lambda text: f"title,{text}\n{text}".encode())
)
@examples(200)
@pytest.mark.parametrize("kind", ["ndjson", "csv"])
def test_any_bytes_are_read_or_refused(content: bytes, kind: Format) -> None:
    """No file whatever breaks the reader: it is lines, or an InvalidFile."""
    try:
        lines = list(read(content, kind))
    except InvalidFile:
        return
    for line in lines:
        assert line.task is None or line.problem is None
