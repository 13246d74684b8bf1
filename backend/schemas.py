"""The wire: what clients send, what they read, and every limit on it."""

import re
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import (
    MISSING,
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    model_validator,
)

from backend.models import DESCRIPTION_MAX, ID_MAX, TITLE_MAX

LIST_MAX = 1000


def _storable(value: str) -> str:
    """PostgreSQL's text holds neither NUL nor half of a surrogate pair."""
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


Title = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=TITLE_MAX),
    AfterValidator(_storable),
    Field(json_schema_extra={"pattern": r"\S"}),  # what trimming leaves must not be empty
]
Description = Annotated[str, StringConstraints(max_length=DESCRIPTION_MAX), AfterValidator(_storable)]
TaskId = Annotated[int, BeforeValidator(_short), AfterValidator(_in_range)]


class TaskCreate(BaseModel):
    """A task to be. Unknown keys are ignored."""

    title: Title = Field(description="Trimmed; not blank", examples=["Buy milk"])
    description: Description | None = Field(default=None, examples=["Two litres"])
    completed: StrictBool = False


class TaskUpdate(BaseModel):
    """A partial update: what is absent stays as it is; `null` clears the description."""

    title: Title | MISSING = MISSING
    description: Description | MISSING | None = MISSING
    completed: StrictBool | MISSING = MISSING


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
    created_at: datetime
    updated_at: datetime


Sort = Literal["created", "updated", "title"]
Order = Literal["asc", "desc"]


def _canonical_sort(value: object) -> object:
    return value.removesuffix("_at") if isinstance(value, str) else value


class TaskListQuery(BaseModel):
    """Which tasks, in which order. Unknown parameters are ignored."""

    status: Literal["all", "pending", "completed"] = Field(
        default="all",
        validation_alias=AliasChoices("status", "status_filter"),
        description="Also accepted as `status_filter`",
    )
    completed: bool | None = Field(default=None, description="`true` and `false`: the same as `status`")
    sort: Annotated[Sort, BeforeValidator(_canonical_sort)] = Field(
        default="created",
        validation_alias=AliasChoices("sort", "sort_by"),
        description="Also accepted as `sort_by`; `created_at` is `created`, `updated_at` is `updated`",
    )
    order: Order | None = Field(
        default=None,
        validation_alias=AliasChoices("order", "sort_order"),
        description="Default `desc` for times and `asc` for titles. Also accepted as `sort_order`",
    )
    limit: int = Field(default=LIST_MAX, ge=1, le=LIST_MAX)
    cursor: str | None = Field(
        default=None, max_length=4096, description="From the `next` link of the page before; opaque"
    )

    @model_validator(mode="after")
    def _one_status(self) -> Self:
        """`status` and `completed` may not contradict each other."""
        named = {"pending": False, "completed": True}.get(self.status)
        if self.completed is not None and named not in (None, self.completed):
            raise ValueError("status and completed contradict each other; send one of them")
        return self

    @property
    def done(self) -> bool | None:
        """The state asked for; None for both."""
        if self.completed is not None:
            return self.completed
        return {"pending": False, "completed": True}.get(self.status)

    @property
    def direction(self) -> Order:
        """The order asked for, or else the one that suits the sort."""
        return self.order or ("asc" if self.sort == "title" else "desc")


class Problem(BaseModel):
    """What went wrong: `detail` for a person, `code` for a program, `request_id` for the logs."""

    detail: str
    code: str
    request_id: str


class FieldError(BaseModel):
    """One thing wrong with one part of a request."""

    loc: list[str | int]
    msg: str
    type: str


class ValidationProblem(BaseModel):
    """A request that breaks the rules of its schema."""

    detail: list[FieldError]
    code: Literal["validation_error"]
    request_id: str
