"""The chat: an answer as JSON, or as a stream that `useChat` reads."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import StreamingResponse

from backend.assistant import crud
from backend.assistant.errors import (
    FAILURES,
    AssistantBusy,
    AssistantOff,
    MessageIdReused,
    ModelFailed,
    ModelUnavailable,
    NotWaiting,
    TokensUsedUp,
    TooManyTurns,
    TurnRunning,
)
from backend.assistant.following import Answer
from backend.assistant.opening import BY_KEY
from backend.assistant.schemas import Ask, ChatReply, ChatRequest, ClientId, StreamRequest, read_ui
from backend.assistant.turns import Turns
from backend.conversations import parts
from backend.conversations.errors import ConversationNotFound
from backend.deps import CallerDep
from backend.tasks.schemas import TaskId as ConversationId  # an id like any other
from backend.web.answers import JsonResponse
from backend.web.handlers import documented
from backend.web.idempotency import IdempotencyKey

router = APIRouter(tags=["assistant"])

ERRORS = documented(
    AssistantOff,
    AssistantBusy,
    ConversationNotFound,
    TurnRunning,
    MessageIdReused,
    NotWaiting,
    TokensUsedUp,
    TooManyTurns,
)
STREAM_HEADERS = {
    "x-vercel-ai-ui-message-stream": "v1",
    "cache-control": "no-transform",  # what compresses it would hold it back
    "x-accel-buffering": "no",
}


def _turns(request: Request) -> Turns:
    turns: Turns | None = request.app.state.turns
    if turns is None:
        raise AssistantOff
    return turns


@router.post(
    "/chat",
    summary="Ask the assistant",
    response_model=ChatReply,
    responses=ERRORS | documented(AssistantOff, AssistantBusy, ModelUnavailable, ModelFailed),
)
async def chat(
    caller: CallerDep, request: Request, body: ChatRequest, idempotency_key: IdempotencyKey = None
) -> Response:
    """Say something, or decide on what waits; the answer comes with what was done.

    It goes on where the connection is lost: the conversation has it. The same `message_id`, or the same
    Idempotency-Key, is the same message: it is answered as before, and nothing is done again.
    """
    ask = Ask(
        body.message if (body.message or "").strip() else None,
        body.message_id if idempotency_key is None else f"{BY_KEY}{idempotency_key}",
        body.conversation_id,
        approve=frozenset(body.approve),
        deny=frozenset(body.deny),
        timezone=body.timezone,
    )
    turn = await _turns(request).begin(caller.id, ask)
    outcome = await turn.outcome()
    calls = parts.tool_calls(outcome.parts)
    if outcome.status == "failed":
        raise FAILURES[outcome.failure or ModelFailed.code](outcome.conversation_id, calls)
    reply = ChatReply(
        conversation_id=outcome.conversation_id,
        response=parts.text_of(outcome.parts),
        tool_calls=calls,
        status=outcome.status,
        message_id=outcome.message_id,
    )
    headers = {"Idempotency-Replayed": "true"} if outcome.replayed and idempotency_key else {}
    return JsonResponse(reply.model_dump_json().encode(), headers=headers)


@router.post(
    "/chat/stream",
    summary="Ask, and follow the answer",
    response_class=StreamingResponse,
    responses=ERRORS | {200: {"description": "A UI message stream", "content": {"text/event-stream": {}}}},
)
async def stream_chat(caller: CallerDep, request: Request, body: StreamRequest) -> Response:
    """What `useChat` posts to: the answer as a UI message stream (v1), word by word.

    Of what it sends the last message counts. Leaving does not stop the turn: POST
    …/conversations/{conversation_id}/stop does.
    """
    turn = await _turns(request).begin(caller.id, read_ui(body))
    return _stream(turn)


@router.get(
    "/chat/stream/{chat_id}/stream",
    summary="Follow a running answer",
    response_class=StreamingResponse,
    responses=documented(AssistantOff)
    | {
        200: {"description": "A UI message stream", "content": {"text/event-stream": {}}},
        204: {"description": "Nothing is being answered"},
    },
)
async def resume_chat(caller: CallerDep, request: Request, chat_id: Annotated[ClientId, Path()]) -> Response:
    """What `useChat` asks for with `resume`: the answer that is being made, from its beginning.

    `chat_id` is the client's own, or a conversation's. Where another copy of the service makes the answer,
    what is done comes within a second, and the words at its end.
    """
    turns = _turns(request)
    async with turns.database.session() as session:
        conversation_id = await crud.conversation_of(session, caller.id, chat_id)
    if conversation_id is None and chat_id.isascii() and chat_id.isdigit():
        conversation_id = int(chat_id)
    answer = None if conversation_id is None else await turns.find(caller.id, conversation_id)
    return Response(status_code=204) if answer is None else _stream(answer, anew=True)


@router.post(
    "/conversations/{conversation_id}/stop",
    status_code=204,
    response_class=Response,
    summary="Stop an answer",
    responses=documented(AssistantOff, ConversationNotFound),
)
async def stop_conversation(caller: CallerDep, request: Request, conversation_id: ConversationId) -> None:
    """End the answer that is being made in a conversation; what it has is kept. Safe to repeat.

    It has ended then. Where another copy of the service makes it, that takes some seconds.
    """
    await _turns(request).halt(caller.id, conversation_id)


def _stream(answer: Answer, *, anew: bool = False) -> Response:
    return StreamingResponse(answer.lines(anew=anew), headers=STREAM_HEADERS, media_type="text/event-stream")
