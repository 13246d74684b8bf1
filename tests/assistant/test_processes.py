"""Turns and processes: a turn is one also where two of them serve, and ends with the one that has it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from tests.assistant.stand_in import Calls, Says, StandIn
from tests.conftest import token_for
from tests.server import Server, sign_up

pytestmark = pytest.mark.slow

HEADERS = {"Authorization": f"Bearer {token_for('alice')}"}


class Pair:
    """Two processes over one database, and alice at each of them."""

    def __init__(self, database: str, servers: list[Server], clients: list[httpx.AsyncClient]) -> None:
        self.database = database
        self.servers = servers
        self.first, self.second = clients


@pytest.fixture
async def pair(tmp_path: Path, postgres_database: str, model: StandIn) -> AsyncIterator[Pair]:
    """Both."""
    settings = {"DATABASE_URL": postgres_database} | model.settings
    await sign_up(postgres_database, "alice")
    async with AsyncExitStack() as stack:
        servers = []
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            servers.append(await stack.enter_async_context(Server(tmp_path / name)))
        # One after the other: a busy machine needs most of the time that each has for the model's library.
        urls = [await server.start(settings) for server in servers]
        clients = [
            await stack.enter_async_context(
                httpx.AsyncClient(base_url=url, headers=HEADERS, trust_env=False, timeout=30)
            )
            for url in urls
        ]
        yield Pair(postgres_database, servers, clients)


async def kept(client: httpx.AsyncClient) -> Any:
    """The messages of alice's one conversation."""
    [conversation] = (await client.get("/api/conversations")).json()
    return conversation["id"], (await client.get(f"/api/conversations/{conversation['id']}/messages")).json()


async def test_a_turn_is_one_among_processes(pair: Pair, model: StandIn) -> None:
    """A second message is a 409 at the other process too; its stop arrives; at the end nothing is lost.

    And the process that is told to end does so in time, with its turn kept as interrupted.
    """
    model.script = [Says("first second", until=asyncio.Event())]
    running = asyncio.create_task(pair.first.post("/api/chat", json={"message": "hello"}))
    await model.began.wait()
    conversation, _ = await kept(pair.second)
    body = {"conversation_id": conversation, "message": "add milk"}
    refused = await pair.second.post("/api/chat", json=body)
    assert (refused.status_code, refused.json()["code"]) == (409, "turn_running")
    assert (await pair.second.post(f"/api/conversations/{conversation}/stop")).status_code == 204
    assert (await running).json()["status"] == "stopped"

    milk = [("add_task", {"tasks": [{"title": "milk"}]})]
    model.script = [Calls(milk), Says("I have", until=asyncio.Event())]
    body |= {"message_id": "m1"}
    asked = len(model.asked)
    running = asyncio.create_task(pair.first.post("/api/chat", json=body))
    while len(model.asked) < asked + 2:  # noqa: ASYNC110 - the second request, whatever it takes
        await asyncio.sleep(0.01)
    async with asyncio.timeout(9):
        assert await pair.servers[0].terminate() == 0
    answer = (await running).json()
    assert (answer["status"], len(answer["tool_calls"])) == ("interrupted", 1)
    _, messages = await kept(pair.second)
    assert messages[-1]["status"] == "interrupted"

    # Taken up elsewhere, by a model that calls for the same once more: it was done.
    model.script = [Calls(milk), Says("Done.")]
    answer = (await pair.second.post("/api/chat", json=body)).json()
    assert (answer["status"], answer["response"]) == ("complete", "Done.")
    assert [task["title"] for task in (await pair.second.get("/api/tasks")).json()] == ["milk"]


async def test_a_turn_whose_process_is_killed(pair: Pair, model: StandIn) -> None:
    """Once its lease is over it is shown as interrupted, with the changes that it made; others go on.

    Whoever follows it at the other process is told of what was done, and of that end. The same message taken
    up there does nothing twice, and another is answered.
    """
    milk = [("add_task", {"tasks": [{"title": "milk"}]})]
    model.script = [Calls(milk), Says("I have", until=asyncio.Event())]
    body = {"message": "add milk", "message_id": "m1"}
    running = asyncio.create_task(pair.first.post("/api/chat", json=body))
    while len(model.asked) < 2:  # noqa: ASYNC110 - the second request, whatever it takes
        await asyncio.sleep(0.01)
    conversation, _ = await kept(pair.second)
    await pair.servers[0].kill()
    with pytest.raises(httpx.RemoteProtocolError):
        await running
    refused = await pair.second.post("/api/chat", json={"conversation_id": conversation, "message": "list"})
    assert (refused.status_code, refused.json()["code"]) == (409, "turn_running")
    said = []
    async with pair.second.stream("GET", f"/api/chat/stream/{conversation}/stream") as following:
        async for line in following.aiter_lines():
            if line.startswith("data: {"):
                said.append(json.loads(line.removeprefix("data: "))["type"])
            if said[-1] == "tool-output-available":
                # What is left of the lease, without the wait.
                connection = await asyncpg.connect(pair.database)
                left = "UPDATE conversations SET lease_until = now() RETURNING lease_until"
                assert await connection.fetchval(left)
                await connection.close()
    assert said[-1] == "abort"
    _, messages = await kept(pair.second)
    [call] = messages[-1]["tool_calls"]
    assert (messages[-1]["status"], call["status"]) == ("interrupted", "done")
    history = (await pair.second.get("/api/tasks/history")).json()
    assert [event["change"] for event in history] == [call["change"]]

    model.script = [Calls(milk), Says("Done.")]
    answer = (await pair.second.post("/api/chat", json=body)).json()
    assert (answer["status"], answer["response"]) == ("complete", "Done.")
    assert [each["change"] for each in answer["tool_calls"]] == [call["change"]] * 2
    listed = await pair.second.post("/api/chat", json={"conversation_id": conversation, "message": "list"})
    assert listed.json()["response"] == "You have: milk."
