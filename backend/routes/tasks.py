"""The caller's tasks. The same routers are served under /api/tasks and /api/{user_id}/tasks."""

from datetime import date, datetime
from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.convertors import Convertor, register_url_convertor

from backend.crud import find
from backend.crud import tasks as crud
from backend.cursor import CursorCodec
from backend.deps import CurrentUserDep, SessionDep
from backend.errors import KeyReused, TaskNotFound, VersionMismatch
from backend.etags import allowed_versions, etag, is_unchanged
from backend.handlers import documented
from backend.idempotency import IdempotencyKey, Reply, once
from backend.queries import RecurrenceQuery, TaskFilter, TaskListQuery
from backend.recurrence import preview
from backend.schemas import TaskCompletion, TaskCount, TaskCreate, TaskId, TaskPublic, TaskStats, TaskUpdate


class _TaskIdConvertor(Convertor[str]):
    """Whatever stands where a task's id does, but for the words that stand there as themselves.

    Otherwise a wrong method on those would be taken for one of a task, and not be a 405.
    """

    regex = "(?!(?:count|stats|recurrence|batch|complete-all|export|import)(?:/|$))[^/]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("task_id", _TaskIdConvertor())

router = APIRouter(tags=["tasks"])

IfMatch = Annotated[
    str | None, Header(description="Only if the task is at this ETag: otherwise 412, with the task as it is")
]
NOT_FOUND = documented(TaskNotFound)
CHANGED = documented(TaskNotFound, VersionMismatch)


@router.get("", summary="List tasks", response_model=list[TaskPublic])
async def list_tasks(
    user: CurrentUserDep,
    session: SessionDep,
    query: Annotated[TaskListQuery, Query()],
    request: Request,
) -> Response:
    """The caller's tasks, newest first by default. `Link: <…>; rel="next"` leads to the next page."""
    cursors: CursorCodec = request.app.state.cursors
    this_list = (user.id, *query.identity)
    after = cursors.decode(query.cursor, *this_list) if query.cursor is not None else None
    page = await find.list_tasks(session, user.id, query, after)
    response = Response(page.body, media_type="application/json")
    if page.end is not None:
        parameters = [item for item in request.query_params.multi_items() if item[0] != "cursor"]
        parameters.append(("cursor", cursors.encode(page.end, *this_list)))
        response.headers["Link"] = f'<{quote(request.scope["path"])}?{urlencode(parameters)}>; rel="next"'
    return response


@router.post(
    "", status_code=201, summary="Create a task", response_model=TaskPublic, responses=documented(KeyReused)
)
async def create_task(
    user: CurrentUserDep,
    session: SessionDep,
    task: TaskCreate,
    request: Request,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Create a task of the caller's. `Location` is its address."""

    async def write() -> Reply:
        created = await crud.create_task(session, user.id, task)
        headers = {"Location": f"{quote(request.scope['path'])}/{created.id}", "ETag": etag(created)}
        return Reply(201, created.model_dump_json(), headers)

    return await once(request, session, user.id, idempotency_key, write)


@router.get("/count", summary="Count tasks")
async def count_tasks(
    user: CurrentUserDep, session: SessionDep, query: Annotated[TaskFilter, Query()]
) -> TaskCount:
    """How many of the caller's tasks meet a filter."""
    return TaskCount(count=await find.count_tasks(session, user.id, query))


@router.get("/stats", summary="Statistics")
async def get_stats(user: CurrentUserDep, session: SessionDep) -> TaskStats:
    """How many tasks the caller has: in all, by state, by priority and by tag."""
    return await find.get_stats(session, user.id)


@router.get("/recurrence", summary="Preview a pattern")
async def preview_recurrence(
    user: CurrentUserDep, query: Annotated[RecurrenceQuery, Query()]
) -> list[datetime | date]:
    """The next ten due dates of a pattern, the first of them included."""
    return preview(query.pattern, query.due_date, query.timezone)


@router.get(
    "/{task_id:task_id}", summary="Read a task", responses=NOT_FOUND | {304: {"description": "Not modified"}}
)
async def get_task(
    user: CurrentUserDep,
    session: SessionDep,
    task_id: TaskId,
    response: Response,
    if_none_match: Annotated[str | None, Header(description="304 if the task is still at this ETag")] = None,
) -> TaskPublic:
    """One task of the caller's."""
    task = await crud.get_task(session, user.id, task_id)
    return _answer(task, response, unchanged=is_unchanged(if_none_match, task))


@router.put("/{task_id:task_id}", summary="Update a task", responses=CHANGED, name="put_task")
@router.patch("/{task_id:task_id}", summary="Update a task", responses=CHANGED)
async def update_task(
    user: CurrentUserDep,
    session: SessionDep,
    task_id: TaskId,
    changes: TaskUpdate,
    response: Response,
    if_match: IfMatch = None,
) -> TaskPublic:
    """Change what the body names. What is absent stays as it is; `null` clears what can be empty."""
    versions = allowed_versions(if_match)
    return _answer(await crud.update_task(session, user.id, task_id, changes, versions), response)


@router.patch("/{task_id:task_id}/complete", summary="Complete a task", responses=CHANGED)
async def complete_task(
    user: CurrentUserDep,
    session: SessionDep,
    task_id: TaskId,
    response: Response,
    state: TaskCompletion | None = None,
    if_match: IfMatch = None,
) -> TaskPublic:
    """Set `completed` as the body says, or without one turn it over. Only a set is safe to repeat.

    Completing a recurring task makes the next one, once; `next_task_id` is its id.
    """
    completed = state.model_dump().get("completed") if state else None
    versions = allowed_versions(if_match)
    return _answer(await crud.set_completed(session, user.id, task_id, completed, versions), response)


@router.delete(
    "/{task_id:task_id}", status_code=204, response_class=Response, summary="Delete a task", responses=CHANGED
)
async def delete_task(
    user: CurrentUserDep, session: SessionDep, task_id: TaskId, if_match: IfMatch = None
) -> None:
    """Delete a task of the caller's. Deleting it again is a 404."""
    await crud.delete_task(session, user.id, task_id, allowed_versions(if_match))


def _answer(task: TaskPublic, response: Response, *, unchanged: bool = False) -> TaskPublic:
    """Let the answer carry the task's ETag, and no body if the client has it."""
    response.headers["ETag"] = etag(task)
    if unchanged:
        response.status_code = 304
    return task
