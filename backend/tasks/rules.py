"""What a change does to a task besides what it says: the one rule, in Python and in SQL.

Time and version move only with a real change, so that a repeated request leaves a task as the first one did.
`completed_at` goes with `completed`. A completed task of a series is followed by one other:
completing makes it where `next_task_id` names none that is there, reopening takes it back while untouched.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, case, literal, null, or_

from backend.columns import utc_now
from backend.models import tasks
from backend.tasks import planning
from backend.tasks.fields import FOLDED, PLANNED
from backend.words import word_columns

# Completing or reopening such a task has to do with another one, too. Only the rule in Python can.
IN_SERIES = or_(tasks.c.recurring_pattern.is_not(None), tasks.c.next_task_id.is_not(None))


class Change(NamedTuple):
    """The columns that a change sets, none where it changes nothing; and what becomes of the next task."""

    columns: dict[str, Any]
    successor: dict[str, Any] | None = None  # the task that is to be made
    takes_back: bool = False  # whether the one that follows is to be deleted


def change(
    row: Mapping[str, Any],
    changes: Mapping[str, Any],
    now: datetime,
    follower: Mapping[str, Any] | None = None,
) -> Change:
    """Return what `changes`, an update's fields, make of a task. A `completed` of None turns the state over.

    `follower` is the task that `next_task_id` names; None where there is none. The id of a new successor is
    the caller's to set, once it is known.

    Raises:
        InvalidBody: they do not fit its due date or series.
    """
    columns = {name: value for name, value in changes.items() if name not in PLANNED}
    if changes.keys() & PLANNED:
        columns |= planning.merged(row, changes)
    if columns.get("completed", False) is None:
        columns["completed"] = not row["completed"]
    if all(row[name] == value for name, value in columns.items()):
        return Change({})
    columns |= word_columns(columns)
    columns |= {"version": row["version"] + 1, "updated_at": now}
    if columns.get("completed", row["completed"]) == row["completed"]:
        return Change(columns)
    columns["completed_at"] = (changes.get("completed_at") or now) if columns["completed"] else None
    if not columns["completed"]:
        if follower is not None and not untouched(follower):
            return Change(columns)
        return Change(columns | {"next_task_id": None}, takes_back=follower is not None)
    if follower is not None:
        return Change(columns)
    task = {**row, **columns, "next_task_id": None}
    made = None if task["recurring_pattern"] is None else planning.successor(task)
    return Change(columns | {"next_task_id": None}, made)


def untouched(follower: Mapping[str, Any]) -> bool:
    """Whether nothing has happened to a task since the one before it was completed."""
    return follower["version"] == 1 and not follower["completed"]


def changed_values(new: Mapping[str, ColumnElement[Any]]) -> dict[str, ColumnElement[Any]]:
    """Return the `.values()` of an UPDATE that sets columns by the rule.

    Where `completed` changes it must pass over what is IN_SERIES.
    """
    values = dict(new)
    changed = or_(
        *(tasks.c[name].is_distinct_from(value) for name, value in new.items() if name not in FOLDED)
    )
    if "completed" in new:
        since = case((tasks.c.completed, tasks.c.completed_at), else_=utc_now())
        values["completed_at"] = case((new["completed"], since), else_=null())
    values["updated_at"] = case((changed, utc_now()), else_=tasks.c.updated_at)
    values["version"] = tasks.c.version + case((changed, literal(1)), else_=literal(0))
    return values
