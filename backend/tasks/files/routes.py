"""All of the caller's tasks as a file, and back."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BeforeValidator

from backend.deps import Caller, CallerDep
from backend.engine.statements import Statements
from backend.errors import Problem, UnsupportedMediaType
from backend.slices import sliced
from backend.tasks.errors import InvalidFile, TaskLimitReached
from backend.tasks.files import crud
from backend.tasks.files.reading import IGNORED_MAX, read
from backend.tasks.files.schemas import (
    MEDIA_TYPES,
    ExportedTask,
    Format,
    ImportReply,
    Line,
    OnConflict,
    header,
    write,
)
from backend.tasks.files.uploads import READABLE, opened
from backend.tasks.schemas import folded
from backend.web.addresses import is_head
from backend.web.handlers import documented
from backend.web.idempotency import ERRORS as IDEMPOTENCY_ERRORS
from backend.web.idempotency import IdempotencyKey, Reply, answer_once

router = APIRouter(tags=["tasks"])

_FILE = {media_type: {"schema": {"type": "string"}} for media_type in MEDIA_TYPES.values()}
_TOO_LARGE: dict[int | str, dict[str, Any]] = {
    413: {
        "model": Problem,
        "description": "The file is larger than 1 MiB: send it in parts, each of a CSV's with the header row",
    }
}


@router.get(
    "/export",
    summary="Export all tasks",
    response_class=StreamingResponse,
    responses={200: {"description": "The file", "content": _FILE}},
)
async def export_tasks(
    caller: CallerDep,
    request: Request,
    kind: Annotated[Format, BeforeValidator(folded), Query(alias="format")] = "ndjson",
) -> Response:
    """Every task of the caller's as a file, which /tasks/import reads back; in the order of their ids.

    It is read page by page while it is sent: what changes meanwhile is in the file as it was or as it became,
    and what stays is in it once. Should the database fail midway, the connection is cut, not ended.

    In a CSV a text that a spreadsheet would compute begins with an apostrophe, and tags are a JSON list.
    """
    pages = _pages(caller)
    first = await anext(pages)  # what is wrong at the beginning is still an error with its status

    async def content() -> AsyncIterator[str]:
        if is_head(request):
            return
        yield header(kind) + await _written(first, kind)
        async for page in pages:
            yield await _written(page, kind)

    attachment = {"Content-Disposition": f'attachment; filename="tasks.{kind}"'}
    return StreamingResponse(content(), headers=attachment, media_type=MEDIA_TYPES[kind])


async def _written(page: list[ExportedTask], kind: Format) -> str:
    return "".join([write(task, kind) async for task in sliced(page)])


async def _pages(caller: Caller) -> AsyncIterator[list[ExportedTask]]:
    """Between its pages no connection is held: a reader may take an hour."""
    after = 0
    while True:
        page = await crud.get_page(caller.statements, caller.id, after)
        yield page
        if len(page) < crud.PAGE:
            return
        after = page[-1].id


@router.post(
    "/import",
    summary="Import tasks",
    response_model=ImportReply,
    responses=documented(InvalidFile, UnsupportedMediaType, TaskLimitReached, *IDEMPOTENCY_ERRORS)
    | _TOO_LARGE,
    openapi_extra={"requestBody": {"required": True, "content": READABLE}},
)
async def import_tasks(
    caller: CallerDep,
    request: Request,
    on_conflict: Annotated[OnConflict, BeforeValidator(folded), Query()] = "skip",
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Create the tasks of a file: NDJSON, JSON or CSV with a header row, as the body or in a browser's form.

    At most 10000 lines and 1 MiB; send more in parts. Each line needs a `title`, the rest may be missing. A
    line that is invalid is named in the answer and takes no other with it.

    UTF-8, or UTF-16 with a byte order mark; commas, semicolons, tabs or bars; a `sep=` line. Columns may be
    called as Todoist, TickTick and others do; JSON is a list of tasks, or Google Takeout's `Tasks.json`, and
    a line of it is a task. What was not understood is named in `ignored`. A date that could be read in two
    ways is refused, and `0001-01-01` is none.

    Importing is safe to repeat. A line that was imported before is that task, as long as it is there; so is
    one whose `id` is a task of the caller's, with the same `created_at` where the line says one. It is
    `unchanged`, or `changed` where the task has other content: then `on_conflict` says whether to skip the
    line or to update the task. What a line does not name it does not ask. All other lines are `created`.

    `completed_at`, `created_at` and `series_start` are kept where they are given. `next_task_id` becomes the
    task that the line with that `id` in the same file has become; where there is none, it is kept if it is an
    occurrence of the same series, and dropped otherwise. `id` and `updated_at` are never kept.
    """
    file, kind = await opened(request, await request.body())
    lines: list[Line] = []
    ignored: dict[str, None] = {}
    async for line in sliced(read(file, kind)):
        if line.holds_something:
            lines.append(line)
        if len(ignored) < IGNORED_MAX:
            ignored |= dict.fromkeys(name[:100] for name in line.ignored[:IGNORED_MAX])

    async def write_all(statements: Statements) -> Reply:
        most = request.app.state.settings.tasks_max
        results, change = await crud.import_tasks(statements, caller.id, lines, on_conflict, most)
        statuses = [result.status for result in results]
        reply = ImportReply(
            created=statuses.count("created"),
            unchanged=statuses.count("unchanged"),
            changed=statuses.count("changed"),
            invalid=statuses.count("invalid"),
            ignored=[*ignored][:IGNORED_MAX],
            lines=results,
            change=change,
        )
        return Reply.of(reply)

    return await answer_once(request, caller.dear_statements, caller.id, idempotency_key, write_all)
