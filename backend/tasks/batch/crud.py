"""The statements on many tasks. Their number depends on what is done, not on how many tasks it is done to.

Whatever locks several rows locks them in the order of their ids: two requests can wait for each other's end,
but never in a circle.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import count, islice
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import Delete, Select, case, delete, insert, not_, or_, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from backend.columns import utc_now
from backend.engine.prepared import Row
from backend.engine.statements import AT_ONCE, Statements, Transaction, one_transaction
from backend.errors import FieldError, InvalidBody
from backend.fair_cache import fairly_cached
from backend.models import tasks
from backend.slices import sliced
from backend.tasks.batch.schemas import (
    BatchResult,
    CompletedCount,
    CompleteOperation,
    CreateOperation,
    DeletedCount,
    DeleteOperation,
    Operation,
    Refused,
    UpdateOperation,
)
from backend.tasks.conditions import asked, conditions
from backend.tasks.crud import OWNED, WRITE, delete_tasks, insert_values, lock_series, write_values
from backend.tasks.errors import (
    BatchFailed,
    FilterRequired,
    TaskLimitReached,
    TaskNotFound,
    TooManyFollowed,
)
from backend.tasks.fields import INSERTED, READ, bound, parameter
from backend.tasks.filters import TaskFilter
from backend.tasks.log import change_number
from backend.tasks.quota import require_room, room
from backend.tasks.rules import IN_SERIES, change, changed_values
from backend.tasks.wire import public, read_columns

FOLLOWED_MAX = 10_000  # recurring tasks that one request completes: each is worked out by itself

# Each parameter stands in it once: SQLAlchemy miscounts others in an INSERT of many rows.
_CREATE_MANY = (
    insert(tasks)
    .values(**bound(*INSERTED), completed_at=case((parameter("completed", "done"), utc_now())))
    .returning(*READ)
)


@one_transaction
async def run_batch(
    statements: Statements,
    user_id: str,
    operations: Sequence[Operation | Refused],
    *,
    atomic: bool,
    most: int | None = None,
) -> tuple[list[BatchResult], int | None]:
    """Do the operations in their order; say of each what became of it, and the number of the change.

    With `atomic` all of them are done or none is; without it, those that can be. There may be `most` tasks.

    Raises:
        BatchFailed: with `atomic`, some cannot be done; it carries the results of all.
        UnknownUser: a task was to be created for a user who has no row.
    """
    if atomic and any(isinstance(operation, Refused) for operation in operations):
        seen = [_refusal(operation) if isinstance(operation, Refused) else None for operation in operations]
        raise BatchFailed(await _results(operations, seen, failed=True))
    ids = {operation.id for operation in operations if not isinstance(operation, CreateOperation | Refused)}
    async with statements.transaction() as transaction:
        plan = Plan(user_id, await lock_series(transaction, user_id, ids), ids, most)
        if most is not None:
            plan.room = await room(transaction, user_id, most)
        outcomes = [plan.add(operation) async for operation in sliced(operations)]
        failed = atomic and any(outcome.status >= 400 for outcome in outcomes)
        if failed:
            raise BatchFailed(await _results(operations, outcomes, failed=True))
        created = await write(transaction, user_id, plan)
        change = await change_number(transaction, user_id)
    return await _results(operations, [outcome.after(created) for outcome in outcomes]), change


@one_transaction
async def complete_all(
    statements: Statements, user_id: str, query: TaskFilter, most: int | None = None
) -> CompletedCount:
    """Complete the user's pending tasks that meet a filter; say how many. Recurring ones are followed.

    Raises:
        TaskLimitReached: with those that follow the user would have more than `most`.
        TooManyFollowed: those that recur are more than FOLLOWED_MAX; nothing is done.
    """
    names, parameters = asked(query)
    async with statements.transaction() as transaction:
        statement = _complete_statement(user_id, names, len(query.words))
        rows = await transaction.all(statement, parameters | {"owner": user_id})
        recurring = [
            row.id for row in rows if row.recurring_pattern is not None or row.next_task_id is not None
        ]
        if len(recurring) > FOLLOWED_MAX:
            raise TooManyFollowed
        left = iter(recurring)
        while some := [*islice(left, AT_ONCE)]:
            plan = Plan(user_id, await lock_series(transaction, user_id, some), some)
            async for task_id in sliced(some):
                plan.change(plan.rows[task_id], {"completed": True})
            await require_room(transaction, user_id, most, len(plan.new))
            await write(transaction, user_id, plan)
        return CompletedCount(completed=len(rows), change=await change_number(transaction, user_id))


@one_transaction
async def delete_all(statements: Statements, user_id: str, query: TaskFilter) -> DeletedCount:
    """Delete the user's tasks that meet a filter; say how many.

    Raises:
        FilterRequired: it has no condition, so that every task would meet it.
    """
    names, parameters = asked(query)
    if not names and not query.words:
        raise FilterRequired
    async with statements.transaction() as transaction:
        statement = _delete_statement(user_id, names, len(query.words))
        deleted = await transaction.execute(statement, parameters | {"owner": user_id})
        return DeletedCount(deleted=deleted, change=await change_number(transaction, user_id))


@fairly_cached(128)
def _complete_statement(names: tuple[str, ...], words: int) -> ReturningUpdate[Any]:
    """Completes the pending tasks that meet a filter. One that is IN_SERIES is met, and left to Plan."""
    chosen = _chosen(names, words).where(not_(tasks.c.completed))
    return (
        update(tasks)
        .where(OWNED, tasks.c.id.in_(chosen))
        .values(changed_values({"completed": or_(tasks.c.completed, not_(IN_SERIES))}))
        # Not whether it is IN_SERIES: SQLite's RETURNING gets `IS NULL` wrong.
        .returning(tasks.c.id, tasks.c.recurring_pattern, tasks.c.next_task_id)
    )


@fairly_cached(128)
def _delete_statement(names: tuple[str, ...], words: int) -> Delete:
    return delete(tasks).where(OWNED, tasks.c.id.in_(_chosen(names, words)))


def _chosen(names: tuple[str, ...], words: int) -> Select[Any]:
    """The ids of the tasks that meet a filter, locked."""
    chosen = select(tasks.c.id).where(conditions(names, words))
    return chosen.order_by(tasks.c.id).with_for_update().correlate(None)


class _Outcome(NamedTuple):
    """What became of an operation: the task as a row, or which of the new rows it is."""

    status: int
    task: dict[str, Any] | None = None
    new: int | None = None
    detail: str | list[FieldError] | None = None

    def after(self, created: Mapping[int, Row]) -> "_Outcome":
        """With the ids that the database has given to new rows."""
        if self.new is not None:
            return self._replace(task=created[self.new]._asdict())
        return self if self.task is None else self._replace(task=_linked(self.task, created))


class Plan:
    """What operations make of the rows that were found. Nothing is written here.

    `rows` are those with `ids`, which operations may name, and those that follow them.
    """

    def __init__(
        self, user_id: str, rows: Iterable[dict[str, Any]], ids: Collection[int], most: int | None = None
    ) -> None:
        self._user_id = user_id
        self._most = most
        self.room: int | None = None  # how many more tasks there may be; None for any number
        self.rows = {row["id"]: row for row in rows}
        self._ids = ids
        self.new: dict[int, dict[str, Any]] = {}  # by numbers of their own; what is taken back leaves a gap
        self._numbers = count(1)
        self.changed: set[int] = set()
        self.deleted: list[int] = []

    def add(self, operation: Operation | Refused) -> _Outcome:
        """Take an operation into the plan, after those that were added before."""
        if isinstance(operation, Refused):
            return _refusal(operation)
        try:
            if isinstance(operation, CreateOperation):
                return _Outcome(201, new=self._create(insert_values(self._user_id, operation)))
            return self._add(operation)
        except TaskLimitReached as error:
            return _Outcome(error.status, detail=error.detail)
        except InvalidBody as error:
            _, *place = error.loc
            return _Outcome(422, detail=[FieldError(loc=list(place), msg=str(error), type=error.kind)])

    def _add(self, operation: UpdateOperation | CompleteOperation | DeleteOperation) -> _Outcome:
        row = self.rows.get(operation.id)
        if row is None or operation.id not in self._ids:
            return _Outcome(404, detail=TaskNotFound.__doc__)
        if operation.version not in (None, row["version"]):
            return _Outcome(412, task=dict(row), detail="The task is at another version: the one of `task`")
        if isinstance(operation, DeleteOperation):
            self._delete(operation.id)
            return _Outcome(204)
        if isinstance(operation, UpdateOperation):
            self.change(row, operation.model_dump(exclude={"op", "id", "version"}))
        else:
            self.change(row, {"completed": operation.completed})
        return _Outcome(200, task=dict(row))

    def change(self, row: dict[str, Any], changes: dict[str, Any]) -> None:
        """Change a row as an update of that one task would."""
        link = row["next_task_id"]
        made = link is not None and -link in self.new  # in this plan: nobody can have touched it
        follower = {"version": 1, "completed": False} if made else self.rows.get(link)
        columns, successor, takes_back = change(row, changes, row["now"], follower)
        if successor is not None:
            columns["next_task_id"] = -self._create(successor)  # until _linked knows the id
        if columns:
            row |= columns
            self.changed.add(row["id"])
        if takes_back and made:
            del self.new[-link]
        elif takes_back:
            self._delete(link)

    def _delete(self, task_id: int) -> None:
        del self.rows[task_id]
        self.deleted.append(task_id)

    def _create(self, row: dict[str, Any]) -> int:
        if self.room is not None and len(self.new) - len(self.deleted) >= self.room:
            assert self._most is not None
            raise TaskLimitReached(self._most)
        number = next(self._numbers)
        self.new[number] = row
        return number


def _linked(row: dict[str, Any], created: Mapping[int, Row]) -> dict[str, Any]:
    """A row with the true id of its successor, which Plan could only number; none if it was taken back."""
    link = row["next_task_id"]
    if link is None or link > 0:
        return row
    return row | {"next_task_id": created[-link].id if -link in created else None}


async def write(transaction: Transaction, user_id: str, plan: Plan) -> Mapping[int, Row]:
    """Write what was planned; return the new rows by their numbers."""
    created: Mapping[int, Row] = {}
    if plan.new:
        rows = await transaction.all_of(
            _CREATE_MANY, (row | {"done": row["completed"]} for row in plan.new.values())
        )
        # RETURNING has an order of its own, ids have the rows'.
        created = dict(zip(plan.new, sorted(rows, key=attrgetter("id")), strict=True))
    changed = [_linked(plan.rows[task_id], created) for task_id in sorted(plan.changed & plan.rows.keys())]
    if changed:
        await transaction.all_of(WRITE, (write_values(user_id, row) for row in changed))
    if plan.deleted:
        await delete_tasks(transaction, user_id, plan.deleted)
    return created


def _refusal(operation: Refused) -> _Outcome:
    return _Outcome(422, detail=operation.errors)


async def _results(
    operations: Sequence[Operation | Refused], outcomes: Sequence[_Outcome | None], *, failed: bool = False
) -> list[BatchResult]:
    """The results on the wire. Where the batch `failed`, what could have been done was not."""
    results = []
    numbered = enumerate(zip(operations, outcomes, strict=True))
    async for index, (operation, outcome) in sliced(numbered):
        if outcome is None or (failed and outcome.status < 400):
            outcome = _Outcome(424, detail="Not done, because other operations cannot be")
        detail = outcome.detail
        if isinstance(detail, list):
            here = ["body", "operations", index]
            detail = [problem.model_copy(update={"loc": [*here, *problem.loc]}) for problem in detail]
        task = None if outcome.task is None else public(read_columns(outcome.task))
        result = {
            "index": index,
            "op": operation.op,
            "status": outcome.status,
            "task": task,
            "detail": detail,
        }
        results.append(BatchResult.model_validate(result))
    return results
