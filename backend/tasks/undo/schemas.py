"""The wire of what is taken back."""

from pydantic import BaseModel, Field


class Undone(BaseModel):
    """What taking a change back did."""

    change: int | None = Field(description="Its own number: it can be taken back, too")
    tasks: int = Field(description="How many tasks are as they were before")
