"""The wire: what clients send, what they read, and every limit on it. Lists are asked for in queries.py."""

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    MISSING,
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    ValidationInfo,
    model_validator,
)

from backend.models import DESCRIPTION_MAX, ID_MAX, TITLE_MAX
from backend.tasks.recurrence import parse_pattern, parse_timezone
from backend.words import VISIBLE, fold_tag, is_visible, trim

TAGS_MAX = 20
TAG_MAX = 50


def storable(value: str) -> str:
    """Refuse what PostgreSQL's text does not hold: NUL characters (pydantic refuses half surrogate pairs)."""
    if "\x00" in value:
        raise ValueError("must not contain NUL characters")
    return value


def _line(value: object) -> object:
    """Trim a text, and refuse one of which nothing could be seen. In one step: it is taken for each tag."""
    if not isinstance(value, str):
        return value
    value = trim(value)
    if value and not value.isascii() and not is_visible(value):
        raise ValueError("must have something to see: all its characters are invisible")
    return storable(value)


def _short(value: object) -> object:
    """Spare pydantic a number that it refuses for its length alone."""
    too_long = isinstance(value, str) and len(value) >= 40 and re.fullmatch(r"[+-]?[0-9]{40,}", value)
    return "0" if too_long else value


def _in_range(value: int) -> int:
    """An id that no column can hold is one that no row has: 0 stands for all of them."""
    return value if 0 < value <= ID_MAX else 0


def folded(value: object) -> object:
    """One of a few words, in any case."""
    return value.strip().lower() if isinstance(value, str) else value


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _medium_if_blank(value: object) -> object:
    return "medium" if _is_blank(value) else folded(value)


def _none_if_blank(value: object) -> object:
    return None if _is_blank(value) else value


def _empty_list_if_blank(value: object) -> object:
    return [] if _is_blank(value) else value


def _distinct(tags: list[str]) -> list[str]:
    """Keep the first spelling of each tag."""
    first: dict[str, str] = {}
    for tag in tags:
        first.setdefault(fold_tag(tag), tag)
    return list(first.values())


_DUE_FORMS = (
    "must be a date (2026-11-21) or a date and time (2026-11-21T09:00:00Z, or 2026-11-21T09:00 in `timezone`)"
)


def in_zone(moment: datetime, timezone: str) -> datetime:
    """Return an instant in UTC; one that names no zone is a time of day in `timezone`.

    Raises:
        ValueError: it lies before the first year or after the last.
    """
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(timezone))).astimezone(UTC)
    except OverflowError:
        raise ValueError(_DUE_FORMS) from None


def _due(value: object, info: ValidationInfo) -> object:
    """A text of ten characters is a day, everything else an instant.

    Without a zone it is read in the `timezone` beside it, which is a field before it. Where that is not said
    it stays as it is: planning.merged() knows the task's own.
    """
    if _is_blank(value):
        return None
    if not isinstance(value, str):
        raise ValueError(_DUE_FORMS)
    try:
        if len(value) == len("2026-11-21"):
            return date.fromisoformat(value)
        if len(value) < len("2026-11-21"):
            raise ValueError("a day without its dashes would be its first moment")
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(_DUE_FORMS) from None
    timezone = info.data.get("timezone")
    if moment.tzinfo is None and not isinstance(timezone, str):
        return moment
    return in_zone(moment, str(timezone))


_SEEN: Any = Field(json_schema_extra={"pattern": VISIBLE})
Title = Annotated[
    str,
    StringConstraints(min_length=1, max_length=TITLE_MAX),
    BeforeValidator(_line),
    _SEEN,
]
Description = Annotated[str, StringConstraints(max_length=DESCRIPTION_MAX), AfterValidator(storable)]
TaskId = Annotated[int, BeforeValidator(_short), AfterValidator(_in_range)]
_Level = Literal["low", "medium", "high"]
Priority = Annotated[_Level, BeforeValidator(_medium_if_blank, json_schema_input_type=_Level | None)]
Tag = Annotated[
    str,
    StringConstraints(min_length=1, max_length=TAG_MAX),
    BeforeValidator(_line),
    _SEEN,
]
_FewTags = Annotated[list[Tag], Field(max_length=TAGS_MAX)]
Tags = Annotated[
    _FewTags,
    AfterValidator(_distinct),
    BeforeValidator(_empty_list_if_blank, json_schema_input_type=_FewTags | None),
]
DueDate = Annotated[
    datetime | date | None,
    BeforeValidator(_due),
    Field(
        description="A date, which is a whole day in the task's time zone, or a date and time, in that zone "
        "where it names none. `null` and a blank text clear it",
        examples=["2026-11-21", "2026-11-21T09:00:00Z"],
    ),
]
_ZoneName = Annotated[str, Field(json_schema_extra={"format": "time-zone"})]
TimeZone = Annotated[
    str,
    BeforeValidator(
        lambda value: "UTC" if _is_blank(value) else value, json_schema_input_type=_ZoneName | None
    ),
    AfterValidator(parse_timezone),
    Field(description="An IANA name", examples=["Europe/Berlin"]),
]
Pattern = Annotated[
    Annotated[str, AfterValidator(parse_pattern), Field(json_schema_extra={"format": "rrule"})] | None,
    BeforeValidator(_none_if_blank),
    Field(
        description="`daily`, `weekly`, `monthly`, `yearly` or an RRULE (RFC 5545), from the due date on",
        examples=["FREQ=WEEKLY;BYDAY=MO,WE"],
    ),
]

_From = Literal["due", "completion"]
RecurFrom = Annotated[
    _From,
    BeforeValidator(
        lambda value: "due" if _is_blank(value) else folded(value), json_schema_input_type=_From | None
    ),
    Field(description="What the next date is counted from: the due date, or the day of the completion"),
]

Recurring = Annotated[StrictBool | None, BeforeValidator(_none_if_blank)]


class TaskCreate(BaseModel):
    """A task to be. Unknown keys are ignored."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"title": "Buy milk", "tags": ["home"]}]})

    title: Title = Field(description="Trimmed; not blank", examples=["Buy milk"])
    description: Description | None = Field(default=None, examples=["Two litres"])
    completed: StrictBool = False
    priority: Priority = "medium"
    tags: Tags = []
    timezone: TimeZone = "UTC"
    due_date: DueDate = None
    recurring: Recurring = Field(default=None, description="By default whether there is a pattern")
    recurring_pattern: Pattern = None
    recur_from: RecurFrom = "due"

    @model_validator(mode="after")
    def _can_recur(self) -> Self:
        if self.recurring is False:
            self.recurring_pattern = None
        elif self.recurring and self.recurring_pattern is None:
            raise ValueError("recurring: true needs a recurring_pattern")
        if self.recurring_pattern is not None and self.due_date is None:
            raise ValueError("a recurring task needs a due_date, from which its pattern is counted")
        return self


class TaskUpdate(BaseModel):
    """A partial update: what is absent stays as it is; `null` clears what can be empty."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"title": "Buy oat milk", "due_date": "2026-11-21"}]}
    )

    title: Title | MISSING = MISSING
    description: Description | MISSING | None = MISSING
    completed: StrictBool | MISSING = MISSING
    priority: Priority | MISSING = MISSING
    tags: Tags | MISSING = MISSING
    timezone: TimeZone | MISSING = MISSING
    due_date: DueDate | MISSING = MISSING
    recurring: Recurring | MISSING = Field(
        default=MISSING, description="`false` ends the series; `null` leaves it to the pattern"
    )
    recurring_pattern: Pattern | MISSING = MISSING
    recur_from: RecurFrom | MISSING = MISSING
    series: Literal["restart"] | MISSING = Field(
        default=MISSING, description="`restart` counts the pattern anew from the due date"
    )


class TaskCompletion(BaseModel):
    """The state to set. Without `completed` the state is toggled."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"completed": True}]})

    completed: StrictBool | MISSING = MISSING


class TaskPublic(BaseModel):
    """A task as its owner reads it. Times are RFC 3339 in UTC."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    user_id: str
    title: str
    description: str | None
    completed: bool
    completed_at: datetime | None
    priority: Literal["low", "medium", "high"]
    tags: list[str]
    timezone: str
    recurring_pattern: str | None
    recur_from: Literal["due", "completion"]
    next_task_id: int | None = Field(description="The task that followed when this one was completed")
    version: int = Field(description="Counts real changes; the ETag carries it")
    created_at: datetime
    updated_at: datetime
    due_date: datetime | date | None = Field(description="A plain date stays the date it was")
    recurring: bool = Field(description="Whether there is a pattern")


Change = Annotated[
    int | None,
    Field(description="The number of what was changed: POST …/tasks/undo/{change} takes all of it back"),
]


class TaskCount(BaseModel):
    """How many tasks meet a filter."""

    count: int


class TaskStats(BaseModel):
    """How many tasks the caller has of each kind."""

    total: int
    pending: int
    completed: int
    overdue: int
    by_priority: dict[str, int]
    by_tag: dict[str, int]
