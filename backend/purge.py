"""Removes what has expired, of all users: `python -m backend purge`, once a day.

Each statement is about one owner and BATCH rows at most, so that none holds anything for long. Several
processes may purge at once: each passes over the rows that another has.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Executable, Table, bindparam, delete, func, select, tuple_, update

from backend.db import Database
from backend.engine.statements import Statements
from backend.models import change_counters, change_sources, idempotency_keys, task_events
from backend.web.kept_answers import KEPT

BATCH = 500


class Purge(NamedTuple):
    """The rows of an owned table that by their `time` are older than `kept`. An owner has each `key` once."""

    what: str
    table: Table
    key: str
    time: str
    kept: timedelta


PURGES = (Purge("expired idempotency keys", idempotency_keys, "key", "created_at", KEPT),)

_OWN_COUNTER = change_counters.c.user_id == bindparam("owner", type_=change_counters.c.user_id.type)
_OWN_EVENTS = task_events.c.user_id == bindparam("owner", type_=task_events.c.user_id.type)
_OWN_SOURCES = change_sources.c.user_id == bindparam("owner", type_=change_sources.c.user_id.type)
_UPTO = bindparam("floor", type_=change_counters.c.floor.type)
_LAST_OLD = select(func.max(task_events.c.seq)).where(
    _OWN_EVENTS, task_events.c.at < bindparam("before", type_=task_events.c.at.type)
)
_RAISE = update(change_counters).where(_OWN_COUNTER, change_counters.c.floor < _UPTO).values(floor=_UPTO)
_SOME = select(task_events.c.seq, task_events.c.task_id).where(_OWN_EVENTS, task_events.c.seq <= _UPTO)
_FORGET = (
    delete(task_events)
    .where(
        _OWN_EVENTS,
        tuple_(task_events.c.seq, task_events.c.task_id).in_(
            _SOME.order_by(task_events.c.seq).limit(BATCH).correlate(None)
        ),
    )
    .returning(task_events.c.task_id)
)
_FORGET_SOURCES = delete(change_sources).where(_OWN_SOURCES, change_sources.c.seq <= _UPTO)


async def run(database: Database, purge: Purge) -> int:
    """Delete such rows; return how many. Raises what Database.turn() does."""
    table, statements = purge.table, database.statements
    before = datetime.now(UTC) - purge.kept
    owner, key = table.c.user_id, table.c[purge.key]
    is_old = table.c[purge.time] < bindparam("before", type_=table.c[purge.time].type)
    own = owner == bindparam("owner", type_=owner.type)
    some = select(key).where(own, is_old).limit(BATCH).with_for_update(skip_locked=True)
    forget = delete(table).where(own, key.in_(some.correlate(None))).returning(key)

    removed = 0
    async for user_id in _owners(statements, table, purge.time, before):
        removed += await _repeat(statements, forget, {"owner": user_id, "before": before})
    return removed


async def forget_changes(database: Database, kept: timedelta) -> int:
    """Delete what is older than `kept` of the log of changes, and with it the trash; return how many events.

    The floor rises first: who asks for changes from below it is told to begin anew, and never that there are
    none. Raises what Database.turn() does.
    """
    statements = database.statements
    before = datetime.now(UTC) - kept
    removed = 0
    async for user_id in _owners(statements, task_events, "at", before):
        [(floor,)] = await statements.plain(_LAST_OLD, {"owner": user_id, "before": before})
        if floor is None:  # another purge was here
            continue
        upto = {"owner": user_id, "floor": floor}
        await statements.plain(_RAISE, upto)
        removed += await _repeat(statements, _FORGET, upto)
        await statements.plain(_FORGET_SOURCES, upto)
    return removed


async def _owners(statements: Statements, table: Table, time: str, before: datetime) -> AsyncIterator[str]:
    """Whoever has a row that is older, a BATCH of them at a time."""
    owner = table.c.user_id
    is_old = table.c[time] < bindparam("before", type_=table.c[time].type)
    first = select(owner).where(is_old).distinct().order_by(owner).limit(BATCH)
    following = first.where(owner > bindparam("after", type_=owner.type))
    page = await statements.plain(first, {"before": before})
    while page:
        for (user_id,) in page:
            yield user_id
        page = await statements.plain(following, {"before": before, "after": page[-1][0]})


async def _repeat(statements: Statements, forget: Executable, parameters: dict[str, object]) -> int:
    """Run a statement that deletes up to BATCH rows until it finds fewer; return how many it were in all."""
    removed, gone = 0, BATCH
    while gone == BATCH:
        gone = len(await statements.plain(forget, parameters))
        removed += gone
    return removed
