"""The caller's tasks. The same routers are served under /api/tasks and /api/{user_id}/tasks."""

from datetime import UTC, date, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from backend.deps import CallerDep
from backend.engine.statements import Statements
from backend.tasks import crud, lists
from backend.tasks.conditional import etag_header, not_modified
from backend.tasks.errors import TaskLimitReached, TaskNotFound, VersionMismatch
from backend.tasks.filters import LIST_PARAMETERS, RecurrenceQuery, TaskFilter, list_request
from backend.tasks.recurrence import preview, preview_completions
from backend.tasks.schemas import (
    TaskCompletion,
    TaskCount,
    TaskCreate,
    TaskId,
    TaskPublic,
    TaskStats,
    TaskUpdate,
)
from backend.tasks.wire import Task, encode, to_json
from backend.web.addresses import address
from backend.web.answers import JsonResponse
from backend.web.cursor import CursorCodec
from backend.web.etags import allowed_versions, etag, is_unchanged, joined
from backend.web.handlers import Responses, documented
from backend.web.idempotency import ERRORS as IDEMPOTENCY_ERRORS
from backend.web.idempotency import IdempotencyKey, Reply, answer_once
from backend.web.openapi import header_parameter
from backend.web.pages import next_link
from backend.web.registration import register_text
from backend.web.spelling import spelt

# Whatever stands where a task's id does, but for the words that stand there as themselves: otherwise a wrong
# method on those would be taken for one of a task, and not be a 405.
_WORDS = "count|stats|recurrence|batch|complete-all|export|import|changes|events|history|trash|undo"
register_text("task_id", f"(?!(?:{_WORDS})(?:/|$))[^/]+")

router = APIRouter(tags=["tasks"])
# What some frontends ask for outside of /tasks. Not documented: there is one address for each thing.
aliases = APIRouter(tags=["tasks"])

IF_MATCH = header_parameter(
    "If-Match", "Only if the task is at this ETag: otherwise 412, with the task as it is"
)
IF_NONE_MATCH = header_parameter("If-None-Match", "304 if the task is still at this ETag")
IF_UNCHANGED = header_parameter("If-None-Match", "304 if the answer still has this ETag")
NOT_MODIFIED: Responses = {304: {"description": "Not modified"}}
STATS = ("stats",)  # all that they go by beside the tasks
NOT_FOUND = documented(TaskNotFound)
CHANGED = documented(TaskNotFound, VersionMismatch, *IDEMPOTENCY_ERRORS)
CHANGED_OR_FOLLOWED = documented(TaskNotFound, VersionMismatch, TaskLimitReached, *IDEMPOTENCY_ERRORS)


@router.get(
    "",
    summary="List tasks",
    response_model=list[TaskPublic],
    responses=NOT_MODIFIED,
    openapi_extra={"parameters": [*LIST_PARAMETERS["parameters"], *IF_UNCHANGED["parameters"]]},
)
async def list_tasks(
    caller: CallerDep,
    request: Request,
) -> Response:
    """The caller's tasks, newest first by default. `Link: <…>; rel="next"` leads to the next page."""
    query, parameters = list_request(request)
    cursors: CursorCodec = request.app.state.cursors
    this_list = (caller.id, *query.identity)
    after = cursors.decode(query.cursor, *this_list) if query.cursor is not None else None
    if joined(request.headers, b"if-none-match") is not None:  # mostly not, and the key would be for nothing
        unchanged = await not_modified(request, caller, lists.list_key(query, after))
        if unchanged is not None:
            return unchanged
    statements = caller.dear_statements if lists.is_dear(query) else caller.statements
    page = await lists.list_tasks(statements, caller.id, query, after)
    headers = etag_header(request, caller, page.key, page.last)
    if page.end is not None:
        cursor = cursors.encode(page.end, *this_list)
        headers["Link"] = next_link(request, cursor, parameters)
    return JsonResponse(to_json(page.tasks), headers=headers)


@router.post(
    "",
    status_code=201,
    summary="Create a task",
    response_model=TaskPublic,
    responses=documented(TaskLimitReached, *IDEMPOTENCY_ERRORS),
)
async def create_task(
    caller: CallerDep,
    task: Annotated[TaskCreate, spelt(TaskCreate)],
    request: Request,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Create a task of the caller's. `Location` is its address."""

    async def write(statements: Statements) -> Reply:
        created = await crud.create_task(statements, caller.id, task, request.app.state.settings.tasks_max)
        headers = {"Location": f"{address(request)}/{created.id}", "ETag": etag(created)}
        return Reply(201, to_json(created), headers)

    return await answer_once(request, caller.statements, caller.id, idempotency_key, write)


@router.get(
    "/{task_id:task_id}",
    summary="Read a task",
    response_model=TaskPublic,
    responses=NOT_FOUND | NOT_MODIFIED,
    openapi_extra=IF_NONE_MATCH,
)
async def get_task(
    caller: CallerDep,
    task_id: TaskId,
    request: Request,
) -> Response:
    """One task of the caller's."""
    task = await crud.get_task(caller.statements, caller.id, task_id)
    if is_unchanged(joined(request.headers, b"if-none-match"), task):
        return Response(status_code=304, headers={"ETag": etag(task)})
    return _answer(task)


@router.put(
    "/{task_id:task_id}",
    summary="Update a task",
    response_model=TaskPublic,
    responses=CHANGED_OR_FOLLOWED,
    openapi_extra=IF_MATCH,
    name="put_task",
)
@router.patch(
    "/{task_id:task_id}",
    summary="Update a task",
    response_model=TaskPublic,
    responses=CHANGED_OR_FOLLOWED,
    openapi_extra=IF_MATCH,
)
async def update_task(
    caller: CallerDep,
    task_id: TaskId,
    changes: Annotated[TaskUpdate, spelt(TaskUpdate)],
    request: Request,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Change what the body names. What is absent stays as it is; `null` clears what can be empty."""
    versions = allowed_versions(joined(request.headers, b"if-match"))
    most = request.app.state.settings.tasks_max

    async def write(statements: Statements) -> Reply:
        return reply(await crud.update_task(statements, caller.id, task_id, changes, versions, most))

    return await answer_once(request, caller.statements, caller.id, idempotency_key, write)


@router.patch(
    "/{task_id:task_id}/complete",
    summary="Complete a task",
    response_model=TaskPublic,
    responses=CHANGED_OR_FOLLOWED,
    openapi_extra=IF_MATCH,
)
async def complete_task(
    caller: CallerDep,
    task_id: TaskId,
    request: Request,
    state: TaskCompletion | None = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Set `completed` as the body says, or without one turn it over.

    A set is safe to repeat; so is a toggle with an Idempotency-Key.

    Completing a recurring task makes the next one, once; `next_task_id` is its id.
    """
    completed = state.model_dump().get("completed") if state else None
    versions = allowed_versions(joined(request.headers, b"if-match"))
    most = request.app.state.settings.tasks_max

    async def write(statements: Statements) -> Reply:
        return reply(await crud.set_completed(statements, caller.id, task_id, completed, versions, most))

    return await answer_once(request, caller.statements, caller.id, idempotency_key, write)


@router.delete(
    "/{task_id:task_id}",
    status_code=204,
    response_class=Response,
    summary="Delete a task",
    responses=CHANGED,
    openapi_extra=IF_MATCH,
)
async def delete_task(
    caller: CallerDep,
    task_id: TaskId,
    request: Request,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Delete a task of the caller's. Deleting it again is a 404, but with the same Idempotency-Key."""
    versions = allowed_versions(joined(request.headers, b"if-match"))

    async def write(statements: Statements) -> Reply:
        await crud.delete_task(statements, caller.id, task_id, versions)
        return Reply(204, b"", {})

    return await answer_once(request, caller.statements, caller.id, idempotency_key, write)


@router.get(
    "/count",
    summary="Count tasks",
    response_model=TaskCount,
    responses=NOT_MODIFIED,
    openapi_extra=IF_UNCHANGED,
)
async def count_tasks(caller: CallerDep, request: Request, query: Annotated[TaskFilter, Query()]) -> Response:
    """How many of the caller's tasks meet a filter."""
    key = lists.count_key(query)
    unchanged = await not_modified(request, caller, key)
    if unchanged is not None:
        return unchanged
    count, last = await lists.count_tasks(caller.dear_statements, caller.id, query)
    headers = etag_header(request, caller, key, last)
    return JsonResponse(encode({"count": count}), headers=headers)


@router.get(
    "/stats",
    summary="Statistics",
    response_model=TaskStats,
    responses=NOT_MODIFIED,
    openapi_extra=IF_UNCHANGED,
)
@aliases.get("/stats", include_in_schema=False)
async def get_stats(caller: CallerDep, request: Request) -> Response:
    """How many tasks the caller has: in all, by state, by priority and by tag."""
    unchanged = await not_modified(request, caller, STATS, bounded=True)
    if unchanged is not None:
        return unchanged
    stats, last, until = await lists.get_stats(caller.dear_statements, caller.id)
    headers = etag_header(request, caller, STATS, last, until)
    return JsonResponse(stats.model_dump_json().encode(), headers=headers)


@router.get("/recurrence", summary="Preview a pattern")
async def preview_recurrence(
    caller: CallerDep, query: Annotated[RecurrenceQuery, Query()]
) -> list[datetime | date]:
    """The next ten due dates of a pattern, the first of them included."""
    if query.recur_from == "due":
        return preview(query.pattern, query.due_date, query.timezone)
    done = query.completed_at or datetime.now(UTC)
    return preview_completions(query.pattern, query.due_date, query.timezone, done)


def _answer(task: Task) -> Response:
    return JsonResponse(to_json(task), headers={"ETag": etag(task)})


def reply(task: Task) -> Reply:
    """A task, with its ETag, as an answer that can be kept."""
    return Reply(200, to_json(task), {"ETag": etag(task)})
