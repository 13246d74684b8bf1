"""The statements on many tasks. Their number depends on what is done, not on how many tasks it is done to.

Whatever locks several rows locks them in the order of their ids: two requests can wait for each other's end,
but never in a circle.
"""

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, cast

from sqlalchemy import CursorResult, bindparam, case, delete, insert, not_, null, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.db import transaction
from backend.errors import FieldError, InvalidBody
from backend.models import ID_MAX, tasks, utc_now
from backend.tasks import planning
from backend.tasks.batch.schemas import (
    BatchResult,
    CreateOperation,
    DeleteOperation,
    Operation,
    Refused,
    UpdateOperation,
)
from backend.tasks.crud import COLUMNS, INSERTED, OWNED, WILL_RECUR, insert_values
from backend.tasks.errors import BatchFailed, FilterRequired, TaskNotFound
from backend.tasks.filters import TaskFilter
from backend.tasks.lists import asked, conditions
from backend.tasks.schemas import TaskPublic
from backend.tasks.sql import IdList, among

_PLANNED = {"due_date", "timezone", "recurring", "recurring_pattern"}
_KEPT = ("id", "user_id", "import_key", "created_at")
_WRITTEN = [column.name for column in tasks.c if column.name not in _KEPT]

_NAMED = among(tasks.c.id, bindparam("ids", type_=IdList()))
_LOCK = select(tasks, utc_now().label("now")).where(OWNED, _NAMED).order_by(tasks.c.id).with_for_update()
# Each parameter stands in it once: SQLAlchemy miscounts others in an INSERT of many rows.
_CREATE_MANY = (
    insert(tasks)
    .values(
        **{name: bindparam(name, type_=tasks.c[name].type) for name in INSERTED},
        completed_at=case((bindparam("done", type_=tasks.c.completed.type), utc_now())),
    )
    .returning(*COLUMNS)
)
_WRITE = (
    update(tasks)
    .where(tasks.c.id == bindparam("task_id"), OWNED)
    .values({name: bindparam(f"new_{name}", type_=tasks.c[name].type) for name in _WRITTEN})
)
_DELETE = delete(tasks).where(OWNED, _NAMED)


async def run_batch(
    session: AsyncSession, user_id: str, operations: Sequence[Operation | Refused], *, atomic: bool
) -> list[BatchResult]:
    """Do the operations in their order, and say of each what became of it.

    With `atomic` all of them are done or none is; without it, those that can be.

    Raises:
        BatchFailed: with `atomic`, some cannot be done; it carries the results of all.
        UnknownUser: a task was to be created for a user who has no row.
    """
    if atomic and any(isinstance(operation, Refused) for operation in operations):
        seen = [_refusal(operation) if isinstance(operation, Refused) else None for operation in operations]
        raise BatchFailed(_results(operations, seen, failed=True))
    ids = {operation.id for operation in operations if not isinstance(operation, CreateOperation | Refused)}
    async with transaction(session):
        plan = _Plan(user_id, await _lock(session, user_id, ids))
        outcomes = [plan.add(operation) for operation in operations]
        failed = atomic and any(outcome.status >= 400 for outcome in outcomes)
        if failed:
            raise BatchFailed(_results(operations, outcomes, failed=True))
        created = await _write(session, user_id, plan)
    return _results(operations, [outcome.after(created) for outcome in outcomes])


async def complete_all(session: AsyncSession, user_id: str, query: TaskFilter) -> int:
    """Complete the user's pending tasks that meet a filter; return how many. Recurring ones are followed."""
    names, parameters = asked(query)
    # A recurring task is met, counted and left as it is, for _Plan to complete.
    completing = (
        update(tasks)
        .where(OWNED, tasks.c.id.in_(_chosen(names, len(query.words), parameters, pending=True)))
        .values(
            completed=not_(WILL_RECUR),
            completed_at=case((WILL_RECUR, null()), else_=utc_now()),
            version=tasks.c.version + case((WILL_RECUR, 0), else_=1),
            updated_at=case((WILL_RECUR, tasks.c.updated_at), else_=utc_now()),
        )
        # Not whether it is WILL_RECUR: SQLite's RETURNING gets `IS NULL` wrong.
        .returning(tasks.c.id, tasks.c.recurring_pattern, tasks.c.next_task_id)
    )
    async with transaction(session):
        rows = (await session.execute(completing, {"owner": user_id})).all()
        recurring = [row.id for row in rows if row.recurring_pattern is not None and row.next_task_id is None]
        if recurring:
            plan = _Plan(user_id, await _lock(session, user_id, recurring))
            for row in plan.rows.values():
                plan.change(row, {"completed": True})
            await _write(session, user_id, plan)
    return len(rows)


async def delete_all(session: AsyncSession, user_id: str, query: TaskFilter) -> int:
    """Delete the user's tasks that meet a filter; return how many.

    Raises:
        FilterRequired: it has no condition, so that every task would meet it.
    """
    names, parameters = asked(query)
    if not names and not query.words:
        raise FilterRequired
    chosen = _chosen(names, len(query.words), parameters)
    statement = delete(tasks).where(OWNED, tasks.c.id.in_(chosen))
    async with transaction(session):  # whose results know how many rows they touched
        deleted = cast("CursorResult[Any]", await session.execute(statement, {"owner": user_id}))
    return deleted.rowcount


def _chosen(names: tuple[str, ...], words: int, parameters: dict[str, Any], *, pending: bool = False) -> Any:
    """The ids of the tasks that meet a filter, locked. It brings its parameters with it.

    In an UPDATE's own parameters they would be taken for columns to set.
    """
    chosen = select(tasks.c.id).where(conditions(names, words))
    if pending:
        chosen = chosen.where(not_(tasks.c.completed))
    return chosen.order_by(tasks.c.id).with_for_update().correlate(None).params(**parameters)


class _Outcome(NamedTuple):
    """What became of an operation: the task as a row, or which of the new rows it is."""

    status: int
    task: dict[str, Any] | None = None
    new: int | None = None
    detail: str | list[FieldError] | None = None

    def after(self, created: Sequence[Any]) -> "_Outcome":
        """With the ids that the database has given to new rows."""
        if self.new is not None:
            return self._replace(task=dict(created[self.new]))
        return self if self.task is None else self._replace(task=_linked(self.task, created))


class _Plan:
    """What operations make of the rows that were found. Nothing is written here."""

    def __init__(self, user_id: str, rows: Iterable[dict[str, Any]]) -> None:
        self._user_id = user_id
        self.rows = {row["id"]: row for row in rows}
        self.new: list[dict[str, Any]] = []
        self.changed: set[int] = set()
        self.deleted: list[int] = []

    def add(self, operation: Operation | Refused) -> _Outcome:
        """Take an operation into the plan, after those that were added before."""
        if isinstance(operation, Refused):
            return _refusal(operation)
        try:
            if isinstance(operation, CreateOperation):
                values = insert_values(self._user_id, operation)
                del values["op"]
                self.new.append(values)
                return _Outcome(201, new=len(self.new) - 1)
            return self._add(operation)
        except InvalidBody as error:
            _, *place = error.loc
            return _Outcome(422, detail=[FieldError(loc=list(place), msg=str(error), type=error.kind)])

    def _add(self, operation: Any) -> _Outcome:
        row = self.rows.get(operation.id)
        if row is None:
            return _Outcome(404, detail=TaskNotFound.__doc__)
        if operation.version not in (None, row["version"]):
            return _Outcome(412, task=dict(row), detail="The task is at another version: the one of `task`")
        if isinstance(operation, DeleteOperation):
            del self.rows[operation.id]
            self.deleted.append(operation.id)
            return _Outcome(204)
        if isinstance(operation, UpdateOperation):
            self.change(row, operation.model_dump(exclude={"op", "id", "version"}))
        else:
            self.change(row, {"completed": operation.completed})
        return _Outcome(200, task=dict(row))

    def change(self, row: dict[str, Any], changes: dict[str, Any]) -> None:
        """Change a row as an update of that one task would. Time and version move only with a real change."""
        columns = {name: value for name, value in changes.items() if name not in _PLANNED}
        if changes.keys() & _PLANNED:
            columns |= planning.merged(row, changes)
        completes = columns.get("completed") and not row["completed"]
        if completes:
            columns |= self._succeed(row | columns)
        if all(row[name] == value for name, value in columns.items()):
            return
        if columns.get("completed", row["completed"]) != row["completed"]:
            columns["completed_at"] = row["now"] if completes else None
        row |= columns | {"version": row["version"] + 1, "updated_at": row["now"]}
        self.changed.add(row["id"])

    def _succeed(self, row: dict[str, Any]) -> dict[str, Any]:
        if row["recurring_pattern"] is None or row["next_task_id"] is not None:
            return {}
        values = planning.successor(row)
        if values is None:
            return {}
        self.new.append({**values, "completed": False})
        return {"next_task_id": -len(self.new)}  # until _linked knows the id


def _linked(row: dict[str, Any], created: Sequence[Any]) -> dict[str, Any]:
    """A row with the true id of its successor, which _Plan could only number."""
    link = row["next_task_id"]
    return row if link is None or link > 0 else row | {"next_task_id": created[-link - 1]["id"]}


async def _lock(session: AsyncSession, user_id: str, ids: Iterable[int]) -> list[dict[str, Any]]:
    possible = [task_id for task_id in ids if 0 < task_id <= ID_MAX]
    if not possible:
        return []
    rows = (await session.execute(_LOCK, {"owner": user_id, "ids": possible})).mappings()
    return [dict(row) for row in rows]


async def _write(session: AsyncSession, user_id: str, plan: _Plan) -> Sequence[Any]:
    """Write what was planned; return the new rows in their order."""
    created: Sequence[Any] = []
    if plan.new:
        new = [row | {"done": row["completed"]} for row in plan.new]
        rows = (await session.execute(_CREATE_MANY, new)).mappings()
        created = sorted(rows, key=itemgetter("id"))  # RETURNING has an order of its own, ids have the rows'
    changed = [_linked(plan.rows[task_id], created) for task_id in sorted(plan.changed & plan.rows.keys())]
    if changed:
        key = {"owner": user_id}
        new = [
            {f"new_{name}": row[name] for name in _WRITTEN} | {"task_id": row["id"]} | key for row in changed
        ]
        await session.execute(_WRITE, new)
    if plan.deleted:
        await session.execute(_DELETE, {"owner": user_id, "ids": plan.deleted})
    return created


def _refusal(operation: Refused) -> _Outcome:
    return _Outcome(422, detail=operation.errors)


def _results(
    operations: Sequence[Operation | Refused], outcomes: Sequence[_Outcome | None], *, failed: bool = False
) -> list[BatchResult]:
    """The results on the wire. Where the batch `failed`, what could have been done was not."""
    results = []
    for index, (operation, outcome) in enumerate(zip(operations, outcomes, strict=True)):
        if outcome is None or (failed and outcome.status < 400):
            outcome = _Outcome(424, detail="Not done, because other operations cannot be")
        detail = outcome.detail
        if isinstance(detail, list):
            here = ["body", "operations", index]
            detail = [problem.model_copy(update={"loc": [*here, *problem.loc]}) for problem in detail]
        task = None if outcome.task is None else TaskPublic.model_validate(outcome.task)
        result = {
            "index": index,
            "op": operation.op,
            "status": outcome.status,
            "task": task,
            "detail": detail,
        }
        results.append(BatchResult.model_validate(result))
    return results
