"""No request within the documented limits holds the event loop for more than PAUSE_MAX seconds."""

import gc
import json
from typing import Any

import pytest

from tests.conftest import Client
from tests.pauses import PAUSE_MAX, watched

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
    "a batch of nothing": (BATCH, b'{"operations": [' + b"1," * (MIB // 2 - 20) + b"1]}"),
}


async def send(client: Client, path: str, content: bytes) -> tuple[int, float]:
    """Send a body; return the status, and the longest pause meanwhile."""
    assert len(content) <= MIB
    kind = "application/x-ndjson" if "import" in path else "application/json"
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
    assert pause < PAUSE_MAX


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
            assert pauses.longest < PAUSE_MAX, path
    finally:
        gc.enable()
