"""The statements that take changes back. All lock the tasks that they will write before they write any."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Insert, bindparam, func, select

from backend.columns import TextList, utc_now
from backend.engine.statements import AT_ONCE, Statements, Transaction, insert_into, one_transaction
from backend.models import change_counters, task_events, tasks
from backend.tasks.crud import (
    OWNED,
    WRITE,
    Versions,
    delete_tasks,
    get_task,
    lock_task,
    lock_tasks,
    write_values,
)
from backend.tasks.errors import ChangedSince, ChangeNotFound, NothingToUndo
from backend.tasks.fields import READ, bound
from backend.tasks.history.images import row_of
from backend.tasks.log import OWNED_EVENTS, change_number
from backend.tasks.quota import require_room
from backend.tasks.sql import IdList, among
from backend.tasks.undo.schemas import Undone
from backend.tasks.wire import Task, read_columns

_ID = task_events.c.seq.type
_IDS = bindparam("ids", type_=IdList())
_EVENT = task_events.c.seq, task_events.c.task_id, task_events.c.kind, task_events.c.at, task_events.c.before
_LAST = (
    select(*_EVENT)
    .where(OWNED_EVENTS, task_events.c.task_id == bindparam("task_id", type_=_ID))
    .order_by(task_events.c.seq.desc())
    .limit(1)
)
_OF_CHANGE = (
    select(*_EVENT)
    .where(OWNED_EVENTS, task_events.c.seq == bindparam("change", type_=_ID))
    .order_by(task_events.c.task_id)
)
_LATEST = (
    select(task_events.c.task_id, func.max(task_events.c.seq))
    .where(OWNED_EVENTS, among(task_events.c.task_id, _IDS))
    .group_by(task_events.c.task_id)
)
_TAKE_TURN = (
    select(change_counters.c.seq).where(change_counters.c.user_id == bindparam("owner")).with_for_update()
)
_TAKEN = select(tasks.c.import_key).where(
    OWNED, among(tasks.c.import_key, bindparam("import_keys", type_=TextList()))
)


@one_transaction
async def restore_task(
    statements: Statements, user_id: str, task_id: int, since: datetime, most: int | None = None
) -> Task:
    """Bring back a task that was deleted after `since`, at its next version. One that is there stays.

    Raises:
        TaskLimitReached: the user has as many as `most`.
        TaskNotFound: the user has deleted no such task since then.
    """
    async with statements.transaction() as transaction:
        last = await transaction.first(_LAST, {"owner": user_id, "task_id": task_id})
        if last is not None and last.kind == "deleted" and last.before is not None and last.at > since:
            await require_room(transaction, user_id, most, 1)
            await _put_back(transaction, user_id, [row_of(last.before)])
            await change_number(transaction, user_id, "undo")
        return await get_task(transaction, user_id, task_id)


@one_transaction
async def undo_task(
    statements: Statements, user_id: str, task_id: int, versions: Versions = None, most: int | None = None
) -> Task | None:
    """Take back the last change of a task; return it as it was, at its next version. None: it is no more.

    A completion takes the task that it made along, unless that has changed since; a reopening brings back the
    one that it took.

    Raises:
        TaskLimitReached: with that one the user would have more than `most` tasks.
        TaskNotFound: the user has no such task.
        VersionMismatch: it is at another version than `versions` allow.
        NothingToUndo: what it was before is not known.
    """
    async with statements.transaction() as transaction:
        row = await lock_task(transaction, user_id, task_id, versions)
        last = await transaction.first(_LAST, {"owner": user_id, "task_id": task_id})
        if last is None or (last.before is None and last.kind != "created"):
            raise NothingToUndo
        if last.kind == "created":
            await delete_tasks(transaction, user_id, [task_id])
            await change_number(transaction, user_id, "undo")
            return None
        before = row_of(last.before)
        link = before["next_task_id"]
        if link is not None and row["next_task_id"] is None:  # a reopening, which took that one back
            taken = await transaction.first(_LAST, {"owner": user_id, "task_id": link})
            if taken is not None and (taken.seq, taken.kind) == (last.seq, "deleted") and taken.before:
                await require_room(transaction, user_id, most, 1)
                await _put_back(transaction, user_id, [row_of(taken.before)])
        if before["next_task_id"] is None and row["next_task_id"] is not None:
            made = await lock_tasks(transaction, user_id, [row["next_task_id"]])
            if made and await _untouched(transaction, user_id, [made[0]["id"]], last.seq):
                await delete_tasks(transaction, user_id, [made[0]["id"]])
            elif made:
                before["next_task_id"] = row["next_task_id"]
        after = before | {"version": row["version"] + 1, "updated_at": row["now"]}
        await transaction.execute(WRITE, write_values(user_id, after))
        await change_number(transaction, user_id, "undo")
    return read_columns(after)


@one_transaction
async def undo_change(
    statements: Statements,
    user_id: str,
    change: int,
    *,
    force: bool,
    most: int | None = None,
    source: str | None = "undo",
) -> Undone:
    """Take all of a change back, or nothing; with `force` all but the tasks that have changed since.

    `source` says who did it; None leaves that to whoever has begun the transaction.

    Raises:
        TaskLimitReached: with what it deleted the user would have more than `most` tasks.
        ChangeNotFound: the user has made no such change, or it is forgotten.
        ChangedSince: some of its tasks have changed since, or what they were is erased.
    """
    async with statements.transaction() as transaction:
        events = await transaction.all(_OF_CHANGE, {"owner": user_id, "change": change})
        if not events:
            raise ChangeNotFound
        ids = [event.task_id for event in events]
        there: dict[int, dict[str, Any]] = {}
        for begin in range(0, len(ids), AT_ONCE):
            some = await lock_tasks(transaction, user_id, ids[begin : begin + AT_ONCE])
            there |= {row["id"]: row for row in some}
        # What is gone cannot be locked: two that bring it back take turns at the counter, after the rows.
        await transaction.first(_TAKE_TURN, {"owner": user_id})
        free = await _untouched(transaction, user_id, ids, change)
        undone = [
            event
            for event in events
            if event.task_id in free and (event.kind == "created" or event.before is not None)
        ]
        if len(undone) < len(events) and not force:
            raise ChangedSince(sorted(set(ids) - {event.task_id for event in undone}))
        new = [event.task_id for event in undone if event.kind == "created" and event.task_id in there]
        if new:
            await delete_tasks(transaction, user_id, new)
        old = [event for event in undone if event.kind != "created"]
        await require_room(transaction, user_id, most, sum(event.task_id not in there for event in old))
        for begin in range(0, len(old), AT_ONCE):
            await _revert(
                transaction, user_id, [row_of(event.before) for event in old[begin : begin + AT_ONCE]], there
            )
        return Undone(change=await change_number(transaction, user_id, source), tasks=len(undone))


async def _revert(
    transaction: Transaction, user_id: str, rows: Sequence[dict[str, Any]], there: dict[int, dict[str, Any]]
) -> None:
    changed = [
        row | {"version": now["version"] + 1, "updated_at": now["now"]}
        for row in rows
        if (now := there.get(row["id"])) is not None
    ]
    if changed:
        await transaction.all_of(WRITE, [write_values(user_id, row) for row in changed])
    await _put_back(transaction, user_id, [row for row in rows if row["id"] not in there])


async def _untouched(transaction: Transaction, user_id: str, ids: Sequence[int], change: int) -> set[int]:
    """Those of the tasks that nothing has happened to since a change."""
    latest = await transaction.all(_LATEST, {"owner": user_id, "ids": list(ids)})
    return {task_id for task_id, seq in latest if seq == change}


async def _put_back(transaction: Transaction, user_id: str, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows that were deleted, at their next versions. One that is there again stays as it is.

    What a file brings is imported once: where it has come again, what comes back is known by its id alone.
    """
    if not rows:
        return
    keys = [row["import_key"] for row in rows if row["import_key"] is not None]
    taken: set[str] = set()
    if keys:
        found = await transaction.all(_TAKEN, {"owner": user_id, "import_keys": keys})
        taken = {row.import_key for row in found}
    statement = _insert_statement(transaction.dialect)
    await transaction.all_of(
        statement,
        [
            row
            | {"version": row["version"] + 1}
            | ({"import_key": None} if row["import_key"] in taken else {})
            for row in rows
        ],
    )


@lru_cache(maxsize=2)
def _insert_statement(dialect: str) -> Insert:
    columns = [column.name for column in tasks.c if column.name != "updated_at"]
    statement: Insert = (
        insert_into(tasks, dialect)
        .values(**bound(*columns), updated_at=utc_now())
        .on_conflict_do_nothing()
        .returning(*READ)
    )
    return statement
