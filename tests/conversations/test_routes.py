"""Conversations: lists, pages, titles, deletion, and whose they are."""

from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import select

from backend.conversations import parts
from backend.db import Database
from backend.models import Conversation, Message, User, conversations, messages
from tests.conftest import Client
from tests.test_isolation import comparable

ANSWER: list[parts.Part] = [
    parts.Step(),
    parts.Call(
        id="c1", tool="add_task", args={"tasks": []}, status="done", result={"tasks": [], "change": 3}
    ),
    parts.Call(id="c2", tool="delete_task", args={"ids": [1]}, status="approval_required"),
    parts.Call(id="c3", tool="delete_task", args={"ids": [2]}, status="denied"),
    parts.Call(id="c4", tool="delete_task", args={"ids": [3]}, status="failed", result={"error": "no"}),
    parts.Step(),
    parts.Said(text="Done."),
]


async def talk(app: FastAPI, user_id: str, said: int = 1, **fields: Any) -> int:
    """Make a conversation in which the user said something so often, and was answered."""
    database: Database = app.state.database
    async with database.session() as session:
        conversation = Conversation(user_id=user_id, title=f"{user_id}'s", **fields)
        session.add(conversation)
        await session.flush()
        assert conversation.id is not None
        for number in range(said):
            session.add(
                Message(
                    user_id=user_id,
                    conversation_id=conversation.id,
                    role="user",
                    content=f"message {number}",
                    client_id=f"m{conversation.id}-{number}",
                )
            )
            await session.flush()
            session.add(
                Message(
                    user_id=user_id,
                    conversation_id=conversation.id,
                    role="assistant",
                    content="Done.",
                    parts=parts.write(ANSWER),
                )
            )
            await session.flush()
    return conversation.id


async def test_conversations_are_listed_the_last_used_first(app: FastAPI, alice: Client) -> None:
    """Pages follow each other without a gap; a rename is a rename and no use."""
    ids = [await talk(app, "alice") for _ in range(3)]
    renamed = await alice.patch(f"/api/conversations/{ids[0]}", json={"title": "  shopping "})
    assert renamed.json()["title"] == "shopping"
    listed: list[int] = []
    url: str | None = "/api/conversations?limit=1"
    while url:
        response = await alice.get(url)
        listed += [each["id"] for each in response.json()]
        url = response.links.get("next", {}).get("url")
    assert listed == ids[::-1]
    one = (await alice.get(f"/api/conversations/{ids[0]}")).json()
    assert (one["title"], one["running"], one["client_id"]) == ("shopping", False, None)


async def test_messages_come_in_order_the_last_page_first(app: FastAPI, alice: Client) -> None:
    """A page is in the order of the conversation, and its link leads to what was before it."""
    conversation = await talk(app, "alice", said=2)
    first = await alice.get(f"/api/conversations/{conversation}/messages?limit=3")
    assert [message["content"] for message in first.json()] == ["Done.", "message 1", "Done."]
    before = await alice.get(first.links["next"]["url"])
    assert [message["content"] for message in before.json()] == ["message 0"]
    assert "next" not in before.links
    answer = first.json()[-1]
    assert [(call["tool"], call["status"], call["change"]) for call in answer["tool_calls"]] == [
        ("add_task", "done", 3),
        ("delete_task", "approval_required", None),
        ("delete_task", "denied", None),
        ("delete_task", "failed", None),
    ]


async def test_messages_are_what_use_chat_keeps(app: FastAPI, alice: Client) -> None:
    """With format=ui they are UIMessages: the user's under the client's ids, an answer with all its parts."""
    conversation = await talk(app, "alice")
    asked, answer = (await alice.get(f"/api/conversations/{conversation}/messages?format=ui")).json()
    assert asked["metadata"]["conversation_id"] == answer["metadata"]["conversation_id"] == conversation
    assert (asked["id"], asked["role"]) == (f"m{conversation}-0", "user")
    assert asked["parts"] == [{"type": "text", "text": "message 0", "state": "done"}]
    assert answer["id"].startswith("msg-")
    assert [(part["type"], part.get("state")) for part in answer["parts"]] == [
        ("step-start", None),
        ("tool-add_task", "output-available"),
        ("tool-delete_task", "approval-requested"),
        ("tool-delete_task", "output-denied"),
        ("tool-delete_task", "output-error"),
        ("step-start", None),
        ("text", "done"),
    ]


@pytest.mark.parametrize("prefix", ["/api", "/api/bob"])
async def test_anothers_conversation_is_a_missing_one(
    app: FastAPI, alice: Client, bob: Client, prefix: str
) -> None:
    """Reading, renaming and deleting another's answers byte for byte what it answers for none."""
    hers, own = await talk(app, "alice"), await talk(app, "bob")
    assert [each["id"] for each in (await bob.get(f"{prefix}/conversations")).json()] == [own]
    for method, rest, body in (
        ("GET", "", None),
        ("GET", "/messages", None),
        ("PATCH", "", {"title": "x"}),
        ("DELETE", "", None),
    ):
        answers = [
            comparable(await bob.request(method, f"{prefix}/conversations/{each}{rest}", json=body))
            for each in (hers, 2**62, 2**80, 0, -1)
        ]
        assert answers[0][0] == 404, method
        assert answers == answers[:1] * 5, method
    assert (await alice.get(f"/api/conversations/{hers}")).json()["title"] == "alice's"
    page = await alice.get(f"/api/conversations/{hers}/messages?limit=1")
    cursor = page.links["next"]["url"].rpartition("cursor=")[2]
    refused = await bob.get(f"{prefix}/conversations/{own}/messages?cursor={cursor}")
    assert refused.json()["detail"][0]["type"] == "invalid_cursor"


async def test_what_is_deleted_is_gone_with_its_messages(app: FastAPI, alice: Client) -> None:
    """Deleting a conversation deletes its messages, deleting the user both; nobody else's."""
    first, second = await talk(app, "alice"), await talk(app, "alice")
    assert (await alice.delete(f"/api/conversations/{first}")).status_code == 204
    assert (await alice.delete(f"/api/conversations/{first}")).status_code == 404
    database: Database = app.state.database
    count = select(messages.c.conversation_id).execution_options(unobserved=True)
    async with database.engine.connect() as connection:
        assert {row[0] for row in await connection.execute(count)} == {second}
    async with database.session() as session:
        await session.delete(await session.get(User, "alice"))
    async with database.engine.connect() as connection:
        for table in (messages, conversations):
            rows = await connection.execute(select(table).execution_options(unobserved=True))
            assert rows.all() == []
