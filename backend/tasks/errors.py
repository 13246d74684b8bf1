"""What a client can be told went wrong with tasks."""

from collections.abc import Mapping, Sequence

from pydantic import Field

from backend.errors import ApiError, InvalidRequest, Problem
from backend.tasks.batch.schemas import BatchReply, BatchResult
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


class BatchProblem(Problem, BatchReply):
    """A batch of which nothing was done."""


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
