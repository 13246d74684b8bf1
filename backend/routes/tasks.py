"""The caller's tasks. The same router is served under /api/tasks and /api/{user_id}/tasks."""

from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query, Request, Response

from backend.crud import tasks as crud
from backend.cursor import CursorCodec
from backend.deps import CurrentUserDep, SessionDep
from backend.errors import TaskNotFound
from backend.handlers import documented
from backend.schemas import TaskCompletion, TaskCreate, TaskId, TaskListQuery, TaskPublic, TaskUpdate

router = APIRouter(tags=["tasks"])

NOT_FOUND = documented(TaskNotFound)


@router.get("", summary="List tasks")
async def list_tasks(
    user: CurrentUserDep,
    session: SessionDep,
    query: Annotated[TaskListQuery, Query()],
    request: Request,
    response: Response,
) -> list[TaskPublic]:
    """The caller's tasks, newest first by default. `Link: <…>; rel="next"` leads to the next page."""
    cursors: CursorCodec = request.app.state.cursors
    this_list = (user.id, query.done, query.sort, query.direction)
    after = cursors.decode(query.cursor, *this_list) if query.cursor is not None else None
    page = await crud.list_tasks(session, user.id, query, after)
    if page.end is not None:
        parameters = dict(request.query_params) | {"cursor": cursors.encode(page.end, *this_list)}
        response.headers["Link"] = f'<{quote(request.scope["path"])}?{urlencode(parameters)}>; rel="next"'
    return page.tasks


@router.post("", status_code=201, summary="Create a task")
async def create_task(
    user: CurrentUserDep, session: SessionDep, task: TaskCreate, request: Request, response: Response
) -> TaskPublic:
    """Create a task of the caller's. `Location` is its address."""
    created = await crud.create_task(session, user.id, task)
    response.headers["Location"] = f"{quote(request.scope['path'])}/{created.id}"
    return created


@router.get("/{task_id}", summary="Read a task", responses=NOT_FOUND)
async def get_task(user: CurrentUserDep, session: SessionDep, task_id: TaskId) -> TaskPublic:
    """One task of the caller's."""
    return await crud.get_task(session, user.id, task_id)


@router.put("/{task_id}", summary="Update a task", responses=NOT_FOUND, name="put_task")
@router.patch("/{task_id}", summary="Update a task", responses=NOT_FOUND)
async def update_task(
    user: CurrentUserDep, session: SessionDep, task_id: TaskId, changes: TaskUpdate
) -> TaskPublic:
    """Change what the body names. What is absent stays as it is; `null` clears the description."""
    return await crud.update_task(session, user.id, task_id, changes)


@router.patch("/{task_id}/complete", summary="Complete a task", responses=NOT_FOUND)
async def complete_task(
    user: CurrentUserDep, session: SessionDep, task_id: TaskId, state: TaskCompletion | None = None
) -> TaskPublic:
    """Set `completed` as the body says, or without one turn it over. Only a set is safe to repeat."""
    completed = state.model_dump().get("completed") if state else None
    return await crud.set_completed(session, user.id, task_id, completed)


@router.delete(
    "/{task_id}", status_code=204, response_class=Response, summary="Delete a task", responses=NOT_FOUND
)
async def delete_task(user: CurrentUserDep, session: SessionDep, task_id: TaskId) -> None:
    """Delete a task of the caller's. Deleting it again is a 404."""
    await crud.delete_task(session, user.id, task_id)
