"""No request within the documented limits holds the event loop for more than pauses.PAUSE_MAX seconds."""

import gc
import json
from base64 import urlsafe_b64encode
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from sqlalchemy import select

from backend.models import tasks
from backend.tasks.fields import INSERTED
from tests.conftest import Client, token_for
from tests.pauses import allowed, watched

pytestmark = pytest.mark.slow  # a megabyte each

DEAR = [
    "FREQ=DAILY;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYSETPOS=" + ",".join(map(str, range(2, 40))),
    "FREQ=MONTHLY;BYDAY=-5MO,5TU,MO,TU,WE,TH,FR,SA,SU;BYSETPOS=1,3,5,-2",
    "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYSETPOS=2,3,4,7",
    "FREQ=YEARLY;BYDAY=53MO,MO,TU,WE,TH,FR,SA,SU;BYSETPOS=2,3,-366",
]
LONG: dict[str, Any] = {
    "title": "\U0001f600" * 200,
    "description": "\u00e9" * 1000,
    "tags": [f"{n:02}" + "\U0001f600" * 48 for n in range(20)],
}


def dear(number: int) -> str:
    """A pattern that is not like the others, and takes long to judge."""
    return f"{DEAR[number % len(DEAR)]};COUNT={10_000 - number}"


def series(number: int) -> dict[str, Any]:
    """A task near the end of a century that is counted from its beginning."""
    return {
        "title": f"{number}",
        "due_date": "2099-06-01",
        "series_start": "2000-01-01",
        "recurring_pattern": dear(number),
    }


def operations(*items: dict[str, Any]) -> bytes:
    return json.dumps({"operations": items}, ensure_ascii=False).encode()


def lines(*items: dict[str, Any]) -> bytes:
    return "\n".join(json.dumps(item, ensure_ascii=False) for item in items).encode()


MIB = 1024 * 1024
BATCH, IMPORT = "/api/tasks/batch?atomic=false", "/api/tasks/import"
CSV, JSON = f"{IMPORT}?format=csv", f"{IMPORT}?format=json"
CASES = {
    "dear patterns in a batch": (BATCH, operations(*({"op": "create", **series(n)} for n in range(500)))),
    "long texts in a batch": (BATCH, operations(*({"op": "create", **LONG} for _ in range(150)))),
    "dear patterns in a file": (IMPORT, lines(*(series(n) for n in range(2000)))),
    "long texts in a file": (IMPORT, lines(*(LONG for _ in range(150)))),
    "many short lines": (IMPORT, lines(*({"title": f"{n}"} for n in range(10_000)))),
    "many blank lines": (IMPORT, b"\n" * MIB),
    "one long line": (IMPORT, b'{"title": "x", "y": "' + b"y" * (MIB - 30) + b'"}'),
    "one line of lists": (IMPORT, b'{"title": "x", "tags": [' + b"1," * (MIB // 2 - 20) + b"1]}"),
    "a nested body": ("/api/tasks", b'{"title": "x", "y": ' + b"[" * (MIB - 30)),
    "a body of numbers": ("/api/tasks", b'{"title": "x", "y": [' + b"1," * (MIB // 2 - 20) + b"1]}"),
    "a body of keys": ("/api/tasks", json.dumps({f"{n}": n for n in range(60_000)}).encode()),
    "a body of objects": ("/api/tasks", b'{"title": "x", "y": [' + b"{}," * (MIB // 3 - 20) + b"{}]}"),
    "a file of quotes": (CSV, b"title\n" + b'"' * (MIB - 10)),
    "a file of broken quotes": (CSV, b"title\n" + b'a"b","\n' * (MIB // 7 - 10)),
    "a file of open quotes": (CSV, b"title\n" + b'"a\n' * (MIB // 3 - 10)),
    "a file of commas": (CSV, b"title\n" + b"," * (MIB - 10)),
    "a file of keys": (JSON, json.dumps({"title": "x", **{f"{n}": n for n in range(39_000)}}).encode()),
    "a file of objects": (JSON, b"[" + b"{}," * 9_990 + b'{"tags": [' + b"{}," * 9_990 + b"{}]}]"),
    "a file of too many lists": (JSON, b"[" + b"[]," * (MIB // 3 - 20) + b"[]]"),
    "a batch of nothing": (BATCH, b'{"operations": [' + b"1," * (MIB // 2 - 20) + b"1]}"),
}


async def send(client: Client, path: str, content: bytes) -> tuple[int, float]:
    """Send a body; return the status, and the longest pause meanwhile."""
    assert len(content) <= MIB
    kind = {CSV: "text/csv", IMPORT: "application/x-ndjson"}.get(path, "application/json")
    headers = {"Content-Type": kind}
    await client.get("/api/tasks")
    gc.collect()
    gc.disable()  # its pauses are of another kind: docs/decisions/garbage-collector.md
    try:
        async with watched() as pauses:
            response = await client.post(path, content=content, headers=headers)
    finally:
        gc.enable()
    return response.status_code, pauses.longest


@pytest.mark.parametrize("name", CASES)
async def test_no_body_holds_the_loop(alice: Client, name: str) -> None:
    """Neither what is written, nor what is long, nor what is refused."""
    status, pause = await send(alice, *CASES[name])
    assert status in (200, 201, 422)
    assert pause < allowed()


FACE = quote("\U0001f600")
EVERYTHING = "&".join(
    [
        "search=" + quote(" ".join(f"{n}" + "\U00010400" * 18 for n in range(10))),
        *(f"tag={n:02}{FACE * 48}" for n in range(20)),
        *(f"priority={n:02}{FACE * 48}" for n in range(20)),
        "due_before=2026-11-21&due_after=2026-11-20&created_after=2020-01-01&updated_after=2020-01-01",
        "status=pending&overdue=false&has_due_date=true&sort=relevance&order=asc&limit=1000",
    ]
)
KIB_60 = 60 * 1024
LONG_REQUESTS: dict[str, tuple[str, str, dict[str, str]]] = {
    "every filter": ("GET", f"?{EVERYTHING}", {}),
    "every filter for a count": ("GET", f"/count?{EVERYTHING}", {}),
    "unknown parameters": ("GET", "?" + "&".join(f"aB{n}=1" for n in range(7000)), {}),
    "one filter again and again": ("GET", "?" + "tag=a&" * 10_000, {}),
    "a parameter of escapes": ("GET", "?search=" + "%F0" * (KIB_60 // 3), {}),
    "a long cursor": ("GET", "?cursor=" + "eyJ" * 1365, {}),
    "a cursor that nests": ("GET", f"?cursor={urlsafe_b64encode(b'[' * 3000).decode()}", {}),
    "many versions": ("PATCH", "/1", {"If-Match": ",".join(f'"{n}"' for n in range(10_000))}),
    "a long version": ("PATCH", "/1", {"If-Match": f'"{"9" * KIB_60}"'}),
    "versions of commas": ("PATCH", "/1", {"If-Match": "," * KIB_60}),
    "versions of open quotes": ("PATCH", "/1", {"If-Match": '"W/' * (KIB_60 // 3)}),
    "a known version": ("GET", "/1", {"If-None-Match": ",".join(f'W/"{n}"' for n in range(9_000))}),
    "many lists": ("GET", "", {"If-None-Match": ",".join(f'W/"{n}.1"' for n in range(7_000))}),
    "a huge token": ("GET", "", {"Authorization": "Bearer " + "eyJh" * (KIB_60 // 4)}),
    "a token of dots": ("GET", "", {"Authorization": "Bearer " + "." * KIB_60}),
    "a token as long as may be": ("GET", "", {"Authorization": f"Bearer {token_for('alice', x='y' * 6000)}"}),
    "many cookies": ("GET", "", {"Cookie": "; ".join(f"a{n}=b" for n in range(7000)), "Authorization": ""}),
}


@pytest.mark.parametrize("name", LONG_REQUESTS)
async def test_no_head_holds_the_loop(alice: Client, name: str) -> None:
    """Neither the longest that is understood, nor what is refused: query strings, versions, tokens."""
    method, path, headers = LONG_REQUESTS[name]
    await alice.new_task()
    gc.collect()
    gc.disable()
    try:
        # httpx would take its time over the address; the app gets the same.
        request = alice.build_request(method, f"/api/tasks{path}", headers=headers, json={"title": "b"})
        async with watched() as pauses:
            response = await alice.send(request)
    finally:
        gc.enable()
    assert response.status_code < 500
    assert pauses.longest < allowed()


async def test_no_long_list_holds_the_loop(alice: Client, app: FastAPI) -> None:
    """A thousand tasks of the longest texts, which are more than 9 MB."""
    await alice.new_task(**LONG | {"description": "\U0001f600" * 1000})
    columns = [tasks.c[name] for name in INSERTED]
    more = tasks.insert().from_select(columns, select(*columns))
    async with app.state.database.engine.execution_options(unobserved=True).begin() as connection:
        for _ in range(10):
            await connection.execute(more)
    await alice.get("/api/tasks?limit=1")
    gc.collect()
    gc.disable()
    try:
        async with watched() as pauses:
            response = await alice.get("/api/tasks")
    finally:
        gc.enable()
    assert len(response.content) > 9_000_000
    assert pauses.longest < allowed()


async def test_no_answer_holds_the_loop(alice: Client) -> None:
    """A list of the largest size, an export, and completing all, of dear series and long texts."""
    for content in ([series(n) for n in range(600)], *[[LONG | {"title": f"{n}"} for n in range(140)]] * 4):
        await alice.post(IMPORT, content=lines(*content), headers={"Content-Type": "application/x-ndjson"})
    await alice.get("/api/tasks?limit=1")
    gc.collect()
    gc.disable()
    try:
        for method, path in (
            ("GET", "/api/tasks"),
            ("GET", "/api/tasks/export"),
            ("GET", "/api/tasks/export?format=csv"),
            ("POST", "/api/tasks/complete-all"),
        ):
            async with watched() as pauses:
                response = await alice.request(method, path)
            assert response.status_code == 200
            assert pauses.longest < allowed(), path
    finally:
        gc.enable()
