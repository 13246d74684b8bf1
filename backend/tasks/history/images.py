"""Tasks as the log has them: the rows that they were, as JSON. Pure.

PostgreSQL and SQLite write each in their own way, and a column that was added since is missing.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any

from backend.columns import PRIORITIES
from backend.tasks.fields import BOOLEANS, DAYS, DEFAULTS, INSTANTS
from backend.tasks.schemas import TaskPublic
from backend.tasks.wire import Task, as_dict, read_columns

Image = Mapping[str, Any]

# What a history does not tell: it says them by itself, or nobody asks.
_UNTOLD = frozenset({"id", "user_id", "version", "created_at", "updated_at"})
_TOLD = tuple(name for name in TaskPublic.model_fields if name not in _UNTOLD)


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)


_READERS: dict[str, Callable[[Any], Any]] = {
    "user_id": str,
    "priority": lambda level: PRIORITIES[level - 1],
    **dict.fromkeys(BOOLEANS, bool),
    **dict.fromkeys(INSTANTS, _instant),
    **dict.fromkeys(DAYS, date.fromisoformat),
}


def row_of(image: Image) -> dict[str, Any]:
    """Return the columns of the task that an image shows."""
    row = dict(DEFAULTS)
    for name in DEFAULTS.keys() & image.keys():
        value = image[name]
        row[name] = _READERS[name](value) if name in _READERS and value is not None else value
    return row


def task_of(image: Image) -> Task:
    """Return the task that an image shows, as it was read then."""
    return read_columns(row_of(image))


def differences(before: Task | None, after: Task | None) -> dict[str, dict[str, Any]]:
    """Return what differs, by field, as `from` and `to`; None is a task that is not there."""
    old = {} if before is None else as_dict(before)
    new = {} if after is None else as_dict(after)
    return {
        name: {"from": old.get(name), "to": new.get(name)} for name in _TOLD if old.get(name) != new.get(name)
    }
