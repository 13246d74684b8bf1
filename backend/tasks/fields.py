"""What each column of a task is for. Whoever needs some of the columns takes them from here.

A column that is added to models.Task is written by clients, read by them, exported, imported and handed on to
the next task of a series, unless this file says otherwise.
"""

from datetime import date, datetime
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, bindparam

from backend.models import Task, tasks
from backend.tasks.schemas import TaskPublic

# The service's own affairs: no client writes them.
KEPT = frozenset({"id", "user_id", "created_at", "import_key"})  # from a task's beginning to its end
KEEPING = frozenset({"completed_at", "next_task_id", "version", "updated_at"})  # what a change does besides

# What words.py makes of a task's texts: it goes with them, and is no change by itself.
FOLDED = frozenset({"title_folded", "title_key", "description_folded", "tags_folded"})

# What a task has for itself: its successor in a series gets its own.
OWN = frozenset({"completed", "due_at", "due_day", "series_due"})

# A due date and a series lie in several columns, which planning.py makes of these fields.
PLANNED = frozenset({"due_date", "timezone", "recurring", "recurring_pattern", "series"})

_NAMES = tuple(column.name for column in tasks.c)

# What a new task is made of, in the order of the table.
INSERTED = tuple(name for name in _NAMES if name == "user_id" or name not in KEPT | KEEPING)
# What may be different after a change.
CHANGING = tuple(name for name in _NAMES if name not in KEPT)
# What a task hands on to the one that follows it.
INHERITED = tuple(name for name in INSERTED if name not in OWN)

# What a client's answer is made of: its fields in their order, and at the end what `due_date` comes from.
READ = tuple(tasks.c[name] for name in (*TaskPublic.model_fields, "due_at", "due_day") if name in tasks.c)


# What a column holds, for those that have to write and read it as text.
_HELD = {name: field.annotation for name, field in Task.model_fields.items()}
TEXTS = frozenset(name for name, kind in _HELD.items() if kind in (str, str | None))
BOOLEANS = frozenset(name for name, kind in _HELD.items() if kind is bool)
INSTANTS = frozenset(name for name, kind in _HELD.items() if kind in (datetime, datetime | None))
DAYS = frozenset(name for name, kind in _HELD.items() if kind == date | None)
LISTS = frozenset(name for name, kind in _HELD.items() if kind == list[str])

# What a column has where nothing is said.
DEFAULTS = {name: field.get_default(call_default_factory=True) for name, field in Task.model_fields.items()}


def bound(*names: str, prefix: str = "") -> dict[str, ColumnElement[Any]]:
    """Columns by name, each with a parameter of its type, for the `.values()` of a statement."""
    return {name: parameter(name, prefix + name) for name in names}


def parameter(column: str, name: str) -> BindParameter[Any]:
    """A parameter that takes what a column holds."""
    return bindparam(name, type_=tasks.c[column].type)
