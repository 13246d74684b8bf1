"""The stream as the real `ai` package reads it, under Node, from the service over HTTP."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio

from tests.assistant.stand_in import Calls, Fails, Says, StandIn, stand_in
from tests.better_auth.conftest import refuse
from tests.better_auth.harness import available, install
from tests.conftest import token_for
from tests.server import Server, sign_up
from tests.snippets import test_snippets

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

HERE = Path(__file__).parent
PACKAGES = test_snippets.HERE
STEP, DONE = "step-start", "text done"
_numbers = count(1)


@pytest.fixture(scope="session")
def packages() -> Path:
    """The npm packages that the documentation's snippets need, installed."""
    if reason := available(PACKAGES):
        refuse(reason)
    install(PACKAGES)
    return PACKAGES / "node_modules"


class Serving(NamedTuple):
    """The service as a process."""

    url: str
    folder: Path
    database: str
    model: StandIn


class Service:
    """The service with a user, and what Node's chat does with it."""

    def __init__(self, url: str, folder: Path, user_id: str, package: str) -> None:
        self.url = url
        self._package = package
        self._folder = folder
        self._token = token_for(user_id)
        headers = {"Authorization": f"Bearer {self._token}"}
        self.client = httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=30)

    async def node(self, scenario: str, **more: str) -> AsyncIterator[Any]:
        """Run a scenario of use_chat.mjs; yield what it tells, as it does."""
        process = await asyncio.create_subprocess_exec(
            "node",
            self._folder / "use_chat.mjs",
            env={
                "PATH": os.environ["PATH"],
                "URL": self.url,
                "TOKEN": self._token,
                "CHAT": "chat-1",
                "DO": scenario,
                "AI": self._package,
                **more,
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        async for line in process.stdout:
            yield json.loads(line)
        _, errors = await process.communicate()
        assert (process.returncode, errors) == (0, b"")

    async def told(self, scenario: str, **more: str) -> list[Any]:
        return [line async for line in self.node(scenario, **more)]

    async def titles(self) -> list[str]:
        return [task["title"] for task in (await self.client.get("/api/tasks?order=asc")).json()]

    async def messages(self) -> Any:
        [conversation] = (await self.client.get("/api/conversations")).json()
        assert conversation["client_id"] == "chat-1"
        path = f"/api/conversations/{conversation['id']}/messages"
        return conversation["id"], (await self.client.get(path)).json()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def serving(packages: Path) -> AsyncIterator[Serving]:
    """The service with the stand-in for a model. One for all: loading the library takes seconds."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "node_modules").symlink_to(packages)
        (folder / "use_chat.mjs").write_text((HERE / "use_chat.mjs").read_text())
        database = f"sqlite:///{folder / 'tasks.db'}"
        async with stand_in() as model, Server(folder) as server:
            address = await server.start({"DATABASE_URL": database} | model.settings)
            yield Serving(address, folder, database, model)
            await server.terminate()
            assert "unhandled error" not in server.stderr, server.stderr


@pytest_asyncio.fixture(loop_scope="module", params=["ai", "ai6"])
async def service(request: pytest.FixtureRequest, serving: Serving) -> AsyncIterator[Service]:
    """The same with a user of the test's own, who has version 7 of the package, or 6."""
    user_id = f"user{next(_numbers)}"
    await sign_up(serving.database, user_id)
    serving.model.script = []
    service = Service(serving.url, serving.folder, user_id, request.param)
    async with service.client:
        yield service


@pytest.fixture
def model(serving: Serving) -> StandIn:
    """The stand-in."""
    return serving.model


def parts(told: Any) -> list[list[str]]:
    return [message["parts"] for message in told["messages"]]


async def test_a_talk(service: Service) -> None:
    """Words and calls arrive as useChat keeps them, one message for each answer, nothing twice."""
    first, second = await service.told("talk")
    answer = [STEP, "tool-add_task output-available", STEP, f"{DONE} Done: milk, eggs."]
    assert parts(first) == [["text add milk and eggs"], answer]
    assert (first["status"], first["messages"][1]["metadata"]) == ("ready", "conversation")
    listed = [STEP, "tool-list_tasks output-available", STEP, f"{DONE} You have: eggs, milk."]
    assert parts(second) == [*parts(first), ["text list"], listed]
    assert await service.titles() == ["milk", "eggs"]


async def test_an_approval(service: Service) -> None:
    """What destroys asks; approved in the client it is done, once, and the same message goes on."""
    await service.client.post("/api/tasks", json={"title": "milk"})
    asked, done = await service.told("approve")
    found = [STEP, "tool-list_tasks output-available", STEP]
    assert parts(asked)[1] == [*found, "tool-delete_task approval-requested"]
    assert parts(done)[1:] == [[*found, "tool-delete_task output-available", STEP, f"{DONE} Done: milk."]]
    assert done["messages"][1]["id"] == asked["messages"][1]["id"]
    assert await service.titles() == []


async def test_a_denial(service: Service) -> None:
    """Denied it is not done, and the client knows."""
    await service.client.post("/api/tasks", json={"title": "milk"})
    _, denied = await service.told("deny")
    assert "tool-delete_task output-denied" in parts(denied)[1]
    assert await service.titles() == ["milk"]


async def test_an_answer_anew(service: Service) -> None:
    """A regenerated answer replaces the old one and does nothing twice; an edited message is another."""
    [told] = await service.told("regenerate")
    assert len(told["messages"]) == 2
    assert await service.titles() == ["milk"]
    _, kept = await service.messages()
    assert [message["content"] for message in kept] == ["add milk", "Done: milk."]
    [edited] = await service.told("edit", CHAT="chat-2")
    assert [each[-1].partition(" You")[0] for each in parts(edited)] == [
        "text hello again",
        f"{DONE} I am a stand-in, no model.",
    ]


async def test_a_failure(service: Service, model: StandIn) -> None:
    """The client reads our sentence; asked again the answer comes, and what was done is not done again."""
    model.script = [Calls([("add_task", {"tasks": [{"title": "milk"}]})]), *[Fails(500)] * 3]
    error, failed, again = await service.told("fail")
    assert error["error"].startswith("The assistant's model cannot be reached")
    assert failed["status"] == "error"
    assert again["status"] == "ready"
    assert await service.titles() == ["milk"]


async def test_a_turn_outlives_its_connection(service: Service, model: StandIn) -> None:
    """Left in the middle it goes on: another client follows it from its beginning, and it is kept whole."""
    hold = asyncio.Event()
    model.script = [Says("first second third", until=hold)]
    assert await service.told("leave") == [{"left": True}]
    conversation, kept = await service.messages()
    assert kept[-1]["status"] == "running"
    told = service.node("resume", CONVERSATION=str(conversation))
    assert await anext(told) == {"resuming": True}
    await asyncio.sleep(0.2)  # it may or may not have connected: either way it reads all
    hold.set()
    resumed, status, reloaded = [line async for line in told]
    assert parts(resumed)[1] == [STEP, f"{DONE} first second third"]
    assert status == {"status": "ready"}
    assert parts(reloaded) == [[f"{DONE} hello"], [STEP, f"{DONE} first second third"]]
    _, kept = await service.messages()
    assert (kept[-1]["status"], kept[-1]["content"]) == ("complete", "first second third")


async def test_a_stop(service: Service, model: StandIn) -> None:
    """The route ends the turn, and what was said is kept."""
    model.script = [Says("first second", until=asyncio.Event())]
    await service.told("leave")
    conversation, _ = await service.messages()
    for _ in range(2):
        assert (await service.client.post(f"/api/conversations/{conversation}/stop")).status_code == 204
    _, kept = await service.messages()
    assert (kept[-1]["status"], kept[-1]["content"]) == ("stopped", "first")
