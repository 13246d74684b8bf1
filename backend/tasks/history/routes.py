"""What became of the caller's tasks, and those that were deleted."""

from typing import Any

from fastapi import APIRouter, Request, Response

from backend.deps import CallerDep
from backend.engine.statements import Statements
from backend.tasks.history import crud
from backend.tasks.history.crud import End, trash_begins
from backend.tasks.history.schemas import ErasedCount, Event, Page, TrashedTask
from backend.tasks.routes import NOT_FOUND
from backend.tasks.schemas import TaskId
from backend.tasks.wire import as_dict, encode
from backend.web.answers import JsonResponse
from backend.web.cursor import CursorCodec, Position
from backend.web.handlers import documented
from backend.web.idempotency import ERRORS as IDEMPOTENCY_ERRORS
from backend.web.idempotency import IdempotencyKey, Reply, answer_once
from backend.web.pages import PageQuery, next_link

router = APIRouter(tags=["tasks"])


@router.get("/history", summary="History of all tasks", response_model=list[Event])
async def get_history(caller: CallerDep, request: Request, query: Page) -> Response:
    """What became of the caller's tasks, the newest first. `Link: <…>; rel="next"` leads to the next page."""
    return await _history(caller, request, query, None)


@router.get(
    "/{task_id:task_id}/history", summary="History of a task", response_model=list[Event], responses=NOT_FOUND
)
async def get_task_history(caller: CallerDep, task_id: TaskId, request: Request, query: Page) -> Response:
    """What became of one task, the newest first; of a deleted one too. Nothing is known of another user's."""
    return await _history(caller, request, query, task_id)


async def _history(caller: CallerDep, request: Request, query: PageQuery, task_id: int | None) -> Response:
    after = _after(request, query, caller.id)
    events, end = await crud.get_history(caller.statements, caller.id, task_id, after, query.limit)
    return _page(request, query, [event._asdict() for event in events], end, caller.id)


@router.get("/trash", summary="Deleted tasks", response_model=list[TrashedTask])
async def get_trash(caller: CallerDep, request: Request, query: Page) -> Response:
    """The tasks that were deleted in the last TRASH_DAYS days, as they were, the last deleted first."""
    since = trash_begins(request.app.state.settings.trash_days)
    after = _after(request, query, caller.id)
    trashed, end = await crud.get_trash(caller.dear_statements, caller.id, since, after, query.limit)
    found = [as_dict(one.task) | {"deleted_at": one.at, "change": one.change} for one in trashed]
    return _page(request, query, found, end, caller.id)


@router.delete(
    "/trash",
    summary="Empty the trash",
    response_model=ErasedCount,
    responses=documented(*IDEMPOTENCY_ERRORS),
)
async def empty_trash(
    caller: CallerDep, request: Request, idempotency_key: IdempotencyKey = None
) -> Response:
    """Erase what the deleted tasks were, and their history. That they were deleted stays known."""
    since = trash_begins(request.app.state.settings.trash_days)

    async def write(statements: Statements) -> Reply:
        return Reply.of(ErasedCount(erased=await crud.empty_trash(statements, caller.id, since)))

    return await answer_once(request, caller.dear_statements, caller.id, idempotency_key, write)


def _after(request: Request, query: PageQuery, user_id: str) -> End:
    if query.cursor is None:
        return None
    cursors: CursorCodec = request.app.state.cursors
    seq, task_id = cursors.decode(query.cursor, user_id, _list_of(request))
    assert isinstance(seq, int)
    return seq, task_id


def _page(
    request: Request, query: PageQuery, found: list[dict[str, Any]], end: End, user_id: str
) -> Response:
    headers = {}
    if end is not None:
        cursors: CursorCodec = request.app.state.cursors
        cursor = cursors.encode(Position(*end), user_id, _list_of(request))
        headers["Link"] = next_link(request, cursor, f"limit={query.limit}")
    return JsonResponse(encode(found), headers=headers)


def _list_of(request: Request) -> str:
    """Which list a cursor belongs to: its address, after the prefix."""
    path: str = request.scope["path"]
    return path.partition("/tasks/")[2]
