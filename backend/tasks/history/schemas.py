"""The wire of histories, the trash, and of what is taken back."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import Query
from pydantic import BaseModel, Field

from backend.tasks.schemas import TaskPublic
from backend.web.pages import PageQuery

Page = Annotated[PageQuery, Query()]

# What a field of a task may be, as JSON.
Value = bool | int | str | list[str] | None


class Difference(BaseModel):
    """A field's value before and after."""

    from_: Value = Field(alias="from")
    to: Value


class Event(BaseModel):
    """What one change did to one task."""

    change: int = Field(
        description="The change's number: what one request did has one, and can be undone by it"
    )
    task_id: int
    kind: Literal["created", "updated", "deleted"]
    at: datetime
    by: str = Field(description="`api`: a request for it; `batch`, `import`, `undo`, or an assistant's name")
    changes: dict[str, Difference] | None = Field(
        description="By field; `from` is null of a new task, `to` of a deleted one. null: erased"
    )


class TrashedTask(TaskPublic):
    """A task as it was when it was deleted."""

    deleted_at: datetime
    change: int = Field(description="The number of the change that deleted it")


class ErasedCount(BaseModel):
    """How many tasks in the trash were erased."""

    erased: int
