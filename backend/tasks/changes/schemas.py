"""The wire of what has changed."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from backend.tasks.schemas import TaskPublic

CHANGES_MAX = 1000


class ChangesQuery(BaseModel):
    """Since when, and how many at once."""

    since: str | None = Field(
        default=None,
        max_length=4096,
        description="The `cursor` of the answer before; opaque. Without it all tasks there are come first",
    )
    limit: int = Field(default=500, ge=1, le=CHANGES_MAX)


class Upsert(BaseModel):
    """A task is there, and is so."""

    type: Literal["upsert"]
    task: TaskPublic


class Removal(BaseModel):
    """A task is gone."""

    type: Literal["delete"]
    id: int


class Changes(BaseModel):
    """What to do to a copy, in this order, to have it as the tasks are."""

    changes: list[Annotated[Upsert | Removal, Field(discriminator="type")]]
    cursor: str = Field(description="What to ask for next: `since`")
    has_more: bool = Field(description="Ask again at once: the copy is not as the tasks are yet")
