"""Messages made to hurt: none holds the event loop for long, and agents wait in their user's line."""

import gc
import json
from typing import Any

import pytest
from fastapi import FastAPI

from tests.conftest import Client, on_sqlite
from tests.mcp.conftest import access_token, bearer, call
from tests.pauses import allowed, watched

pytestmark = [on_sqlite, pytest.mark.slow]  # a megabyte each

MIB = 2**20


def calling(tool: str, arguments: str) -> str:
    """A call with arguments that json.dumps() would not write, or not so long."""
    params = f'{{"name":"{tool}","arguments":{arguments}}}'
    return f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}'


def filled(head: str, piece: str, tail: str) -> str:
    """A body as long as may be, of one piece again and again."""
    return head + ",".join([piece] * ((MIB - len(head) - len(tail)) // (len(piece) + 1))) + tail


LONG = "\U0001f600" * 200
ADD, LIST = calling("add_task", "@"), calling("list_tasks", "@")
MANY = {f"{number}": number for number in range(60_000)}
MESSAGES: dict[str, str] = {
    "a batch of calls": filled("[", calling("list_tasks", "{}"), "]"),
    "a nest of lists": '{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":' + "[" * (MIB - 80),
    "a nest that is whole": calling("list_tasks", '{"search":' + "[" * 5000 + "]" * 5000 + "}"),
    "a nest of objects": calling("list_tasks", '{"a":' * 5000 + "1" + "}" * 5000),
    "many tasks": filled(ADD.split("@")[0] + '{"tasks":[', '{"title":"x"}', "]}}}"),
    "many tasks that are none": filled(ADD.split("@")[0] + '{"tasks":[', "1", "]}}}"),
    "many names": calling("list_tasks", json.dumps(MANY)),
    "many names of a task": calling("add_task", json.dumps({"tasks": [{"title": "x", **MANY}]})),
    "many ids": filled(calling("delete_task", "@").split("@")[0] + '{"ids":[', "1", "]}}}"),
    "many tags": filled(ADD.split("@")[0] + '{"tasks":[{"title":"x","tags":[', '"t"', "]}]}}}"),
    "a long search": calling("list_tasks", json.dumps({"search": "a " * (MIB // 2 - 100)})),
    "a long title": calling("add_task", json.dumps({"tasks": [{"title": "x" * (MIB - 200)}]})),
    "a long name of a tool": calling("x" * (MIB - 200), "{}"),
    "a long zone": calling("list_tasks", json.dumps({"timezone": "Europe/" * (MIB // 8)})),
    "a long key": calling("add_task", json.dumps({"tasks": [], "idempotency_key": "k" * (MIB - 200)})),
    "fifty long tasks": calling(
        "add_task", json.dumps({"tasks": [{"title": LONG, "description": LONG * 5}] * 50})
    ),
    "a dear recurrence": calling(
        "preview_recurrence",
        json.dumps({"pattern": "FREQ=YEARLY;BYDAY=53MO,MO,TU,WE,TH,FR,SA,SU;BYSETPOS=2,3,-366"[:200]})[:-1]
        + ',"due_date":"2000-01-01","count":20}',
    ),
    "a long method": '{"jsonrpc":"2.0","id":1,"method":"' + "x" * (MIB - 100) + '"}',
    "a long id": '{"jsonrpc":"2.0","id":"' + "x" * (MIB - 100) + '","method":"ping"}',
    "much said of the client": json.dumps(
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/list",
            "params": {"_meta": {f"{number}/x": {"a": [number]} for number in range(30_000)}},
        }
    ),
}


@pytest.mark.parametrize("version", ["2025-06-18", "2026-07-28"])
@pytest.mark.parametrize("what", MESSAGES)
async def test_no_message_holds_the_loop(alice: Client, what: str, version: str) -> None:
    """Whether it is refused or done, it is answered, not with a 500, and others are served meanwhile."""
    body = MESSAGES[what].encode()
    assert len(body) <= MIB
    headers = bearer(access_token()) | {"Content-Type": "application/json", "MCP-Protocol-Version": version}
    await call(alice, access_token(), "list_tasks")
    gc.collect()
    gc.disable()  # its pauses are of another kind: docs/decisions/garbage-collector.md
    try:
        async with watched() as pauses:
            response = await alice.post("/mcp", content=body, headers=headers)
    finally:
        gc.enable()
    assert response.status_code in (200, 400, 404, 422), response.text[:500]
    assert pauses.longest < allowed()


async def test_an_agent_waits_in_its_users_line(
    app: FastAPI, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each use of the database counts as the user's at the gate, and what is dear as dear."""
    gate, entered = app.state.database.gate, []
    enter = gate.enter

    async def enter_noted(user: str, **how: Any) -> None:
        entered.append((user, how.get("dear", False)))
        await enter(user, **how)

    monkeypatch.setattr(gate, "enter", enter_noted)
    await call(alice, access_token(), "add_task", tasks=[{"title": "a"}])
    await call(alice, access_token(), "list_tasks", search="a")
    assert {user for user, _ in entered} == {"alice"}
    assert entered[-1] == ("alice", True)
    assert gate._held == {}
