"""The statements on conversations and messages. Each carries its owner."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import CursorResult
from sqlmodel import col, delete, select, tuple_, update
from sqlmodel.ext.asyncio.session import AsyncSession

from backend.conversations import parts
from backend.conversations.errors import ConversationNotFound
from backend.conversations.schemas import ConversationPublic, MessagePublic, Status, UIMessage
from backend.models import Conversation, Message


async def list_conversations(
    session: AsyncSession, user_id: str, after: tuple[datetime, int] | None, limit: int
) -> list[Conversation]:
    """Return up to `limit` conversations, the last used first, from after a place in that order."""
    place = tuple_(col(Conversation.updated_at), col(Conversation.id))
    statement = select(Conversation).where(col(Conversation.user_id) == user_id)
    if after is not None:
        statement = statement.where(place < after)
    order = col(Conversation.updated_at).desc(), col(Conversation.id).desc()
    return list(await session.exec(statement.order_by(*order).limit(limit)))


async def get_conversation(session: AsyncSession, user_id: str, conversation_id: int) -> Conversation:
    """Return the user's conversation.

    Raises:
        ConversationNotFound: there is none.
    """
    found = await session.exec(
        select(Conversation).where(
            col(Conversation.user_id) == user_id, col(Conversation.id) == conversation_id
        )
    )
    conversation = found.first()
    if conversation is None:
        raise ConversationNotFound
    return conversation


async def find_conversation(session: AsyncSession, user_id: str, client_id: str) -> Conversation | None:
    """Return the conversation that a client knows by its own id."""
    found = await session.exec(
        select(Conversation).where(
            col(Conversation.user_id) == user_id, col(Conversation.client_id) == client_id
        )
    )
    return found.first()


async def rename_conversation(
    session: AsyncSession, user_id: str, conversation_id: int, title: str
) -> Conversation:
    """Give the user's conversation a title. Raises as get_conversation does."""
    await session.exec(
        update(Conversation)
        .where(col(Conversation.user_id) == user_id, col(Conversation.id) == conversation_id)
        .values(title=title)
    )
    return await get_conversation(session, user_id, conversation_id)


async def delete_conversation(session: AsyncSession, user_id: str, conversation_id: int) -> None:
    """Delete the user's conversation with its messages. Raises as get_conversation does."""
    deleted: CursorResult[Any] = await session.exec(
        delete(Conversation).where(
            col(Conversation.user_id) == user_id, col(Conversation.id) == conversation_id
        )
    )
    if not deleted.rowcount:
        raise ConversationNotFound


async def list_messages(
    session: AsyncSession, user_id: str, conversation_id: int, before: int | None, limit: int
) -> list[Message]:
    """Return the last `limit` messages of a conversation, or the last before one of them, newest first."""
    statement = select(Message).where(
        col(Message.user_id) == user_id, col(Message.conversation_id) == conversation_id
    )
    if before is not None:
        statement = statement.where(col(Message.id) < before)
    return list(await session.exec(statement.order_by(col(Message.id).desc()).limit(limit)))


def is_running(conversation: Conversation) -> bool:
    """Whether somebody has the conversation's lease: an answer is being made."""
    return conversation.lease_until is not None and conversation.lease_until > datetime.now(UTC)


def public_conversation(conversation: Conversation) -> ConversationPublic:
    """A conversation as its owner reads it."""
    fields = {name: getattr(conversation, name, None) for name in ConversationPublic.model_fields}
    return ConversationPublic.model_validate(fields | {"running": is_running(conversation)})


def status_of(message: Message, *, running: bool) -> Status:
    """How far a message has come. What runs though nobody has the lease was cut off."""
    status: Status = "interrupted" if message.status == "running" and not running else message.status  # type: ignore[assignment] # as it is written
    return status


def public_message(message: Message, *, running: bool) -> MessagePublic:
    """A message as its owner reads it."""
    status = status_of(message, running=running)
    fields = {name: getattr(message, name, None) for name in MessagePublic.model_fields}
    calls = parts.tool_calls(parts.read(message.parts))
    return MessagePublic.model_validate(fields | {"status": status, "tool_calls": calls})


def ui_id(message: Message) -> str:
    """The id that a message has in `useChat`."""
    return message.client_id or f"msg-{message.id}"


def ui_message(public: MessagePublic, message: Message) -> UIMessage:
    """A message as `useChat` keeps it."""
    said = parts.read(message.parts)
    if public.role == "user":
        said = [parts.Said(text=message.content)]
    metadata = {
        "conversation_id": message.conversation_id,
        "created_at": public.created_at,
        "status": public.status,
    }
    return UIMessage(id=ui_id(message), role=public.role, parts=parts.ui_parts(said), metadata=metadata)
