"""Bringing tasks back, and taking changes back."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from backend.config import Settings
from backend.deps import CallerDep
from backend.engine.statements import Statements
from backend.models import ID_MAX
from backend.tasks.errors import ChangedSince, ChangeNotFound, NothingToUndo, TaskLimitReached
from backend.tasks.history.crud import trash_begins
from backend.tasks.routes import CHANGED, IF_MATCH, NOT_FOUND, reply
from backend.tasks.schemas import TaskId, TaskPublic
from backend.tasks.undo import crud
from backend.tasks.undo.schemas import Undone
from backend.web.etags import allowed_versions, joined
from backend.web.handlers import documented
from backend.web.idempotency import ERRORS as IDEMPOTENCY_ERRORS
from backend.web.idempotency import IdempotencyKey, Reply, answer_once

router = APIRouter(tags=["tasks"])

ChangeNumber = Annotated[int, Path(ge=1, le=ID_MAX)]


@router.post(
    "/{task_id:task_id}/restore",
    summary="Bring a deleted task back",
    response_model=TaskPublic,
    responses=NOT_FOUND | documented(TaskLimitReached, *IDEMPOTENCY_ERRORS),
)
async def restore_task(
    caller: CallerDep, task_id: TaskId, request: Request, idempotency_key: IdempotencyKey = None
) -> Response:
    """Bring a task back from the trash, with its id. One that is there stays as it is: safe to repeat."""
    settings: Settings = request.app.state.settings
    since, most = trash_begins(settings.trash_days), settings.tasks_max

    async def write(statements: Statements) -> Reply:
        return reply(await crud.restore_task(statements, caller.id, task_id, since, most))

    return await answer_once(request, caller.statements, caller.id, idempotency_key, write)


@router.post(
    "/{task_id:task_id}/undo",
    summary="Take a task's last change back",
    response_model=TaskPublic,
    responses=CHANGED
    | documented(NothingToUndo, *IDEMPOTENCY_ERRORS)
    | {204: {"description": "Its creation: the task is gone"}},
    openapi_extra=IF_MATCH,
)
async def undo_task(
    caller: CallerDep, task_id: TaskId, request: Request, idempotency_key: IdempotencyKey = None
) -> Response:
    """Take back the change that led to the task's version; send that version's ETag as `If-Match`.

    Without it the last change is taken back, whoever made it. Undoing a completion deletes the task that
    followed, unless that has changed since; undoing
    a reopening brings it back. An undo is a change of its own: undo it, and it is done again.
    """
    versions = allowed_versions(joined(request.headers, b"if-match"))

    async def write(statements: Statements) -> Reply:
        most = request.app.state.settings.tasks_max
        task = await crud.undo_task(statements, caller.id, task_id, versions, most)
        return Reply(204, b"", {}) if task is None else reply(task)

    return await answer_once(request, caller.statements, caller.id, idempotency_key, write)


@router.post(
    "/undo/{change}",
    summary="Take a change back",
    response_model=Undone,
    responses=documented(ChangeNotFound, ChangedSince, TaskLimitReached, *IDEMPOTENCY_ERRORS),
)
async def undo_change(
    caller: CallerDep,
    change: ChangeNumber,
    request: Request,
    force: Annotated[
        bool, Query(description="Take back what has not changed since, and leave the rest as it is")
    ] = False,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Take back all that one request did, by the number it was answered with: all of it, or nothing."""

    async def write(statements: Statements) -> Reply:
        most = request.app.state.settings.tasks_max
        return Reply.of(await crud.undo_change(statements, caller.id, change, force=force, most=most))

    return await answer_once(request, caller.dear_statements, caller.id, idempotency_key, write)
