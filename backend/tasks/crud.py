"""The statements on one task. Each carries its owner.

What does not touch a series or a due date is one statement and one round trip, in autocommit. What does is a
transaction: the row is locked, the outcome worked out, and both written or neither.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Executable,
    Update,
    and_,
    bindparam,
    case,
    delete,
    insert,
    literal,
    not_,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from backend.db import transaction
from backend.models import tasks, utc_now
from backend.tasks import planning
from backend.tasks.errors import TaskNotFound, VersionMismatch
from backend.tasks.schemas import TaskCreate, TaskPublic, TaskUpdate
from backend.tasks.sql import IdList, among

# The versions that an If-Match header allows; None for any.
Versions = Sequence[int] | None

INTERNAL = ("series_start", "import_key")  # columns that no client reads
COLUMNS = tuple(column for column in tasks.c if column.name not in INTERNAL)
OWNED = tasks.c.user_id == bindparam("owner")
_ONE = and_(tasks.c.id == bindparam("task_id"), OWNED)
_PLANNED = ("due_date", "timezone", "recurring", "recurring_pattern")
# Completing such a task makes another one.
WILL_RECUR = and_(tasks.c.recurring_pattern.is_not(None), tasks.c.next_task_id.is_(None))

_GET = select(*COLUMNS).where(_ONE)
_LOCK = select(tasks).where(_ONE).with_for_update()
INSERTED = (
    "user_id",
    "title",
    "description",
    "completed",
    "priority",
    "tags",
    "due_at",
    "due_day",
    "timezone",
    "recurring_pattern",
    "series_start",
)
CREATE = (
    insert(tasks)
    .values(
        **{name: bindparam(name, type_=tasks.c[name].type) for name in INSERTED},
        completed_at=case((bindparam("completed", type_=tasks.c.completed.type), utc_now())),
        version=literal(1),
    )
    .returning(*COLUMNS)
)
_TOGGLE = (
    update(tasks)
    .where(_ONE, or_(tasks.c.completed, not_(WILL_RECUR)))
    .values(
        completed=not_(tasks.c.completed),
        completed_at=case((tasks.c.completed, null()), else_=utc_now()),
        version=tasks.c.version + 1,
        updated_at=utc_now(),
    )
    .returning(*COLUMNS)
)
_DELETE = delete(tasks).where(_ONE).returning(tasks.c.id)
_ALLOWED = among(tasks.c.version, bindparam("versions", type_=IdList()))


def insert_values(user_id: str, task: TaskCreate) -> dict[str, Any]:
    """Return the columns of a new task of the user's."""
    values = task.model_dump(exclude={"due_date", "recurring", "recurring_pattern"})
    return (
        {"user_id": user_id, **values}
        | planning.due_columns(task.due_date, task.timezone)
        | planning.series_columns(task.recurring_pattern, task.due_date)
    )


async def get_task(session: AsyncSession, user_id: str, task_id: int) -> TaskPublic:
    """Return the user's task, or raise TaskNotFound."""
    row = (await session.execute(_GET, {"owner": user_id, "task_id": task_id})).one_or_none()
    if row is None:
        raise TaskNotFound
    return TaskPublic.model_validate(row)


async def create_task(session: AsyncSession, user_id: str, task: TaskCreate) -> TaskPublic:
    """Insert a task of the user's, or raise UnknownUser where the user has no row."""
    return TaskPublic.model_validate((await session.execute(CREATE, insert_values(user_id, task))).one())


async def update_task(
    session: AsyncSession, user_id: str, task_id: int, changes: TaskUpdate, versions: Versions = None
) -> TaskPublic:
    """Set what `changes` names and return the task; completing a recurring one makes the next.

    Raises:
        TaskNotFound: the user has no such task.
        VersionMismatch: it is at another version than `versions` allow.
        InvalidBody: the changes do not fit the task's due date or series.
    """
    return await _change(session, user_id, task_id, changes.model_dump(), versions)


async def set_completed(
    session: AsyncSession, user_id: str, task_id: int, completed: bool | None, versions: Versions = None
) -> TaskPublic:
    """Set the task's state, or turn it over when None. Raises as update_task does."""
    if completed is not None:
        return await _change(session, user_id, task_id, {"completed": completed}, versions)
    parameters = {"owner": user_id, "task_id": task_id}
    toggled = await _write(session, _TOGGLE, parameters, versions)
    if toggled is not None:
        return toggled
    return await _change_locked(session, user_id, task_id, {"completed": None}, versions)


async def delete_task(session: AsyncSession, user_id: str, task_id: int, versions: Versions = None) -> None:
    """Delete the user's task. Raises TaskNotFound and VersionMismatch as update_task does."""
    statement, parameters = _guarded(_DELETE, {"owner": user_id, "task_id": task_id}, versions)
    if (await session.execute(statement, parameters)).one_or_none() is None:
        await _explain(session, user_id, task_id)


async def _change(
    session: AsyncSession, user_id: str, task_id: int, changes: dict[str, Any], versions: Versions
) -> TaskPublic:
    """Change a task in one statement where that is enough."""
    if not changes:
        task = await get_task(session, user_id, task_id)
        if versions is not None and task.version not in versions:
            raise VersionMismatch(task)
        return task
    if not changes.keys() & set(_PLANNED):
        parameters = {"owner": user_id, "task_id": task_id, **_prefixed(changes)}
        changed = await _write(session, update_statement(tuple(sorted(changes))), parameters, versions)
        if changed is not None:
            return changed
        if not changes.get("completed"):
            await _explain(session, user_id, task_id)
    return await _change_locked(session, user_id, task_id, changes, versions)


async def _change_locked(
    session: AsyncSession, user_id: str, task_id: int, changes: dict[str, Any], versions: Versions
) -> TaskPublic:
    """Change a task whose series or due date has a say in it. A `completed` of None turns the state over."""
    key = {"owner": user_id, "task_id": task_id}
    async with transaction(session):
        row = (await session.execute(_LOCK, key)).mappings().one_or_none()
        if row is None:
            raise TaskNotFound
        task: dict[str, Any] = dict(row)
        if versions is not None and task["version"] not in versions:
            raise VersionMismatch(TaskPublic.model_validate(task))
        columns = {name: value for name, value in changes.items() if name not in _PLANNED}
        if changes.keys() & set(_PLANNED):
            columns |= planning.merged(task, changes)
        if "completed" in columns and columns["completed"] is None:
            columns["completed"] = not task["completed"]
        if columns.get("completed") and not task["completed"]:
            columns |= await _succeed(session, {**task, **columns})
        statement = update_statement(tuple(sorted(columns)), recurs=True)
        written = (await session.execute(statement, key | _prefixed(columns))).one()
    return TaskPublic.model_validate(written)


async def _succeed(session: AsyncSession, task: Mapping[str, Any]) -> dict[str, Any]:
    """Insert the next task of a series, once; return what the completed one is told of it."""
    if task["recurring_pattern"] is None or task["next_task_id"] is not None:
        return {}
    values = planning.successor(task)
    if values is None:
        return {}
    created = (await session.execute(CREATE, {**values, "completed": False})).one()
    return {"next_task_id": created.id}


async def _write(
    session: AsyncSession, statement: Update, parameters: dict[str, Any], versions: Versions
) -> TaskPublic | None:
    guarded, parameters = _guarded(statement, parameters, versions)
    row = (await session.execute(guarded, parameters)).one_or_none()
    return None if row is None else TaskPublic.model_validate(row)


def _guarded(
    statement: Any, parameters: dict[str, Any], versions: Versions
) -> tuple[Executable, dict[str, Any]]:
    if versions is None:
        return statement, parameters
    return _at_versions(statement), parameters | {"versions": list(versions)}


@lru_cache(maxsize=256)
def _at_versions(statement: Any) -> Executable:
    guarded: Executable = statement.where(_ALLOWED)
    return guarded


async def _explain(session: AsyncSession, user_id: str, task_id: int) -> None:
    """Say why a statement met no row: there is none, or it is at another version."""
    raise VersionMismatch(await get_task(session, user_id, task_id))


def _prefixed(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {f"new_{name}": value for name, value in columns.items()}


@lru_cache(maxsize=128)
def update_statement(names: tuple[str, ...], *, recurs: bool = False) -> Update:
    """Return the statement that sets these columns: built once each, since building costs more than running.

    Its parameters are `owner`, `task_id` and the columns' names after `new_`. Time and version move only with
    a real change, so a repeated request leaves the task as the first one did. Without `recurs` it passes over
    a task that would have to be followed by another.
    """
    new: dict[str, ColumnElement[Any]] = {
        name: bindparam(f"new_{name}", type_=tasks.c[name].type) for name in names
    }
    changed = or_(*(tasks.c[name].is_distinct_from(value) for name, value in new.items()))
    statement = update(tasks).where(_ONE)
    values: dict[str, Any] = dict(new)
    if "completed" in new:
        since = case((tasks.c.completed, tasks.c.completed_at), else_=utc_now())
        values["completed_at"] = case((new["completed"], since), else_=null())
        if not recurs:
            statement = statement.where(or_(not_(new["completed"]), tasks.c.completed, not_(WILL_RECUR)))
    values["updated_at"] = case((changed, utc_now()), else_=tasks.c.updated_at)
    values["version"] = tasks.c.version + case((changed, literal(1)), else_=literal(0))
    return statement.values(**values).returning(*COLUMNS)
