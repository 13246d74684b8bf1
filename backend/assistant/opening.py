"""Opening a turn: what was said before, what the user decided, and what is to be answered."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import insert
from sqlmodel import col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from backend.assistant.crud import (
    add_message,
    conversation_of,
    find_message,
    require_turn,
    rewind,
    tokens_left,
    until,
    write_message,
)
from backend.assistant.errors import MessageIdReused, NotWaiting, TurnRunning
from backend.assistant.schemas import Ask
from backend.assistant.work import Words
from backend.columns import utc_now
from backend.conversations import parts
from backend.conversations.crud import get_conversation, is_running, list_messages
from backend.conversations.parts import Part
from backend.conversations.schemas import Status
from backend.errors import InvalidBody
from backend.models import Conversation, Message

MESSAGES_READ = 100  # of a conversation, for the history; ASSISTANT_HISTORY_BYTES says how much of them
TITLE_LENGTH = 80
BY_KEY = "key:"  # what the ids of messages begin with that are the Idempotency-Keys of their requests

# What an answer can be when nothing more will come of it.
OVER = ("complete", "approval_required", "limited", "stopped")


class Opened(NamedTuple):
    """A turn that may run: nobody else has this conversation now."""

    conversation_id: int
    lease: str = ""
    asked_id: int = 0
    """The user's message: what is done for it is done once."""
    answer_id: int = 0
    parts: Sequence[Part] = ()
    """What the answer has so far."""
    approved: Sequence[str] = ()
    """The calls to be done first."""
    earlier: int | None = None
    """The answer that has them, where it is the one before."""
    history: Sequence[Words] = ()
    """What was said before the answer, in order."""
    tokens_left: int | None = None
    resumed: bool = False
    """Whether the same message was answered in part before: what is called for again was done then."""


class Answered(NamedTuple):
    """The message was answered before, or is being answered: nothing is to be done."""

    conversation_id: int
    answer: Message
    running: bool


async def open_turn(
    session: AsyncSession, user_id: str, ask: Ask, lease: str, tokens_max: int | None
) -> Opened | Answered:
    """Take the conversation for a turn and write down what the user said.

    Raises:
        ConversationNotFound: the user has no such conversation.
        TurnRunning: another turn has it.
        TooManyTurns: the user has TURNS_MAX already.
        TokensUsedUp: the user has used `tokens_max` today.
        MessageIdReused: the message's id came with another one, elsewhere.
        NotWaiting: a call that was decided on waits for nobody.
        InvalidBody: there is nothing to answer.
    """
    known, answered = await _look_back(session, user_id, ask)
    if answered is not None:
        return answered
    if known is not None:
        ask = ask._replace(conversation_id=known.conversation_id)
    left = await tokens_left(session, user_id, tokens_max)
    await require_turn(session, user_id)
    conversation_id = await _take(session, user_id, ask, lease)
    rows = (await list_messages(session, user_id, conversation_id, None, MESSAGES_READ))[::-1]
    opened = Opened(conversation_id, lease, tokens_left=left)
    if ask.message is None:
        return await _go_on(session, user_id, ask, opened, rows)
    if known is None and ask.regenerate and rows:
        raise InvalidBody("messages", "the message to answer again is not the conversation's; send it anew")
    if known is not None and (ask.regenerate or known.content != ask.message):
        # A new answer to the same words, or other words: what came after is taken back.
        same = known.content == ask.message
        first = (known.id or 0) + (1 if same else 0)
        await rewind(session, user_id, conversation_id, first)
        rows = [row for row in rows if (row.id or 0) < first]
        known = known if same else None
    return await _say(session, user_id, ask, opened, known, rows)


async def _look_back(session: AsyncSession, user_id: str, ask: Ask) -> tuple[Message | None, Answered | None]:
    """The message, where it came before, and its answer where nothing is to be added to that."""
    if ask.message is None and ask.conversation_id is not None:
        return None, await _decided_before(session, user_id, ask, ask.conversation_id)
    if ask.message is None or ask.message_id is None:
        return None, None
    known = await find_message(session, user_id, ask.message_id)
    if known is None:
        return None, None
    is_other = known.content != ask.message
    if ask.conversation_id not in (None, known.conversation_id) or (
        is_other and ask.message_id.startswith(BY_KEY)
    ):
        raise MessageIdReused
    if is_other or ask.regenerate:
        return known, None
    return known, await _answer_to(session, user_id, known)


async def _go_on(
    session: AsyncSession, user_id: str, ask: Ask, opened: Opened, rows: list[Message]
) -> Opened:
    """Decisions alone: the answer that asked for them goes on."""
    last = rows[-1] if rows else None
    if last is None or last.role != "assistant" or len(rows) == 1:
        raise NotWaiting
    said = parts.read(last.parts)
    _decide(ask, said)
    await write_message(session, user_id, last.id or 0, said, "running")
    return opened._replace(
        asked_id=rows[-2].id or 0,
        answer_id=last.id or 0,
        parts=said,
        approved=[call.id for call in parts.calls_of(said) if call.id in ask.approve],
        history=[words(row) for row in rows[:-1]],
    )


async def _say(
    session: AsyncSession,
    user_id: str,
    ask: Ask,
    opened: Opened,
    known: Message | None,
    rows: list[Message],
) -> Opened:
    """Something to answer, new or once more; with it, decisions on what the answer before asked for."""
    last = rows[-1] if rows and rows[-1].role == "assistant" else None
    said = [] if last is None else parts.read(last.parts)
    if ask.approve | ask.deny:
        _decide(ask, said)
    history = [words(row) for row in rows]
    if known is not None and last is not None:  # it was answered in part
        said = parts.whole(said)
        await write_message(session, user_id, last.id or 0, said, "running")
        return opened._replace(
            asked_id=known.id or 0, answer_id=last.id or 0, parts=said, history=history[:-1], resumed=True
        )
    if last is not None and last.status in ("approval_required", "running"):
        # Saying something else decides too; and what says that it runs, but has no lease, was cut off.
        for call in parts.calls_of(said):
            if call.status == "approval_required" and call.id not in ask.approve:
                call.status = "denied"
        status: Status = "complete" if last.status == "approval_required" else "interrupted"
        await write_message(session, user_id, last.id or 0, said, status)
        history[-1] = history[-1]._replace(parts=said)
    if known is None:
        content, client_id = ask.message or "", ask.message_id
        known = await add_message(session, user_id, opened.conversation_id, "user", content, client_id)
        history.append(words(known))
    answer = await add_message(session, user_id, opened.conversation_id, "assistant", "", None)
    approved = [call.id for call in parts.calls_of(said) if call.id in ask.approve]
    return opened._replace(
        asked_id=known.id or 0,
        answer_id=answer.id or 0,
        approved=approved,
        earlier=last.id if last is not None and approved else None,
        history=history,
    )


def words(row: Message) -> Words:
    """A message as the model is told it."""
    return Words(row.id or 0, row.role, row.content, parts.read(row.parts), len(row.content) + len(row.parts))


def _decide(ask: Ask, said: list[Part]) -> None:
    """Note what the user decided. Raises NotWaiting where something does not wait."""
    waiting = {call.id: call for call in parts.calls_of(said) if call.status == "approval_required"}
    if not (ask.approve | ask.deny) <= waiting.keys():
        raise NotWaiting
    for call_id in ask.deny:
        waiting[call_id].status = "denied"


async def _answer_to(session: AsyncSession, user_id: str, asked: Message) -> Answered | None:
    """The answer that a message has; None where there is none, or one that is to be gone on with."""
    found = await session.exec(
        select(Message)
        .where(
            col(Message.user_id) == user_id,
            col(Message.conversation_id) == asked.conversation_id,
            col(Message.id) > asked.id,
        )
        .order_by(col(Message.id))
        .limit(2)
    )
    [*answers] = found.all()
    if not answers:
        return None
    conversation = await get_conversation(session, user_id, asked.conversation_id)
    answer = answers[0]
    running = answer.status == "running" and is_running(conversation)
    if running or answer.status in OVER or len(answers) > 1:
        return Answered(asked.conversation_id, answer, running)
    return None


async def _decided_before(
    session: AsyncSession, user_id: str, ask: Ask, conversation_id: int
) -> Answered | None:
    """The last answer, where all was decided in it as it is decided now: the request came twice."""
    conversation = await get_conversation(session, user_id, conversation_id)
    rows = await list_messages(session, user_id, conversation_id, None, 1)
    said = parts.calls_of(parts.read(rows[0].parts)) if rows else []
    approved = {call.id for call in said if call.status in ("done", "failed")}
    denied = {call.id for call in said if call.status == "denied"}
    if not (ask.approve <= approved and ask.deny <= denied):
        return None
    running = rows[0].status == "running" and is_running(conversation)
    over = running or rows[0].status in OVER
    return Answered(conversation_id, rows[0], running) if over else None


async def _take(session: AsyncSession, user_id: str, ask: Ask, lease: str) -> int:
    """Take the lease of the conversation, or make one; return its id."""
    conversation_id = ask.conversation_id
    if conversation_id is None and ask.chat_id is not None:
        conversation_id = await conversation_of(session, user_id, ask.chat_id)
    if conversation_id is None:
        if ask.message is None:
            raise NotWaiting
        title = " ".join(ask.message.split())[:TITLE_LENGTH]
        new = {"user_id": user_id, "title": title, "client_id": ask.chat_id}
        made = await session.exec(
            insert(Conversation)
            .values(**new, lease=lease, lease_until=until())
            .returning(col(Conversation.id))
        )
        return int(made.one()[0])
    taken = await session.exec(
        update(Conversation)
        .where(
            col(Conversation.user_id) == user_id,
            col(Conversation.id) == conversation_id,
            col(Conversation.lease_until).is_(None) | (col(Conversation.lease_until) < datetime.now(UTC)),
        )
        .values(lease=lease, lease_until=until(), stopping=False, updated_at=utc_now())
        .returning(col(Conversation.id))
    )
    if taken.first() is None:
        await get_conversation(session, user_id, conversation_id)
        raise TurnRunning
    return conversation_id
