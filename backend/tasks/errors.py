"""What a client can be told went wrong with tasks."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from backend.errors import ApiError, InvalidRequest, Problem, Unavailable
from backend.tasks.batch.schemas import BatchResult
from backend.tasks.schemas import TaskPublic


class TaskNotFound(ApiError):
    """Task not found"""

    status = 404
    code = "task_not_found"


class VersionProblem(Problem):
    """A task that has changed since it was read."""

    current: TaskPublic = Field(description="The task as it is")


class VersionMismatch(ApiError):
    """The task has changed since; read it again, or repeat without If-Match"""

    status = 412
    code = "version_mismatch"
    model = VersionProblem

    def __init__(self, current: TaskPublic) -> None:
        super().__init__()
        self.current = current

    @property
    def members(self) -> Mapping[str, object]:
        return {"current": self.current}


class TaskLimitReached(ApiError):
    """You have as many tasks as you may have; delete some first"""

    status = 409
    code = "task_limit_reached"

    def __init__(self, most: int) -> None:
        super().__init__(
            f"Nothing was done: you may have {most} tasks, and this would make more; delete some first"
        )


class BatchProblem(Problem):
    """A batch of which nothing was done."""

    results: list[BatchResult]


class BatchFailed(ApiError):
    """Nothing was done, because some of the operations cannot be; `results` says which and why"""

    status = 409
    code = "batch_failed"
    model = BatchProblem

    def __init__(self, results: Sequence[BatchResult]) -> None:
        super().__init__()
        self.results = results

    @property
    def members(self) -> Mapping[str, object]:
        return {"results": self.results}


class FilterRequired(InvalidRequest):
    """Say which tasks to delete, with at least one condition: status=completed, tag=…, due_before=…"""

    loc = ("query",)


class TooManyFollowed(InvalidRequest):
    """More than 10000 of these tasks recur, and each makes its next: choose fewer of them with a filter"""

    loc = ("query",)


class InvalidFile(InvalidRequest):
    """The file cannot be read"""

    loc = ("body",)


class CursorExpired(ApiError):
    """What has changed since this cursor is not known; begin again without `since`, with an empty copy"""

    status = 410
    code = "cursor_expired"


class TooManyStreams(ApiError):
    """You have as many streams of events open as you may have; close one, or let your tabs share one"""

    status = 429
    code = "too_many_streams"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "10"}


class StreamsUsedUp(Unavailable):
    """All streams of events are in use; ask for the changes now and then instead, or try again later"""

    code = "streams_used_up"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "10"}


class NothingToUndo(ApiError):
    """What this task was before its last change is not known any more"""

    status = 409
    code = "nothing_to_undo"


class ChangeNotFound(ApiError):
    """Change not found"""

    status = 404
    code = "change_not_found"


class ChangedSinceProblem(Problem):
    """A change of which nothing was taken back."""

    tasks: list[int] = Field(description="The ids of the tasks that have changed since")


class ChangedSince(ApiError):
    """Some of its tasks have changed since: see `tasks`. `?force=true` takes back the rest"""

    status = 409
    code = "changed_since"
    model = ChangedSinceProblem

    def __init__(self, tasks: Sequence[int]) -> None:
        super().__init__()
        self.tasks = tasks

    @property
    def members(self) -> Mapping[str, object]:
        return {"tasks": self.tasks}
