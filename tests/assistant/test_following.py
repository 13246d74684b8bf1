"""An answer that another process makes: it can be followed, waited for and stopped there too."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from backend.assistant import following, turns
from backend.assistant.agent import Assistant
from backend.assistant.turns import Turns
from tests.assistant.stand_in import Calls, Says, StandIn
from tests.conftest import Client, on_sqlite

MILK = [("add_task", {"tasks": [{"title": "milk"}]})]


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look more often than a service would."""
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(turns, "BEAT_SECONDS", 0.05)


class Elsewhere:
    """Another process over the same database: it knows of the turns what the database does."""

    def __init__(self, app: FastAPI) -> None:
        self._state = app.state
        self.turns = Turns(app.state.database, app.state.settings, Assistant(app.state.settings))

    @contextmanager
    def asked(self) -> Iterator[None]:
        """What arrives now, arrives there."""
        here, self._state.turns = self._state.turns, self.turns
        try:
            yield
        finally:
            self._state.turns = here


@pytest.fixture
async def elsewhere(app: FastAPI) -> AsyncIterator[Elsewhere]:
    """The other one."""
    elsewhere = Elsewhere(app)
    yield elsewhere
    await elsewhere.turns.close()


async def arrived(elsewhere: Elsewhere, request: Any) -> "asyncio.Task[httpx.Response]":
    """Send a request to the other process, and return once it follows."""
    sent = asyncio.create_task(request)
    while not elsewhere.turns._distant:
        assert not sent.done(), sent.result().text
        await asyncio.sleep(0.01)
    return sent


def chunks(response: httpx.Response) -> list[dict[str, Any]]:
    """What a stream said."""
    assert response.status_code == 200, response.text
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data:")]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


async def begun(client: Client, model: StandIn, hold: asyncio.Event) -> "asyncio.Task[httpx.Response]":
    """Begin a turn that has added milk, and is about to say so."""
    model.script = [Calls(MILK), Says("I have added it", until=hold)]
    body = {"message": "add milk", "message_id": "m1"}
    running = asyncio.create_task(client.post("/api/chat", json=body))
    while len(model.asked) < 2:  # noqa: ASYNC110 - the second request, whatever it takes
        await asyncio.sleep(0.01)
    return running


async def conversation_of(client: Client) -> int:
    [conversation] = (await client.get("/api/conversations")).json()
    return int(conversation["id"])


async def test_it_is_followed_to_its_end(
    app: FastAPI, elsewhere: Elsewhere, alice: Client, model: StandIn
) -> None:
    """Resumed elsewhere it is no 204: what was done comes, then its words; no place is held meanwhile.

    All who follow it there share one look; the same message sent there is answered as here.
    """
    hold = asyncio.Event()

    running = await begun(alice, model, hold)
    conversation = await conversation_of(alice)
    path = f"/api/chat/stream/{conversation}/stream"
    with elsewhere.asked():
        first = await arrived(elsewhere, alice.get(path))
        second = asyncio.create_task(alice.get(path))
        same = asyncio.create_task(alice.post("/api/chat", json={"message": "add milk", "message_id": "m1"}))
        other = {"conversation_id": conversation, "message": "hello"}
        refused = await alice.post("/api/chat", json=other)
        assert (refused.status_code, refused.json()["code"]) == (409, "turn_running")
        await asyncio.sleep(0.1)
        assert len(elsewhere.turns._distant) == 1
        hold.set()
        said = chunks(await first)
        assert chunks(await second) == said
        assert (await same).json() == (await running).json()
        assert (await alice.get(path)).status_code == 204
    kinds = [chunk["type"] for chunk in said]
    assert kinds.index("tool-output-available") < kinds.index("text-delta")
    assert (kinds[0], kinds[-1]) == ("start", "finish")
    assert said[0]["messageId"] == f"msg-{(await running).json()['message_id']}"
    assert [chunk["delta"] for chunk in said if chunk["type"] == "text-delta"] == ["I have added it"]
    assert elsewhere.turns._distant == {}
    assert len(model.asked) == 2


async def test_it_is_stopped(elsewhere: Elsewhere, alice: Client, bob: Client, model: StandIn) -> None:
    """A stop that arrives elsewhere has ended it once it is answered; nobody else's does."""
    running = await begun(alice, model, asyncio.Event())
    conversation = await conversation_of(alice)
    with elsewhere.asked():
        assert (await bob.post(f"/api/conversations/{conversation}/stop")).status_code == 404
        assert (await bob.get(f"/api/chat/stream/{conversation}/stream")).status_code == 204
        assert not running.done()
        assert (await alice.post(f"/api/conversations/{conversation}/stop")).status_code == 204
        messages = (await alice.get(f"/api/conversations/{conversation}/messages")).json()
    assert (await running).json()["status"] == messages[-1]["status"] == "stopped"
    assert [call["status"] for call in messages[-1]["tool_calls"]] == ["done"]


@pytest.mark.parametrize("gone", ["its process", "its conversation", "its follower's process"])
async def test_it_may_never_end(
    app: FastAPI, elsewhere: Elsewhere, alice: Client, model: StandIn, gone: str
) -> None:
    """Whoever follows it is told so: once the lease is over, the conversation deleted, or at a stop here."""
    hold = asyncio.Event()
    running = await begun(alice, model, hold)
    conversation = await conversation_of(alice)
    with elsewhere.asked():
        following = await arrived(elsewhere, alice.get(f"/api/chat/stream/{conversation}/stream"))
        if gone == "its conversation":
            assert (await alice.delete(f"/api/conversations/{conversation}")).status_code == 204
        elif gone == "its follower's process":
            await elsewhere.turns.close()
            refused = await alice.get(f"/api/chat/stream/{conversation}/stream")
            assert (refused.status_code, refused.json()["code"]) == (503, "assistant_busy")
        else:
            # Whose lease is over writes nothing more, killed or not.
            over = (
                "UPDATE conversations SET lease = 'x', lease_until = NULL WHERE conversations.user_id = :who"
            )
            async with app.state.database.session() as session:
                await (await session.connection()).execute(text(over), {"who": "alice"})
        said = chunks(await following)
    assert [chunk["type"] for chunk in said][-1] == {"its follower's process": "finish"}.get(gone, "abort")
    assert "tool-output-available" in [chunk["type"] for chunk in said]
    if gone == "its follower's process":
        hold.set()
        assert (await running).json()["status"] == "complete"
    else:
        assert (await running).json()["status"] == "stopped"
        left = (await alice.get("/api/conversations")).json()
        assert [each["running"] for each in left] == ([] if gone == "its conversation" else [False])


@on_sqlite
async def test_a_page_that_is_reloaded_has_nothing_twice(alice: Client, model: StandIn) -> None:
    """What `useChat` begins with leaves the running answer out, and the resumed stream has all of it.

    Also where the answer goes on after an approval: then its own stream has what is new alone.
    """
    await alice.new_task("milk")
    hold = asyncio.Event()
    model.script = [Says("Shall I?"), Calls([("delete_task", {"ids": [1]})])]
    asked = (await alice.post("/api/chat", json={"message": "hello"})).json()
    conversation = asked["conversation_id"]
    asked = (await alice.post("/api/chat", json={"message": "yes", "conversation_id": conversation})).json()
    [waiting] = asked["tool_calls"]
    part = {"type": "tool-delete_task", "state": "approval-responded"}
    part["approval"] = {"id": waiting["id"], "approved": True}  # type: ignore[assignment] # JSON
    body = {"conversation_id": conversation, "messages": [{"id": "a", "role": "assistant", "parts": [part]}]}
    model.script = [Says("It is gone", until=hold)]
    asked_before = len(model.asked)
    deciding = asyncio.create_task(alice.post("/api/chat/stream", json=body))
    while len(model.asked) == asked_before:
        assert not deciding.done(), deciding.result().text
        await asyncio.sleep(0.01)
    known = (await alice.get(f"/api/conversations/{conversation}/messages?format=ui")).json()
    assert [message["role"] for message in known] == ["user", "assistant", "user"]
    resuming = asyncio.create_task(alice.get(f"/api/chat/stream/{conversation}/stream"))
    await asyncio.sleep(0.01)
    hold.set()
    new, whole = [[chunk["type"] for chunk in chunks(await each)] for each in (deciding, resuming)]
    assert new[:3] == ["start", "tool-output-available", "start-step"]
    assert whole[1:5] == ["start-step", "tool-input-available", "tool-approval-request", "finish-step"]
    assert whole[5:] == new[1:]
    known = (await alice.get(f"/api/conversations/{conversation}/messages?format=ui")).json()
    assert [message["role"] for message in known] == ["user", "assistant", "user", "assistant"]
