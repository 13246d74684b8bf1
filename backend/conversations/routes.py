"""The caller's conversations with the assistant. They can be read, renamed and deleted without a model."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from backend.conversations import crud
from backend.conversations.errors import ConversationNotFound
from backend.conversations.schemas import (
    ConversationPublic,
    ConversationUpdate,
    MessagePublic,
    MessagesQuery,
    Page,
    UIMessage,
)
from backend.deps import CallerDep, SessionDep
from backend.tasks.schemas import TaskId as ConversationId  # an id like any other
from backend.web.cursor import CursorCodec, Position
from backend.web.handlers import documented
from backend.web.pages import next_link

router = APIRouter(tags=["conversations"])

NOT_FOUND = documented(ConversationNotFound)


@router.get("", summary="List conversations")
async def list_conversations(
    caller: CallerDep, session: SessionDep, request: Request, response: Response, query: Page
) -> list[ConversationPublic]:
    """The caller's conversations, the last used first. `Link: <…>; rel="next"` leads to the next page."""
    cursors: CursorCodec = request.app.state.cursors
    after = None
    if query.cursor is not None:
        at, last_id = cursors.decode(query.cursor, caller.id, "conversations")
        assert isinstance(at, datetime)
        after = at, last_id
    found = await crud.list_conversations(session, caller.id, after, query.limit + 1)
    page = [crud.public_conversation(conversation) for conversation in found[: query.limit]]
    if len(found) > query.limit:
        end = Position(page[-1].updated_at, page[-1].id)
        cursor = cursors.encode(end, caller.id, "conversations")
        response.headers["Link"] = next_link(request, cursor, f"limit={query.limit}")
    return page


@router.get("/{conversation_id}", summary="Read a conversation", responses=NOT_FOUND)
async def get_conversation(
    caller: CallerDep, session: SessionDep, conversation_id: ConversationId
) -> ConversationPublic:
    """One of the caller's conversations."""
    return crud.public_conversation(await crud.get_conversation(session, caller.id, conversation_id))


@router.get(
    "/{conversation_id}/messages",
    summary="Read a conversation's messages",
    responses=NOT_FOUND,
)
async def list_messages(
    caller: CallerDep,
    session: SessionDep,
    request: Request,
    response: Response,
    conversation_id: ConversationId,
    query: Annotated[MessagesQuery, Query()],
) -> list[MessagePublic] | list[UIMessage]:
    """The last messages, in the order of the conversation. `Link: <…>; rel="next"` leads to those before.

    With `format=ui` an answer that is being made is left out: whoever resumes its stream reads all of it.
    """
    cursors: CursorCodec = request.app.state.cursors
    this_list = caller.id, "messages", conversation_id
    before = None if query.cursor is None else cursors.decode(query.cursor, *this_list).id
    conversation = await crud.get_conversation(session, caller.id, conversation_id)
    found = await crud.list_messages(session, caller.id, conversation_id, before, query.limit + 1)
    if len(found) > query.limit:
        end = Position(None, found[query.limit - 1].id or 0)
        said = f"limit={query.limit}&format={query.format}"
        response.headers["Link"] = next_link(request, cursors.encode(end, *this_list), said)
    messages = [
        crud.public_message(message, running=crud.is_running(conversation))
        for message in reversed(found[: query.limit])
    ]
    if query.format == "json":
        return messages
    return [
        crud.ui_message(public, message)
        for public, message in zip(messages, reversed(found[: query.limit]), strict=True)
        if public.status != "running"
    ]


@router.patch("/{conversation_id}", summary="Rename a conversation", responses=NOT_FOUND)
async def update_conversation(
    caller: CallerDep, session: SessionDep, conversation_id: ConversationId, changes: ConversationUpdate
) -> ConversationPublic:
    """Give a conversation another title."""
    return crud.public_conversation(
        await crud.rename_conversation(session, caller.id, conversation_id, changes.title)
    )


@router.delete(
    "/{conversation_id}",
    status_code=204,
    response_class=Response,
    summary="Delete a conversation",
    responses=NOT_FOUND,
)
async def delete_conversation(
    caller: CallerDep, session: SessionDep, conversation_id: ConversationId
) -> None:
    """Delete a conversation and its messages. What was done to tasks stays; undo it by its changes."""
    await crud.delete_conversation(session, caller.id, conversation_id)
