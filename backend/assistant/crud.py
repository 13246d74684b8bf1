"""The statements of a turn: its lease, its messages, its price. Each carries its owner."""

from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import CursorResult, Update, case, func
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import col, delete, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from backend.assistant.errors import TokensUsedUp, TooManyTurns
from backend.columns import utc_now
from backend.conversations import parts
from backend.conversations.crud import find_conversation, get_conversation, is_running, status_of
from backend.conversations.parts import Part
from backend.conversations.schemas import Status
from backend.engine.statements import insert_into
from backend.models import AssistantUsage, Conversation, Message, assistant_usage

LEASE_SECONDS = 20.0
TURNS_MAX = 3  # of one user at once


def _leased(user_id: str, conversation_id: int, lease: str) -> Update:
    """An UPDATE of a conversation, as long as this turn has it."""
    return update(Conversation).where(
        col(Conversation.user_id) == user_id,
        col(Conversation.id) == conversation_id,
        col(Conversation.lease) == lease,
    )


async def renew(session: AsyncSession, user_id: str, conversation_id: int, lease: str) -> bool | None:
    """Keep the lease; return whether the turn shall stop. None: the lease or the conversation is gone."""
    found = await session.exec(
        _leased(user_id, conversation_id, lease)
        .values(lease_until=until())
        .returning(col(Conversation.stopping))
    )
    row = found.first()
    return None if row is None else bool(row[0])


async def save_parts(session: AsyncSession, user_id: str, message_id: int, said: list[Part]) -> None:
    """Keep what an answer has so far: whoever takes it up after a crash knows what was done."""
    await write_message(session, user_id, message_id, said, "running")


async def close_turn(
    session: AsyncSession,
    user_id: str,
    conversation_id: int,
    message_id: int,
    lease: str,
    said: list[Part],
    status: Status,
    tokens: int,
) -> None:
    """Write the answer down, count its tokens and give the conversation back, if it is still this turn's."""
    released: CursorResult[Any] = await session.exec(
        _leased(user_id, conversation_id, lease).values(
            lease=None, lease_until=None, stopping=False, updated_at=utc_now()
        )
    )
    if released.rowcount:
        await write_message(session, user_id, message_id, said, status, tokens)
    if tokens:
        await _count(session, user_id, tokens)


class Kept(NamedTuple):
    """An answer, as far as it is written down."""

    conversation_id: int
    answer_id: int
    parts: list[Part]
    status: Status


async def kept_answer(
    session: AsyncSession, user_id: str, conversation_id: int, answer_id: int | None = None
) -> Kept | None:
    """Return an answer of a conversation, or the last one, where there is one; whoever makes it."""
    statement = (
        select(Message, Conversation)
        .join(Conversation, col(Conversation.id) == col(Message.conversation_id))
        .where(
            col(Conversation.user_id) == user_id,
            col(Message.user_id) == user_id,
            col(Message.conversation_id) == conversation_id,
            col(Message.role) == "assistant",
        )
    )
    if answer_id is not None:
        statement = statement.where(col(Message.id) == answer_id)
    found = (await session.exec(statement.order_by(col(Message.id).desc()).limit(1))).first()
    if found is None:
        return None
    answer, conversation = found
    status = status_of(answer, running=is_running(conversation))
    return Kept(conversation_id, answer.id or 0, parts.read(answer.parts), status)


async def close_earlier(session: AsyncSession, user_id: str, message_id: int, said: list[Part]) -> None:
    """Write down what became of the calls of an answer before this turn's."""
    await write_message(session, user_id, message_id, said, "complete")


async def ask_to_stop(session: AsyncSession, user_id: str, conversation_id: int) -> None:
    """Ask whoever answers in a conversation to stop. Raises ConversationNotFound."""
    await get_conversation(session, user_id, conversation_id)
    await session.exec(
        update(Conversation)
        .where(
            col(Conversation.user_id) == user_id,
            col(Conversation.id) == conversation_id,
            col(Conversation.lease).is_not(None),
        )
        .values(stopping=True)
    )


async def conversation_of(session: AsyncSession, user_id: str, chat_id: str) -> int | None:
    """Return the id of the conversation that a client knows as `chat_id`."""
    found = await find_conversation(session, user_id, chat_id)
    return None if found is None else found.id


def until() -> datetime:
    """When a lease that is taken now ends."""
    return datetime.now(UTC) + timedelta(seconds=LEASE_SECONDS)


def _today() -> date:
    return datetime.now(UTC).date()


async def find_message(session: AsyncSession, user_id: str, client_id: str) -> Message | None:
    """Return the user's message that a client knows by its own id."""
    found = await session.exec(
        select(Message).where(col(Message.user_id) == user_id, col(Message.client_id) == client_id)
    )
    return found.first()


async def tokens_left(session: AsyncSession, user_id: str, most: int | None) -> int | None:
    """Return how many tokens the user may use today; None for any number. Raises TokensUsedUp."""
    if most is None:
        return None
    found = await session.exec(
        select(AssistantUsage.tokens).where(
            col(AssistantUsage.user_id) == user_id, col(AssistantUsage.day) == _today()
        )
    )
    left = most - (found.first() or 0)
    if left <= 0:
        raise TokensUsedUp
    return left


async def require_turn(session: AsyncSession, user_id: str) -> None:
    """Raise TooManyTurns where the user has TURNS_MAX."""
    found = await session.exec(
        select(func.count())
        .select_from(Conversation)
        .where(col(Conversation.user_id) == user_id, col(Conversation.lease_until) > datetime.now(UTC))
    )
    if found.one() >= TURNS_MAX:
        raise TooManyTurns


async def rewind(session: AsyncSession, user_id: str, conversation_id: int, first: int) -> None:
    """Delete a conversation's messages from one on."""
    await session.exec(
        delete(Message).where(
            col(Message.user_id) == user_id,
            col(Message.conversation_id) == conversation_id,
            col(Message.id) >= first,
        )
    )


async def add_message(
    session: AsyncSession, user_id: str, conversation_id: int, role: str, content: str, client_id: str | None
) -> Message:
    """Add a message to a conversation; an answer begins as running."""
    message = Message(
        user_id=user_id,
        conversation_id=conversation_id,
        role=role,
        content=content,
        client_id=client_id,
        status="running" if role == "assistant" else "complete",
    )
    session.add(message)
    await session.flush()
    return message


async def write_message(
    session: AsyncSession,
    user_id: str,
    message_id: int,
    said: list[Part],
    status: Status,
    tokens: int = 0,
) -> None:
    """Write down what an answer has, and what it cost more."""
    await session.exec(
        update(Message)
        .where(col(Message.user_id) == user_id, col(Message.id) == message_id)
        .values(
            content=parts.text_of(said),
            parts=parts.write(said),
            status=status,
            tokens=col(Message.tokens) + tokens,
        )
    )


async def _count(session: AsyncSession, user_id: str, tokens: int) -> None:
    dialect = (await session.connection()).dialect.name
    statement: postgresql.Insert | sqlite.Insert = insert_into(assistant_usage, dialect)
    today = _today()
    counted = case((col(AssistantUsage.day) == today, col(AssistantUsage.tokens) + tokens), else_=tokens)
    await session.exec(
        statement.values(user_id=user_id, day=today, tokens=tokens).on_conflict_do_update(
            index_elements=["user_id"], set_={"day": today, "tokens": counted}
        )
    )
