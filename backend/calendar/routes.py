"""The caller's calendars, and the address at which calendar programs read one."""

import asyncio
import json
from datetime import UTC, datetime
from importlib import import_module
from typing import Annotated

from fastapi import APIRouter, Request, Response

from backend.calendar import crud, secrets
from backend.calendar.errors import CalendarLimitReached, CalendarNotFound
from backend.calendar.schemas import CalendarCreate, CalendarCreated, CalendarFilter, CalendarPublic
from backend.config import Settings
from backend.db import Database
from backend.deps import CallerDep
from backend.engine.gate import asking
from backend.engine.statements import Statements
from backend.errors import (
    DatabaseUnavailable,
    DatabaseWaking,
    Overloaded,
    StatementTimeout,
    TooManyRequests,
)
from backend.slices import sliced
from backend.tasks.schemas import TaskId
from backend.web import limits
from backend.web.addresses import base_url, is_head
from backend.web.answers import JsonResponse
from backend.web.etags import has, joined
from backend.web.handlers import ALWAYS_DOCUMENTED, documented
from backend.web.idempotency import ERRORS as IDEMPOTENCY_ERRORS
from backend.web.idempotency import IdempotencyKey, Reply, answer_once
from backend.web.openapi import header_parameter
from backend.web.registration import register_text
from backend.web.spelling import spelt

# A number: somebody may be called `calendar`, and have tasks under that path.
register_text("calendar_id", "[0-9]+")

router = APIRouter(tags=["calendar"])
feeds = APIRouter(tags=["calendar"])

MEDIA_TYPE = "text/calendar"
FORMAT = 1  # of what is written: another makes every calendar new to those who have it


@router.post(
    "",
    status_code=201,
    summary="Create a calendar",
    response_model=CalendarCreated,
    responses=documented(CalendarLimitReached, *IDEMPOTENCY_ERRORS),
)
async def create_calendar(
    caller: CallerDep,
    calendar: Annotated[CalendarCreate, spelt(CalendarCreate)],
    request: Request,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Make an address at which calendar programs read the caller's tasks with a due date.

    Whoever has its `url` can read them, without a token: it is shown in this answer alone, and works until
    the calendar is deleted. A caller has up to 20 of them.
    """
    settings: Settings = request.app.state.settings
    seed = secrets.new_seed()
    secret_hash = secrets.hashed(secrets.write(seed, settings.cursor_secret, caller.id))

    async def write(statements: Statements) -> Reply:
        made = await crud.create_calendar(statements, caller.id, secret_hash, calendar)
        # An answer may be kept, to be given again. What is kept has the seed, which alone opens nothing.
        return Reply(201, json.dumps(made.model_dump(mode="json") | {"seed": seed}).encode(), {})

    answer = await answer_once(request, caller.statements, caller.id, idempotency_key, write)
    return _with_url(request, answer, caller.id)


def _with_url(request: Request, answer: Response, owner: str) -> Response:
    """The answer with the calendar's address, in place of what that is made of."""
    settings: Settings = request.app.state.settings
    made = json.loads(bytes(answer.body))
    secret = secrets.write(made.pop("seed"), settings.cursor_secret, owner)
    made["url"] = f"{base_url(request, settings.public_url)}/api/calendar/{secret}.ics"
    replayed = {name: value for name, value in answer.headers.items() if name == "idempotency-replayed"}
    return JsonResponse(json.dumps(made).encode(), 201, replayed)


@router.get("", summary="List calendars")
async def list_calendars(caller: CallerDep) -> list[CalendarPublic]:
    """The caller's calendars, the oldest first, without their addresses, which nobody knows any more."""
    return await crud.list_calendars(caller.statements, caller.id)


@router.delete(
    "/{calendar_id:calendar_id}",
    status_code=204,
    summary="Delete a calendar",
    responses=documented(CalendarNotFound, *IDEMPOTENCY_ERRORS),
)
async def delete_calendar(
    caller: CallerDep, calendar_id: TaskId, request: Request, idempotency_key: IdempotencyKey = None
) -> Response:
    """Revoke a calendar's address: it is a 404 from now on, as one that never was."""

    async def write(statements: Statements) -> Reply:
        await crud.delete_calendar(statements, caller.id, calendar_id)
        return Reply(204, b"", {})

    return await answer_once(request, caller.statements, caller.id, idempotency_key, write)


@feeds.get(
    "/api/calendar/{secret}.ics",
    summary="Subscribe to a calendar",
    response_class=Response,
    responses=ALWAYS_DOCUMENTED
    | documented(
        CalendarNotFound,
        TooManyRequests,
        DatabaseUnavailable,
        DatabaseWaking,
        StatementTimeout,
        Overloaded,
    )
    | {
        200: {"description": "iCalendar", "content": {MEDIA_TYPE: {"schema": {"type": "string"}}}},
        304: {"description": "It has not changed"},
    },
    openapi_extra=header_parameter("If-None-Match", "304 if the calendar is still at this ETag"),
)
async def get_calendar(secret: str, request: Request) -> Response:
    """The tasks of a calendar as iCalendar (RFC 5545), for whoever has its address.

    Tasks with a due date that meet its filter, up to 2000 of them, those that are due nearest to now.
    """
    owner, found = await _find(request, secret)
    calendar, query = found.calendar, found.query
    # What is overdue, and what is near, changes with the time alone.
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    quarter = now.minute // 15 * 15  # somewhere a day begins with each
    now = now.replace(minute=quarter) if query.is_of_the_moment else now.replace(hour=0, minute=0)
    tag = f'"{FORMAT}-{calendar.id}-{found.change}-{now:%Y%m%d%H%M}"'
    headers = {"ETag": f"W/{tag}"}
    if (known := joined(request.headers, b"if-none-match")) is not None and has(known, tag):
        return Response(None, 304, headers)
    headers["Content-Disposition"] = 'inline; filename="tasks.ics"'
    if not is_head(request):
        body = await _written(request, owner, calendar, query, now)
        return Response(body, 200, headers, media_type=MEDIA_TYPE)
    answer = Response(None, 200, headers, media_type=MEDIA_TYPE)
    del answer.headers["content-length"]  # which is not known
    return answer


async def _find(request: Request, text: str) -> tuple[str, crud.Found]:
    """Return what a secret opens, and whose it is.

    Raises:
        CalendarNotFound: nothing.
        TooManyRequests: it was asked for too often, or too many came from this address that opened nothing.
    """
    state, scope = request.app.state, request.scope
    counted: limits.Limits = state.limits
    secret = secrets.read(text, state.settings.auth_user_id_type)
    if secret is None:
        counted.count_address(scope)
        raise CalendarNotFound
    counted.before_feed(scope, secret.hash)
    asking.set(f"address {limits.address(scope)}")  # who guesses waits in a line of their own
    database: Database = state.database
    try:
        found = await crud.find_calendar(database.statements, secret.owner, secret.hash)
    except CalendarNotFound:
        counted.forget(secret.hash)
        counted.count_address(scope)
        raise
    asking.set(secret.owner)
    scope["user_id"] = secret.owner
    counted.remember(secret.hash, secret.owner)
    counted.count_feed(scope, secret.hash)
    return secret.owner, found


async def _written(
    request: Request, owner: str, calendar: CalendarPublic, query: CalendarFilter, now: datetime
) -> bytes:
    # It takes a quarter of a second to load: with the first calendar, and beside other requests.
    await asyncio.to_thread(import_module, "backend.calendar.feed")
    from backend.calendar.feed import END, entries, head, timezones

    database: Database = request.app.state.database
    if not query.model_fields_set & {"status", "completed"}:
        query = query.model_copy(update={"completed": False})
    tasks = await crud.get_entries(database.dear_statements, owner, query, now)
    zones: dict[str, int] = {}
    written = [part async for part in sliced(entries(calendar, owner, tasks, zones))]
    named = [part async for part in sliced(timezones(zones, now))]
    return b"".join([head(calendar), *named, *written, END])
