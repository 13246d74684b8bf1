"""The tools themselves, over the functions that the API's own routes use. Each is one transaction at most."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple, Self
from zoneinfo import ZoneInfo

from backend.config import Settings
from backend.db import Database
from backend.engine.statements import Statements
from backend.tasks import crud, lists
from backend.tasks.batch import crud as batch
from backend.tasks.batch.schemas import read
from backend.tasks.filters import RecurrenceQuery, TaskListQuery
from backend.tasks.recurrence import preview
from backend.tasks.schemas import in_zone
from backend.tasks.undo import crud as undo
from backend.tasks.wire import as_dict, read_columns
from backend.tools.schemas import (
    AddTasks,
    Brief,
    CompleteTasks,
    Dates,
    DeleteTasks,
    Found,
    ListTasks,
    PreviewRecurrence,
    TaskChange,
    UndoChange,
    Undone,
    UpdateTasks,
    Written,
)
from backend.web.kept_answers import Limits


class Context(NamedTuple):
    """Who a tool works for, and how: what no model has a say in."""

    user_id: str
    statements: Statements
    dear_statements: Statements
    source: str
    """Whom the history names for what was changed: `assistant`, or an agent's name."""
    timezone: str
    """What local dates are local to."""
    most: int | None
    """How many tasks the user may have."""
    kept: Limits
    """How much is kept of what was done under a key."""

    @classmethod
    def of(cls, database: Database, settings: Settings, user_id: str, source: str, timezone: str) -> Self:
        """What a tool works with for a user, within the settings."""
        statements = database.statements, database.dear_statements
        return cls(user_id, *statements, source, timezone, settings.tasks_max, Limits.of(settings))


async def add_task(context: Context, arguments: AddTasks) -> Written:
    """Add tasks.

    Raises:
        BatchFailed: one of them breaks a rule; none was added.
    """
    return await _batch(
        context,
        [
            {"op": "create", "timezone": context.timezone, **new.model_dump(exclude_none=True)}
            for new in arguments.tasks
        ],
    )


async def list_tasks(context: Context, arguments: ListTasks) -> Found:
    """Find tasks.

    Raises:
        ValidationError: the conditions break a rule, or contradict each other.
    """
    asked = arguments.model_dump(exclude_none=True)
    asked["tag"] = asked.pop("tags", [])
    asked["tag_match"] = "any" if asked.pop("any_tag", False) else "all"
    query = TaskListQuery.model_validate(asked | {"timezone": context.timezone})
    statements = context.dear_statements if lists.is_dear(query) else context.statements
    page = await lists.list_tasks(statements, context.user_id, query)
    total = len(page.tasks)
    if page.end is not None:
        total = (await lists.count_tasks(context.dear_statements, context.user_id, query)).number
    return Found(tasks=[_brief(context, as_dict(task)) for task in page.tasks], total=total)


async def update_task(context: Context, arguments: UpdateTasks) -> Written:
    """Change tasks.

    Raises:
        BatchFailed: one of them is not there, or would break a rule; none was changed.
    """
    return await _batch(context, [_update(context, task) for task in arguments.tasks])


async def complete_task(context: Context, arguments: CompleteTasks) -> Written:
    """Complete or reopen tasks.

    Raises:
        BatchFailed: one of them is not there; none was changed.
    """
    completed = arguments.completed
    ids = dict.fromkeys(arguments.ids)
    return await _batch(context, [{"op": "complete", "id": each, "completed": completed} for each in ids])


async def delete_task(context: Context, arguments: DeleteTasks) -> Written:
    """Delete tasks, which stay in the trash for a while.

    Raises:
        BatchFailed: one of them is not there; none was deleted.
    """
    ids = dict.fromkeys(arguments.ids)
    async with context.statements.transaction() as transaction:
        rows = await crud.lock_tasks(transaction, context.user_id, ids)
        await _batch(
            context._replace(statements=transaction), [{"op": "delete", "id": task_id} for task_id in ids]
        )
    return Written(tasks=[_brief(context, as_dict(read_columns(row))) for row in rows])


async def undo_change(context: Context, arguments: UndoChange) -> Undone:
    """Take a change back, all of it.

    Raises:
        ChangeNotFound: the user has made no such change, or it is forgotten.
        ChangedSince: some of its tasks have changed since.
        TaskLimitReached: with what it deleted the user would have too many.
    """
    undone = await undo.undo_change(
        context.statements,
        context.user_id,
        arguments.change,
        force=False,
        most=context.most,
        source=None,  # the caller's own
    )
    return Undone(tasks=undone.tasks)


async def preview_recurrence(context: Context, arguments: PreviewRecurrence) -> Dates:
    """Say when a recurrence falls.

    Raises:
        ValidationError: the pattern or the date cannot be read.
    """
    query = RecurrenceQuery(
        pattern=arguments.pattern,
        timezone=context.timezone,
        due_date=arguments.due_date,
    )
    found = preview(query.pattern, query.due_date, query.timezone, arguments.count)
    return Dates(dates=[str(_local(context, due)) for due in found])


async def _batch(context: Context, operations: Sequence[dict[str, Any]]) -> Written:
    results, _ = await batch.run_batch(
        context.statements,
        context.user_id,
        [read(operation) for operation in operations],
        atomic=True,
        most=context.most,
    )
    tasks = [result.task.model_dump() for result in results if result.task is not None]
    return Written(tasks=[_brief(context, task) for task in tasks])


def _update(context: Context, task: TaskChange) -> dict[str, Any]:
    changes = task.model_dump(exclude_none=True, exclude={"clear"})
    for name in task.clear or ():
        changes |= {"recurring": False} if name == "recurring_pattern" else {name: None}
    if task.due_date is not None and "T" in task.due_date:
        changes["due_date"] = _instant(context, task.due_date)
    return {"op": "update", **changes}


def _instant(context: Context, local: str) -> str:
    """A local time with its offset: the task may live in another zone. What is none is refused later."""
    try:
        return in_zone(datetime.fromisoformat(local), context.timezone).isoformat()
    except ValueError:
        return local


def _brief(context: Context, task: dict[str, Any]) -> Brief:
    fields = {name: task[name] for name in Brief.model_fields}
    return Brief.model_validate(fields | {"due_date": _local(context, task["due_date"])})


def _local(context: Context, due: Any) -> str | None:
    """A due date as the user's calendar and clock show it."""
    if isinstance(due, datetime):
        try:
            due = due.astimezone(ZoneInfo(context.timezone)).replace(tzinfo=None)
        except OverflowError:  # at the edges of the calendar it stays where it is
            due = due.replace(tzinfo=None)
        return str(due.isoformat(timespec="minutes"))
    return None if due is None else str(due)
