"""The wire: what clients send, what they read, and every limit on it. Lists are asked for in queries.py."""

import re
from datetime import UTC, date, datetime
from typing import Annotated, Literal, Self

from pydantic import (
    MISSING,
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    model_validator,
)

from backend.models import DESCRIPTION_MAX, ID_MAX, TITLE_MAX
from backend.tasks.recurrence import parse_pattern, parse_timezone

TAGS_MAX = 20
TAG_MAX = 50


def storable(value: str) -> str:
    """Refuse what PostgreSQL's text does not hold: NUL characters (pydantic refuses half surrogate pairs)."""
    if "\x00" in value:
        raise ValueError("must not contain NUL characters")
    return value


def _short(value: object) -> object:
    """Spare pydantic a number that it refuses for its length alone."""
    too_long = isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{40,}", value)
    return "0" if too_long else value


def _in_range(value: int) -> int:
    """An id that no column can hold is one that no row has: 0 stands for all of them."""
    return value if 0 < value <= ID_MAX else 0


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _medium_if_empty(value: object) -> object:
    return "medium" if value is None or value == "" else _lower(value)


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


def _empty_list_if_none(value: object) -> object:
    return [] if value is None else value


def _distinct(tags: list[str]) -> list[str]:
    """Keep the first of equal tags."""
    return list(dict.fromkeys(tags))


def _due(value: object) -> object:
    """A text of ten characters is a day; everything else must be an instant with its zone."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ValueError(
            "must be a date (2026-11-21) or a date and time with its zone (2026-11-21T09:00:00Z)"
        )
    try:
        if len(value) == len("2026-11-21"):
            return date.fromisoformat(value)
        instant = datetime.fromisoformat(value)
        if instant.tzinfo is None:
            raise ValueError("no zone")
        return instant.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            "must be a date (2026-11-21) or a date and time with its zone (2026-11-21T09:00:00Z)"
        ) from None


Title = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=TITLE_MAX),
    AfterValidator(storable),
    Field(json_schema_extra={"pattern": r"\S"}),  # what trimming leaves must not be empty
]
Description = Annotated[str, StringConstraints(max_length=DESCRIPTION_MAX), AfterValidator(storable)]
TaskId = Annotated[int, BeforeValidator(_short), AfterValidator(_in_range)]
_Level = Literal["low", "medium", "high"]
Priority = Annotated[_Level, BeforeValidator(_medium_if_empty, json_schema_input_type=_Level | None)]
Tag = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=TAG_MAX), AfterValidator(storable)
]
_FewTags = Annotated[list[Tag], Field(max_length=TAGS_MAX)]
Tags = Annotated[
    _FewTags,
    AfterValidator(_distinct),
    BeforeValidator(_empty_list_if_none, json_schema_input_type=_FewTags | None),
]
DueDate = Annotated[
    datetime | date | None,
    BeforeValidator(_due),
    Field(
        description="A date, which is a whole day in the task's time zone, or a date and time with its zone. "
        "`null` and an empty text clear it",
        examples=["2026-11-21", "2026-11-21T09:00:00Z"],
    ),
]
_ZoneName = Annotated[str, Field(json_schema_extra={"format": "time-zone"})]
TimeZone = Annotated[
    str,
    BeforeValidator(
        lambda value: "UTC" if value in (None, "") else value, json_schema_input_type=_ZoneName | None
    ),
    AfterValidator(parse_timezone),
    Field(description="An IANA name", examples=["Europe/Berlin"]),
]
Pattern = Annotated[
    Annotated[str, AfterValidator(parse_pattern), Field(json_schema_extra={"format": "rrule"})] | None,
    BeforeValidator(_none_if_empty),
    Field(
        description="`daily`, `weekly`, `monthly`, `yearly` or an RRULE (RFC 5545), from the due date on",
        examples=["FREQ=WEEKLY;BYDAY=MO,WE"],
    ),
]


class TaskCreate(BaseModel):
    """A task to be. Unknown keys are ignored."""

    title: Title = Field(description="Trimmed; not blank", examples=["Buy milk"])
    description: Description | None = Field(default=None, examples=["Two litres"])
    completed: StrictBool = False
    priority: Priority = "medium"
    tags: Tags = []
    due_date: DueDate = None
    timezone: TimeZone = "UTC"
    recurring: StrictBool | None = Field(default=None, description="By default whether there is a pattern")
    recurring_pattern: Pattern = None

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

    title: Title | MISSING = MISSING
    description: Description | MISSING | None = MISSING
    completed: StrictBool | MISSING = MISSING
    priority: Priority | MISSING = MISSING
    tags: Tags | MISSING = MISSING
    due_date: DueDate | MISSING = MISSING
    timezone: TimeZone | MISSING = MISSING
    recurring: StrictBool | MISSING = Field(default=MISSING, description="`false` ends the series")
    recurring_pattern: Pattern | MISSING = MISSING


class TaskCompletion(BaseModel):
    """The state to set. Without `completed` the state is toggled."""

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
    next_task_id: int | None = Field(description="The task that followed when this one was completed")
    version: int = Field(description="Counts real changes; the ETag carries it")
    created_at: datetime
    updated_at: datetime
    due_date: datetime | date | None = Field(description="A plain date stays the date it was")
    recurring: bool = Field(description="Whether there is a pattern")


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
