"""What tools are called with, and what they answer. No argument names a user; dates are the user's own.

A model fills these in: descriptions are short, null is as good as absent, and what the rules of tasks say is
left to them, so that all that is wrong with a call is told at once.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

AT_ONCE_MAX = 50
DATES_MAX = 20

Level = Literal["low", "medium", "high"]
Id = Annotated[int, Field(description="A task's id, from list_tasks or add_task")]
Ids = Annotated[list[Id], Field(min_length=1, max_length=AT_ONCE_MAX)]
Day = Annotated[
    str, Field(description="2026-11-21, or with a time 2026-11-21T09:00: local, without an offset")
]
Tags = Annotated[list[str], Field(max_length=20)]
Recurrence = Annotated[
    str, Field(description="daily, weekly, monthly, yearly or an RRULE such as FREQ=WEEKLY;BYDAY=MO,WE")
]
RecurFrom = Annotated[
    Literal["due", "completion"],
    Field(description="completion: the next is counted from the day on which this one is done"),
]
DryRun = Annotated[bool, Field(description="true: say what would come of it, and change nothing")]


class _Said(BaseModel):
    """What a model makes up beside these is told to it: it would take it for done."""

    model_config = ConfigDict(extra="forbid")


class NewTask(_Said):
    """A task to add."""

    title: str
    description: str | None = None
    priority: Level | None = None
    tags: Tags | None = None
    due_date: Day | None = None
    recurring_pattern: Recurrence | None = Field(default=None, description="Needs a due_date")
    recur_from: RecurFrom | None = None


class AddTasks(BaseModel):
    """Add one or several tasks, all or none."""

    tasks: list[NewTask] = Field(min_length=1, max_length=AT_ONCE_MAX)


class ListTasks(BaseModel):
    """Find tasks. Conditions combine; without any it is all tasks, the newest first."""

    status: Literal["all", "pending", "completed"] | None = None
    search: str | None = Field(default=None, description="Words that title or description contain")
    priority: list[Level] | None = Field(default=None, max_length=3, description="Any of these")
    tags: Tags | None = Field(default=None, description="All of these")
    any_tag: bool | None = Field(default=None, description="true: any of the tags will do")
    due_before: Day | None = Field(default=None, description="A local day or time; that day is not included")
    due_after: Day | None = Field(default=None, description="Likewise: a day begins after it")
    overdue: bool | None = None
    has_due_date: bool | None = None
    created_after: Day | None = None
    updated_after: Day | None = None
    sort: Literal["created", "updated", "title", "due_date", "priority", "relevance"] | None = None
    order: Literal["asc", "desc"] | None = None
    limit: int = Field(default=20, ge=1, le=AT_ONCE_MAX)


class TaskChange(_Said):
    """What to change of a task; what is not named stays."""

    id: Id
    title: str | None = None
    description: str | None = None
    priority: Level | None = None
    tags: Tags | None = Field(default=None, description="Instead of those it has")
    due_date: Day | None = None
    recurring_pattern: Recurrence | None = None
    recur_from: RecurFrom | None = None
    clear: list[Literal["description", "due_date", "tags", "recurring_pattern"]] | None = Field(
        default=None, max_length=4, description="What it shall have no more"
    )


class UpdateTasks(BaseModel):
    """Change one or several tasks, all or none."""

    tasks: list[TaskChange] = Field(min_length=1, max_length=AT_ONCE_MAX)
    dry_run: DryRun = False


class CompleteTasks(BaseModel):
    """Mark tasks as done, or with completed=false as not done. A recurring one makes its next."""

    ids: Ids
    completed: bool = True
    dry_run: DryRun = False


class DeleteTasks(BaseModel):
    """Delete tasks, all or none."""

    ids: Ids
    dry_run: DryRun = False


class UndoChange(BaseModel):
    """Take back all that one call did, by the `change` that it was answered with."""

    change: int = Field(ge=1, le=2**63 - 1)
    dry_run: DryRun = False


class PreviewRecurrence(BaseModel):
    """The next dates of a recurrence, the first included."""

    pattern: Recurrence
    due_date: Day
    count: int = Field(default=5, ge=1, le=DATES_MAX)


class Brief(BaseModel):
    """A task in short. What it does not have is left out."""

    id: int
    title: str
    completed: bool = False
    priority: Level = "medium"
    tags: list[str] = []
    due_date: str | None = Field(default=None, description="A local day, or a local time")
    description: str | None = None
    recurring_pattern: str | None = None
    recur_from: Literal["due", "completion"] = "due"
    next_task_id: int | None = Field(default=None, description="The task that followed when it was completed")


class Written(BaseModel):
    """What a call did."""

    tasks: list[Brief] = Field(description="The tasks after it; those that were deleted as they were")
    change: int | None = Field(
        default=None, description="undo_change takes this back; absent where nothing changed"
    )
    dry_run: bool = Field(default=False, description="true: nothing was changed")


class Found(BaseModel):
    """The tasks that were found."""

    tasks: list[Brief]
    total: int = Field(description="How many there are in all")


class Undone(BaseModel):
    """What taking a change back did."""

    tasks: int = Field(description="How many tasks are as they were before")
    change: int | None = Field(default=None, description="Its own number: it can be taken back, too")
    dry_run: bool = Field(default=False, description="true: nothing was changed")


class Dates(BaseModel):
    """The dates of a recurrence."""

    dates: list[str]
