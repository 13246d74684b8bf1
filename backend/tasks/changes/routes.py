"""What a client that keeps a copy of the caller's tasks asks for."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from backend.deps import CallerDep
from backend.errors import (
    DatabaseUnavailable,
    DatabaseWaking,
    KeysUnavailable,
    Overloaded,
    TooManyRequests,
)
from backend.tasks.changes import crud
from backend.tasks.changes.cursors import to_cursor, to_place
from backend.tasks.changes.schemas import Changes, ChangesQuery
from backend.tasks.changes.stream import EventStream
from backend.tasks.errors import CursorExpired, StreamsUsedUp, TooManyStreams
from backend.tasks.wire import encode
from backend.web.answers import JsonResponse
from backend.web.cursor import CursorCodec
from backend.web.handlers import documented
from backend.web.openapi import parameter

router = APIRouter(tags=["tasks"])

_SINCE = "The cursor of what the client has: where more has changed since, the first event says so"
# Read by the stream itself, so that the route is among the hot ones: FastAPI's way costs twice the memory.
_CURSORS: dict[str, Any] = {
    "parameters": [
        parameter("since", "query", {"type": "string", "description": _SINCE}),
        parameter("last-event-id", "header", {"type": "string", "description": f"{_SINCE}; before `since`"}),
    ]
}
# As OpenAPI 3.2 describes each item of a stream; FastAPI does so too.
_EVENT = {
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string", "description": "The cursor of all there is"},
        "event": {"type": "string", "enum": ["ready", "change"]},
        "data": {
            "type": "string",
            "description": "JSON: the `cursor`; `expired` where a copy has to begin anew",
        },
        "retry": {"type": "integer", "description": "Milliseconds after which to come again"},
    },
}
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events until the client hangs up, STREAM_SECONDS or its token's time is "
        "over, or the service stops: then come again, with the last `id`",
        "content": {"text/event-stream": {"itemSchema": _EVENT}},
    }
}


@router.get(
    "/changes",
    summary="What has changed",
    response_model=Changes,
    responses=documented(CursorExpired),
)
async def get_changes(
    caller: CallerDep, request: Request, query: Annotated[ChangesQuery, Query()]
) -> Response:
    """What has changed of the caller's tasks since the answer with that `cursor`, in order.

    Without `since` it begins with all tasks there are. Ask on with the `cursor` of each answer, at once while
    `has_more`: whoever does what the `changes` say has a copy, and misses nothing. A task that has changed
    more than once is there once, as it is. At 410 throw the copy away and begin without `since`.
    """
    cursors: CursorCodec = request.app.state.cursors
    place = None if query.since is None else to_place(cursors, query.since, caller.id)
    step = await crud.get_changes(caller.statements, caller.id, place, query.limit)
    changes = [
        {"type": "delete", "id": change} if isinstance(change, int) else {"type": "upsert", "task": change}
        for change in step.changes
    ]
    cursor = to_cursor(cursors, step.place, caller.id)
    answer = {"changes": changes, "cursor": cursor, "has_more": step.has_more}
    return JsonResponse(encode(answer))


@router.get(
    "/events",
    summary="Told of changes",
    response_class=Response,
    responses=_EVENTS
    | documented(
        TooManyRequests,
        TooManyStreams,
        KeysUnavailable,
        DatabaseUnavailable,
        DatabaseWaking,
        Overloaded,
        StreamsUsedUp,
    ),
    openapi_extra=_CURSORS,
)
async def watch_changes(caller: CallerDep, request: Request) -> Response:
    """A stream of server-sent events, one when something has changed: then ask for the changes.

    The first, at once, is `ready`, or `change` where something has changed since the cursor that came. The
    `id` of each is the cursor of all there is, as the changes have it.
    """
    state = request.app.state
    return EventStream(state.hub, caller.id, caller.expires, state.cursors, request)
