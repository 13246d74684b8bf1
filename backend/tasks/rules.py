"""What a change does to a task besides what it says: the one rule, in Python and in SQL.

Time and version move only with a real change, so that a repeated request leaves a task as the first one did.
`completed_at` goes with `completed`. Completing a task of a series makes the next one, once.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, case, literal, null, or_

from backend.columns import utc_now
from backend.models import tasks
from backend.tasks import planning
from backend.tasks.fields import FOLDED, PLANNED
from backend.words import word_columns

# Completing such a task makes another one. Only the rule in Python can.
WILL_RECUR = and_(tasks.c.recurring_pattern.is_not(None), tasks.c.next_task_id.is_(None))


class Change(NamedTuple):
    """The columns that a change sets, none where it changes nothing; and the task that is to follow."""

    columns: dict[str, Any]
    successor: dict[str, Any] | None = None


def change(row: Mapping[str, Any], changes: Mapping[str, Any], now: datetime) -> Change:
    """Return what `changes`, an update's fields, make of a task. A `completed` of None turns the state over.

    The id of the successor is the caller's to set, once it is known: `next_task_id`.

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
    following = None
    if columns.get("completed", row["completed"]) != row["completed"]:
        columns["completed_at"] = now if columns["completed"] else None
        if columns["completed"]:
            following = _successor({**row, **columns})
    return Change({**columns, "version": row["version"] + 1, "updated_at": now}, following)


def _successor(task: Mapping[str, Any]) -> dict[str, Any] | None:
    if task["recurring_pattern"] is None or task["next_task_id"] is not None:
        return None
    return planning.successor(task)


def changed_values(new: Mapping[str, ColumnElement[Any]]) -> dict[str, ColumnElement[Any]]:
    """Return the `.values()` of an UPDATE that sets columns by the rule. It must pass over WILL_RECUR."""
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
