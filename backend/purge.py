"""Removes what has expired, of all users: `python -m backend purge`, once a day.

Each statement is about one owner and BATCH rows at most, so that none holds anything for long. Several
processes may purge at once: each passes over the rows that another has.
"""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Table, bindparam, delete, select

from backend.db import Database
from backend.models import idempotency_keys
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


async def run(database: Database, purge: Purge) -> int:
    """Delete such rows; return how many. Raises what Database.turn() does."""
    table, statements = purge.table, database.statements
    before = datetime.now(UTC) - purge.kept
    owner, key = table.c.user_id, table.c[purge.key]
    is_old = table.c[purge.time] < bindparam("before", type_=table.c[purge.time].type)
    first = select(owner).where(is_old).distinct().order_by(owner).limit(BATCH)
    following = first.where(owner > bindparam("after", type_=owner.type))
    own = owner == bindparam("owner", type_=owner.type)
    some = select(key).where(own, is_old).limit(BATCH).with_for_update(skip_locked=True)
    forget = delete(table).where(own, key.in_(some.correlate(None))).returning(key)

    removed = 0
    page = await statements.plain(first, {"before": before})
    while page:
        for (user_id,) in page:
            gone = BATCH
            while gone == BATCH:
                gone = len(await statements.plain(forget, {"owner": user_id, "before": before}))
                removed += gone
        page = await statements.plain(following, {"before": before, "after": page[-1][0]})
    return removed
