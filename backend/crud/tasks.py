"""The statements on tasks. Each carries the owner; each function here is one statement and one round trip.

None commits: the session is in autocommit, so a statement is on disk before its rows come back.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    Row,
    Select,
    Update,
    and_,
    bindparam,
    case,
    delete,
    insert,
    not_,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from backend.cursor import Position
from backend.errors import TaskNotFound
from backend.models import tasks, utc_now
from backend.schemas import Order, Sort, TaskCreate, TaskListQuery, TaskPublic, TaskUpdate

_COLUMNS = (
    tasks.c.id,
    tasks.c.user_id,
    tasks.c.title,
    tasks.c.description,
    tasks.c.completed,
    tasks.c.created_at,
    tasks.c.updated_at,
)
_OWNED = tasks.c.user_id == bindparam("owner")
_ONE = and_(tasks.c.id == bindparam("task_id"), _OWNED)
_SORT_COLUMNS = {"created": tasks.c.created_at, "updated": tasks.c.updated_at, "title": tasks.c.title}

_GET = select(*_COLUMNS).where(_ONE)
_CREATE = (
    insert(tasks)
    .values({name: bindparam(name) for name in ("user_id", "title", "description", "completed")})
    .returning(*_COLUMNS)
)
_TOGGLE = (
    update(tasks)
    .where(_ONE)
    .values(completed=not_(tasks.c.completed), updated_at=utc_now())
    .returning(*_COLUMNS)
)
_DELETE = delete(tasks).where(_ONE).returning(tasks.c.id)


class Page(NamedTuple):
    """A part of a list, and where it ended if there is more."""

    tasks: list[TaskPublic]
    end: Position | None


async def list_tasks(
    session: AsyncSession, user_id: str, query: TaskListQuery, after: Position | None = None
) -> Page:
    """Return one page of the user's tasks: the first, or the one that follows `after`."""
    parameters: dict[str, Any] = {"owner": user_id, "limit": query.limit + 1, "completed": query.done}
    if after is not None:
        parameters |= {"after_value": after.value, "after_id": after.id}
    statement = _list_statement(query.sort, query.direction, query.done is not None, after is not None)
    rows = (await session.execute(statement, parameters)).all()
    page = [_public(row) for row in rows[: query.limit]]
    if len(rows) <= query.limit:
        return Page(page, None)
    last = rows[query.limit - 1]._mapping
    return Page(page, Position(last[_SORT_COLUMNS[query.sort]], last[tasks.c.id]))


async def get_task(session: AsyncSession, user_id: str, task_id: int) -> TaskPublic:
    """Return the user's task, or raise TaskNotFound."""
    return await _one(session, _GET, {"owner": user_id, "task_id": task_id})


async def create_task(session: AsyncSession, user_id: str, task: TaskCreate) -> TaskPublic:
    """Insert a task of the user's, or raise UnknownUser where the user has no row."""
    return _public((await session.execute(_CREATE, {"user_id": user_id, **task.model_dump()})).one())


async def update_task(session: AsyncSession, user_id: str, task_id: int, changes: TaskUpdate) -> TaskPublic:
    """Set what `changes` names and return the task, or raise TaskNotFound."""
    return await _set(session, user_id, task_id, changes.model_dump())


async def set_completed(
    session: AsyncSession, user_id: str, task_id: int, completed: bool | None
) -> TaskPublic:
    """Set the task's state, or turn it over when None, or raise TaskNotFound."""
    if completed is None:
        return await _one(session, _TOGGLE, {"owner": user_id, "task_id": task_id})
    return await _set(session, user_id, task_id, {"completed": completed})


async def delete_task(session: AsyncSession, user_id: str, task_id: int) -> None:
    """Delete the user's task, or raise TaskNotFound."""
    deleted = await session.execute(_DELETE, {"owner": user_id, "task_id": task_id})
    if deleted.one_or_none() is None:
        raise TaskNotFound


async def _set(session: AsyncSession, user_id: str, task_id: int, values: dict[str, Any]) -> TaskPublic:
    statement = _update_statement(tuple(sorted(values))) if values else _GET
    new = {f"new_{name}": value for name, value in values.items()}
    return await _one(session, statement, {"owner": user_id, "task_id": task_id, **new})


async def _one(
    session: AsyncSession, statement: Select[Any] | Update, parameters: dict[str, Any]
) -> TaskPublic:
    row = (await session.execute(statement, parameters)).one_or_none()
    if row is None:
        raise TaskNotFound
    return _public(row)


def _public(row: Row[Any]) -> TaskPublic:
    return TaskPublic.model_validate(row)


# Building a statement costs more than running it: the few that depend on the request are built once each.


@lru_cache(maxsize=32)
def _list_statement(sort: Sort, order: Order, by_status: bool, continued: bool) -> Select[Any]:
    column = _SORT_COLUMNS[sort]
    statement = select(*_COLUMNS).where(_OWNED).limit(bindparam("limit"))
    if by_status:
        statement = statement.where(tasks.c.completed == bindparam("completed"))
    if order == "desc":
        statement = statement.order_by(column.desc(), tasks.c.id.desc())
    else:
        statement = statement.order_by(column, tasks.c.id)
    if continued:
        here = tuple_(column, tasks.c.id)
        there = tuple_(
            bindparam("after_value", type_=column.type), bindparam("after_id", type_=tasks.c.id.type)
        )
        statement = statement.where(here < there if order == "desc" else here > there)
    return statement


@lru_cache(maxsize=32)
def _update_statement(names: tuple[str, ...]) -> Update:
    values = {name: bindparam(f"new_{name}", type_=tasks.c[name].type) for name in names}
    changed = or_(*(tasks.c[name].is_distinct_from(value) for name, value in values.items()))
    # The time moves only with a real change: a repeated request leaves the task as the first one did.
    updated_at = case((changed, utc_now()), else_=tasks.c.updated_at)
    return update(tasks).where(_ONE).values(**values, updated_at=updated_at).returning(*_COLUMNS)
