"""The statements on one task. Each carries its owner.

What does not touch a series or a due date is one statement and one round trip, in autocommit. What does is a
transaction: the row is locked, the outcome worked out, and both written or neither.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from functools import lru_cache
from typing import Any, NoReturn, TypeVar

from sqlalchemy import (
    Delete,
    Update,
    and_,
    bindparam,
    case,
    delete,
    insert,
    literal,
    not_,
    or_,
    select,
    update,
)

from backend.columns import utc_now
from backend.engine.prepared import Row
from backend.engine.statements import Statements, Transaction, one_transaction
from backend.models import ID_MAX, tasks
from backend.tasks import planning
from backend.tasks.errors import TaskLimitReached, TaskNotFound, VersionMismatch
from backend.tasks.fields import CHANGING, INSERTED, INSTANTS, PLANNED, READ, bound, parameter
from backend.tasks.quota import counted
from backend.tasks.rules import IN_SERIES, change, changed_values
from backend.tasks.schemas import TaskCreate, TaskUpdate
from backend.tasks.sql import IdList, among
from backend.tasks.wire import Task, public, read, read_columns
from backend.words import word_columns

# The versions that an If-Match header allows; None for any.
Versions = Sequence[int] | None

S = TypeVar("S", Update, Delete)

OWNED = tasks.c.user_id == bindparam("owner")
_ONE = and_(tasks.c.id == bindparam("task_id"), OWNED)
_ALLOWED = among(tasks.c.version, bindparam("versions", type_=IdList()))

_GET = select(*READ).where(_ONE)
_NAMED = and_(OWNED, among(tasks.c.id, bindparam("ids", type_=IdList())))
_LOCK = select(tasks, utc_now().label("now")).where(_NAMED).order_by(tasks.c.id).with_for_update()
_OF_NEW = bound(*INSERTED) | {
    "completed_at": case((parameter("completed", "completed"), utc_now())),
    "version": literal(1),
}
_CREATE = insert(tasks).values(_OF_NEW).returning(*READ)
# The same, unless the user has `most` tasks.
_CREATE_WITHIN = (
    insert(tasks)
    .from_select(
        list(_OF_NEW),
        select(*_OF_NEW.values()).where(
            bindparam("most", type_=tasks.c.id.type) > counted(_OF_NEW["user_id"])
        ),
    )
    .returning(*READ)
)
_TOGGLE = (
    update(tasks)
    .where(_ONE, not_(IN_SERIES))
    .values(changed_values({"completed": not_(tasks.c.completed)}))
    .returning(*READ)
)
_DELETE = delete(tasks).where(_ONE).returning(tasks.c.id)
_DELETE_MANY = delete(tasks).where(_NAMED)
# What was worked out of a locked row.
WRITE = update(tasks).where(_ONE).values(bound(*CHANGING, prefix="new_"))


_SAID = tuple(name for name in INSERTED if name in TaskCreate.model_fields)


def insert_values(user_id: str, task: TaskCreate) -> dict[str, Any]:
    """Return the columns of a new task of the user's."""
    values: dict[str, Any] = {"user_id": user_id}
    values |= {name: getattr(task, name) for name in _SAID}
    values |= planning.due_columns(task.due_date, task.timezone)
    values |= planning.series_columns(task.recurring_pattern, task.due_date, task.timezone)
    return values | word_columns(values)


def write_values(user_id: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of WRITE for a changed row of the user's."""
    return {f"new_{name}": row[name] for name in CHANGING} | {"owner": user_id, "task_id": row["id"]}


async def get_task(statements: Statements, user_id: str, task_id: int) -> Task:
    """Return the user's task, or raise TaskNotFound."""
    rows = await statements.plain(_GET, {"owner": user_id, "task_id": task_id})
    if not rows:
        raise TaskNotFound
    return read(rows[0])


async def create_task(
    statements: Statements, user_id: str, task: TaskCreate, most: int | None = None
) -> Task:
    """Insert a task of the user's.

    Raises:
        UnknownUser: the user has no row.
        TaskLimitReached: the user has `most` tasks.
    """
    return read(await _insert(statements, insert_values(user_id, task), most))


async def update_task(
    statements: Statements,
    user_id: str,
    task_id: int,
    changes: TaskUpdate,
    versions: Versions = None,
    most: int | None = None,
) -> Task:
    """Set what `changes` names and return the task; completing a recurring one makes the next.

    Reopening it takes that back, unless it was touched.

    Raises:
        TaskNotFound: the user has no such task.
        VersionMismatch: it is at another version than `versions` allow.
        InvalidBody: the changes do not fit the task's due date or series.
        TaskLimitReached: it would be followed by another, and the user has `most`.
    """
    named = changes.model_dump()
    if not named:
        task = await get_task(statements, user_id, task_id)
        if versions is not None and task.version not in versions:
            raise VersionMismatch(public(task))
        return task
    if not named.keys() & PLANNED:
        columns = named | word_columns(named)
        values = {f"new_{name}": value for name, value in columns.items()}
        statement = _update_statement(tuple(sorted(columns)), versions is not None)
        changed = await _write(statements, statement, user_id, task_id, versions, values)
        if changed is not None:
            return changed
        if "completed" not in named:
            await _explain(statements, user_id, task_id)
    return await _change_locked(statements, user_id, task_id, named, versions, most)


async def set_completed(
    statements: Statements,
    user_id: str,
    task_id: int,
    completed: bool | None,
    versions: Versions = None,
    most: int | None = None,
) -> Task:
    """Set the task's state, or turn it over when None. Raises as update_task does."""
    if completed is not None:
        return await update_task(
            statements, user_id, task_id, TaskUpdate(completed=completed), versions, most
        )
    statement = _TOGGLE if versions is None else _at_versions(_TOGGLE)
    toggled = await _write(statements, statement, user_id, task_id, versions)
    if toggled is not None:
        return toggled
    return await _change_locked(statements, user_id, task_id, {"completed": None}, versions, most)


async def delete_task(statements: Statements, user_id: str, task_id: int, versions: Versions = None) -> None:
    """Delete the user's task. Raises TaskNotFound and VersionMismatch as update_task does."""
    statement = _DELETE if versions is None else _at_versions(_DELETE)
    key = _key(user_id, task_id, versions)
    if await statements.first(statement, key) is None:
        await _explain(statements, user_id, task_id)


async def lock_tasks(transaction: Transaction, user_id: str, ids: Iterable[int]) -> list[dict[str, Any]]:
    """Return the rows of those of the user's tasks that are there, and the time as `now`; they stay locked.

    Whatever writes several tasks locks them all so, in the order of their ids, before it writes any.
    """
    possible = [task_id for task_id in ids if 0 < task_id <= ID_MAX]
    if not possible:
        return []
    rows = await transaction.all(_LOCK, {"owner": user_id, "ids": possible})
    return [_columns(row) for row in rows]


async def lock_task(
    transaction: Transaction, user_id: str, task_id: int, versions: Versions
) -> dict[str, Any]:
    """Return one of the user's rows as lock_tasks does.

    Raises:
        TaskNotFound: the user has no such task.
        VersionMismatch: it is at another version than `versions` allow.
    """
    rows = await lock_tasks(transaction, user_id, [task_id])
    if not rows:
        raise TaskNotFound
    if versions is not None and rows[0]["version"] not in versions:
        raise VersionMismatch(public(read_columns(rows[0])))
    return rows[0]


async def delete_tasks(transaction: Transaction, user_id: str, ids: Sequence[int]) -> None:
    """Delete those of the user's tasks, which are locked."""
    await transaction.execute(_DELETE_MANY, {"owner": user_id, "ids": ids})


async def lock_series(transaction: Transaction, user_id: str, ids: Iterable[int]) -> list[dict[str, Any]]:
    """Do as lock_tasks with tasks whose completion may change: lock those that follow them, too.

    What follows a task came after it, but for what a file has linked: a deadlock over that is tried again.
    """
    rows = await lock_tasks(transaction, user_id, ids)
    links = {row["next_task_id"] for row in rows} - {row["id"] for row in rows} - {None}
    return rows + await lock_tasks(transaction, user_id, links) if links else rows


def _columns(row: Row) -> dict[str, Any]:
    """A row by its columns. asyncpg knows the last moment of all as infinity, which has no zone."""
    columns = row._asdict()
    for name in INSTANTS:
        if columns[name] is not None and columns[name].tzinfo is None:
            columns[name] = columns[name].replace(tzinfo=UTC)
    return columns


@one_transaction
async def _change_locked(
    statements: Statements,
    user_id: str,
    task_id: int,
    changes: Mapping[str, Any],
    versions: Versions,
    most: int | None,
) -> Task:
    """Change a task whose series or due date has a say in it."""
    async with statements.transaction() as transaction:
        row = await lock_task(transaction, user_id, task_id, versions)
        link = row["next_task_id"]
        follower = None
        if link is not None and "completed" in changes:
            follower = next(iter(await lock_tasks(transaction, user_id, [link])), None)
        columns, successor, takes_back = change(row, changes, row["now"], follower)
        if successor is not None:
            columns["next_task_id"] = read(await _insert(transaction, successor, most)).id
        if columns:
            row |= columns
            await transaction.execute(WRITE, write_values(user_id, row))
        if takes_back:
            await delete_tasks(transaction, user_id, [link])
    return read_columns(row)


async def _insert(statements: Statements, values: Mapping[str, Any], most: int | None) -> Sequence[Any]:
    if most is None:
        [row] = await statements.plain(_CREATE, values)
        return row
    rows = await statements.plain(_CREATE_WITHIN, {**values, "most": most})
    if not rows:
        raise TaskLimitReached(most)
    return rows[0]


async def _write(
    statements: Statements,
    statement: Update,
    user_id: str,
    task_id: int,
    versions: Versions,
    values: Mapping[str, Any] | None = None,
) -> Task | None:
    rows = await statements.plain(statement, _key(user_id, task_id, versions) | dict(values or {}))
    return read(rows[0]) if rows else None


def _key(user_id: str, task_id: int, versions: Versions) -> dict[str, Any]:
    key: dict[str, Any] = {"owner": user_id, "task_id": task_id}
    return key if versions is None else key | {"versions": list(versions)}


async def _explain(statements: Statements, user_id: str, task_id: int) -> NoReturn:
    """Say why a statement met no row: there is none, or it is at another version."""
    raise VersionMismatch(public(await get_task(statements, user_id, task_id)))


# Building a statement costs more than running it: each is built once.


@lru_cache(maxsize=8)
def _at_versions(statement: S) -> S:
    return statement.where(_ALLOWED)


@lru_cache(maxsize=256)
def _update_statement(names: tuple[str, ...], guarded: bool) -> Update:
    """Return the statement that sets these columns; its parameters have their names after `new_`.

    It passes over a task of a series whose completion would change.
    """
    new = bound(*names, prefix="new_")
    statement = update(tasks).where(_ONE)
    if "completed" in new:
        statement = statement.where(or_(new["completed"] == tasks.c.completed, not_(IN_SERIES)))
    if guarded:
        statement = statement.where(_ALLOWED)
    return statement.values(changed_values(new)).returning(*READ)
