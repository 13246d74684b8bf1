"""The catalogue of tools, and the one way to run them: a change has its number, and may be tried first."""

import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from backend.engine.statements import again
from backend.errors import ApiError, FieldError, InvalidRequest
from backend.observation import observing
from backend.tasks.errors import BatchFailed, ChangedSince
from backend.tasks.log import change_number
from backend.tools import functions
from backend.tools.functions import Context
from backend.tools.schemas import (
    AddTasks,
    CompleteTasks,
    Dates,
    DeleteTasks,
    Found,
    ListTasks,
    PreviewRecurrence,
    UndoChange,
    Undone,
    UpdateTasks,
    Written,
)
from backend.web.idempotency import Reply, claim, keep


class Tool(NamedTuple):
    """A function as models are told of it. Its description is its arguments' docstring."""

    name: str
    function: Callable[[Context, Any], Awaitable[BaseModel]]
    arguments: type[BaseModel]
    result: type[BaseModel]
    reads: bool = False
    """It changes nothing."""
    destroys: bool = False
    """It takes something away: a chat asks the user first."""
    repeatable: bool = False
    """Doing it again does nothing more."""

    @property
    def description(self) -> str:
        return self.arguments.__doc__ or ""


TOOLS = (
    Tool("list_tasks", functions.list_tasks, ListTasks, Found, reads=True, repeatable=True),
    Tool("add_task", functions.add_task, AddTasks, Written),
    Tool("update_task", functions.update_task, UpdateTasks, Written, repeatable=True),
    Tool("complete_task", functions.complete_task, CompleteTasks, Written, repeatable=True),
    Tool("delete_task", functions.delete_task, DeleteTasks, Written, destroys=True),
    Tool("undo_change", functions.undo_change, UndoChange, Undone, destroys=True),
    Tool(
        "preview_recurrence",
        functions.preview_recurrence,
        PreviewRecurrence,
        Dates,
        reads=True,
        repeatable=True,
    ),
)
BY_NAME = {tool.name: tool for tool in TOOLS}


class _ForShow(Exception):
    """Undoes the transaction of a dry run, and brings what it came to."""

    def __init__(self, result: BaseModel) -> None:
        super().__init__()
        self.result = result


async def run(tool: Tool, context: Context, arguments: BaseModel, key: str | None = None) -> BaseModel:
    """Run a tool; what it changes is one transaction, and its answer has that change's number.

    With a `key` (of up to KEY_MAX characters) it is done once: the same call again is answered as the first
    was. A dry run is done, told of and undone.

    Raises:
        KeyReused: the key came with another call before.
        AnswerNotKept: it came with this one, whose answer did not fit.
        TooManyKeys: the user has as many as are kept; nothing was done.
        ValidationError: the arguments break a rule that their schema cannot say.
        ApiError: what the tool raises; explain() puts it into words for a model.
    """
    began = time.perf_counter()
    try:
        if tool.reads:
            return await tool.function(context, arguments)
        return await again(lambda: _change(tool, context, arguments, key))
    except _ForShow as shown:
        return shown.result
    finally:
        if (observation := observing.get()) is not None:
            observation.did(f"tool {tool.name}", time.perf_counter() - began)


async def _change(tool: Tool, context: Context, arguments: BaseModel, key: str | None) -> BaseModel:
    user_id = context.user_id
    async with context.statements.transaction() as transaction:
        is_dry = getattr(arguments, "dry_run", False)
        called = f"{tool.name}\n{arguments.model_dump_json()}"
        fingerprint = hashlib.sha256(called.encode()).hexdigest()
        if key and not is_dry:
            first = await claim(transaction, user_id, key, fingerprint)
            if first is not None:
                return tool.result.model_validate_json(first.body)
        within = context._replace(statements=transaction, dear_statements=transaction)
        result = await tool.function(within, arguments)
        if is_dry:
            raise _ForShow(result.model_copy(update={"dry_run": True}))
        number = await change_number(transaction, user_id, context.source)
        result = result.model_copy(update={"change": number})
        if key:
            await keep(transaction, user_id, key, Reply.of(result), context.kept)
    return result


def explain(error: ApiError | ValidationError) -> str:
    """What went wrong with a call, for the model that made it: which task, which argument, what to do."""
    if isinstance(error, ValidationError):
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        return "; ".join(f"{_place(problem['loc'])}: {problem['msg']}" for problem in problems)
    if isinstance(error, BatchFailed):
        failed = [result for result in error.results if result.status not in (200, 201, 204, 424)]
        said = [f"number {result.index + 1}: {_detail(result.detail)}" for result in failed]
        return f"Nothing was done. {'; '.join(said)}"
    if isinstance(error, ChangedSince):
        return f"Nothing was taken back: these tasks have changed since: {error.tasks}"
    if isinstance(error, InvalidRequest):
        return str(error) or type(error).__doc__ or ""
    return str(error.detail)


def _detail(detail: str | list[FieldError] | None) -> str:
    if isinstance(detail, list):
        return ", ".join(f"{_place(problem.loc[3:])}: {problem.msg}" for problem in detail)
    return detail or ""


def _place(loc: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in loc) or "the arguments"
