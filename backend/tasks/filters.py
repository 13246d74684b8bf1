"""What a list can be asked for."""

from datetime import date, datetime
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal, NamedTuple, Self, get_origin
from urllib.parse import parse_qsl, urlencode

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from backend.columns import PRIORITIES
from backend.tasks.recurrence import parse_pattern, parse_timezone
from backend.tasks.schemas import TAG_MAX, RecurFrom, Tag, TimeZone, folded, in_zone, storable
from backend.web.addresses import snake_case
from backend.web.openapi import parameter
from backend.words import fold

LIST_MAX = 1000
SEARCH_MAX = 200
WORDS_MAX = 10
TAGS_ASKED_MAX = 20
PRIORITIES_ASKED_MAX = 20
REMEMBERED_MAX = 512  # bytes of a query string

Sort = Literal["created", "updated", "title", "due_date", "priority", "relevance"]
Order = Literal["asc", "desc"]
# Frontends have other words beside ours, such as urgent: no task has that priority, and none is found.
_Priority = Annotated[
    str,
    BeforeValidator(folded),
    StringConstraints(max_length=TAG_MAX),
    Field(json_schema_extra={"enum": list(PRIORITIES)}),
]
_ZoneName = Annotated[str, Field(json_schema_extra={"format": "time-zone"})]


def _canonical_sort(value: object) -> object:
    if not isinstance(value, str):
        return value
    name = snake_case(value.strip())
    return name.removesuffix("_at") if name in ("created_at", "updated_at") else name


def _moment(value: object, info: ValidationInfo) -> object:
    """A day or an instant, as in a due date; `+` of a zone often arrives as a space.

    Without a zone it is read in the `timezone` beside it, or else in UTC.
    """
    if not isinstance(value, str):
        return value
    try:
        if len(value) == len("2026-11-21"):
            return date.fromisoformat(value)
        moment = datetime.fromisoformat(value.replace(" ", "+") if "T" in value else value)
        return in_zone(moment, info.data.get("timezone") or "UTC")
    except ValueError:
        raise ValueError("must be a date (2026-11-21) or a date and time (2026-11-21T09:00:00Z)") from None


def _few_words(value: str) -> str:
    if len(value.split()) > WORDS_MAX:
        raise ValueError(f"must have at most {WORDS_MAX} words")
    return value


Moment = Annotated[datetime | date, BeforeValidator(_moment)]
DAYS_NEAR = {"yesterday": -1, "today": 0, "tomorrow": 1}
_NearDay = Literal["yesterday", "today", "tomorrow"]


def _near(value: object, info: ValidationInfo) -> object:
    word = folded(value)
    return word if isinstance(word, str) and word in DAYS_NEAR else _moment(value, info)


# Which day `today` is, is found out when it is asked for: what a query means is remembered for longer.
FilterMoment = Annotated[datetime | date | _NearDay, BeforeValidator(_near)]


class TaskFilter(BaseModel):
    """Which tasks. Conditions combine: a task meets them all. Unknown parameters are ignored."""

    # The first, since moments are read in it.
    timezone: Annotated[_ZoneName, AfterValidator(parse_timezone)] | None = Field(
        default=None,
        description="The zone of days, and of moments that name none. By default a day is each task's own, "
        "and a moment in UTC",
    )
    status: Annotated[Literal["all", "pending", "completed"], BeforeValidator(folded)] = Field(
        default="all",
        validation_alias=AliasChoices("status", "status_filter"),
        description="Also accepted as `status_filter`",
    )
    completed: bool | None = Field(default=None, description="`true` and `false`: the same as `status`")
    priority: list[_Priority] = Field(
        default=[], max_length=PRIORITIES_ASKED_MAX, description="Repeatable: any of them"
    )
    tag: list[Tag] = Field(default=[], max_length=TAGS_ASKED_MAX, description="Repeatable: all of them")
    tag_match: Annotated[Literal["all", "any"], BeforeValidator(folded)] = "all"
    due_before: FilterMoment | None = Field(
        default=None,
        description="Due before that day or instant; `today` is one, in `timezone` or else in UTC",
    )
    due_after: FilterMoment | None = Field(
        default=None,
        description="Due after that day or instant: with `yesterday`, and before `tomorrow`, today",
    )
    overdue: bool | None = Field(default=None, description="Pending, and due before now")
    has_due_date: bool | None = None
    recur_from: Annotated[Literal["due", "completion"], BeforeValidator(folded)] | None = None
    created_after: FilterMoment | None = None
    updated_after: FilterMoment | None = None
    search: Annotated[str, StringConstraints(max_length=SEARCH_MAX), AfterValidator(_few_words)] | None = (
        Field(
            default=None, description="Words that title or description contain, each somewhere, in any case"
        )
    )

    @model_validator(mode="after")
    def _one_status(self) -> Self:
        """`status` and `completed` may not contradict each other."""
        named = {"pending": False, "completed": True}.get(self.status)
        if self.completed is not None and named not in (None, self.completed):
            raise ValueError("status and completed contradict each other; send one of them")
        storable(self.search or "")
        return self

    @property
    def done(self) -> bool | None:
        """The state asked for; None for both."""
        if self.completed is not None:
            return self.completed
        return {"pending": False, "completed": True}.get(self.status)

    @property
    def is_of_the_moment(self) -> bool:
        """Whether tasks come to meet it, or cease to, with time alone."""
        moments = (self.due_before, self.due_after, self.created_after, self.updated_after)
        return self.overdue is not None or any(isinstance(moment, str) for moment in moments)

    @property
    def words(self) -> list[str]:
        """The words searched for, folded, in an order that is theirs alone."""
        return sorted(word for word in map(fold, (self.search or "").split()) if word)


class RecurrenceQuery(BaseModel):
    """A series to look at."""

    pattern: Annotated[str, AfterValidator(parse_pattern)] = Field(
        json_schema_extra={"format": "rrule"},
        description="`daily`, `weekly`, `monthly`, `yearly` or an RRULE of RFC 5545",
        examples=["FREQ=WEEKLY;BYDAY=MO,WE"],
    )
    timezone: TimeZone = "UTC"
    due_date: Moment = Field(
        description="The day or instant that the series begins with", examples=["2026-11-21"]
    )
    recur_from: RecurFrom = "due"
    completed_at: Moment | None = Field(
        default=None,
        description="With `recur_from=completion`, when the first of them is completed: by default now. Each "
        "later one is on the day that it is due",
    )


class TaskListQuery(TaskFilter):
    """Which tasks, in which order, and how many of them."""

    model_config = ConfigDict(frozen=True)

    sort: Annotated[Sort, BeforeValidator(_canonical_sort)] = Field(
        default="created",
        validation_alias=AliasChoices("sort", "sort_by"),
        description="Also accepted as `sort_by`; `created_at` is `created`, `updated_at` is `updated`",
    )
    order: Annotated[Order, BeforeValidator(folded)] | None = Field(
        default=None,
        validation_alias=AliasChoices("order", "sort_order"),
        description="Default `asc` for titles and due dates, else `desc`. Also accepted as `sort_order`",
    )
    limit: int = Field(default=LIST_MAX, ge=1, le=LIST_MAX)
    cursor: str | None = Field(
        default=None, max_length=4096, description="From the `next` link of the page before; opaque"
    )

    @model_validator(mode="after")
    def _relevant_to_what(self) -> Self:
        if self.sort == "relevance" and not self.words:
            raise ValueError("sort=relevance needs search")
        return self

    @property
    def direction(self) -> Order:
        """The order asked for, or else the one that suits the sort."""
        return self.order or ("asc" if self.sort in ("title", "due_date") else "desc")

    @cached_property
    def identity(self) -> list[Any]:
        """All that makes it this list and no other: what its cursors belong to."""
        return [self.model_dump_json(exclude={"limit", "cursor", "order"}), self.direction]


_LISTS = frozenset(
    name for name, field in TaskListQuery.model_fields.items() if get_origin(field.annotation) is list
)


class ListRequest(NamedTuple):
    """What is asked for, and the parameters that ask for it on another page: all but the cursor, encoded."""

    query: TaskListQuery
    parameters: str


def parse_list_query(query_string: bytes) -> ListRequest:
    """Return what a query string asks for. Clients ask the same few again and again: those are remembered.

    Raises:
        ValidationError: it cannot be asked for.
    """
    known = len(query_string) <= REMEMBERED_MAX
    return _remembered(query_string) if known else _remembered.__wrapped__(query_string)


@lru_cache(maxsize=256)
def _remembered(query_string: bytes) -> ListRequest:
    parameters: dict[str, Any] = {}
    items = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)
    for name, value in items:
        if name in _LISTS:
            parameters.setdefault(name, []).append(value)
        else:
            parameters[name] = value
    others = [item for item in items if item[0] != "cursor"]
    return ListRequest(TaskListQuery.model_validate(parameters), urlencode(others))


def list_request(request: Request) -> ListRequest:
    """Return what a list is asked for.

    FastAPI's own way, Query(), looks at each field of the model anew for every request. A route that does
    without it documents the parameters with LIST_PARAMETERS.

    Raises:
        RequestValidationError: it cannot be asked for.
    """
    try:
        return parse_list_query(request.scope["query_string"])
    except ValidationError as error:
        problems = error.errors(include_url=False)
        raise RequestValidationError([{**e, "loc": ("query", *e["loc"])} for e in problems]) from None


LIST_PARAMETERS = {
    "parameters": [
        parameter(name, "query", schema)
        for name, schema in TaskListQuery.model_json_schema()["properties"].items()
    ]
}
