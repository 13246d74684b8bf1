"""Tasks as files: NDJSON (a JSON object a line) and CSV (RFC 4180, with a header row). Pure functions.

What is written here reads back as it was: reading.py.
"""

import csv
import io
import json
import re
from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from backend.tasks.fields import TEXTS
from backend.tasks.schemas import Change, DueDate, TaskCreate, TaskPublic
from backend.tasks.wire import Task, as_dict

Format = Literal["ndjson", "csv"]
Readable = Literal["ndjson", "csv", "json"]
Status = Literal["created", "unchanged", "changed", "invalid"]
OnConflict = Literal["skip", "update"]
MEDIA_TYPES: dict[Format, str] = {"ndjson": "application/x-ndjson", "csv": "text/csv"}
LINES_MAX = 10_000

# A spreadsheet would compute a cell that begins like a formula. An apostrophe before it says that it is text;
# so do more apostrophes before one that has some itself, and one alone is the empty text, where an empty cell
# is none.
PROTECTED = re.compile(r"'*(?:[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]|\Z)")

# Many tools write the first of all days where there is no date.
_NO_DATE = "0001-01-01"
_AMBIGUOUS = re.compile(r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}\b(?!-)")


def _file_date(value: object) -> object:
    if isinstance(value, str):
        if value.startswith(_NO_DATE):
            return None
        if _AMBIGUOUS.match(value):
            raise ValueError("can be read in several ways; write 2026-12-24 for the 24th of December")
    return value


FileDate = Annotated[DueDate, BeforeValidator(_file_date)]


def _instant(value: datetime | date | None) -> datetime | date | None:
    if value is not None and not isinstance(value, datetime):
        raise ValueError("must be a date and time with its zone")
    return value


Instant = Annotated[FileDate, AfterValidator(_instant)]


class ExportedTask(TaskPublic):
    """A task in a file. `series_start` is the due date that its series is counted from."""

    series_start: str | None
    series_due: str | None


# What a file tells of a task: all that its owner reads, but for what each import makes anew.
FIELDS = tuple(name for name in ExportedTask.model_fields if name not in ("user_id", "version", "recurring"))
_FIELDS = {*FIELDS}


def exported(task: Task, series_start: str | None, series_due: str | None) -> ExportedTask:
    """Return a task as it stands in a file."""
    return ExportedTask.model_validate(
        {**as_dict(task), "series_start": series_start, "series_due": series_due}
    )


class ImportedTask(TaskCreate):
    """A line of a file: a new task, or one that the user may have. Unknown keys are `model_extra`."""

    model_config = ConfigDict(extra="allow")

    due_date: FileDate = None
    id: int | None = None
    completed_at: Instant = None
    series_start: FileDate = None
    series_due: FileDate = None
    next_task_id: int | None = None
    created_at: Instant = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.completed:
            self.completed_at = None
        if self.recurring_pattern is None:
            self.series_start = self.series_due = None
        for name in ("series_start", "series_due"):
            if getattr(self, name) is not None and type(getattr(self, name)) is not type(self.due_date):
                raise ValueError(f"{name} must be a date where due_date is one, else a date and time")
        return self


class Line(NamedTuple):
    """A line of a file, by its number from 1: a task, what is wrong with it, or nothing.

    `ignored` are the names of what it holds and was not understood.
    """

    number: int
    task: ImportedTask | None = None
    problem: str | None = None
    ignored: tuple[str, ...] = ()

    @property
    def holds_something(self) -> bool:
        """Whether it is to be answered for."""
        return self.task is not None or self.problem is not None


class LineResult(BaseModel):
    """What became of a line."""

    line: int
    status: Status
    id: int | None = Field(default=None, description="The task that it is now")
    detail: str | None = Field(default=None, description="What is wrong with it")


class ImportReply(BaseModel):
    """How many lines came to what, and each of them."""

    created: int
    unchanged: int = Field(description="Lines whose task has their content")
    changed: int = Field(
        description="Lines whose task has other content: left as it is, or overwritten as `on_conflict` says"
    )
    invalid: int
    ignored: list[str] = Field(
        default=[], description="Columns and keys that were not understood, the first 100 of them"
    )
    lines: list[LineResult]
    change: Change = None


def header(kind: Format) -> str:
    """What a file begins with."""
    return _csv_rows([FIELDS]) if kind == "csv" else ""


def write(task: ExportedTask, kind: Format) -> str:
    """Return the line of a task."""
    values = task.model_dump(mode="json", include=_FIELDS)
    if kind == "csv":
        return _csv_rows([[_cell(name, values[name]) for name in FIELDS]])
    return f"{json.dumps(values, ensure_ascii=False, separators=(',', ':'))}\n"


def _csv_rows(rows: Sequence[Sequence[str]]) -> str:
    file = io.StringIO(newline="")
    csv.writer(file).writerows(rows)
    return file.getvalue()


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in TEXTS:
        return f"'{value}" if PROTECTED.match(value) else value
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
