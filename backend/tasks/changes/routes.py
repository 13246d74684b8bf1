"""What a client that keeps a copy of the caller's tasks asks for."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from backend.deps import CallerDep
from backend.errors import InvalidCursor
from backend.tasks.changes import crud
from backend.tasks.changes.crud import Place
from backend.tasks.changes.schemas import Changes, ChangesQuery
from backend.tasks.errors import CursorExpired
from backend.tasks.wire import encode
from backend.web.cursor import CursorCodec, Position
from backend.web.handlers import documented

router = APIRouter(tags=["tasks"])

# What a cursor of either part of the way is signed for.
_PARTS = {True: "changes", False: "copy"}


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
    place = None if query.since is None else _place(cursors, query.since, caller.id)
    step = await crud.get_changes(caller.statements, caller.id, place, query.limit)
    changes = [
        {"type": "delete", "id": change} if isinstance(change, int) else {"type": "upsert", "task": change}
        for change in step.changes
    ]
    seq, task_id, in_log = step.place
    cursor = cursors.encode(Position(seq, task_id), caller.id, _PARTS[in_log])
    answer = {"changes": changes, "cursor": cursor, "has_more": step.has_more}
    return Response(encode(answer), media_type="application/json")


def _place(cursors: CursorCodec, cursor: str, user_id: str) -> Place:
    for in_log, part in _PARTS.items():
        try:
            seq, task_id = cursors.decode(cursor, user_id, part)
        except InvalidCursor:
            continue
        assert isinstance(seq, int)
        return Place(seq, task_id, in_log)
    raise CursorExpired
