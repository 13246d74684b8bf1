"""The wire of calendars: what clients send and read. What a calendar program reads is made in feed.py."""

from datetime import datetime
from typing import Annotated, Any, Literal, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from backend.tasks.filters import TaskFilter
from backend.tasks.schemas import Title
from backend.web.spelling import spelt

NAME_MAX = 100
ALARM_MAX = 4 * 7 * 24 * 60  # minutes: four weeks

Component = Literal["todo", "event"]

_LISTS = frozenset(
    name for name, field in TaskFilter.model_fields.items() if get_origin(field.annotation) is list
)


def _component(value: object) -> object:
    """`VTODO` and `VEVENT` are what they are called in a file."""
    return value.strip().lower().removeprefix("v") if isinstance(value, str) else value


def _parameters(value: object) -> object:
    """A filter as an object: one value needs no list around it, and a blank one is none."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        return value
    said = {name: content for name, content in value.items() if content is not None and content != ""}
    return {
        name: [content] if name in _LISTS and not isinstance(content, list) else content
        for name, content in said.items()
    }


class CalendarFilter(TaskFilter):
    """Which tasks: the parameters of a list. One that is unknown is refused, as it would show too much."""

    model_config = ConfigDict(extra="forbid")


class CalendarCreate(BaseModel):
    """A calendar to be. Unknown keys are ignored."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "Work", "alarm": 15, "filter": {"tag": "work"}}]}
    )

    name: Annotated[Title, StringConstraints(max_length=NAME_MAX)] = Field(
        default="Tasks", description="What calendar programs call it"
    )
    component: Annotated[Component, BeforeValidator(_component)] = Field(
        default="event",
        description="What a task is there: `event` for calendars, `todo` for programs with lists of tasks",
    )
    alarm: int | None = Field(
        default=None,
        strict=True,  # `false` is no number of minutes
        ge=0,
        le=ALARM_MAX,
        description="Minutes before a task is due at which it rings; on a whole day at nine o'clock, "
        "as many whole days before. `null`: never",
    )
    filter: Annotated[
        CalendarFilter,
        spelt(CalendarFilter),
        BeforeValidator(_parameters, json_schema_input_type=dict[str, Any] | None),
    ] = Field(
        default_factory=CalendarFilter,
        description="The filters of a list by name; only pending tasks where it says no `status`",
        examples=[{"tag": ["work"], "priority": ["high"]}],
    )


class CalendarPublic(BaseModel):
    """A calendar as its owner reads it."""

    id: int
    name: str
    component: Component
    alarm: int | None
    filter: dict[str, Any]
    created_at: datetime


class CalendarCreated(CalendarPublic):
    """A calendar that was just made, with its address."""

    url: str = Field(
        description="What calendar programs subscribe to. Whoever has it can read these tasks; "
        "it is not shown again"
    )
