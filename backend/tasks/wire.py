"""Tasks as JSON: TaskPublic's fields and bytes, in a third of pydantic's time (docs/decisions/json.md)."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from backend.engine.prepared import Row
from backend.tasks.fields import READ
from backend.tasks.schemas import TaskPublic

_MADE = ("due_date", "recurring")  # the last fields, made of several columns
_COLUMNS = len(TaskPublic.model_fields) - len(_MADE)
_PATTERN = [column.name for column in READ].index("recurring_pattern")

_Task: Any = msgspec.defstruct("_Task", list(TaskPublic.model_fields))
# JSON of whatever holds tasks, and of what JSON knows.
encode = msgspec.json.Encoder().encode


class Task(Protocol):
    """A task as it was read. It has the fields of TaskPublic, of which code asks for these."""

    id: int
    version: int


def read(row: Row | Sequence[Any]) -> Task:
    """Return the task of a row that begins with the columns of READ."""
    due_at, due_day = row[_COLUMNS], row[_COLUMNS + 1]
    task: Task = _Task(*row[:_COLUMNS], due_day or due_at, row[_PATTERN] is not None)  # type: ignore[index] # a tuple
    return task


def read_columns(columns: Mapping[str, Any]) -> Task:
    """Return the task of a row that goes by its columns' names."""
    return read([columns[column.name] for column in READ])


def to_json(tasks: Task | Sequence[Task]) -> bytes:
    """Return the JSON of a task, or of a list of them, as TaskPublic writes it."""
    return encode(tasks)


def as_dict(task: Task) -> dict[str, Any]:
    """Return its fields by name."""
    return msgspec.structs.asdict(task)  # type: ignore[arg-type] # every Task is a Struct


def public(task: Task) -> TaskPublic:
    """Return the task as a part of another answer."""
    return TaskPublic.model_validate(task)
