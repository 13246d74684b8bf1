"""The statements that look back: what became of tasks, and what is in the trash."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Select, and_, bindparam, exists, func, literal, null, select, tuple_, update

from backend.engine.statements import Statements
from backend.models import ID_MAX, change_sources, task_events, tasks
from backend.tasks.crud import get_task
from backend.tasks.fields import READ
from backend.tasks.history.images import differences, task_of
from backend.tasks.log import LATER, OWNED_EVENTS, OWNED_SOURCES, happened_later, is_about
from backend.tasks.wire import Task, read

BY_REQUEST = "api"

_ID = task_events.c.seq.type
_ONE_MORE = bindparam("one_more", type_=_ID)
_BEFORE = tuple_(task_events.c.seq, task_events.c.task_id) < tuple_(
    bindparam("before_seq", type_=_ID), bindparam("before_id", type_=_ID)
)
_NEWEST = task_events.c.seq.desc(), task_events.c.task_id.desc()

_OF_ONE = task_events.c.task_id == bindparam("task_id", type_=_ID)

# What was deleted and is not back: its last event is that, and still has what it was.
_TRASHED = and_(
    OWNED_EVENTS,
    task_events.c.kind == "deleted",
    task_events.c.before.is_not(None),
    task_events.c.at > bindparam("since", type_=task_events.c.at.type),
    ~exists().where(happened_later(task_events)),
)
_TRASH = (
    select(task_events.c.seq, task_events.c.task_id, task_events.c.at, task_events.c.before)
    .where(_TRASHED, _BEFORE)
    .order_by(*_NEWEST)
    .limit(_ONE_MORE)
)
_IN_TRASH = select(task_events.c.task_id).where(_TRASHED)
_ERASE = (
    update(task_events)
    .where(
        OWNED_EVENTS,
        task_events.c.before.is_not(None),
        ~exists().where(is_about(task_events)),
    )
    .values(before=null())
)

# Where a page ended: after the event of a task in a change.
End = tuple[int, int] | None


class Event(NamedTuple):
    """What one change did to one task. No `changes`: what it was is erased."""

    change: int
    task_id: int
    kind: str
    at: datetime
    by: str
    changes: dict[str, dict[str, Any]] | None


class Trashed(NamedTuple):
    """A task as it was when it was deleted."""

    change: int
    at: datetime
    task: Task


async def get_history(
    statements: Statements, user_id: str, task_id: int | None, after: End, limit: int
) -> tuple[list[Event], End]:
    """Return a page of what became of the user's tasks, or of one of them, the newest first; and its end.

    Raises:
        TaskNotFound: the user has had no such task.
    """
    statement = _history_statement(task_id is not None, after is not None)
    parameters: dict[str, Any] = {"owner": user_id, "one_more": limit + 1}
    if task_id is not None:
        parameters["task_id"] = task_id
    if after is not None:
        parameters["before_seq"], parameters["before_id"] = after
    rows = await statements.plain(statement, parameters)
    if not rows and after is None and task_id is not None:
        await get_task(statements, user_id, task_id)  # it may be older than the log
    return [_event(row) for row in rows[:limit]], _end(rows, limit)


@lru_cache(maxsize=4)
def _history_statement(of_one: bool, continued: bool) -> Select[Any]:
    """The events of a page, each with what became of the task then: the next event's image, or the task."""
    some = select(task_events).where(OWNED_EVENTS, *([_OF_ONE] if of_one else []))
    some = some.where(_BEFORE) if continued else some
    # The page is cut first: what is looked up beside it is looked up for its events alone.
    page = some.order_by(*_NEWEST).limit(_ONE_MORE).subquery("page")
    following = happened_later(page)
    source = select(change_sources.c.source).where(OWNED_SOURCES, change_sources.c.seq == page.c.seq)
    return (
        select(
            page.c.seq,
            page.c.task_id,
            page.c.kind,
            page.c.at,
            func.coalesce(source.scalar_subquery(), literal(BY_REQUEST)),
            page.c.before,
            select(func.min(LATER.c.seq)).where(following).scalar_subquery(),
            select(LATER.c.before).where(following).order_by(LATER.c.seq).limit(1).scalar_subquery(),
            *READ,
        )
        .select_from(page.outerjoin(tasks, is_about(page)))
        .order_by(page.c.seq.desc(), page.c.task_id.desc())
    )


def _event(row: Any) -> Event:
    seq, task_id, kind, at, by, image, next_seq, next_image, *columns = row
    was = None if kind == "created" or image is None else task_of(image)
    if next_seq is not None:
        then = None if next_image is None else task_of(next_image)
    else:
        then = None if columns[0] is None else read(columns)
    unknown = (was is None and kind != "created") or (then is None and kind != "deleted")
    return Event(seq, task_id, kind, at, by, None if unknown else differences(was, then))


def trash_begins(days: int) -> datetime:
    """Since when what was deleted is in the trash."""
    return datetime.now(UTC) - timedelta(days=days)


async def get_trash(
    statements: Statements, user_id: str, since: datetime, after: End, limit: int
) -> tuple[list[Trashed], End]:
    """Return a page of what the user has deleted since a time, the last deleted first; and its end."""
    before_seq, before_id = after or (ID_MAX, 0)
    parameters = {"owner": user_id, "since": since, "one_more": limit + 1}
    rows = await statements.plain(_TRASH, parameters | {"before_seq": before_seq, "before_id": before_id})
    return [Trashed(seq, at, task_of(image)) for seq, _, at, image in rows[:limit]], _end(rows, limit)


def _end(rows: Sequence[Sequence[Any]], limit: int) -> End:
    """Where a page ends whose rows begin with a change and a task; None where there is no more."""
    return (rows[limit - 1][0], rows[limit - 1][1]) if len(rows) > limit else None


async def empty_trash(statements: Statements, user_id: str, since: datetime) -> int:
    """Erase what the user's deleted tasks were, all of their history; return how many were in the trash."""
    async with statements.transaction() as transaction:
        trashed = await transaction.all(_IN_TRASH, {"owner": user_id, "since": since})
        await transaction.execute(_ERASE, {"owner": user_id})
    return len(trashed)
