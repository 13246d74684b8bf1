"""Tasks as files: NDJSON (a JSON object a line) and CSV (RFC 4180, with a header row). Pure functions.

What is written here reads back as it was.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import from_json

from backend.tasks.errors import InvalidFile
from backend.tasks.fields import BOOLEANS, LISTS, TEXTS
from backend.tasks.schemas import Change, DueDate, TaskCreate, TaskPublic
from backend.tasks.wire import Task, as_dict
from backend.web.addresses import snake_case
from backend.web.spelling import camel_names, spelt

Format = Literal["ndjson", "csv"]
Status = Literal["created", "unchanged", "changed", "invalid"]
OnConflict = Literal["skip", "update"]
MEDIA_TYPES: dict[Format, str] = {"ndjson": "application/x-ndjson", "csv": "text/csv"}
LINES_MAX = 10_000

_BOM = b"\xef\xbb\xbf"
# A spreadsheet would compute a cell that begins like a formula. An apostrophe before it says that it is text;
# so do more apostrophes before one that has some itself, and one alone is the empty text, where an empty cell
# is none.
_PROTECTED = re.compile(r"'*(?:[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]|\Z)")
_COMMAS_MAX = 100_000  # of a line of a CSV
_TEXT_LINES_MAX = 100_000  # of a file, and of a broken CSV that are read again


def _instant(value: datetime | date | None) -> datetime | date | None:
    if value is not None and not isinstance(value, datetime):
        raise ValueError("must be a date and time with its zone")
    return value


Instant = Annotated[DueDate, AfterValidator(_instant)]


class ExportedTask(TaskPublic):
    """A task in a file. `series_start` is the due date that its series is counted from."""

    series_start: str | None


# What a file tells of a task: all that its owner reads, but for what each import makes anew.
FIELDS = tuple(name for name in ExportedTask.model_fields if name not in ("user_id", "version", "recurring"))
_FIELDS = {*FIELDS}


def exported(task: Task, series_start: str | None) -> ExportedTask:
    """Return a task as it stands in a file."""
    return ExportedTask.model_validate({**as_dict(task), "series_start": series_start})


class ImportedTask(TaskCreate):
    """A line of a file: a new task, or one that the user may have. Unknown keys are ignored."""

    id: int | None = None
    completed_at: Instant = None
    series_start: DueDate = None
    next_task_id: int | None = None
    created_at: Instant = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.completed:
            self.completed_at = None
        if self.recurring_pattern is None:
            self.series_start = None
        elif self.series_start is not None and type(self.series_start) is not type(self.due_date):
            raise ValueError("series_start must be a date where due_date is one, else a date and time")
        return self


_CAMEL_NAMES = camel_names(ImportedTask)
_CAMEL_NAME = re.compile("|".join(f'"{name}"' for name in _CAMEL_NAMES).encode())
_SPELT: TypeAdapter[ImportedTask] = TypeAdapter(Annotated[ImportedTask, spelt(ImportedTask)])


class Line(NamedTuple):
    """A line of a file, by its number from 1: a task, what is wrong with it, or nothing."""

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


def read(content: bytes, kind: Format) -> Iterator[Line]:
    """Read a file line by line, those that hold nothing included: however many, they are not one long step.

    Raises:
        InvalidFile: there are more than LINES_MAX, or a CSV has no sound header row.
    """
    content = content.removeprefix(_BOM)
    ends = content.count(b"\n") + content.count(b"\r") - content.count(b"\r\n")
    if ends > _TEXT_LINES_MAX:
        raise InvalidFile(f"has more than {_TEXT_LINES_MAX} lines of text; send it in parts")
    count = 0
    for line in _read_csv(content) if kind == "csv" else _read_ndjson(content):
        count += line.holds_something
        if count > LINES_MAX:
            raise InvalidFile(f"has more than {LINES_MAX} lines; send it in parts")
        yield line


def _read_ndjson(content: bytes) -> Iterator[Line]:
    for number, line in enumerate(io.BytesIO(content), start=1):
        yield _line(number, lambda line=line: _object(line)) if line.strip() else Line(number)


def _object(line: bytes) -> ImportedTask:
    if _CAMEL_NAME.search(line) is None:
        return ImportedTask.model_validate_json(line)
    return _SPELT.validate_python(from_json(line))


def _read_csv(content: bytes) -> Iterator[Line]:
    # A byte that is no UTF-8 becomes half of a surrogate pair, which no field takes: one line is invalid.
    text = content.decode("utf-8", "surrogateescape")
    records = _records(list(io.StringIO(text, newline="")))
    _, first = next(records, (1, []))
    names = [snake_case(name.strip()) for name in first] if isinstance(first, list) else []
    if "title" not in names or len(set(names) - {""}) < len([name for name in names if name]):
        raise InvalidFile(
            f"the first line must name the columns, each once: title, and any of {', '.join(FIELDS)}"
        )
    for number, cells in records:
        if isinstance(cells, str):
            yield Line(number, None, cells)
        elif any(cells[len(names) :]):
            yield Line(number, None, "has more cells than the first line has names")
        elif any(cells):
            named = dict(zip(names, cells, strict=False))
            yield _line(number, lambda named=named: ImportedTask.model_validate(_values(named)))
        else:
            yield Line(number)


def _records(lines: Sequence[str]) -> Iterator[tuple[int, list[str] | str]]:
    """Each record with the number of its first line, or what is wrong there.

    A quote that is never closed would take all that follows with it: after a broken record reading goes on
    at its second line.
    """
    position = budget = 0

    def following() -> Iterator[str]:
        nonlocal position
        while position < len(lines):
            position += 1
            line = lines[position - 1]
            if line.count(",") > _COMMAS_MAX:  # the reader makes a record of it in one step
                raise InvalidFile(f"has more than {_COMMAS_MAX} commas in one line")
            yield line

    reader = csv.reader(following(), strict=True)
    while True:
        start = position
        try:
            yield start + 1, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            budget += position - start
            if budget > _TEXT_LINES_MAX:
                raise InvalidFile("too many of its lines are no CSV") from None
            yield start + 1, f"is no CSV: {error}"
            position = start + 1
            reader = csv.reader(following(), strict=True)


def _line(number: int, parse: Any) -> Line:
    try:
        return Line(number, parse())
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(map(str, problem["loc"]))
    # The message may quote half of a surrogate pair, which no answer could carry.
    message = f"{place}: {problem['msg']}" if place else problem["msg"]
    return Line(number, None, message.encode("utf-8", "backslashreplace").decode())


def _csv_rows(rows: Sequence[Sequence[str]]) -> str:
    file = io.StringIO(newline="")
    csv.writer(file).writerows(rows)
    return file.getvalue()


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in TEXTS:
        return f"'{value}" if _PROTECTED.match(value) else value
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _values(cells: dict[str, str]) -> dict[str, Any]:
    """What a row's cells mean. An empty one says that there is nothing."""
    values: dict[str, Any] = {}
    for name, cell in cells.items():
        if not cell:
            values[name] = False if name in BOOLEANS else None
        elif name in TEXTS:
            values[name] = cell[1:] if cell[0] == "'" and _PROTECTED.match(cell) else cell
        elif name in BOOLEANS or name == "recurring":  # spreadsheets write TRUE
            values[name] = {"true": True, "false": False}.get(cell.lower(), cell)
        elif name in LISTS:
            values[name] = _list(cell)
        else:
            values[name] = cell
    return values


def _list(cell: str) -> Any:
    """A JSON list, or as people write them: with commas between."""
    if not cell.startswith("["):
        return [part for part in cell.split(",") if part.strip()]
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell
