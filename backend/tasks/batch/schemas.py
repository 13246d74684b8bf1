"""The wire of operations on many tasks: batches, their results, and what a filter may select."""

from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StrictBool,
    StrictInt,
    TypeAdapter,
    ValidationError,
)

from backend.errors import FieldError
from backend.tasks.filters import TaskFilter
from backend.tasks.schemas import Change, TaskCreate, TaskPublic, TaskUpdate
from backend.web.spelling import spelt

BATCH_MAX = 500

OpName = Literal["create", "update", "complete", "delete"]


class _OnTask(BaseModel):
    id: StrictInt
    version: StrictInt | None = Field(
        default=None, description="Only if the task is at this version by then: otherwise 412"
    )


class CreateOperation(TaskCreate):
    """Create a task."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"op": "create", "title": "Buy milk"}]})

    op: Literal["create"]


class UpdateOperation(_OnTask, TaskUpdate):
    """Change what is named, as PATCH does."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"op": "update", "id": 7, "tags": ["home"]}]})

    op: Literal["update"]


class CompleteOperation(_OnTask):
    """Set a task's state; completing a recurring one makes the next."""

    op: Literal["complete"]
    completed: StrictBool = True


class DeleteOperation(_OnTask):
    """Delete a task."""

    op: Literal["delete"]


Operation = Annotated[
    CreateOperation | UpdateOperation | CompleteOperation | DeleteOperation, Field(discriminator="op")
]
# Creating has every name there is, and the names of the others are among them.
_OPERATION: TypeAdapter[Operation] = TypeAdapter(Annotated[Operation, spelt(CreateOperation)])


_NAMES: tuple[OpName, ...] = get_args(OpName)


class Refused(NamedTuple):
    """An operation that breaks the rules of its schema. It fails alone; the others are read all the same."""

    op: OpName | None
    errors: list[FieldError]


def read(value: Any) -> Operation | Refused:
    """Return an operation, or what is wrong with it."""
    try:
        return _OPERATION.validate_python(value)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
    # A place within an operation begins with the operation's name.
    op = next((name for name in _NAMES if problems[0]["loc"][:1] == (name,)), None)
    return Refused(op, [_field_error(problem, 0 if op is None else 1) for problem in problems])


def _field_error(problem: Any, skipped: int) -> FieldError:
    # The message may quote half of a surrogate pair, which no answer could carry.
    message = problem["msg"].encode("utf-8", "backslashreplace").decode()
    return FieldError(loc=list(problem["loc"][skipped:]), msg=message, type=problem["type"])


class Batch(BaseModel):
    """Operations to be done in their order. They are not read yet: that may take longer than a slice."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"operations": [{"op": "create", "title": "Buy milk"}]}]}
    )

    operations: list[
        Annotated[Any, PlainValidator(lambda value: value, json_schema_input_type=Operation)]
    ] = Field(max_length=BATCH_MAX)


class BatchResult(BaseModel):
    """What became of one operation."""

    index: int = Field(description="Its place in `operations`, from 0")
    op: OpName | None = Field(description="null where it could not be read")
    status: Literal[200, 201, 204, 404, 409, 412, 422, 424] = Field(
        description="As the single request would have answered; 424: not done, because others failed"
    )
    task: TaskPublic | None = Field(default=None, description="The task after it; at 412, as it is")
    detail: str | list[FieldError] | None = Field(default=None, description="Why it was not done")


class BatchReply(BaseModel):
    """The results, in the order of the operations."""

    results: list[BatchResult]
    change: Change = None


class TaskSelection(TaskFilter):
    """Tasks to be changed together. An unknown parameter is refused: misspelt, it would select too many."""

    model_config = ConfigDict(extra="forbid")


class CompletedCount(BaseModel):
    """How many tasks were completed."""

    completed: int
    change: Change = None


class DeletedCount(BaseModel):
    """How many tasks were deleted."""

    deleted: int
    change: Change = None
