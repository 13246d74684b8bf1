"""Many of the caller's tasks at once."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from backend.deps import CallerDep
from backend.engine.statements import Statements
from backend.slices import sliced
from backend.tasks.batch import crud
from backend.tasks.batch.schemas import Batch, BatchReply, CompletedCount, DeletedCount, TaskSelection, read
from backend.tasks.errors import BatchFailed, FilterRequired, TaskLimitReached, TooManyFollowed
from backend.web.handlers import documented
from backend.web.idempotency import ERRORS as IDEMPOTENCY_ERRORS
from backend.web.idempotency import IdempotencyKey, Reply, answer_once

router = APIRouter(tags=["tasks"])

Selection = Annotated[TaskSelection, Query()]


@router.post(
    "/batch",
    summary="Do many operations",
    response_model=BatchReply,
    responses=documented(BatchFailed, *IDEMPOTENCY_ERRORS),
)
async def run_batch(
    caller: CallerDep,
    batch: Batch,
    request: Request,
    atomic: Annotated[
        bool, Query(description="`false`: do those that can be done; the results say which")
    ] = True,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Create, update, complete and delete up to 500 tasks, in the order given.

    All are done or none is: where some cannot be, the answer is 409 `batch_failed` with the `results` of all,
    424 for those that were not to blame. Operations on the same task see what the ones before them did, its
    `version` included. Another user's task is a 404 among the results, as a missing one is.
    """
    operations = [read(operation) async for operation in sliced(batch.operations)]

    async def write(statements: Statements) -> Reply:
        most = request.app.state.settings.tasks_max
        results, change = await crud.run_batch(statements, caller.id, operations, atomic=atomic, most=most)
        written = [result.model_dump_json() async for result in sliced(results)]
        number = "null" if change is None else change
        return Reply(200, f'{{"results":[{",".join(written)}],"change":{number}}}'.encode(), {})

    return await answer_once(request, caller.dear_statements, caller.id, idempotency_key, write)


@router.post(
    "/complete-all",
    summary="Complete many tasks",
    response_model=CompletedCount,
    responses=documented(TaskLimitReached, TooManyFollowed, *IDEMPOTENCY_ERRORS),
)
async def complete_all(
    caller: CallerDep,
    query: Selection,
    request: Request,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Complete the caller's pending tasks, or those of them that meet a filter.

    Each recurring one makes its next, which a second request would complete in turn: send an Idempotency-Key
    with what may be repeated. An unknown parameter is a 422, not ignored.
    """

    async def write(statements: Statements) -> Reply:
        most = request.app.state.settings.tasks_max
        return Reply.of(await crud.complete_all(statements, caller.id, query, most))

    return await answer_once(request, caller.dear_statements, caller.id, idempotency_key, write)


@router.delete(
    "",
    summary="Delete many tasks",
    response_model=DeletedCount,
    responses=documented(FilterRequired, *IDEMPOTENCY_ERRORS),
)
async def delete_all(
    caller: CallerDep,
    query: Selection,
    request: Request,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Delete the caller's tasks that meet a filter. No condition is a 422, and so is an unknown one."""

    async def write(statements: Statements) -> Reply:
        return Reply.of(await crud.delete_all(statements, caller.id, query))

    return await answer_once(request, caller.dear_statements, caller.id, idempotency_key, write)
